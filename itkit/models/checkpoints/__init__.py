"""Read weight files without executing any code that they contain.

Files of ``torch.save`` (both formats), safetensors and archives of numpy arrays are read by readers of our own, which
build tensors and plain containers, and put an inert placeholder for every other object: :mod:`unpickler` says how.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from torch import Tensor

from itkit.core.bounded import open_regular
from itkit.core.errors import WeightsError
from itkit.core.text import shown, some
from itkit.models.checkpoints.contents import (
    WRAPPERS,
    entries,
    find_weights,
    plain,
    summary,
    system_calls,
    without_wrappers,
)
from itkit.models.checkpoints.kinds import ForeignFileError, read_file
from itkit.models.checkpoints.safe_tensors import write_safetensors
from itkit.models.checkpoints.stored import StoredTensor
from itkit.models.checkpoints.torch_files import torch_bytes
from itkit.models.checkpoints.unpickler import PickleDamagedError, Placeholder

LOGGER = logging.getLogger(__name__)
_ENDS_EARLY = re.compile(r"before seeing STOP|not enough data|expected \d+ bytes|no newline found")
"""What ``pickletools`` says of a pickle that breaks off."""
_WITHOUT_VALUES = "_rebuild_meta_tensor_no_storage"
"""The function that rebuilds a tensor of the device meta."""

__all__ = [
    "WRAPPERS",
    "Checkpoint",
    "Placeholder",
    "read_checkpoint",
    "read_content",
    "read_weights",
    "torch_bytes",
    "write_safetensors",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """What a file of weights holds.

    Attributes
    ----------
    kind
        ``"torch"``, ``"torch before 1.6"`` (also any other pickle), ``"safetensors"`` or ``"npz"``.
    entry
        Entry that holds the weights, dots for nesting; empty where the file holds nothing else.
    weights
        Names to tensors on the CPU, without what data-parallel, compiled and sharded wrappers put into names.
    data
        Everything else as plain values: an nnU-Net checkpoint has its plans under ``data["init_args"]["plans"]``.
        Objects that are not built, and tensors, are placeholders.
    """

    kind: str
    entry: str
    weights: dict[str, Tensor]
    data: Any


def read_weights(path: Path | str, *, entry: str | None = None) -> dict[str, Tensor]:
    """Read the tensors of a ``.pth``, ``.pt``, ``.ckpt``, ``.model``, ``.safetensors`` or ``.npz`` file.

    Parameters
    ----------
    path
        The file.
    entry
        Entry that holds the weights, dots for nesting; by default the first of :data:`WRAPPERS` that holds tensors,
        else the largest that does.

    Returns
    -------
    dict
        Names to tensors on the CPU, without the prefixes of data-parallel and compiled modules.

    Raises
    ------
    WeightsError
        When the file is something else, damaged, or holds no weights.
    """
    with _opened(Path(path)) as (_, content):
        return _weights_in(Path(path), content, entry)[1]


def read_checkpoint(path: Path | str, *, entry: str | None = None) -> Checkpoint:
    """Read a file of weights with all that it says beside them; arguments and errors as for :func:`read_weights`."""
    with _opened(Path(path)) as (kind, content):
        where, weights = _weights_in(Path(path), content, entry)
        return Checkpoint(kind=kind, entry=where, weights=weights, data=plain(content))


def read_content(path: Path | str) -> Any:
    """Read what a file says beside its weights, as plain values: a checkpoint, or the ``.pkl`` beside one of nnU-Net's.

    Tensors, and objects that are not built, are placeholders.

    Raises
    ------
    WeightsError
        When the file is something else or damaged.
    """
    with _opened(Path(path)) as (_, content):
        return plain(content)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[str, Any]]:
    """Give what the file holds, and name the file in every error, also in those of reading values later."""
    try:
        with open_regular(path) as file:
            kind, content = read_file(file)
            if calls := system_calls(content):
                LOGGER.warning(
                    "%s: asks to call %s when it is read; nothing was called, but weights need no such thing: "
                    "find out where the file comes from",
                    shown(str(path)),
                    some(map(shown, calls), most=4),
                )
            yield kind, content
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file") from error
    except WeightsError:
        raise
    except ForeignFileError as error:
        raise WeightsError(f"{path}: {error}") from error
    except MemoryError as error:
        raise WeightsError(f"{path}: does not fit into memory") from error
    except (ValueError, OSError, RuntimeError, EOFError, BadZipFile) as error:
        raise WeightsError(f"{path}: not a weight file, or damaged: {_in_short(error)}") from error


def _in_short(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0][:200] or type(error).__name__
    cut = isinstance(error, PickleDamagedError) and _ENDS_EARLY.search(text)
    return f"truncated: the file ends too early; get it again ({shown(text)})" if cut else shown(text)


def _weights_in(path: Path, content: Any, entry: str | None) -> tuple[str, dict[str, Tensor]]:
    if entry is None:
        where, found = find_weights(content)
    else:
        where, inner = entry, content
        for key in entry.split("."):
            if key not in entries(inner):
                raise WeightsError(f"{path}: has no entry {entry!r}; it holds {summary(content)}")
            inner = entries(inner)[key]
        inside, found = find_weights(inner)
        where = f"{entry}.{inside}" if inside else entry
    if not found:
        if any(str(getattr(value, "path", "")).endswith(_WITHOUT_VALUES) for value in entries(content).values()):
            raise WeightsError(f"{path}: its tensors were saved on the device meta, without values; take another file")
        raise WeightsError(f"{path}: holds no named tensors, only {summary(content)}; name the entry that does")
    loaded = {key: value.load() if isinstance(value, StoredTensor) else value for key, value in found.items()}
    return where, {key: value for key, value in without_wrappers(loaded).items() if isinstance(value, Tensor)}
