"""Descriptions of forms: what a window shows for each parameter of a model, as plain values that JSON can hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from itkit.core.fields import (
    Address,
    Advanced,
    Axes,
    Blank,
    Bounds,
    Choices,
    Consent,
    Deletes,
    FreeText,
    Group,
    NotInForms,
    OnlyWith,
    Parts,
    PathRole,
    Pattern,
    Secret,
    Steps,
    Unit,
    base_type,
    is_flag,
    is_many,
    is_positional,
    marker,
    markers,
    shown_name,
    value_count,
)
from itkit.core.operation import Operation
from itkit.core.params import Params
from itkit.core.tool import Tool
from itkit.engine.options import RunOptions

Kind = Literal[
    "file", "folder", "dataset", "number", "triplet", "several", "choice", "flag", "text", "list", "steps", "secret"
]
"""How a parameter is entered.

``triplet``: three numbers, one for each axis; ``several``: another fixed number of values; ``list``: any number of
values; ``steps``: a list of steps in their order.
"""
Item = Literal["path", "integer", "number", "choice", "text", "flag"]


@dataclass(frozen=True)
class Condition:
    """What another parameter must be for a parameter to matter.

    Parameters
    ----------
    name
        The other parameter.
    values
        Its allowed values; ``None`` for any value but its default.
    """

    name: str
    values: tuple[str, ...] | None = None

    def holds(self, values: Mapping[str, Any], fields: Mapping[str, Field]) -> bool:
        """Return whether it is met by values of a form."""
        other = fields[self.name]
        value = values.get(self.name, other.default)
        if self.values is None:
            return value not in (other.default, "", None, [], ())
        return value in self.values


@dataclass(frozen=True)
class StepKind:
    """A kind of step: its name, the placeholders of its values, what it does, and a pattern for each value."""

    name: str
    metavar: str
    help: str
    values: tuple[str, ...]
    optional: int


@dataclass(frozen=True)
class Field:
    """What a window shows for one parameter.

    Parameters
    ----------
    name, label, option
        The parameter, its name for people, and how the command line and messages call it.
    help
        What it means.
    kind, item
        How it is entered, and what each value is.
    default
        Its default as a JSON value; ``None`` if there is none.
    required
        Whether it must be given.
    choices
        The values that it may have; empty if it is free.
    unit, axes, parts
        Unit of its numbers; order of their axes, e.g. ``ZYX``; what each of several values is.
    bounds, keep
        The bounds of its numbers in words, and the value that leaves an axis as it is.
    group
        The heading under which it stands; empty for the first, unnamed group.
    is_advanced, is_positional
        Whether it is hidden until asked for; whether the command line takes it without an option.
    writes
        Whether the path is written, not read.
    conditions
        What other parameters must be for it to matter.
    pattern, example
        A regular expression of its text, and a sensible value.
    variable
        For a secret: the environment variable that hands it to the command.
    steps
        For a list of steps: the kinds that there are.
    deletes
        The values with which files of the user may be deleted; ``("true",)`` for a flag.
    is_consent
        Whether it stands for the user's confirmation that files may be deleted.
    one_for_all
        Whether a single value may stand for every axis.
    is_address
        Whether it names another machine, to which the command connects.
    blank
        What a blank box of an axis means, if it has a meaning.
    """

    name: str
    label: str
    option: str
    help: str
    kind: Kind
    item: Item
    default: Any = None
    required: bool = False
    choices: tuple[str, ...] = ()
    unit: str = ""
    axes: str = ""
    parts: tuple[str, ...] = ()
    bounds: str = ""
    keep: float | None = None
    group: str = ""
    is_advanced: bool = False
    is_positional: bool = False
    writes: bool = False
    conditions: tuple[Condition, ...] = ()
    pattern: str = ""
    example: str = ""
    variable: str = ""
    steps: tuple[StepKind, ...] = ()
    deletes: tuple[str, ...] = ()
    is_consent: bool = False
    one_for_all: bool = False
    is_address: bool = False
    blank: str = ""

    def matters(self, values: Mapping[str, Any], fields: Mapping[str, Field]) -> bool:
        """Return whether other parameters allow this one to be given."""
        return all(condition.holds(values, fields) for condition in self.conditions)

    def is_blank(self, value: Any) -> bool:
        """Return whether a value of the form means that the parameter is not given."""
        return value is None or value == "" or (isinstance(value, (list, tuple)) and not any(map(str, value)))


@dataclass(frozen=True)
class Form:
    """The form of one command, or of the options that all operations share.

    Parameters
    ----------
    name, title
        The command, and its name for people.
    help
        What it does.
    example
        A command line that runs.
    fields
        Its parameters, the positional ones first.
    """

    name: str
    title: str
    help: str
    example: str
    fields: tuple[Field, ...]

    @property
    def by_name(self) -> dict[str, Field]:
        """The fields by name."""
        return {field.name: field for field in self.fields}

    @property
    def groups(self) -> dict[str, tuple[Field, ...]]:
        """The fields by heading, in the order in which a window shows them: what it always shows counts first."""
        common = (field.group for field in self.fields if not field.is_advanced)
        titles = dict.fromkeys(["", *common, *(field.group for field in self.fields)])
        found = {title: tuple(field for field in self.fields if field.group == title) for title in titles}
        return {title: fields for title, fields in found.items() if fields}

    def deleting(self, values: Mapping[str, Any]) -> list[Field]:
        """Return the fields whose values let files of the user be deleted."""
        return [field for field in self.fields if str(values.get(field.name, field.default)).lower() in field.deletes]

    @property
    def consent(self) -> Field | None:
        """The field that stands for the user's confirmation, if there is one."""
        return next((field for field in self.fields if field.is_consent), None)

    def as_json(self) -> dict[str, Any]:
        """Return the form as values that JSON can hold, with the headings in their order."""
        return {**asdict(self), "groups": list(self.groups)}


