"""The format that github.com/huggingface/safetensors describes: length, JSON header, raw values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from itkit.core.bounded import parse_json
from itkit.core.errors import WeightsError

MOST_HEADER_BYTES = 100_000_000
"""Largest header, by the format."""
_LENGTH_BYTES = 8
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def is_safetensors(head: bytes) -> bool:
    """Tell whether a file begins as one: the length of a header, and the header's first brace.

    Examples
    --------
    >>> is_safetensors(bytes([2, 0, 0, 0, 0, 0, 0, 0]) + b"{}")
    True
    """
    length = int.from_bytes(head[:_LENGTH_BYTES], "little")
    return head[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{" and length <= MOST_HEADER_BYTES


def read_safetensors(file: IO[bytes]) -> dict[str, Tensor]:
    """Return the tensors of a file.

    Raises
    ------
    ValueError
        When it is damaged or truncated, or holds values of an unknown type.
    """
    raw = bytearray(file.read())
    end = _LENGTH_BYTES + int.from_bytes(raw[:_LENGTH_BYTES], "little")
    if not is_safetensors(bytes(raw[: _LENGTH_BYTES + 1])):
        raise ValueError("not a safetensors file, or damaged: it does not begin with a header")
    if end > len(raw):
        raise ValueError("truncated: the file ends within its header")
    header = parse_json(bytes(raw[_LENGTH_BYTES:end]))
    tensors = {}
    try:
        for key, entry in header.items():
            if key == "__metadata__":
                continue
            first, last = entry["data_offsets"]
            dtype = _DTYPES.get(entry["dtype"])
            if dtype is None:
                raise ValueError(f"values of type {str(entry['dtype'])[:40]!r} are unknown")
            if not 0 <= first <= last or end + last > len(raw):
                raise ValueError(f"truncated: the file ends before the values of {str(key)[:200]!r}")
            count = (last - first) // dtype.itemsize
            values = torch.frombuffer(raw, dtype=torch.uint8, count=last - first, offset=end + first) if count else None
            # a copy, because a run of bytes may begin where the type may not
            whole = torch.empty(0, dtype=dtype) if values is None else values.clone().view(dtype)
            tensors[key] = whole.reshape(entry["shape"])
    except (KeyError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"damaged: its header makes no sense ({str(error)[:200]})") from error
    return tensors


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors to a ``.safetensors`` file, in the order of their names, so that equal tensors make equal bytes.

    Parameters
    ----------
    path
        The file; it is not written atomically.
    tensors
        Names and values, on any device.

    Raises
    ------
    WeightsError
        When the format has no such type.
    OSError
        When the file can't be written.
    """
    names = {dtype: name for name, dtype in _DTYPES.items()}
    header: dict[str, Any] = {}
    end = 0
    for key in sorted(tensors):
        tensor = tensors[key]
        if tensor.dtype not in names:
            raise WeightsError(f"{key}: safetensors files hold no {tensor.dtype}")
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[key] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
        for key in sorted(tensors):
            values = tensors[key].detach().cpu().contiguous().reshape(-1)
            file.write(values.view(torch.uint8).numpy().data if values.numel() else b"")
