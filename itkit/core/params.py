"""The base of every parameter model, and the types that many of them use.

A model is written once; options, help, JSON schema, config files, sidecars and forms derive from it.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, GetJsonSchemaHandler, model_validator

from itkit.core.axes import opposite
from itkit.core.fields import Axes, Formerly, Unit, Unkeyed, former_names, marker
from itkit.core.files import VOLUME_EXTENSIONS


class Params(BaseModel):
    """Parameters of one operation: frozen, documented by attribute docstrings, closed to unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _present_names(cls, values: Any) -> Any:
        return cls.with_present_names(values) if isinstance(values, Mapping) else values

    @classmethod
    def with_present_names(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values under the names that parameters have now.

        Raises
        ------
        ValueError
            When a parameter is given under two names.
        """
        former = former_names(cls.model_fields)
        present: dict[str, Any] = {}
        for given, value in values.items():
            name = given if given in cls.model_fields else former.get(given, given)
            if name in present:
                old = next(old for old in former if former[old] == name and old in values)
                raise ValueError(f"{name!r} is given twice: {old!r} is its former name")
            present[name] = value
        return present

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
            getattr(marker(fields[name], Formerly), "name", name): value  # a new name makes nothing anew
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
