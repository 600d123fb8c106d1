"""The base class of all parameter models, and the parameter types that many of them share.

A model is written once; options, help, JSON schema, config files, sidecars and forms are derived from it.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import os
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import pairwise, permutations, product
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.fields import FieldInfo
from typing_extensions import Self

from itkit.core.errors import ArgumentError
from itkit.core.fields import (
    Alone,
    Axes,
    Bounds,
    Choices,
    Formerly,
    Later,
    OnlyWith,
    Pattern,
    Secret,
    Unit,
    Unkeyed,
    base_type,
    flags,
    marker,
    markers,
    option_name,
    other_names,
    shown_name,
    step_kinds,
)
from itkit.core.files import VOLUME_EXTENSIONS

WITHHELD: dict[str, Any] = {"secret": "not written down"}
"""Placeholder in JSON for a secret that was given."""


def as_texts(value: Any, field: FieldInfo) -> Any:
    """Return a value as the list of texts that a field takes; other values, and those of other fields, as they are.

    Python users and files may give one text alone, numbers, and ``{name: value}`` for ``NAME=VALUE``.

    Examples
    --------
    >>> field = FieldInfo(annotation=tuple[Annotated[str, Pattern("^.+=.+$")], ...])
    >>> as_texts({"whole": [1, 2]}, field), as_texts("whole=1,2", field), as_texts([1, "liver"], field)
    (('whole=1,2',), ('whole=1,2',), ('1', 'liver'))
    """
    parts = get_args(base_type(field.annotation))
    if len(parts) != 2 or parts[1] is not Ellipsis or base_type(parts[0]) in (int, float):
        return value
    alone = marker(field, Alone)
    if value is True and alone is not None:
        return (alone.word,)
    if isinstance(value, Mapping):
        rules = [item for item in getattr(parts[0], "__metadata__", ()) if isinstance(item, Pattern)]
        sign = "=" if any("=" in rule.regex for rule in rules) else ":"
        return tuple(f"{name}{sign}{_joined(item)}" for name, item in value.items()) if rules else value
    if isinstance(value, (str, int, float, os.PathLike)) and not isinstance(value, bool):
        value = (value,)
    return tuple(map(_as_text, value)) if isinstance(value, (list, tuple)) else value


def _plain(value: Any) -> Any:
    """Return numbers and arrays of numpy as those of Python, also inside lists, and a range as a list."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, range)):
        return [*map(_plain, value)]
    if type(value) is tuple:
        return tuple(map(_plain, value))
    return value.tolist() if type(value).__module__ == "numpy" else value


def _joined(value: Any) -> str:
    return ",".join(map(_joined, value)) if isinstance(value, (list, tuple)) else str(_as_text(value))


