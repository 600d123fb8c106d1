"""Chunked stores: one file per case, from which random boxes can be read without reading the rest.

A store holds the volumes of a case that share a grid (``image`` or one ``image_<channel>`` per channel, ``label``) in
chunks that are compressed separately; reading a box reads only the chunks that it touches. A volume with several values
per voxel is one array with four axes. ``.b2z`` is Blosc2's format, ``.zarr.zip`` is a Zarr group (format 3) in a zip
file. Both are single files, so that they can be moved, copied and replaced as a whole. Any reader of Blosc2 or Zarr
can open them; the attribute ``itkit`` holds the grid.
"""

from __future__ import annotations

import json
import struct
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from itkit.core.arguments import expect_sizes
from itkit.core.boxes import Index, index, random_start, window
from itkit.core.errors import GeometryError, ReadError, WriteError
from itkit.core.extras import require
from itkit.core.geometry import Geometry
from itkit.core.volume import Kind, Volume
from itkit.io.disk import default_mode
from itkit.kernels.padding import in_frame, least_outside

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from itkit.core.files import Compression

Store = Literal["zarr", "blosc2"]
STORE_SUFFIX: Mapping[Store, str] = {"zarr": ".zarr.zip", "blosc2": ".b2z"}
_ATTRIBUTE = "itkit"
_EARLIEST = struct.pack("<HH", 0, 1 << 5 | 1)
"""Time and date of 1980-01-01, as zip files encode them."""
_CHUNK_ZYX, _BLOCK_ZYX = (32, 128, 128), (16, 32, 32)
"""Blosc2 decompresses blocks (a 32nd of a chunk); for a box, only the blocks that it touches."""
_ZARR_CHUNK_ZYX = (48, 48, 48)


def store_kind(path: Path) -> Store | None:
    """Return the kind of store that a file name indicates; ``None`` if it is not the name of a store."""
    return next((kind for kind, suffix in STORE_SUFFIX.items() if path.name.lower().endswith(suffix)), None)


def require_store(kind: Store) -> Any:
    """Import the package of a kind of store.

    Raises
    ------
    MissingExtraError
        When it is not installed.
    """
    return require(kind, extra="fast", why=f"a {kind} store")


def write_store(path: Path, volumes: Mapping[str, Volume], *, compression: Compression = "fast") -> None:
    """Write the volumes of a case to a store; the file name decides its kind.

    Parameters
    ----------
    path
        A ``.b2z`` or ``.zarr.zip`` file. It is not written atomically: the caller must use a temporary name.
    volumes
        Volumes by name, ``(Z, Y, X)`` or ``(Z, Y, X, C)``, on one grid.
    compression
        ``"fast"`` is LZ4, ``"small"`` is Zstandard, ``"none"`` does not compress.

    Raises
    ------
    WriteError
        When the volumes lie on different grids, or the file name is not that of a store.
    OSError
        When the file can't be written.
    """
    kind, grids = store_kind(path), [volume.geometry for volume in volumes.values()]
    if kind is None or any(not grid.same_grid(grids[0]) for grid in grids):
        raise WriteError(f"{path.name}: a store takes volumes of one grid, and ends in .b2z or .zarr.zip")
    kinds = {name: volume.kind for name, volume in volumes.items()}
    facts = json.dumps({"geometry": asdict(grids[0]), "kinds": kinds})
    arrays = {name: volume.array_zyx for name, volume in volumes.items()}
    (_write_blosc2 if kind == "blosc2" else _write_zarr)(path, arrays, facts, compression)
    _forget_times(path)
    path.chmod(default_mode())


def _forget_times(path: Path) -> None:
    """Set the times of a zip file's members to the earliest possible, so that the same voxels make the same bytes."""
    with zipfile.ZipFile(path) as archive:
        members, directory = archive.infolist(), archive.start_dir
    with path.open("r+b") as file:
        for member in members:
            file.seek(member.header_offset + 10)
            file.write(_EARLIEST)
        at = directory
        for _ in members:
            file.seek(at + 12)
            file.write(_EARLIEST)
            file.seek(at + 28)
            at += 46 + sum(struct.unpack("<3H", file.read(6)))


def _write_blosc2(path: Path, arrays: Mapping[str, NDArray[Any]], facts: str, compression: str) -> None:
    blosc2 = require_store("blosc2")
    codec, level, filters = {
        "none": (blosc2.Codec.LZ4, 0, []),
        "fast": (blosc2.Codec.LZ4, 5, [blosc2.Filter.BITSHUFFLE]),
        "small": (blosc2.Codec.ZSTD, 5, [blosc2.Filter.SHUFFLE]),
    }[compression]
    with (
        tempfile.TemporaryDirectory(dir=path.parent) as scratch,  # everything in it becomes a part of the store
        blosc2.TreeStore(str(path), mode="w", tmpdir=scratch) as store,
    ):
        for name, array in arrays.items():
            chunks, blocks = (_within(array.shape, most) for most in (_CHUNK_ZYX, _BLOCK_ZYX))
            cparams = {"codec": codec, "clevel": level, "filters": filters, "nthreads": 1}
            store[f"/{name}"] = blosc2.asarray(array, chunks=chunks, blocks=blocks, cparams=cparams)
        store.vlmeta[_ATTRIBUTE] = facts


