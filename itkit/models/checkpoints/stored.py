"""Tensors and arrays as a file describes them; their values are read when they are asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from itkit.models.checkpoints.unpickler import CONTAINERS, Maker, Name, PickleDamagedError, Placeholder

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "UntypedStorage": torch.uint8,
}
_MOST_SPREAD = 1 << 20
"""A tensor may have as many values as its storage, or this many: those of an expanded one are repeated."""
_PLAIN_DTYPE = re.compile(r"[biufcSU?]\d{0,4}")


class Container(Protocol):
    """Where the bytes of storages lie."""

    def read(self, key: str, size: int) -> bytearray:
        """Return so many bytes of a storage."""


@dataclass(frozen=True, slots=True)
class StoredStorage:
    """A run of values in a container: from value ``start``, ``count`` of them."""

    container: Container
    key: str
    dtype: torch.dtype
    count: int
    start: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class StoredTensor:
    """A tensor whose values are still in the file."""

    storage: StoredStorage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def load(self) -> Tensor:
        """Read the values.

        Raises
        ------
        PickleDamagedError
            When the file does not hold them.
        """
        storage, width = self.storage, self.storage.dtype.itemsize
        count = storage.count * width // self.dtype.itemsize
        if not count:
            return torch.empty(self.shape, dtype=self.dtype)
        values = storage.container.read(storage.key, (storage.start + storage.count) * width)
        whole = torch.frombuffer(values, dtype=self.dtype, count=count, offset=storage.start * width)
        return whole.as_strided(self.shape, self.stride, self.offset)


class StoredArray:
    """A numpy array, or a data type, in the making: a pickle first creates it and then says what it holds."""

    __slots__ = ("fortran", "kind", "raw", "shape")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.kind: np.dtype[Any] | None = None
        self.fortran = False
        self.raw: bytes = b""

    def accept_state(self, state: Any) -> None:
        """Take what numpy saves: version, shape, data type, order, values."""
        _, shape, kind, fortran, raw = state
        self.shape = _sizes(shape)
        self.kind = kind.kind if isinstance(kind, StoredDtype) else None
        self.fortran = bool(fortran)
        self.raw = raw.encode("latin-1") if isinstance(raw, str) else raw if isinstance(raw, bytes) else b""

    def array(self) -> np.ndarray[Any, Any] | None:
        """Return the array; None for one of objects or records."""
        if self.kind is None or self.kind.itemsize * math.prod(self.shape) != len(self.raw):
            return None
        flat: np.ndarray[Any, Any] = np.frombuffer(self.raw, self.kind).copy()
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


class StoredDtype:
    """A data type of numpy."""

    __slots__ = ("kind",)

    def __init__(self, spec: Any = "", *_: Any) -> None:
        plain = isinstance(spec, str) and _PLAIN_DTYPE.fullmatch(spec)
        self.kind: np.dtype[Any] | None = np.dtype(spec) if plain else None

    def accept_state(self, state: Any) -> None:
        """Take the byte order."""
        if self.kind is not None and len(state) > 1 and state[1] in {"<", ">", "="}:
            self.kind = self.kind.newbyteorder(state[1])


def as_tensor(value: Any) -> StoredTensor | Tensor | None:
    """Return what stands for a tensor; arrays of numbers count as tensors, too."""
    if isinstance(value, StoredTensor | Tensor):
        return value
    if isinstance(value, StoredArray) and (array := value.array()) is not None and array.dtype.kind in "biufc":
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        try:
            return torch.from_numpy(native)
        except TypeError:
            return None
    return None


def storage_of(identifier: Any, container: Container, folder: str = "") -> StoredStorage | Name | Placeholder:
    """Return the storage that a file of torch refers to; of the class that it may hold instead, the name."""
    if not isinstance(identifier, tuple) or not identifier:
        raise PickleDamagedError("it refers to data in an unknown way")
    kind, *rest = identifier
    if kind == "module":  # the class of a module, with its source, which nobody reads
        return rest[0] if isinstance(rest[0], Name) else Placeholder("a module's class")
    if kind != "storage" or len(rest) < 4:
        raise PickleDamagedError("it refers to something that is no storage")
    type_, key, _location, count = rest[:4]
    view = rest[4] if len(rest) > 4 else None
    dtype = _STORAGES.get(type_.path.rpartition(".")[2]) if isinstance(type_, Name) else None
    if dtype is None:
        return Placeholder(f"a storage of {getattr(type_, 'path', 'an unknown type')}")
    start = 0
    if view is not None:
        _, start, count = view
    return StoredStorage(container, f"{folder}{key}", dtype, _size(count), _size(start))


def _rebuild(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any, dtype: torch.dtype | None = None) -> Any:
    if not isinstance(storage, StoredStorage):
        return Placeholder("a tensor of values that are not read")
    kind = dtype or storage.dtype
    sizes, steps, first = _sizes(shape), _sizes(stride), _size(offset)
    if len(sizes) != len(steps) or len(sizes) > 64:
        raise PickleDamagedError("a tensor has not as many strides as axes")
    values = math.prod(sizes)
    have = storage.count * storage.dtype.itemsize // kind.itemsize
    last = first + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True)) if values else 0
    if (values and last >= have) or values > max(have, _MOST_SPREAD):
        raise PickleDamagedError("a tensor reaches beyond its values")
    return StoredTensor(storage, kind, first, sizes, steps)


def _rebuild_untyped(
    storage: Any, offset: Any, shape: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *_: Any
) -> Any:
    kind = getattr(torch, dtype.path.removeprefix("torch."), None) if isinstance(dtype, Name) else None
    if not isinstance(kind, torch.dtype):
        return Placeholder("a tensor of an unknown type")
    return _rebuild(storage, offset, shape, stride, dtype=kind)


def _first(value: Any, *_: Any) -> Any:
    return value


def _rebuild_from_type(function: Any, _type: Any, arguments: Any, *_: Any) -> Any:
    maker = TENSORS.get(function.path) if isinstance(function, Name) else None
    if maker is None or not isinstance(arguments, tuple):
        return Placeholder(f"a tensor of {getattr(function, 'path', 'an unknown kind')}")
    return maker(*arguments)


def _number(kind: Any, raw: Any = b"") -> Any:
    raw = raw.encode("latin-1") if isinstance(raw, str) else raw
    if not isinstance(kind, StoredDtype) or kind.kind is None or not isinstance(raw, bytes):
        return Placeholder("numpy._core.multiarray.scalar", (kind, raw))
    return np.frombuffer(raw, kind.kind, 1)[0].item()


def _from_buffer(raw: Any, kind: Any, shape: Any, order: Any = "C") -> StoredArray:
    made = StoredArray()
    made.accept_state((1, shape, kind, order == "F", bytes(raw) if isinstance(raw, bytes | bytearray) else b""))
    return made


def _device(kind: Any = "", index: Any = None) -> str:
    return f"{kind}:{index}" if isinstance(index, int) else str(kind) if isinstance(kind, str) else "unknown"


TENSORS: Mapping[str, Maker] = {
    **CONTAINERS,
    "numpy._core.multiarray._reconstruct": lambda *_: StoredArray(),
    "numpy._core.multiarray.scalar": _number,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "numpy.dtype": StoredDtype,
    "torch.Size": lambda sizes=(): _sizes(sizes),
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch._utils._rebuild_device_tensor_from_numpy": _first,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_tensor": _rebuild,
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_tensor_v3": _rebuild_untyped,
    "torch.device": _device,
}
"""What tensors and arrays are made of, beside plain values."""


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise PickleDamagedError(f"a size is {str(value)[:40] if isinstance(value, int) else 'no whole number'}")
    return value


def _sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple | list):
        raise PickleDamagedError("a shape is no list of numbers")
    return tuple(map(_size, values))
