"""Whole volume files, small enough that a mutation often hits what matters; as several programs write them."""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import SimpleITK as sitk

from itkit.core.geometry import Geometry
from itkit.io.formats.codecs import volume_writers

GRID = Geometry((3, 5, 7), (2.5, 0.7, 1.1), (10.5, -20.25, 300.0), (0.0, -0.8, 0.6, 1.0, 0.0, 0.0, 0.0, 0.6, 0.8))
SUFFIXES = (".mha", ".mhd", ".nii", ".nii.gz", ".nrrd", ".nhdr")
BOMB_BYTES = 1 << 26
_TIME = re.compile(rb"# on [^\n]*")
"""What pynrrd writes into its files: the bytes of a case would change with the day."""


@dataclass(frozen=True)
class Source:
    """The files of one volume by name: the first one is its header, or all of it."""

    name: str
    files: dict[str, bytes]

    @property
    def suffix(self) -> str:
        """Return the extension that the reader decides by."""
        return ".nii.gz" if self.name.endswith(".nii.gz") else Path(self.name).suffix


def sources(folder: Path) -> list[Source]:
    """Make the files in an empty folder and return what they hold."""
    return [*_ours(), *_of_simpleitk(folder), *_of_others(folder), *_bombs()]


def _voxels(dtype: str, channels: int = 0) -> np.ndarray:
    shape = GRID.size_zyx + ((channels,) if channels else ())
    return (np.arange(np.prod(shape)) % 90).reshape(shape).astype(dtype)


def _ours() -> list[Source]:
    import io

    made = []
    for suffix in SUFFIXES:
        for dtype, compression, channels in (("int16", "fast", 0), ("uint8", "none", 0), ("float32", "fast", 2)):
            path = Path(f"ours_{dtype}_{compression}{suffix}")
            files = {}
            for target, write in volume_writers(
                path, _voxels(dtype, channels), GRID, compression=compression, metadata={"0008|0060": "CT"}
            ).items():
                file = io.BytesIO()
                write(file)
                files[target.name] = file.getvalue()
            made.append(Source(path.name, {path.name: files.pop(path.name), **files}))
    return made


def _of_simpleitk(folder: Path) -> list[Source]:
    made = []
    for suffix in SUFFIXES:
        for dtype, compressed in (("int16", True), ("float64", False)):
            image = sitk.GetImageFromArray(_voxels(dtype))
            image.SetSpacing(GRID.spacing_zyx[::-1])
            image.SetOrigin(GRID.origin_xyz)
            image.SetDirection(GRID.direction_xyz)
            made.append(
                _written(folder, f"itk_{dtype}{suffix}", lambda p, i=image, c=compressed: sitk.WriteImage(i, p, c))
            )
    return made


def _of_others(folder: Path) -> list[Source]:
    def scaled(path: str) -> None:
        image = nibabel.Nifti1Image(_voxels("int16").T, np.diag([1.1, 0.7, 2.5, 1]))
        image.header.set_slope_inter(0.5, -3)
        image.to_filename(path)

    def series(path: str) -> None:
        nibabel.Nifti1Image(np.ones((4, 3, 2, 3), np.int16), np.eye(4)).to_filename(path)

    made = [_written(folder, "nibabel_scaled.nii.gz", scaled), _written(folder, "nibabel_series.nii", series)]
    for encoding in ("raw", "gzip", "ascii", "bzip2"):
        header = {
            "encoding": encoding, "space": "left-posterior-superior", "space origin": [1, 2, 3],
            "space directions": np.diag([1.1, 0.7, 2.5]), "kinds": ["domain"] * 3,
        }  # fmt: skip
        made.append(
            _written(
                folder, f"pynrrd_{encoding}.nrrd",
                lambda p, h=header: nrrd.write(p, _voxels("int16").T, h, compression_level=6),
            )
        )  # fmt: skip
    return made


def _written(folder: Path, name: str, write: object) -> Source:
    write(str(folder / name))  # type: ignore[operator]
    files = {path.name: _TIME.sub(b"# on a day", path.read_bytes()) for path in folder.iterdir()}
    for path in folder.iterdir():
        path.unlink()
    return Source(name, {name: files.pop(name), **files})


def _bombs() -> list[Source]:
    """Streams that stand for far more than their headers ask for."""
    made = []
    zeros = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = zeros.compress(bytes(BOMB_BYTES)) + zeros.flush(zlib.Z_SYNC_FLUSH)
    for source in _ours():
        data = source.files[source.name]
        if source.name == "ours_int16_fast.nii.gz":
            plain = gzip.decompress(data)
            made.append(Source("bomb.nii.gz", {"bomb.nii.gz": gzip.compress(plain) + _gzip_of_zeros(body)}))
        if source.name == "ours_int16_fast.nrrd":
            head = data[: data.index(b"\n\n") + 2]
            made.append(Source("bomb.nrrd", {"bomb.nrrd": head + _gzip_of_zeros(body)}))
    return made


def _gzip_of_zeros(body: bytes) -> bytes:
    check = zlib.crc32(bytes(BOMB_BYTES)).to_bytes(4, "little") + BOMB_BYTES.to_bytes(4, "little")
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + body + b"\3\0" + check