def _as_text(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    return os.fspath(value) if isinstance(value, os.PathLike) else value


class Params(BaseModel):
    """Parameters of one operation: frozen, documented by attribute docstrings; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        named = cls.with_present_names(values)
        fields = cls.model_fields
        return cls._with_secrets({
            name: as_texts(value, fields[name]) if name in fields else value for name, value in named.items()
        })  # fmt: skip

    @model_validator(mode="after")
    def _markers_hold(self) -> Self:
        fields = type(self).model_fields
        wrong = [
            *(text for name, field in fields.items() for text in self._out_of_bounds(name, field)),
            *(text for name, field in fields.items() for text in self._out_of_place(name, field)),
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def _out_of_bounds(self, name: str, field: FieldInfo) -> Iterator[str]:
        bounds, axes, unit, value = marker(field, Bounds), marker(field, Axes), marker(field, Unit), getattr(self, name)
        if bounds is None or value is None:
            return
        expected = bounds.text(unit.name if unit else "")
        for axis, number in zip(axes.order, value, strict=True) if axes else [("", value)]:
            if not bounds.allow(number):
                place = f"{axis}: " if axis else ""
                yield f"{shown_name(name, field)}: {place}expected {expected}; got {number}"

    def _out_of_place(self, name: str, field: FieldInfo) -> Iterator[str]:
        fields = type(self).model_fields
        for rule in markers(field, OnlyWith):
            if getattr(self, name) != field.default and not rule.holds(partial(getattr, self), fields):
                yield f"{flags(name, field)[0]} only matters {rule.text()}" + (f"; {rule.note}" if rule.note else "")

    @classmethod
    def _with_secrets(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Add the secrets that files and the environment hold to the values.

        Raises
        ------
        ValueError
            When a secret is given twice or can't be read, or when only its placeholder is given and no secret is found.
        """
        fields = cls.model_fields
        for name, field in fields.items():
            secret = marker(field, Secret)
            if secret is None:
                continue
            given, file = values.get(name), values.get(secret.file_field)
            is_withheld = given == WITHHELD
            if given is not None and not is_withheld and file is not None:
                raise ValueError(f"{option_name(name)} and {option_name(secret.file_field)} are both given; keep one")
            if given is not None and not is_withheld:
                continue
            values = {other: value for other, value in values.items() if other != name}
            if not all(rule.holds(partial(_value_of, values, fields), fields) for rule in markers(field, OnlyWith)):
                continue
            found = _secret_in(Path(file), secret.file_field) if file is not None else os.environ.get(secret.variable)
            if found:
                values[name] = found
            elif is_withheld:
                raise ValueError(
                    f"{option_name(name)}: the run that this repeats used a secret, which is not written down; "
                    f"set {secret.variable} in the environment, or give {option_name(secret.file_field)}"
                )
        return values

    @classmethod
    def with_present_names(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values with other names of parameters replaced by their own, and steps gathered in order.

        Raises
        ------
        ValueError
            When a parameter is given under two of its names.
        """
        others, kinds = other_names(cls.model_fields), step_kinds(cls.model_fields)
        present: dict[str, Any] = {}
        for given, value in ((name, _plain(item)) for name, item in values.items()):
            if given in kinds:
                field, steps = kinds[given]
                text = steps.text(given, value)
                present[field] = (*present.get(field, ()), *(() if text is None else (text,)))
                continue
            name = given if given in cls.model_fields else others.get(given, given)
            if name in present and any(name == field for field, _ in kinds.values()):
                present[name] = (*present[name], *value)
                continue
            if name in present:
                other = next(other for other in others if others[other] == name and other in values)
                raise ValueError(f"{name!r} is given twice: {other!r} is another name of it")
            present[name] = value
        return present

    @classmethod
    def descriptions(cls) -> dict[str, str]:
        """Return the docstrings below the fields (read only on demand: this takes longer than starting a run)."""
        found = {name: field.description or "" for name, field in cls.model_fields.items()}
        for model in reversed(cls.__mro__):
            if issubclass(model, Params):
                found |= model.own_descriptions()
        return {name: found[name] for name in cls.model_fields}

    @classmethod
    def own_descriptions(cls) -> dict[str, str]:
        """Return the descriptions that a class itself defines: from its source, else from ``descriptions.json``."""
        with _PARSING:
            return _texts_in_source(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = dict(handler(core_schema))
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in cls.descriptions().items():
            if text:
                properties[name]["description"] = " ".join(text.split())
        for name in cls._secrets():
            properties[name].pop("default", None)  # it shows asterisks, which a form would send back
        return schema

    def content_key(self, **more: Any) -> str:
        """Return a digest of all parameters that affect the content of outputs (no paths or secrets)."""
        fields = type(self).model_fields
        values = self.model_dump(mode="json")
        kept = {
            getattr(marker(fields[name], Formerly), "name", name): value  # renaming changes no digest
            for name, value in values.items()
            if not isinstance(getattr(self, name), Path)
            and not _are_paths(getattr(self, name))
            and marker(fields[name], Unkeyed) is None
            and (marker(fields[name], Later) is None or getattr(self, name) != fields[name].default)
        }
        for name in kept.keys() & self._secrets():  # with a digest, somebody could guess the secret
            kept[name] = fields[name].default.get_secret_value()
        text = json.dumps({**kept, **more}, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]

    def absolute(self) -> Self:
        """Return the same parameters with absolute paths, which do not depend on the working folder of a process."""
        paths = {name: _absolute(value) for name, value in self if isinstance(value, Path) or _are_paths(value)}
        return self.model_copy(update=paths)

    def absolute_values(self) -> dict[str, Any]:
        """Return the values as JSON with absolute paths: enough to repeat a run, except for its secrets."""
        values: dict[str, Any] = self.absolute().model_dump(mode="json")
        for name in self._secrets():
            is_given = getattr(self, name) != type(self).model_fields[name].default
            values[name] = WITHHELD if is_given else getattr(self, name).get_secret_value()
        return values

    @classmethod
    def _secrets(cls) -> set[str]:
        return {name for name, field in cls.model_fields.items() if marker(field, Secret) is not None}


def _are_paths(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(item, Path) for item in value)


def _absolute(value: Any) -> Any:
    return value.absolute() if isinstance(value, Path) else tuple(map(_absolute, value))


_PARSING = Lock()
"""Python up to 3.12 can't parse in two threads at once: one ends in a ``SystemError`` (CPython issue 106905)."""


@cache
def _texts_in_source(cls: type[Params]) -> dict[str, str]:
    try:
        source = inspect.getsource(cls)
    except (OSError, TypeError):  # a frozen application, an installation without sources, or an interactive class
        return _stored_texts().get(place_of(cls), {})
    texts = {}
    for statement in ast.parse(textwrap.dedent(source)).body:
        for field, below in pairwise(getattr(statement, "body", ())):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    texts[name] = inspect.cleandoc(text)
    return texts


DESCRIPTIONS = "descriptions.json"
"""File beside this module with the descriptions of ITKIT's own models, for an installation without sources."""


def place_of(model: type[Params]) -> str:
    """Return the key of a model in ``descriptions.json``."""
    return f"{model.__module__}:{model.__qualname__}"


@cache
def _stored_texts() -> dict[str, dict[str, str]]:
    from importlib.resources import files  # slow to import, and most runs need no descriptions

    stored: dict[str, dict[str, str]] = json.loads(files("itkit.core").joinpath(DESCRIPTIONS).read_text("utf-8"))
    return stored


def _value_of(values: Mapping[str, Any], fields: Mapping[str, FieldInfo], name: str) -> Any:
    return values.get(name, fields[name].default)


def _secret_in(path: Path, field: str) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text"
        raise ValueError(f"{option_name(field)} {path}: can't be read ({reason})") from error
    if not text:
        raise ValueError(f"{option_name(field)} {path}: is empty")
    return text


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


_Floats = tuple[float, float, float]
_Ints = tuple[int, int, int]
SpacingZyx = Annotated[_Floats, Axes("ZYX"), Unit("mm"), Bounds(above=0, keep=-1), _values("ZYX")]
SizeZyx = Annotated[_Ints, Axes("ZYX"), Unit("voxels"), Bounds(least=1, keep=-1), _values("ZYX")]
PatchZyx = Annotated[
    _Ints, Axes("ZYX", one_for_all=True), Unit("voxels"), Bounds(least=1), _values("ZYX", one_for_all=True)
]
RangeDegZyx = Annotated[_Floats, Axes("ZYX"), Unit("degrees"), Bounds(least=0, most=180), _values("ZYX")]
ThreeZyx = Annotated[_Floats, Axes("ZYX"), _values("ZYX")]
"""Three numbers; the parameter's own annotation adds their bounds and unit."""


def orientation_code(code: str) -> str:
    """Return an orientation code in capitals.

    Raises
    ------
    ArgumentError
        When it is not one of the 48 codes.
    """
    upper = code.upper()
    if upper not in ORIENTATION_CODES:
        raise ArgumentError(
            f"expected a code such as LPS, RAS or LPI (the directions that axes x, y, z point to); got {code!r}"
        )
    return upper


ORIENTATION_CODES = tuple("".join(code) for letters in permutations(("LR", "PA", "SI")) for code in product(*letters))
OrientationCode = Annotated[str, Choices(ORIENTATION_CODES), AfterValidator(orientation_code)]


def _extension(text: str) -> str:
    lower = text.lower() if text.startswith(".") else f".{text.lower()}"
    if lower not in VOLUME_EXTENSIONS:
        raise ValueError(f"expected one of {', '.join(VOLUME_EXTENSIONS)}; got {text!r}")
    return lower


VolumeExtension = Annotated[str, Choices(VOLUME_EXTENSIONS), AfterValidator(_extension)]


def _byte_count(value: object) -> object:
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9.]+)\s*([kmgt]?)(i?b)?\s*", value.lower())
        if not match or match[1].count(".") > 1 or match[1] == ".":
            raise ValueError(f"expected a size such as 8GB or 500MB; got {value!r}")
        return int(float(match[1]) * 1024 ** " kmgt".index(match[2] or " "))
    return value


MemorySize = Annotated[int, Field(gt=0), BeforeValidator(_byte_count), Unit("bytes, or with K, M, G, T")]
"""Bytes, also as a text such as 8GB."""

OverlapRule = Literal["error", "first", "last", "multi"]
"""What to do with voxels that several classes claim: refuse the case (``error``), give them to the first or the last
class, or write one channel per class (``multi``)."""
ChannelLayout = Literal["files", "vector"]
"""How several channels of a case are stored: one file for each, or one file of vectors."""
