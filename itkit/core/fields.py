"""Markers that a parameter's annotation may carry, and the functions that interpret them.

Command-line options, help, JSON schema, validation, config files and forms all use these functions.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.fields import FieldInfo


class _Marker:
    """Base of the markers; ``schema_key`` is the key under which the JSON schema shows the marker."""

    schema_key: ClassVar[str]

    def schema_value(self) -> Any:
        """Return what the JSON schema shows."""
        return True

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = dict(handler(core_schema))
        schema[self.schema_key] = self.schema_value()
        return schema


@dataclass(frozen=True)
class Unit(_Marker):
    """The unit of a number, e.g. ``mm``."""

    name: str
    schema_key: ClassVar[str] = "x-unit"

    def schema_value(self) -> str:
        """Return what the JSON schema shows."""
        return self.name


@dataclass(frozen=True)
class Axes(_Marker):
    """The order of several numbers, e.g. ``ZYX``; ``one_for_all`` lets a single value stand for every axis."""

    order: str
    one_for_all: bool = False
    schema_key: ClassVar[str] = "x-axes"

    def schema_value(self) -> str:
        """Return what the JSON schema shows."""
        return self.order


@dataclass(frozen=True)
class Parts(_Marker):
    """What each of several numbers is, for help and forms, e.g. ``LO HI``."""

    names: tuple[str, ...]
    schema_key: ClassVar[str] = "x-parts"

    def schema_value(self) -> list[str]:
        """Return what the JSON schema shows."""
        return list(self.names)


@dataclass(frozen=True)
class Blank(_Marker):
    """The word that a form shows in the blank box of an axis that keeps its default; without it, ``keep``."""

    word: str
    schema_key: ClassVar[str] = "x-blank"

    def schema_value(self) -> str:
        """Return what the JSON schema shows."""
        return self.word


@dataclass(frozen=True)
class Alone(_Marker):
    """An option of several values that may be given without any: ``word`` then stands for them."""

    word: str
    schema_key: ClassVar[str] = "x-alone"

    def schema_value(self) -> str:
        """Return what the JSON schema shows."""
        return self.word


@dataclass(frozen=True)
class Positional(_Marker):
    """A positional argument; ``metavar`` is its name on the command line."""

    metavar: str = ""
    schema_key: ClassVar[str] = "x-positional"


@dataclass(frozen=True)
class Short(_Marker):
    """A short spelling of an option, e.g. ``-r``."""

    flag: str
    schema_key: ClassVar[str] = "x-short"

    def schema_value(self) -> str:
        """Return what the JSON schema shows."""
        return self.flag


@dataclass(frozen=True)
class Unkeyed(_Marker):
    """A parameter that does not affect the content of outputs: cases are not redone when it changes."""

    schema_key: ClassVar[str] = "x-unkeyed"


@dataclass(frozen=True)
class Later:
    """A parameter added in a later version: at its default it is left out of the content key.

    Destinations that an earlier version has written therefore stay valid.
    """


@dataclass(frozen=True)
class Formerly:
    """A former name of a parameter: it is still accepted in Python, JSON and config files, and as an option."""

    name: str


@dataclass(frozen=True)
class Bounds(_Marker):
    """The range of a number, or of each of several; ``keep`` is a value outside it that means "leave as it is".

    Examples
    --------
    >>> Bounds(above=0, keep=-1).text("mm"), Bounds(least=0, most=180).text("degrees")
    ('> 0 mm, or -1 to leave the axis', '0 to 180 degrees')
    """

    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    keep: float | None = None

    def allow(self, value: float) -> bool:
        """Return whether a number is within the bounds, or is the value ``keep``."""
        if self.keep is not None and value == self.keep:
            return True
        return (
            (self.above is None or value > self.above)
            and (self.least is None or value >= self.least)
            and (self.below is None or value < self.below)
            and (self.most is None or value <= self.most)
        )

    def text(self, unit: str = "") -> str:
        """Return the bounds in words."""
        signs = ((">", self.above), (">=", self.least), ("<", self.below), ("<=", self.most))
        parts = [f"{sign} {value:g}" for sign, value in signs if value is not None]
        if self.least is not None and self.most is not None:
            parts = [f"{self.least:g} to {self.most:g}"]
        words = " and ".join(parts) + (f" {unit}" if unit else "")
        return words if self.keep is None else f"{words}, or {self.keep:g} to leave the axis"

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = dict(handler(core_schema))
        items = schema.get("prefixItems")
        if items is None:
            return self._bounded(schema)
        schema["prefixItems"] = [self._bounded(item) for item in items]
        return schema

    def _bounded(self, item: Mapping[str, Any]) -> dict[str, Any]:
        limits = {
            "exclusiveMinimum": self.above,
            "minimum": self.least,
            "exclusiveMaximum": self.below,
            "maximum": self.most,
        }
        bounded = {**item, **{name: value for name, value in limits.items() if value is not None}}
        return bounded if self.keep is None else {"anyOf": [bounded, {"const": self.keep}], "x-keep": self.keep}


@dataclass(frozen=True)
class Unbounded(_Marker):
    """A number without bounds; ``why`` is the reason."""

    why: str
    schema_key: ClassVar[str] = "x-unbounded"

    def schema_value(self) -> str:
        """Return what the JSON schema shows."""
        return self.why


@dataclass(frozen=True)
class Choices(_Marker):
    """The texts that a parameter accepts; its validator may also accept other spellings of them."""

    values: tuple[str, ...]
    schema_key: ClassVar[str] = "enum"

    def schema_value(self) -> list[str]:
        """Return what the JSON schema shows."""
        return list(self.values)


@dataclass(frozen=True)
class Pattern(_Marker):
    """A regular expression that a form checks while the user types; the validator reports what is wrong."""

    regex: str
    schema_key: ClassVar[str] = "pattern"

    def schema_value(self) -> str:
        """Return what the JSON schema shows."""
        return self.regex


@dataclass(frozen=True)
class FreeText(_Marker):
    """A text of any form; ``example`` is a sensible value."""

    example: str
    schema_key: ClassVar[str] = "x-free-text"

    def schema_value(self) -> str:
        """Return what the JSON schema shows."""
        return self.example


@dataclass(frozen=True)
class Suggest(_Marker):
    """A text that is usually one of a list of names, which shells complete; others are not refused for it."""

    kind: Literal["networks", "verbs"]
    schema_key: ClassVar[str] = "x-suggest"

    def schema_value(self) -> str:
        """Return what the JSON schema shows."""
        return self.kind


@dataclass(frozen=True)
class PathRole(_Marker):
    """The role of a path in a command: a folder or a file that the command reads or writes."""

    role: Literal["in_folder", "out_folder", "in_file", "out_file"]
    holds: Literal["", "dataset"] = ""
    """What the folder holds: a form offers to look at a dataset."""
    schema_key: ClassVar[str] = "x-path-role"

    def schema_value(self) -> str:
        """Return what the JSON schema shows."""
        return self.role


@dataclass(frozen=True)
class Deletes(_Marker):
    """A parameter with which files that the user has may be deleted: with these values, or as a flag.

    Windows ask before they start such a run; the command line has its own question.
    """

    values: tuple[str, ...] = ()
    schema_key: ClassVar[str] = "x-deletes"

    def schema_value(self) -> Any:
        """Return what the JSON schema shows: the values, or true for a flag."""
        return list(self.values) or True


@dataclass(frozen=True)
class Consent(_Marker):
    """A flag that stands for the user's answer to the question whether files may be deleted."""

    schema_key: ClassVar[str] = "x-consent"