def form_of(command: Operation[Any] | Tool[Any]) -> Form:
    """Return the form of an operation's or a tool's own parameters; `option_form` has the shared ones.

    Examples
    --------
    >>> from itkit.catalogue import load
    >>> form = form_of(load("itk_resample"))
    >>> spacing = form.by_name["spacing"]
    >>> spacing.kind, spacing.axes, spacing.unit, spacing.keep, spacing.default
    ('triplet', 'ZYX', 'mm', -1, [-1.0, -1.0, -1.0])
    """
    model = command.params
    text = " ".join((model.__doc__ or "").split())
    return Form(command.name, title_of(command.name), text, command.example, fields_of(model))


def option_form() -> Form:
    """Return the form of the run options, without those that a window sets itself."""
    return Form("options", "Run options", " ".join((RunOptions.__doc__ or "").split()), "", fields_of(RunOptions))


def title_of(name: str) -> str:
    """Return a command's name for people.

    Examples
    --------
    >>> title_of("itk_resample"), title_of("convert_kits23"), title_of("itkit train")
    ('Resample', 'Convert kits23', 'Train')
    """
    words = name.removeprefix("itk_").removeprefix("itkit ").replace("_", " ")
    return words[:1].upper() + words[1:]


def fields_of(model: type[Params]) -> tuple[Field, ...]:
    """Return the fields of a model, the positional ones first."""
    texts = model.descriptions()
    properties = model.model_json_schema()["properties"]
    found = [
        _field(name, info, " ".join(texts.get(name, "").split()), properties.get(name, {}))
        for name, info in model.model_fields.items()
        if marker(info, NotInForms) is None
    ]
    named = [replace(field, help=in_words_of_forms(field.help, found)) for field in found]
    return tuple(sorted(named, key=lambda field: not field.is_positional))


def in_words_of_forms(text: str, fields: Iterable[Field]) -> str:
    """Return a text of the command line as a form says it: parameters by their labels, not by their options.

    Examples
    --------
    >>> from itkit.catalogue import load
    >>> fields = form_of(load("itk_resample")).fields
    >>> in_words_of_forms("--spacing Y: expected > 0 mm, or -1 to keep", fields)
    'Spacing Y: expected > 0 mm, or -1 to keep'
    >>> in_words_of_forms("--spacing and --size both set axis Z; keep one of them", fields)
    '“Spacing” and “Size” both set axis Z; keep one of them'
    """
    labels = {field.option: field.label for field in fields}
    own = _one_of(labels)
    begin = re.match(rf"(missing )?{own}(?=( [A-Z])?:)", text)
    head = "" if begin is None else f"{begin[1] or ''}{labels[begin[2]]}"
    rest = text if begin is None else text[begin.end() :]
    options = _one_of(option for option in labels if option.startswith("-"))
    named = re.compile(rf"(?<!\w)'[^']*'|(?<![\w-]){options}(?![\w-])")  # what somebody typed stays as it is
    return head + named.sub(lambda found: found[0] if found[1] is None else f"“{labels[found[1]]}”", rest)


def _one_of(words: Iterable[str]) -> str:
    """Return a regular expression of several words, as one group."""
    longest_first = sorted(words, key=len, reverse=True)
    return f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})"


