"""The files that ``torch.save`` writes: a zip archive since release 1.6, a sequence of pickles before.

Formats: github.com/pytorch/pytorch ``torch/serialization.py`` and ``caffe2/serialize/inline_container.h``. A pickle
holds the structure, and refers to storages by a key; their bytes follow, or lie in the archive as ``data/KEY``.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import IO, Any

from itkit.models.checkpoints.stored import TENSORS, StoredStorage, storage_of
from itkit.models.checkpoints.unpickler import Maker, Name, PickleDamagedError, Placeholder, unpickle

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
ZIP_MAGIC = b"PK\x03\x04"
_MOST_NESTED = 2
"""A storage may be saved as the bytes of a file of its own."""
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LENGTH_BYTES = 8
_STRUCTURE = re.compile(r"([^/]+/)?data\.pkl")


def torch_bytes(content: Any) -> memoryview:
    """Return the bytes of a file of ``torch.save``.

    PyTorch's own writer ends the process, or leaves half a file, when the disk is full.
    """
    import torch

    file = io.BytesIO()
    torch.save(content, file)
    return file.getbuffer()


class _Storages:
    """Reads storages of a file, each once, and together not more than the file holds."""

    def __init__(self, file: IO[bytes]) -> None:
        at = file.tell()
        self.file = file
        self.end = self.left = file.seek(0, io.SEEK_END)
        self.known: dict[str, bytearray] = {}
        file.seek(at)

    def where(self, key: str) -> tuple[int, int, int]:
        """Return where a storage begins, its length in bytes and its checksum (0 for none)."""
        raise NotImplementedError

    def read(self, key: str, size: int) -> bytearray:
        """Return at least so many bytes of a storage."""
        if key not in self.known:
            self.known[key] = self._read(key)
        if len(self.known[key]) < size:
            raise PickleDamagedError(f"storage {key} holds {len(self.known[key])} bytes instead of {size}")
        return self.known[key]

    def _read(self, key: str) -> bytearray:
        start, length, checksum = self.where(key)
        self.left -= length
        if self.left < 0:
            raise PickleDamagedError("its parts together are larger than the file")
        self.file.seek(start)
        content = bytearray(self.file.read(length))
        if len(content) != length:
            raise PickleDamagedError(f"truncated: the file ends within {key}")
        if checksum and zlib.crc32(content) != checksum:
            raise PickleDamagedError(f"{key} has another checksum than the file states")
        return content


class _Archive(_Storages):
    """A zip archive whose parts are stored as they are."""

    def __init__(self, file: IO[bytes], archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file)
        self.entries = {info.filename: info for info in archive.infolist()}
        self.root = root

    def where(self, key: str) -> tuple[int, int, int]:
        info = self.entries.get(self.root + key)
        if info is None:
            raise PickleDamagedError(f"its part {key} is missing")
        if info.compress_type != zipfile.ZIP_STORED:
            raise PickleDamagedError("its parts are compressed; save it again with torch.save")
        self.file.seek(info.header_offset)
        head = self.file.read(_LOCAL_HEADER.size)
        if len(head) < _LOCAL_HEADER.size or not head.startswith(ZIP_MAGIC):
            raise PickleDamagedError(f"{key} does not begin where the archive says")
        _, name, extra = _LOCAL_HEADER.unpack(head)
        return info.header_offset + _LOCAL_HEADER.size + name + extra, info.file_size, info.CRC

    def text(self, key: str) -> bytes:
        """Return a whole part; nothing where there is none."""
        return bytes(self.read(key, 0)) if self.root + key in self.entries else b""


class _Sequence(_Storages):
    """Storages one behind the other, each after its number of values."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.places: dict[str, tuple[int, int]] = {}

    def place(self, keys: Any, widths: Mapping[str, int]) -> None:
        """Find where each storage begins, from where the file stands; ``widths`` are bytes a value."""
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise PickleDamagedError("its list of storages is no list of names")
        at = self.file.tell()
        for key in keys:
            self.file.seek(at)
            head = self.file.read(_LENGTH_BYTES)
            length = int.from_bytes(head, "little") * widths.get(key, 1)
            at += _LENGTH_BYTES
            if len(head) < _LENGTH_BYTES or at + length > self.end:
                raise PickleDamagedError(f"truncated: the file ends before the end of storage {key}")
            self.places[key] = (at, length)
            at += length

    def where(self, key: str) -> tuple[int, int, int]:
        if key not in self.places:
            raise PickleDamagedError(f"its storage {key} is missing")
        return (*self.places[key], 0)


def read_archive(file: IO[bytes], archive: zipfile.ZipFile, root: str) -> Any:
    """Return what a zip archive of ``torch.save`` holds; the tensors' values stay in the file."""
    container = _Archive(file, archive, root)
    if container.text("byteorder").strip() == b"big":
        raise PickleDamagedError("it was saved on a machine of the other byte order; save it again on this kind")
    structure = io.BytesIO(container.text("data.pkl"))

    def outside(identifier: Any) -> StoredStorage | Name | Placeholder:
        return storage_of(identifier, container, "data/")

    return unpickle(structure, _makers(0), outside)


def read_sequence(file: IO[bytes], nested: int = 0) -> Any:
    """Return what a file of ``torch.save`` before release 1.6 holds, or a plain pickle."""
    makers = _makers(nested)
    first = unpickle(file, makers)
    if first != LEGACY_MAGIC:
        return first
    for _ in range(2):  # the protocol, and the machine on which it was saved
        unpickle(file, makers)
    container = _Sequence(file)
    widths: dict[str, int] = {}

    def outside(identifier: Any) -> StoredStorage | Name | Placeholder:
        found = storage_of(identifier, container)
        if isinstance(found, StoredStorage):
            widths[found.key] = found.dtype.itemsize
        return found

    content = unpickle(file, makers, outside)
    container.place(unpickle(file, makers), widths)
    return content


def _makers(nested: int) -> Mapping[str, Maker]:
    def from_bytes(content: Any) -> Any:
        if nested >= _MOST_NESTED or not isinstance(content, bytes):
            return Placeholder("a storage in a file in a file")
        return _read_nested(io.BytesIO(content), nested + 1)

    return {**TENSORS, "torch.storage._load_from_bytes": from_bytes}


def _read_nested(file: IO[bytes], nested: int) -> Any:
    head = file.read(len(ZIP_MAGIC))
    file.seek(0)
    if head != ZIP_MAGIC:
        return read_sequence(file, nested)
    with zipfile.ZipFile(file) as archive:
        return read_archive(file, archive, root_of(archive.namelist()) or "")


def root_of(names: list[str]) -> str | None:
    """Return the folder of an archive that holds ``data.pkl``, with its slash; None where none does.

    Examples
    --------
    >>> root_of(["weights/version", "weights/data.pkl"])
    'weights/'
    """
    found = [name.removesuffix("data.pkl") for name in names if _STRUCTURE.fullmatch(name)]
    return found[0] if found else None
