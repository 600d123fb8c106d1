"""What an annotation can say about a parameter (markers), and what follows from it: the one place that knows.

Options, help, JSON schema, validation, config files and forms ask here.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.fields import FieldInfo


class _Marker:
    """Something an annotation says; ``schema_key`` is where the JSON schema shows it."""

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
class Positional(_Marker):
    """A positional argument; ``metavar`` is its name on the command line."""

    metavar: str = ""
    schema_key: ClassVar[str] = "x-positional"


@dataclass(frozen=True)
class Short(_Marker):
    """Another spelling of an option, e.g. ``-r``."""

    flag: str
    schema_key: ClassVar[str] = "x-short"

    def schema_value(self) -> str:
        """Return what the JSON schema shows."""
        return self.flag


@dataclass(frozen=True)
class Unkeyed(_Marker):
    """A parameter that changes no output's content: another value redoes nothing."""

    schema_key: ClassVar[str] = "x-unkeyed"


@dataclass(frozen=True)
class Formerly:
    """A name that a parameter had before: it counts in Python, JSON and config files, and so does its option."""

    name: str


def markers(field: FieldInfo, kind: type[Any]) -> list[Any]:
    """Return the markers of a kind that a field's annotation carries, also inside an optional type."""
    found = [item for item in field.metadata if isinstance(item, kind)]
    pending = [field.annotation]
    while pending:
        annotation = pending.pop()
        found += [item for item in getattr(annotation, "__metadata__", ()) if isinstance(item, kind)]
        pending += list(get_args(annotation)) if get_origin(annotation) in (Union, types.UnionType) else []
        pending += [get_args(annotation)[0]] if get_origin(annotation) is Annotated else []
    return found


def marker(field: FieldInfo, kind: type[Any]) -> Any:
    """Return the first marker of a kind that a field's annotation carries, or ``None``."""
    return next(iter(markers(field, kind)), None)


def former_names(fields: Mapping[str, FieldInfo]) -> dict[str, str]:
    """Return the present name of every name that a parameter had before."""
    return {old.name: name for name, field in fields.items() for old in markers(field, Formerly)}


def option_name(name: str) -> str:
    """Return the option of a field.

    Examples
    --------
    >>> option_name("target_folder")
    '--target-folder'
    """
    return "--" + name.replace("_", "-")


def base_type(annotation: Any) -> Any:
    """Return an annotation without ``None`` and ``Annotated``; text where several types are left."""
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
    """Return how many values a tuple field takes; ``None`` for any number."""
    parts = get_args(base_type(field.annotation))
    return None if parts[-1] is Ellipsis else len(parts)


def metavar(name: str, field: FieldInfo) -> str:
    """Return what stands for a field's value in help and messages."""
    positional, axes = marker(field, Positional), marker(field, Axes)
    base = base_type(field.annotation)
    if positional is not None and positional.metavar:
        return str(positional.metavar)
    if get_origin(base) is Literal:
        return "{" + ",".join(str(value) for value in get_args(base)) + "}"
    if axes is not None:
        first, *rest = axes.order
        return f"{first} [{' '.join(rest)}]" if axes.one_for_all else " ".join(axes.order)
    if base is Path:
        return "PATH"
    if base in (int, float):
        return "N" if base is int else "V"
    return name.upper()


def flags(name: str, field: FieldInfo) -> list[str]:
    """Return every spelling of a field's option that the help shows."""
    return [*(short.flag for short in markers(field, Short)), option_name(name)]


def all_flags(name: str, field: FieldInfo) -> list[str]:
    """Return every spelling of a field's option, former ones too."""
    return list(dict.fromkeys([*flags(name, field), *(option_name(old.name) for old in markers(field, Formerly))]))
