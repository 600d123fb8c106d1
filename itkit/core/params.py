"""The base of every parameter model, and what an annotation can say about a parameter.

A model is written once; options, help, JSON schema, config files, sidecars and forms derive from it.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import math
import textwrap
import types
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, GetJsonSchemaHandler
from pydantic.fields import FieldInfo

from itkit.core.axes import opposite
from itkit.core.files import VOLUME_EXTENSIONS


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


def marker(field: FieldInfo, kind: type[Any]) -> Any:
    """Return the marker of a kind that a field's annotation carries, also inside an optional type, or ``None``."""
    found = next((item for item in field.metadata if isinstance(item, kind)), None)
    pending = [field.annotation]
    while found is None and pending:
        annotation = pending.pop()
        found = next((item for item in getattr(annotation, "__metadata__", ()) if isinstance(item, kind)), None)
        pending += list(get_args(annotation)) if get_origin(annotation) in (Union, types.UnionType) else []
        pending += [get_args(annotation)[0]] if get_origin(annotation) is Annotated else []
    return found


class Params(BaseModel):
    """Parameters of one operation: frozen, documented by attribute docstrings, closed to unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def descriptions(cls) -> dict[str, str]:
        """Return what the docstrings below the fields say (on demand: to read them takes longer than a run's start)."""
        found = {name: field.description or "" for name, field in cls.model_fields.items()}
        for model in reversed(cls.__mro__):
            try:
                source = inspect.getsource(model) if issubclass(model, Params) else ""
            except OSError:  # typed into an interpreter
                continue
            for statement in ast.parse(textwrap.dedent(source)).body:
                for field, below in pairwise(getattr(statement, "body", ())):
                    match field, below:
                        case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                            found[name] = inspect.cleandoc(text)
        return {name: found[name] for name in cls.model_fields}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = dict(handler(core_schema))
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in cls.descriptions().items():
            if text:
                properties[name]["description"] = text
        return schema

    def content_key(self, **more: Any) -> str:
        """Digest of everything that decides an output's content (paths and unkeyed fields left out)."""
        fields = type(self).model_fields
        values = self.model_dump(mode="json")
        kept = {
            name: value
            for name, value in values.items()
            if not isinstance(getattr(self, name), Path) and marker(fields[name], Unkeyed) is None
        }
        text = json.dumps({**kept, **more}, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]

    def absolute_values(self) -> dict[str, Any]:
        """Return the values as JSON has them, paths absolute: what repeats a run from any folder."""
        values: dict[str, Any] = self.model_dump(mode="json")
        paths = {name: getattr(self, name) for name in values if isinstance(getattr(self, name), Path)}
        return {**values, **{name: str(path.absolute()) for name, path in paths.items()}}


def _values(order: str, *, one_for_all: bool = False) -> BeforeValidator:
    def check(value: Any) -> Any:
        if isinstance(value, (int, float, str)) and one_for_all:
            value = (value,)
        if isinstance(value, Sequence) and not isinstance(value, str):
            if one_for_all and len(value) == 1:
                return tuple(value) * len(order)
            if len(value) != len(order):
                expected = f"{len(order)} values" if not one_for_all else f"1 or {len(order)} values"
                raise ValueError(f"expected {expected} in the order {' '.join(order)}; got {len(value)}")
        return value

    return BeforeValidator(check)


def _each(check: Any, what: str) -> AfterValidator:
    def validate(values: tuple[float, ...]) -> tuple[float, ...]:
        for axis, value in zip("ZYX", values, strict=True):
            if not math.isfinite(value) or not check(value):
                raise ValueError(f"{axis}: expected {what}; got {value}")
        return values

    return AfterValidator(validate)


_Floats = tuple[float, float, float]
_Ints = tuple[int, int, int]
SpacingZyx = Annotated[
    _Floats,
    Axes("ZYX"),
    Unit("mm"),
    _values("ZYX"),
    _each(lambda v: v > 0 or v == -1, "> 0 mm, or -1 to leave the axis"),
]
SizeZyx = Annotated[
    _Ints,
    Axes("ZYX"),
    Unit("voxels"),
    _values("ZYX"),
    _each(lambda v: v >= 1 or v == -1, ">= 1 voxels, or -1 to leave the axis"),
]
PatchZyx = Annotated[
    _Ints,
    Axes("ZYX", one_for_all=True),
    Unit("voxels"),
    _values("ZYX", one_for_all=True),
    _each(lambda v: v >= 1, ">= 1 voxels"),
]
RangeDegZyx = Annotated[
    _Floats, Axes("ZYX"), Unit("degrees"), _values("ZYX"), _each(lambda v: 0 <= v <= 180, "0 to 180 degrees")
]
NonNegativeZyx = Annotated[_Floats, Axes("ZYX"), _values("ZYX"), _each(lambda v: v >= 0, ">= 0")]


def orientation_code(code: str) -> str:
    """Return a code in capitals.

    Raises
    ------
    ValueError
        When it is none of the 48.
    """
    upper = code.upper()
    if len(upper) != 3 or sorted(min(letter, opposite(letter)) for letter in upper) != ["A", "I", "L"]:
        raise ValueError(
            f"expected a code such as LPS, RAS or LPI (the directions that axes x, y, z point to); got {code!r}"
        )
    return upper


OrientationCode = Annotated[str, AfterValidator(orientation_code)]


def _extension(text: str) -> str:
    lower = text.lower() if text.startswith(".") else f".{text.lower()}"
    if lower not in VOLUME_EXTENSIONS:
        raise ValueError(f"expected one of {', '.join(VOLUME_EXTENSIONS)}; got {text!r}")
    return lower


VolumeExtension = Annotated[str, AfterValidator(_extension)]

Compression = Literal["none", "fast", "small"]
OverlapRule = Literal["error", "first", "last", "multi"]
"""Voxels that several classes claim: refuse them, the first or the last class keeps them, or a channel a class."""
ChannelLayout = Literal["files", "vector"]
"""Several channels of a case: a file each, or one file of vectors."""