@dataclass(frozen=True)
class Address(_Marker):
    """A text that names another machine, to which the command connects.

    Who uses a server may not choose to whom the server's machine talks; at a terminal, and in a window of one's own,
    anybody may.
    """

    schema_key: ClassVar[str] = "x-address"


@dataclass(frozen=True)
class NotInForms(_Marker):
    """A parameter that a window does not show, because it sets it itself."""

    schema_key: ClassVar[str] = "x-not-in-forms"


@dataclass(frozen=True)
class Group(_Marker):
    """The heading under which a form shows a parameter."""

    title: str
    schema_key: ClassVar[str] = "x-group"

    def schema_value(self) -> str:
        """Return what the JSON schema shows."""
        return self.title


@dataclass(frozen=True)
class Advanced(_Marker):
    """A parameter that a form hides until the user asks for advanced ones."""

    schema_key: ClassVar[str] = "x-advanced"


@dataclass(frozen=True)
class Step:
    """A kind of step: what follows its name.

    Parameters
    ----------
    metavar
        Placeholders of its values in the help, e.g. ``LO HI``.
    text
        What it does, in the indicative.
    values
        A regular expression for each value; the last ``optional`` ones may be missing.
    optional
        How many values may be missing.
    """

    metavar: str
    text: str
    values: tuple[str, ...] = ()
    optional: int = 0


