"""What a file is that should hold weights, told from its first bytes and its contents, not from its name."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import IO, Any

import numpy as np
import torch

from itkit.core.text import is_web_page, some
from itkit.models.checkpoints.safe_tensors import is_safetensors, read_safetensors
from itkit.models.checkpoints.torch_files import read_archive, read_sequence, root_of

HEAD_BYTES = 512
_PICKLE_STARTS = (b"\x80", b"(", b"]", b"}", b"c", b"d", b"l")
"""Protocols from 2 on, and what a container begins with in the older ones."""
_MOST_PACKED = 20
"""Most that an archive of arrays may grow when it is unpacked, in sizes of the file."""
_LFS = b"version https://git-lfs"


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _begins(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(starts)


_FOREIGN: Sequence[tuple[Callable[[bytes], bool], str]] = (
    (
        is_web_page,
        "a web page (HTML) in place of the file: the link leads to a page for browsers; download what it offers",
    ),
    (_begins(b"<?xml"), "a server's answer (XML) in place of the file: it tells why the file did not come"),
    (
        _begins(b"{", b"["),
        "JSON in place of weights: a server's answer, or the index of a file in parts, each of which loads on its own",
    ),
    (_begins(_LFS), "a Git LFS pointer in place of the file: get the file with `git lfs pull`"),
    (_begins(b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd"), "packed; unpack it"),
    (_is_tar, "a tar archive; unpack it"),
    (_begins(b"\x89HDF"), "an HDF5 file, as Keras writes; its weights have other names and shapes"),
    (_begins(b"\x93NUMPY"), "a single array of numpy, without names"),
    (_begins(b"GGUF"), "a GGUF file of a language model"),
)


class ForeignFileError(ValueError):
    """A file is something else than weights; the message begins with what it is."""


def read_file(file: IO[bytes]) -> tuple[str, Any]:
    """Return what kind of file it is, and what it holds.

    Returns
    -------
    tuple
        ``"torch"``, ``"torch before 1.6"``, ``"safetensors"`` or ``"npz"``; and mappings, lists and plain values, with
        tensors whose values may still be in the file.

    Raises
    ------
    ForeignFileError
        When it is no file of weights.
    ValueError
        When it is damaged.
    """
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if not head:
        raise ForeignFileError("an empty file")
    for is_it, what in _FOREIGN:
        if is_it(head):
            raise ForeignFileError(what)
    if is_safetensors(head):
        return "safetensors", read_safetensors(file)
    if head.startswith(b"PK"):
        return _read_zip(file)
    if not head.startswith(_PICKLE_STARTS):
        raise ForeignFileError("not a weight file of a known kind")
    return "torch before 1.6", read_sequence(file)


def _read_zip(file: IO[bytes]) -> tuple[str, Any]:
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ValueError("truncated: the file ends before its table of contents; get it again") from error
    with archive:
        names = archive.namelist()
        if any(name.endswith(("/constants.pkl", "/model.json")) or "/code/" in name for name in names):
            raise ForeignFileError(
                "a TorchScript program: it holds code, which is not run; save the state_dict of the network"
            )
        if any(name.endswith(("/archive_format", "serialized_exported_program.json")) for name in names):
            raise ForeignFileError("a program of torch.export: it holds code; save the state_dict of the network")
        root = root_of(names)
        if root is not None:
            return "torch", read_archive(file, archive, root)
        if names and all(name.endswith(".npy") for name in names):
            return "npz", _read_arrays(file, archive)
        raise ForeignFileError(f"a zip archive without weights; it holds {some(names, most=4) or 'nothing'}; unpack it")


def _read_arrays(file: IO[bytes], archive: zipfile.ZipFile) -> dict[str, torch.Tensor]:
    size = file.seek(0, 2)
    if sum(info.file_size for info in archive.infolist()) > _MOST_PACKED * size:
        raise ValueError(f"its arrays are more than {_MOST_PACKED} times as large as the file")
    file.seek(0)
    read = {}
    with np.load(file, allow_pickle=False) as arrays:
        for name in arrays.files:
            try:
                read[name] = arrays[name]
            except (ValueError, TypeError, KeyError, SyntaxError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                if "Object arrays" not in str(error):  # those hold a pickle, and no numbers
                    raise ValueError(f"damaged: its array {name[:200]!r} can't be read ({str(error)[:100]})") from error
    return {name: torch.from_numpy(value) for name, value in read.items() if value.dtype.kind in "biufc"}
