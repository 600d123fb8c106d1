"""What a field of a parameter model is: its type, how many values it takes, what the command line calls it."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from itkit.core.params import Axes, Positional, Short, marker


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
    """Return every spelling of a field's option."""
    short = marker(field, Short)
    return [*([short.flag] if short else []), option_name(name)]