class Steps(_Marker):
    """A list of steps, in the order in which they are done; each is a text: the name of its kind, then its values.

    On the command line, each kind is an option of its own, and the order of the options counts. In Python, in JSON and
    in config files, steps are given as a list of texts, or by their names as if they were parameters, in order.

    Parameters
    ----------
    kinds
        The kinds, by name.
    """

    schema_key = "x-steps"

    def __init__(self, kinds: Mapping[str, Step]) -> None:
        self.kinds = kinds

    def schema_value(self) -> dict[str, Any]:
        """Return what the JSON schema shows: placeholders and description of each kind."""
        return {name: {"metavar": kind.metavar, "description": kind.text} for name, kind in self.kinds.items()}

    def text(self, name: str, value: Any) -> str | None:
        """Return the step that a value under its kind's name stands for; ``None`` for a step that is switched off.

        Examples
        --------
        >>> steps = Steps({"clip": Step("LO HI", ""), "n4": Step("", "")})
        >>> steps.text("clip", (-160, 240)), steps.text("n4", True), steps.text("n4", False)
        ('clip -160 240', 'n4', None)
        """
        if value is None or value is False:
            return None
        items = () if value is True else value if isinstance(value, (list, tuple)) else (value,)
        return " ".join([name, *map(str, items)])

    def argv(self, text: str) -> list[str]:
        """Return a step as words of a command line; the only value of a kind may hold blanks.

        Examples
        --------
        >>> steps = Steps({"clip": Step("LO HI", "", ("", "")), "match": Step("FILE", "", ("",))})
        >>> steps.argv("clip -160 240"), steps.argv("match my file.mha")
        (['--clip', '-160', '240'], ['--match', 'my file.mha'])
        """
        name, _, rest = text.partition(" ")
        one = name in self.kinds and len(self.kinds[name].values) == 1
        return [option_name(name), *([rest] if one and rest else rest.split())]


class OnlyWith(_Marker):
    """A parameter that is refused unless other parameters are given, or have certain values.

    Parameters
    ----------
    *given
        Parameters that must differ from their defaults.
    note
        Advice at the end of the message.
    **values
        The value, or the allowed values, of another parameter.
    """

    schema_key: ClassVar[str] = "x-only-with"

    def __init__(self, *given: str, note: str = "drop it", **values: str | tuple[str, ...]) -> None:
        self.given = given
        self.note = note
        self.values = {name: (value,) if isinstance(value, str) else value for name, value in values.items()}

    def schema_value(self) -> dict[str, Any]:
        """Return what the JSON schema shows: the allowed values, or true for any value but the default."""
        return {**dict.fromkeys(self.given, True), **{name: list(values) for name, values in self.values.items()}}

    def holds(self, value_of: Callable[[str], Any], fields: Mapping[str, FieldInfo]) -> bool:
        """Return whether the other parameters satisfy the rule."""
        return all(value_of(name) != fields[name].default for name in self.given) and all(
            value_of(name) in values for name, values in self.values.items()
        )

    def text(self) -> str:
        """Return what the parameter needs, in words."""
        given = [f"with {option_name(name)}" for name in self.given]
        return " and ".join([*given, *(f"for {' or '.join(values)}" for values in self.values.values())])


@dataclass(frozen=True)
class Secret(_Marker):
    """A text that is never written to disk: it comes from an environment variable, a file, or the user's input.

    Parameters
    ----------
    variable
        The environment variable that is read when no value is given.
    file_field
        The parameter that names a file with the value.
    """

    variable: str
    file_field: str
    schema_key: ClassVar[str] = "x-secret"

    def schema_value(self) -> dict[str, str]:
        """Return what the JSON schema shows."""
        return {"variable": self.variable, "file": self.file_field}