def _field(name: str, info: FieldInfo, text: str, schema: Mapping[str, Any]) -> Field:
    axes, parts, unit, bounds = (marker(info, kind) for kind in (Axes, Parts, Unit, Bounds))
    group, pattern, example, role = (marker(info, kind) for kind in (Group, Pattern, FreeText, PathRole))
    secret, steps, deletes, blank = (marker(info, kind) for kind in (Secret, Steps, Deletes, Blank))
    item, choices = _item(info)
    count = value_count(info) if is_many(info) else None
    order = "" if axes is None else axes.order
    labels = tuple(order) if axes is not None else parts.names if parts is not None and count else ()
    required = info.is_required()
    consent = marker(info, Consent) is not None
    return Field(
        name,
        label_of(name, unit.name if unit else ""),
        shown_name(name, info),
        text,
        _kind(info, item, role),
        item,
        None if required or secret is not None else schema.get("default"),
        required,
        choices,
        "" if unit is None else unit.name,
        order,
        labels or tuple(map(str, range(1, (count or 0) + 1))),
        _bounds_in_words(bounds, unit, schema),
        None if bounds is None else bounds.keep,
        "" if group is None else group.title,
        marker(info, Advanced) is not None or consent,
        is_positional(info),
        role is not None and role.role.startswith("out"),
        _conditions(info),
        "" if pattern is None else pattern.regex,
        "" if example is None else example.example,
        "" if secret is None else secret.variable,
        () if steps is None else _steps(steps),
        () if deletes is None else (deletes.values or ("true",)),
        consent,
        axes is not None and axes.one_for_all,
        marker(info, Address) is not None,
        "" if bounds is None or bounds.keep is None else "keep" if blank is None else blank.word,
    )


def label_of(name: str, unit: str) -> str:
    """Return a parameter's name for people; a unit that stands beside the field is left out.

    Examples
    --------
    >>> label_of("min_volume_ml", "ml"), label_of("gt", ""), label_of("patch_size", "voxels")
    ('Min volume', 'Gt', 'Patch size')
    """
    words = name.removesuffix(f"_{unit}").replace("_", " ") if unit else name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _kind(info: FieldInfo, item: Item, role: PathRole | None) -> Kind:
    if marker(info, Secret) is not None:
        return "secret"
    if marker(info, Steps) is not None:
        return "steps"
    if is_many(info):
        count = value_count(info)
        if count is None:
            return "list"
        return "triplet" if count == 3 and marker(info, Axes) is not None else "several"
    if item == "path":
        folder: Kind = "dataset" if role is not None and role.holds == "dataset" else "folder"
        return "file" if role is not None and role.role.endswith("file") else folder
    return {"flag": "flag", "choice": "choice", "integer": "number", "number": "number"}.get(item, "text")  # type: ignore[return-value]


def _item(info: FieldInfo) -> tuple[Item, tuple[str, ...]]:
    """Return what each value of a field is, and the choices that there are."""
    base = base_type(info.annotation)
    if is_many(info):
        base = base_type(get_args(base)[0])
    words = marker(info, Choices)
    literal = _literals(info.annotation)
    if words is not None or literal:
        return "choice", tuple(dict.fromkeys([*literal, *(() if words is None else words.values)]))
    if is_flag(info):
        return "flag", ()
    return {Path: "path", int: "integer", float: "number"}.get(base, "text"), ()  # type: ignore[return-value]


def _literals(annotation: Any) -> list[str]:
    """Return the texts of all ``Literal`` in an annotation."""
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return list(dict.fromkeys(text for part in get_args(annotation) for text in _literals(part)))


_SIGNS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}


def _bounds_in_words(bounds: Bounds | None, unit: Unit | None, schema: Mapping[str, Any]) -> str:
    if bounds is not None:
        return bounds.text("" if unit is None else unit.name)
    options = [schema, schema.get("items", {}), *schema.get("anyOf", ()), *schema.get("prefixItems", ())]
    for option in options:
        words = [
            f"{sign} {option[key]:g}" for key, sign in _SIGNS.items() if isinstance(option, Mapping) and key in option
        ]
        if words:
            return " and ".join(words)
    return ""


def _conditions(info: FieldInfo) -> tuple[Condition, ...]:
    found = []
    for rule in markers(info, OnlyWith):
        found += [Condition(name) for name in rule.given]
        found += [Condition(name, tuple(map(str, values))) for name, values in rule.values.items()]
    return tuple(found)


def _steps(steps: Steps) -> tuple[StepKind, ...]:
    return tuple(
        StepKind(name, kind.metavar, kind.text, tuple(kind.values), kind.optional) for name, kind in steps.kinds.items()
    )
