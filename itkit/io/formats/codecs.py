"""Read and write the voxels of volume files in one pass over the bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from itkit.core.errors import ReadError, WriteError
from itkit.core.files import VOLUME_EXTENSIONS, volume_suffix
from itkit.io.formats.header_model import ITEM_BYTES, Header, UnsupportedHeader
from itkit.io.formats.metaimage import metaimage_header
from itkit.io.formats.nifti import nifti_header
from itkit.io.formats.nrrd import nrrd_header
from itkit.io.streams.checksums import Container
from itkit.io.streams.deflate import Chunk, Plain, deflate_stream
from itkit.io.streams.inflate import CorruptStreamError, ShortStreamError, inflate
from itkit.kernels.buffers import empty

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from itkit.core.files import Compression
    from itkit.core.geometry import Geometry

Writer = Callable[[BinaryIO], object]
CHUNK_BYTES = 4 << 20
"""Approximate size of the pieces that are compressed separately.

Pieces consist of whole slices, so that the bytes written depend only on the shape.
"""
_BLOCK = 16
_PIECE_BYTES = 8 << 20


def read_voxels(header: Header, *, mapped: bool = False) -> NDArray[Any]:
    """Read the voxels of a file as they are stored; scaling is left to `itkit.io.nii_toolkit.apply_scaling`.

    Parameters
    ----------
    header
        The header, from `itkit.io.formats.headers.read_header`.
    mapped
        Map an uncompressed file into memory: pages are read when they are accessed, and changes to the array (which
        are allowed) stay in memory. If somebody cuts the file meanwhile, the system kills the process.

    Returns
    -------
    numpy.ndarray
        ``(Z, Y, X)``, ``(Z, Y, X, C)`` for several components, ``(T, Z, Y, X[, C])`` for several volumes;
        C-contiguous, native byte order.

    Raises
    ------
    ReadError
        When the stream is corrupt, has a wrong checksum, or ends too early.
    UnsupportedHeader
        When SimpleITK has read the header, and therefore must read the voxels.
    """
    if header.encoding == "itk":
        raise UnsupportedHeader(f"{header.data_path}: read by SimpleITK")
    shape: tuple[int, ...] = header.geometry.size_zyx
    if header.volumes != 1:
        shape = (header.volumes, *shape)
    if header.components != 1:
        shape = (*shape, header.components)
    dtype = np.dtype(header.dtype).newbyteorder("<" if header.byte_order == "little" else ">")
    stored: NDArray[Any]
    if header.encoding == "raw":
        if header.data_path.stat().st_size < header.data_offset + header.size_bytes:
            raise _truncated(header, header.data_path.stat().st_size - header.data_offset)
        if mapped:
            stored = np.memmap(header.data_path, dtype, "c", header.data_offset, shape).view(np.ndarray)
        else:
            stored = _read_raw(header).view(dtype).reshape(shape)
    elif header.encoding == "text":
        stored = _read_text(header).reshape(shape)
    else:
        stored = _inflate(header).view(dtype).reshape(shape)
    return stored if dtype.isnative else stored.astype(dtype.newbyteorder("="))


def _read_raw(header: Header) -> NDArray[np.uint8]:
    voxels = empty((header.size_bytes,), np.uint8)
    with header.data_path.open("rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        file.seek(header.data_offset)
        got = 0
        while got < len(voxels) and (count := file.readinto(voxels[got : got + _PIECE_BYTES].data)):
            got += count
        after = os.fstat(file.fileno())
    if got < len(voxels):
        raise _truncated(header, got)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ReadError(f"{header.data_path}: it was changed while it was read; run again when it is complete")
    return voxels


def _truncated(header: Header, found: int) -> ReadError:
    return ReadError(
        f"{header.data_path}: truncated: expected {header.size_bytes} bytes of voxels, found {max(0, found)}; "
        "copy or export the file again"
    )


def _read_text(header: Header) -> NDArray[Any]:
    """Read numbers between blanks or commas; what follows the last voxel is left alone."""
    dtype = np.dtype(header.dtype)
    count = header.size_bytes // dtype.itemsize
    with header.data_path.open("rb") as file:
        file.seek(header.data_offset)
        words = file.read().replace(b",", b" ").split(maxsplit=count)[:count]
    if len(words) < count:
        raise _truncated(header, len(words) * dtype.itemsize)
    try:
        if b"_" in b"".join(words):  # Python's own way of writing 1_000
            raise ValueError("a number with _")  # noqa: TRY301 - as int and float do
        if dtype.kind == "f":
            return np.array(list(map(float, words)), dtype)
        return np.array(list(map(int, words)), dtype)
    except (ValueError, OverflowError) as error:
        raise ReadError(
            f"{header.data_path}: its voxels are not all {dtype} numbers ({error}); export it again"
        ) from error


def _inflate(header: Header) -> NDArray[np.uint8]:
    with header.data_path.open("rb", buffering=0) as file:
        file.seek(header.stream_offset)
        try:
            voxels = inflate(file, skip=header.data_offset, size=header.size_bytes)
        except ShortStreamError as error:
            if error.made - header.data_offset < header.size_bytes:
                raise _truncated(header, error.made - header.data_offset) from error
            raise _corrupt(header, error) from error
        except CorruptStreamError as error:
            raise _corrupt(header, error) from error
    if len(voxels) < header.size_bytes:
        raise _truncated(header, len(voxels))
    return voxels


def _corrupt(header: Header, error: Exception) -> ReadError:
    return ReadError(f"{header.data_path}: the compressed stream is corrupt ({error}); copy or export the file again")


def volume_writers(
    path: Path,
    array_zyx: NDArray[Any],
    geometry: Geometry,
    *,
    compression: Compression = "fast",
    threads: int = 1,
    metadata: Mapping[str, str] | None = None,
    is_series: bool = False,
) -> dict[Path, Writer]:
    """Return the files that make up a volume, each with the function that writes it: data file first, header last.

    Call the functions in order, each with an empty, seekable binary file. The header contains the data file's name as
    returned here, even if the bytes go to another file first.

    Parameters
    ----------
    path
        Final name: ``.mha``, ``.mhd``, ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.nhdr``.
    array_zyx
        ``(Z, Y, X)`` or ``(Z, Y, X, C)``, with any strides; it is copied a few slices at a time.
    geometry
        The grid.
    compression
        ``"none"``, ``"fast"`` or ``"small"``. ``.nii`` is never compressed; ``.nii.gz`` with ``"none"`` is a gzip
        stream of stored blocks.
    threads
        Number of threads that compress; it does not change the bytes written.
    metadata
        Further header fields; those that the format can't hold are left out.
    is_series
        Whether NIfTI holds the channels as successive volumes of a 4-D file, as the Decathlon does, not as a vector.

    Raises
    ------
    WriteError
        When the format can't hold the array.
    """
    suffix = volume_suffix(path)
    dtype = "uint8" if array_zyx.dtype == np.bool_ else array_zyx.dtype.name
    if suffix not in VOLUME_EXTENSIONS or dtype not in ITEM_BYTES:
        raise WriteError(
            f"{path.name}: expected a volume file of integers or float32/float64, got {array_zyx.dtype} voxels; "
            "convert them first"
        )
    if array_zyx.shape[:3] != geometry.size_zyx or array_zyx.ndim > 4 or array_zyx.size == 0:
        raise WriteError(f"{path.name}: array of shape {array_zyx.shape} on a grid of {geometry.size_zyx} voxels ZYX")
    components = array_zyx.shape[3] if array_zyx.ndim == 4 else 1
    array = array_zyx[..., 0] if array_zyx.ndim == 4 and components == 1 else array_zyx
    parts = [array] if array.ndim == 3 else [array[..., channel] for channel in range(components)]
    planar = suffix in (".nii", ".nii.gz")  # NIfTI stores several values per voxel as one volume after the other
    chunks = [chunk for part in (parts if planar else [array]) for chunk in _chunks(part, np.dtype(dtype))]
    if planar:
        head = nifti_header(geometry, dtype, components=components, metadata=metadata, is_series=is_series)
        if suffix == ".nii":
            return {path: lambda file: _write_raw(file, [lambda: Plain(memoryview(head)), *chunks])}
        chunks = [lambda: Plain(memoryview(head)), *chunks]
        return {path: lambda file: _write_stream(file, chunks, "gzip", compression, threads)}
    if suffix in (".mha", ".mhd"):
        return _metaimage_writers(path, suffix, chunks, compression, threads, lambda name, size: metaimage_header(
            geometry, dtype, components=components, data_file=name, compressed_bytes=size, metadata=metadata
        ))  # fmt: skip
    compressed = compression != "none"
    data_path = path if suffix == ".nrrd" else path.with_suffix(".raw.gz" if compressed else ".raw")
    text = nrrd_header(
        geometry, dtype, components=components, compressed=compressed, metadata=metadata,
        data_file=None if data_path == path else data_path.name,
    )  # fmt: skip

    def write_data(file: BinaryIO) -> None:
        if data_path == path:
            _put(file, text)
        if compressed:
            _write_stream(file, chunks, "gzip", compression, threads)
        else:
            _write_raw(file, chunks)

    return (
        {data_path: write_data} if data_path == path else {data_path: write_data, path: lambda file: _put(file, text)}
    )


def _metaimage_writers(
    path: Path,
    suffix: str,
    chunks: list[Chunk],
    compression: Compression,
    threads: int,
    header: Callable[[str, int | None], bytes],
) -> dict[Path, Writer]:
    """Return the writers of a MetaImage.

    The header of a ``.mha`` states the length of the stream after it, so it is written again at the end; its own length
    does not change.
    """
    written: list[int] = []

    def write_data(file: BinaryIO) -> None:
        if compression == "none":
            _write_raw(file, chunks)
        else:
            written.append(_write_stream(file, chunks, "zlib", compression, threads))

    def write_all(file: BinaryIO) -> None:
        if compression == "none":
            _put(file, header("LOCAL", None))
            write_data(file)
        elif len(chunks) == 1:  # small enough to be kept until its length is known
            pieces = [*deflate_stream(chunks, "zlib", compression=compression)]
            _put(file, header("LOCAL", sum(map(len, pieces))) + b"".join(pieces))
        else:
            _put(file, header("LOCAL", 0))
            write_data(file)
            file.seek(0)
            _put(file, header("LOCAL", written[-1]))

    if suffix == ".mha":
        return {path: write_all}
    data_path = path.with_suffix(".raw" if compression == "none" else ".zraw")
    return {
        data_path: write_data,
        path: lambda file: _put(file, header(data_path.name, written[-1] if written else None)),
    }


def write_volume_file(
    path: Path,
    array_zyx: NDArray[Any],
    geometry: Geometry,
    *,
    compression: Compression = "fast",
    threads: int = 1,
    metadata: Mapping[str, str] | None = None,
    is_series: bool = False,
) -> tuple[Path, ...]:
    """Write a volume's files under their own names, not atomically: the caller must write to a temporary place first.

    The parameters are those of `volume_writers`.

    Returns
    -------
    tuple of Path
        The files, data file first, header last.

    Raises
    ------
    WriteError
        When the format can't hold the array.
    OSError
        When a file can't be written, for instance because the disk is full; partly written files stay.
    """
    writers = volume_writers(
        path, array_zyx, geometry, compression=compression, threads=threads, metadata=metadata, is_series=is_series
    )
    for target, write in writers.items():
        with open(target, "wb", buffering=0) as file:  # noqa: PTH123 - pieces are large; called for each small file
            write(file)
    return tuple(writers)


def _put(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write all bytes, even to an unbuffered file, which may accept fewer bytes per call."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _write_raw(file: BinaryIO, chunks: list[Chunk]) -> None:
    for chunk in chunks:
        _put(file, chunk().data)


def _write_stream(
    file: BinaryIO, chunks: list[Chunk], container: Container, compression: Compression, threads: int
) -> int:
    """Write a compressed stream and return its length."""
    length = 0
    for piece in deflate_stream(chunks, container, compression=compression, threads=threads):
        _put(file, piece)
        length += len(piece)
    return length


def _chunks(array: NDArray[Any], dtype: np.dtype[Any]) -> list[Chunk]:
    """Cut an array into chunks of whole slices, of about `CHUNK_BYTES`; a chunk is copied only when it is needed."""
    little = dtype.newbyteorder("<")
    step = max(1, CHUNK_BYTES * len(array) // (array.size * dtype.itemsize))
    return [partial(plain_bytes, array[start : start + step], little) for start in range(0, len(array), step)]


def plain_bytes(array: NDArray[Any], little: np.dtype[Any]) -> Plain:
    """Return the bytes of a slab in C order, little endian; without a copy if memory has them in that order."""
    if array.flags.c_contiguous:
        out = array.astype(little, copy=False)
    else:
        out = empty(array.shape, little)
        if abs(array.strides[-1]) == min(abs(stride) for stride in array.strides):
            out[...] = array
        else:  # transposed: copying blocks that use whole cache lines is twice as fast
            for y in range(0, array.shape[1], _BLOCK):
                for x in range(0, array.shape[2], _BLOCK):
                    out[:, y : y + _BLOCK, x : x + _BLOCK] = array[:, y : y + _BLOCK, x : x + _BLOCK]
    row_bytes = out.nbytes // (out.shape[0] * out.shape[1])
    return Plain(out.reshape(-1).view(np.uint8).data, little.itemsize, row_bytes)