def markers(field: FieldInfo, kind: type[Any]) -> list[Any]:
    """Return all markers of one kind in a field's annotation, including those inside an optional type."""
    found = [item for item in field.metadata if isinstance(item, kind)]
    pending = [field.annotation]
    while pending:
        annotation = pending.pop()
        found += [item for item in getattr(annotation, "__metadata__", ()) if isinstance(item, kind)]
        pending += list(get_args(annotation)) if get_origin(annotation) in (Union, types.UnionType) else []
        pending += [get_args(annotation)[0]] if get_origin(annotation) is Annotated else []
    return found


def marker(field: FieldInfo, kind: type[Any]) -> Any:
    """Return the first marker of one kind in a field's annotation, or ``None``."""
    return next(iter(markers(field, kind)), None)


def former_names(fields: Mapping[str, FieldInfo]) -> dict[str, str]:
    """Return a table from each former name of a parameter to its present name."""
    return {old.name: name for name, field in fields.items() for old in markers(field, Formerly)}


def other_names(fields: Mapping[str, FieldInfo]) -> dict[str, str]:
    """Return a table from each other name of a parameter to its own: former ones, and the one that the help shows."""
    shown = {metavar(name, field): name for name, field in fields.items() if is_positional(field)}
    return former_names(fields) | {other: name for other, name in shown.items() if other not in fields}


def shown_name(name: str, field: FieldInfo) -> str:
    """Return the name of a parameter in messages: its positional placeholder, or its option."""
    return metavar(name, field) if is_positional(field) else option_name(name)


def option_name(name: str) -> str:
    """Return the command-line option of a field.

    Examples
    --------
    >>> option_name("target_folder")
    '--target-folder'
    """
    return "--" + name.replace("_", "-")


def base_type(annotation: Any) -> Any:
    """Return an annotation without ``None`` and ``Annotated``; ``str`` if several types are left."""
    if get_origin(annotation) in (Union, types.UnionType):
        kept = [part for part in get_args(annotation) if part is not type(None)]
        return base_type(kept[0]) if len(kept) == 1 else str
    if get_origin(annotation) is Annotated:
        return base_type(get_args(annotation)[0])
    return annotation


def is_many(field: FieldInfo) -> bool:
    """Return whether a field takes several values."""
    return get_origin(base_type(field.annotation)) is tuple


def is_flag(field: FieldInfo) -> bool:
    """Return whether a field is true or false."""
    return base_type(field.annotation) is bool


def is_positional(field: FieldInfo) -> bool:
    """Return whether a field is a positional argument of the command line."""
    return marker(field, Positional) is not None


def value_count(field: FieldInfo) -> int | None:
    """Return how many values a tuple field takes; ``None`` if it takes any number."""
    parts = get_args(base_type(field.annotation))
    return None if parts[-1] is Ellipsis else len(parts)


def metavar(name: str, field: FieldInfo) -> str:
    """Return the placeholder for a field's value in help and messages."""
    positional, axes, parts = (marker(field, kind) for kind in (Positional, Axes, Parts))
    base = base_type(field.annotation)
    if positional is not None and positional.metavar:
        return str(positional.metavar)
    if get_origin(base) is Literal:
        return "{" + ",".join(str(value) for value in get_args(base)) + "}"
    if axes is not None:
        first, *rest = axes.order
        return f"{first} [{' '.join(rest)}]" if axes.one_for_all else " ".join(axes.order)
    if parts is not None:
        return " ".join(parts.names)
    if base is Path:
        return "PATH"
    if base in (int, float):
        return "N" if base is int else "V"
    return name.upper()


def step_kinds(fields: Mapping[str, FieldInfo]) -> dict[str, tuple[str, Steps]]:
    """Return, for each kind of step that a model knows, the field that holds it and the marker of the field."""
    return {
        kind: (name, steps) for name, field in fields.items() for steps in markers(field, Steps) for kind in steps.kinds
    }


def flags(name: str, field: FieldInfo) -> list[str]:
    """Return every spelling of a field's option that the help shows."""
    steps = marker(field, Steps)
    if steps is not None:
        return [option_name(kind) for kind in steps.kinds]
    return [*(short.flag for short in markers(field, Short)), option_name(name)]


def all_flags(name: str, field: FieldInfo) -> list[str]:
    """Return every spelling of a field's option, former names included."""
    return list(dict.fromkeys([*flags(name, field), *(option_name(old.name) for old in markers(field, Formerly))]))
