"""Read weight files without executing any code that they contain."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from itkit.core.bounded import open_regular, parse_json
from itkit.core.errors import WeightsError

WRAPPERS = ("state_dict", "model_state_dict", "network_weights", "model_state", "model", "network", "net", "weights")
"""Entries under which training codes keep the weights, in the order in which they are tried."""
_PREFIXES = ("module.", "_orig_mod.")
_MOST_SAFE_HEADER = 100_000_000
"""Largest header of a safetensors file, by its format."""
_SAFE_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_weights(path: Path | str, *, entry: str | None = None) -> dict[str, Tensor]:
    """Read the tensors of a ``.pth``, ``.pt``, ``.ckpt``, ``.model`` or ``.safetensors`` file.

    Parameters
    ----------
    path
        The file.
    entry
        Entry that holds the weights, dots for nesting; by default the first of :data:`WRAPPERS` that holds tensors.

    Returns
    -------
    dict
        Names to tensors on the CPU, without the prefixes of data-parallel and compiled modules.

    Raises
    ------
    WeightsError
        When the file is unsafe, damaged, or holds no weights.
    """
    path = Path(path)
    content = read_content(path)
    found: Any = content
    for key in entry.split(".") if entry else ():
        if not isinstance(found, Mapping) or key not in found:
            raise WeightsError(f"{path}: has no entry {entry!r}; it holds {_summary(content)}")
        found = found[key]
    tensors = _tensors(found)
    if not tensors:
        raise WeightsError(f"{path}: holds no named tensors, only {_summary(content)}; name the entry that does")
    return _without_prefixes(tensors)


def read_content(path: Path) -> Any:
    """Return all that a weight file holds, tensors and plain values, without executing any code in it.

    Raises
    ------
    WeightsError
        When the file is unsafe or damaged.
    """
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


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
    names = {dtype: name for name, dtype in _SAFE_DTYPES.items()}
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
        file.write(len(text).to_bytes(8, "little") + text)
        for key in sorted(tensors):
            values = tensors[key].detach().cpu().contiguous().reshape(-1)
            file.write(values.view(torch.uint8).numpy().data if values.numel() else b"")


def _tensors(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    for wrapper in WRAPPERS:
        if inner := _tensors(content.get(wrapper)):
            return inner
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES * 2:
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def _summary(content: Any) -> str:
    if isinstance(content, Mapping):
        return "entries " + ", ".join(f"{key!r}" for key in list(content)[:8])
    return f"a {type(content).__name__}"


def _read_pickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file") from error
    except pickle.UnpicklingError as error:
        wanted = re.findall(r"GLOBAL (\S+)", str(error))
        if wanted:
            raise WeightsError(
                f"{path}: refused, because loading it would run code: it asks for {wanted[0]}; "
                "save its state_dict alone where you trust it"
            ) from error
        raise WeightsError(f"{path}: not a weight file, or damaged: {_last_line(error)}") from error
    except (RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        raise WeightsError(f"{path}: not a weight file, or damaged: {_last_line(error)}") from error


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _numpy_scalars() -> list[Any]:
    """Return the names that torch must know to read numbers saved by numpy; all of them build plain values."""
    scalar = np.float64(0).__reduce__()[0]
    dtypes = {type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")}
    return [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")] + [np.dtype, *dtypes]


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the format that github.com/huggingface/safetensors describes: length, JSON header, raw values."""
    try:
        with open_regular(path) as file:
            raw = bytearray(file.read())
        end = 8 + int.from_bytes(raw[:8], "little")
        header = parse_json(bytes(raw[8:end]) if end <= min(len(raw), _MOST_SAFE_HEADER) else b"")
        tensors = {}
        for key, entry in header.items():
            if key == "__metadata__":
                continue
            first, last = entry["data_offsets"]
            part = raw[end + first : end + last]
            values = torch.frombuffer(part, dtype=torch.uint8) if part else torch.empty(0, dtype=torch.uint8)
            tensors[key] = values.view(_SAFE_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        raise WeightsError(f"{path}: not a safetensors file, or damaged: {_last_line(error)}") from error
    return tensors
