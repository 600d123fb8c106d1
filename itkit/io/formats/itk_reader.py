"""Files that SimpleITK reads for us: what their headers claim is checked here first, then a child process reads them.

These checks are stricter than ITK's readers: a header of which two programs could think differently is refused.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itkit.core.axes import to_zyx
from itkit.core.errors import ReadError
from itkit.core.files import volume_suffix
from itkit.core.geometry import Geometry
from itkit.io.formats import itk_child
from itkit.io.formats.gate import LOCAL, checked_files, require_axes, require_room
from itkit.io.formats.header_model import ITEM_BYTES, MOST_INFLATED, Header, plain, product
from itkit.io.formats.headers import first_bytes, text_header
from itkit.io.formats.metaimage import VOXEL_TYPES as META_TYPES
from itkit.io.formats.nifti import claimed_bytes
from itkit.io.formats.nrrd import VOXEL_TYPES as NRRD_TYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

_READERS = {
    ".mha": "MetaImageIO", ".mhd": "MetaImageIO", ".nii": "NiftiImageIO", ".nii.gz": "NiftiImageIO",
    ".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO",
}  # fmt: skip
_MOST_BUNZIPPED = 1 << 20
"""Bytes that bzip2 makes of one, about, where all of them are equal."""
_META_ONCE = re.compile(
    rb"^[ \t]*(NDims|DimSize|ElementType|ElementNumberOfChannels|ElementDataFile|HeaderSize|BinaryData|CompressedData|"
    rb"CompressedDataSize)\b[ \t]*(=?)", re.MULTILINE | re.IGNORECASE
)  # fmt: skip
_NRRD_FIELD = re.compile(r"([^:=#]+): *(.*)")
_ASCII = frozenset({"ascii", "text", "txt"})
_HEX = "hex"
_GZIP, _BZIP2 = frozenset({"gzip", "gz"}), frozenset({"bzip2", "bz2"})


@dataclass(frozen=True)
class _Claim:
    """What a header claims: bytes of its voxels, and the file that holds (the first of) them."""

    size_bytes: int
    data_path: Path
    stream_at: int | None = None
    """Where a compressed stream begins in the data file."""
    packed_bytes: int = 0
    """Length of that stream, as the header states it and as MetaIO takes it."""


def read_itk_header(path: Path) -> Header:
    """Read a header with SimpleITK, in a child process, once it is known to claim nothing impossible.

    Raises
    ------
    ReadError
        When it claims what no volume has, or SimpleITK can't read it.
    """
    claim = _claim(path)
    said = itk_child.read_information(path, _READERS[volume_suffix(path) or ""])
    return _header(path, claim, said)


def read_itk_voxels(header: Header, path: Path, threads: int) -> NDArray[Any]:
    """Read the voxels that `read_itk_header` has described, ``(Z, Y, X)``, ``(Z, Y, X, C)`` for several components.

    Raises
    ------
    ReadError
        When the file has changed into one that is refused, or SimpleITK can't read it.
    """
    claim = _claim(path)
    if claim.stream_at is not None:
        _require_whole_stream(claim, path)
    most = max(header.size_bytes, 8 * header.size_bytes // ITEM_BYTES.get(header.dtype, 1))
    array = itk_child.read_array(path, most, _READERS[volume_suffix(path) or ""], threads=threads)
    axes = array.ndim - (header.components != 1)
    return array[0] if axes == 4 else array


def _require_whole_stream(claim: _Claim, path: Path) -> None:
    """Inflate a stream before SimpleITK does: MetaIO returns memory as it found it where the stream is damaged.

    Raises
    ------
    ReadError
        When it is damaged or too short.
    """
    from itkit.io.streams.inflate import CorruptStreamError, ShortStreamError, inflate  # headers alone need no numpy

    try:
        with claim.data_path.open("rb") as file:
            file.seek(claim.stream_at or 0)
            found = len(inflate(io.BytesIO(file.read(claim.packed_bytes)), skip=0, size=claim.size_bytes))
    except (OSError, CorruptStreamError, ShortStreamError) as error:
        raise ReadError(f"{path}: the compressed stream is corrupt ({error}); copy or export the file again") from error
    require_room(path, claim.size_bytes, found)


def _claim(path: Path) -> _Claim:
    suffix = volume_suffix(path)
    try:
        size, head = first_bytes(path)
        if suffix in (".nii", ".nii.gz"):
            claimed, available = claimed_bytes(head, path), size
            require_room(path, claimed, available * (MOST_INFLATED if suffix == ".nii.gz" else 1))
            return _Claim(claimed, path)
        is_nrrd = suffix in (".nrrd", ".nhdr")
        head = text_header(path, is_nrrd=is_nrrd)
        return (_nrrd_claim if is_nrrd else _metaimage_claim)(path, head, size)
    except OSError as error:
        raise ReadError(f"{path}: can't be opened ({error.strerror or error})") from error
    except KeyError as error:
        raise ReadError(f"{path}: the header lacks {error.args[0]}; export the file again") from error
    except (ValueError, OverflowError) as error:
        raise ReadError(f"{path}: the header is broken ({error}); export the file again") from error


def _metaimage_claim(path: Path, head: bytes, size: int) -> _Claim:
    lines = head.replace(b"\r", b"\n")
    last = re.search(rb"^[ \t]*ElementDataFile[ \t]*=.*$", lines, re.MULTILINE)
    if last is None:
        raise KeyError("ElementDataFile")
    fields: dict[str, str] = {}
    for match in _META_ONCE.finditer(lines[: last.end()]):
        name = match[1].decode()
        if name in fields or not match[2]:
            raise ReadError(f"{path}: MetaImage header has {name} twice, or not as '{name} = value'; export it again")
        end = lines.find(b"\n", match.end())
        fields[name] = lines[match.end() : end if end >= 0 else None].decode("latin-1").strip()
    axes = int(plain(fields["NDims"]))
    require_axes(path, axes)
    sizes = [int(word) for word in plain(fields["DimSize"]).split()]
    channels = int(plain(fields.get("ElementNumberOfChannels", 1)))
    if len(sizes) != axes or min(*sizes, channels) < 1 or int(plain(fields.get("HeaderSize", 0))) < -1:
        raise ValueError(f"DimSize {fields['DimSize']}, {channels} channels")
    if fields["ElementType"] not in META_TYPES:
        raise ReadError(f"{path}: ElementType is {fields['ElementType']}, which holds no numbers")
    count = product(sizes) * channels
    claimed = count * ITEM_BYTES[META_TYPES[fields["ElementType"]]]
    files = {} if fields["ElementDataFile"] in LOCAL else checked_files(path, head, is_nrrd=False)
    available = sum(files.values()) if files else size - len(head)
    if fields.get("BinaryData", "True")[:1] not in "Tt1":
        require_room(path, 2 * count - 1, available)
    elif fields.get("CompressedData", "False")[:1] in "Tt1":
        packed = int(plain(fields.get("CompressedDataSize", 0)))
        require_room(path, max(-(-claimed // MOST_INFLATED), packed), available)
        if int(plain(fields.get("HeaderSize", 0))) or len(files) > 1 or packed < 1:
            where = "in several files, after HeaderSize, or without CompressedDataSize"
            raise ReadError(f"{path}: compressed voxels {where} are not read; export it again")
        return _Claim(claimed, next(iter(files), path), 0 if files else len(head), packed)
    else:
        require_room(path, claimed, available * _times_named(path, head, files))
    return _Claim(claimed, next(iter(files), path))


def _times_named(path: Path, head: bytes, files: Mapping[Path, int]) -> int:
    """How often a list names its files, at most: each slice may be the same one."""
    del path
    return head.count(b"\n") + 1 if len(files) == 1 and b"LIST" in head else 1


def _nrrd_claim(path: Path, head: bytes, size: int) -> _Claim:
    fields: dict[str, str] = {}
    for raw in head.replace(b"\r", b"\n").decode("latin-1").split("\n")[1:]:
        match = _NRRD_FIELD.fullmatch(raw)
        if match is None or raw.startswith("#") or match[2].startswith("="):
            continue
        name = match[1].replace(" ", "").lower()
        if name in fields:
            raise ReadError(f"{path}: NRRD header has {match[1]} twice; export the file again")
        fields[name] = match[2].strip()
        if name == "datafile" and fields[name].startswith("LIST"):
            break
    axes = int(plain(fields["dimension"]))
    require_axes(path, axes)
    sizes = [int(word) for word in plain(fields["sizes"]).split()]
    if len(sizes) != axes or min(sizes) < 1:
        raise ValueError(f"sizes {fields['sizes']}")
    if fields["type"].lower() not in NRRD_TYPES:
        raise ReadError(f"{path}: NRRD type is {fields['type']}, which is not read")
    count, encoding = product(sizes), fields["encoding"].lower()
    claimed = count * ITEM_BYTES[NRRD_TYPES[fields["type"].lower()]]
    files = checked_files(path, head, is_nrrd=True)
    if ("datafile" in fields) != bool(files):
        raise ValueError("data file")
    available = sum(files.values()) * _times_named(path, head, files) if files else size - len(head)
    if encoding in _ASCII:
        require_room(path, 2 * count - 1, available)
    elif encoding == _HEX:
        require_room(path, 2 * claimed, available)
    elif encoding in _GZIP:
        require_room(path, -(-claimed // MOST_INFLATED), available)
    elif encoding in _BZIP2:
        require_room(path, -(-claimed // _MOST_BUNZIPPED), available)
        raise ReadError(
            f"{path}: NRRD encoding {encoding} is not read; save the file with gzip: unu save -f nrrd -e gzip "
            f"-i {path.name} -o NEW.nrrd (of Teem), or with nrrd.read and nrrd.write (of pynrrd)"
        )
    elif encoding == "raw":
        require_room(path, claimed, available)
    else:
        raise ReadError(f"{path}: NRRD encoding {encoding} is not read; export the file again")
    return _Claim(claimed, next(iter(files), path))


def _header(path: Path, claim: _Claim, said: Mapping[str, Any]) -> Header:
    size = [int(number) for number in said["size"]]
    full = len(size)
    ndim = 3 if full == 4 and size[3] == 1 else full
    direction = said["direction"]
    pad = [size[i] if i < full else 1 for i in range(3)]
    spacing = [float(said["spacing"][i]) if i < full else 1.0 for i in range(3)]
    x, y, z = (float(said["origin"][i]) if i < full else 0.0 for i in range(3))
    cosines = [
        float(direction[row * full + column]) if row < full and column < full else float(row == column)
        for row in range(3)
        for column in range(3)
    ]
    dtype = said.get("dtype")
    if dtype not in ITEM_BYTES:
        raise ReadError(f"{path}: voxels are of type {said['type']}; expected numbers, one or several per voxel")
    components = int(said["components"])
    return Header(
        geometry=Geometry.as_stated(to_zyx(pad), to_zyx(spacing), (x, y, z), tuple(cosines)),
        ndim=ndim,
        dtype=dtype,
        components=components,
        size_bytes=product(size) * components * ITEM_BYTES[dtype],
        data_path=claim.data_path,
        data_offset=0,
        encoding="itk",
        file_format="read by SimpleITK",
    )