def _within(shape: Sequence[int], most_zyx: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of chunks: the largest allowed; all values of a voxel lie in one chunk."""
    return (*(min(size, most) for size, most in zip(shape, most_zyx, strict=False)), *shape[3:])


def _write_zarr(path: Path, arrays: Mapping[str, NDArray[Any]], facts: str, compression: str) -> None:
    zarr = require_store("zarr")
    from zarr.codecs import BloscCodec

    codec = {"fast": BloscCodec(cname="lz4", clevel=5), "small": BloscCodec(cname="zstd", clevel=5)}.get(compression)
    one_by_one = {"async.concurrency": 1}  # chunks in order, so that the same voxels make the same bytes
    with zarr.config.set(one_by_one), zarr.storage.ZipStore(path, mode="w") as store:
        group = zarr.create_group(store, attributes={_ATTRIBUTE: facts})
        for name, array in arrays.items():
            chunks = _within(array.shape, _ZARR_CHUNK_ZYX)
            group.create_array(name, data=array, chunks=chunks, compressors=codec)


@dataclass(frozen=True)
class PatchStore:
    """A store for reading; it opens its file on first use, also after being pickled.

    Parameters
    ----------
    path
        A ``.b2z`` or ``.zarr.zip`` file that `write_store` has written.

    Examples
    --------
    >>> store = PatchStore(Path("patches/case_00.b2z"))  # doctest: +SKIP
    >>> pair = store.random(np.random.default_rng(0), (96, 96, 96))  # doctest: +SKIP
    >>> pair["image"].array_zyx.shape, pair["label"].geometry.origin_xyz  # doctest: +SKIP
    ((96, 96, 96), (-84.0, 12.5, 130.0))
    """

    path: Path

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    @cached_property
    def _opened(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The facts and the arrays of the store.

        Raises
        ------
        ReadError
            When the file is missing, damaged, or was not written by ITKIT.
        """
        kind = store_kind(self.path)
        if kind is None or not self.path.is_file():
            raise ReadError(f"{self.path}: expected a store, a file that ends in .b2z or .zarr.zip")
        package = require_store(kind)
        try:
            if kind == "blosc2":
                tree = package.TreeStore(str(self.path), mode="r", mmap_mode="r", dparams=package.DParams(nthreads=1))
                facts = json.loads(tree.vlmeta[_ATTRIBUTE])
                return facts, {name: tree[f"/{name}"] for name in facts["kinds"]}
            group = package.open_group(package.storage.ZipStore(self.path, mode="r"), mode="r")
            facts = json.loads(group.attrs[_ATTRIBUTE])
            return facts, {name: group[name] for name in facts["kinds"]}
        except Exception as error:
            raise ReadError(f"{self.path}: not readable as a store of ITKIT ({error}); write it again") from error

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """Kind of each volume, by name."""
        kinds: Mapping[str, Kind] = self._opened[0]["kinds"]
        return kinds

    @property
    def arrays(self) -> Mapping[str, Any]:
        """The stored arrays by name, ``(Z, Y, X)`` or ``(Z, Y, X, C)``; voxels are read when an array is sliced."""
        return self._opened[1]

    @cached_property
    def geometry(self) -> Geometry:
        """The grid of all volumes.

        Raises
        ------
        ReadError
            When the store states none.
        """
        try:
            return Geometry(**self._opened[0]["geometry"])
        except (GeometryError, KeyError, TypeError) as error:
            raise ReadError(f"{self.path}: not readable as a store of ITKIT ({error}); write it again") from error

    def read(self, start_zyx: Sequence[int], size_zyx: Sequence[int]) -> dict[str, Volume]:
        """Read a box of every volume; each voxel keeps its physical point.

        Raises
        ------
        ReadError
            When the box extends beyond the volume, or its chunks are damaged.
        """
        start, size = index(start_zyx), index(size_zyx)
        for axis, first, length, most in zip("ZYX", start, size, self.geometry.size_zyx, strict=True):
            if first < 0 or length < 1 or first + length > most:
                raise ReadError(
                    f"{self.path.name}: {length} voxels from {first} do not lie within axis {axis} of {most} voxels"
                )
        grid = self.geometry.crop(start, size)
        return {name: Volume(self._part(name, start, size), grid, self.kinds[name]) for name in self.kinds}

    def random(self, rng: np.random.Generator, size_zyx: Sequence[int]) -> dict[str, Volume]:
        """Read a box at a random position; every position is equally likely.

        A volume smaller than the box is padded at its end: an image with the minimum of the whole volume, a label map
        with 0.

        Raises
        ------
        ReadError
            When chunks are damaged.
        """
        size = expect_sizes(size_zyx, "random: size_zyx")
        start = random_start(rng, self.geometry.size_zyx, size)
        grid, volumes = self.geometry.crop(start, size), {}
        for name, kind in self.kinds.items():
            part = self._part(name, start, size)
            if part.shape[:3] != size:
                part = in_frame(part, (0, 0, 0), size, self._outside(name))
            volumes[name] = Volume(part, grid, kind)
        return volumes

    def _part(self, name: str, start: Index, size: Index) -> NDArray[Any]:
        try:
            part: NDArray[Any] = self.arrays[name][window(start, size)]
        except (OSError, RuntimeError, ValueError) as error:
            raise ReadError(f"{self.path}: can't be read ({error}); write it again") from error
        return part

    def _outside(self, name: str) -> NDArray[Any]:
        """Return the value outside a volume; the whole volume is read once to find it."""
        if name not in self._found:
            self._found[name] = least_outside(self.arrays[name], self.kinds[name])
        return self._found[name]

    @cached_property
    def _found(self) -> dict[str, NDArray[Any]]:
        return {}


def opens_whole(path: Path) -> bool:
    """Return whether a file is a store that can be opened."""
    try:
        return bool(PatchStore(path).kinds)
    except ReadError:
        return False
