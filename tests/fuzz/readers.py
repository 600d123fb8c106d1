"""Damaged files through the readers: a volume or an error of ours, and never other voxels than SimpleITK reads."""

from __future__ import annotations

import os
import traceback
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import SimpleITK as sitk

from fuzz.mutate import mutated
from fuzz.watch import Finding
from itkit.core.errors import CaseError
from itkit.io.formats.headers import read_header, unit_files
from itkit.io.sitk_toolkit import read_volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from fuzz.sources import Source


def files_of(seed: int, number: int, known: list[Source]) -> tuple[Source, dict[str, bytes]]:
    """Return the damaged files of a case, the same for the same numbers."""
    rng = np.random.default_rng([seed, number])
    source = known[int(rng.integers(len(known)))]
    return source, mutated(source, known, rng)


def check(source: Source, files: dict[str, bytes], folder: Path, phase: Callable[[str], None]) -> str:
    """Read a case; return how it ended.

    Parameters
    ----------
    folder
        An empty folder for its files.
    phase
        Is told ``"ours"`` or ``"SimpleITK"`` before each reads: who has the word when the process dies.

    Raises
    ------
    Finding
        When anything but a volume or an error of ours came out.
    """
    for name, data in files.items():
        (folder / name).write_bytes(data)
    path = folder / source.name
    phase("ours")
    image = _ours(path, "image")
    _ours(path, "label")
    _guarded(lambda: unit_files(path), path)
    if image is None:
        return "refused"
    phase("SimpleITK")
    try:
        theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError:
        return "read by us alone"
    if not (_same(image, theirs) or _as_zlib_says(path, image) or _as_nibabel_says(path, image)):
        raise Finding(f"other voxels than SimpleITK: {image.shape} {image.dtype}, {theirs.shape} {theirs.dtype}")
    return "read by both"


def _ours(path: Path, kind: str) -> np.ndarray | None:
    volume = _guarded(lambda: read_volume(path, kind, channels=True), path)
    return None if volume is None else np.array(volume.array_zyx)  # a mapped file is read whole


def _guarded(read, path):
    names = {path.name, *(file.name for file in path.parent.iterdir())}  # the data file, where that is damaged
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return read()
        except CaseError as error:
            if not any(name in str(error) for name in names):
                raise Finding(f"the message names no file: {error}") from error
            return None
        except Exception as error:
            raise Finding(traceback.format_exc()) from error


def _same(ours: np.ndarray, theirs: np.ndarray) -> bool:
    if ours.shape != theirs.shape:
        return False
    if ours.dtype.kind in "iu" and theirs.dtype.kind in "iu":
        return bool((ours == theirs).all())
    with np.errstate(all="ignore"):
        return bool(np.allclose(ours.astype(float), theirs.astype(float), rtol=1e-5, atol=1e-30, equal_nan=True))


def _as_zlib_says(path: Path, ours: np.ndarray) -> bool:
    """Whether zlib makes the same of a stream.

    MetaIO returns memory as it found it, without an error, when the header gives a wrong length of the stream.
    """
    header = read_header(path)
    if header.encoding != "zlib":
        return False
    data = header.data_path.read_bytes()[header.stream_offset :]
    return zlib.decompressobj(47).decompress(data)[: header.size_bytes] == ours.tobytes()


def _as_nibabel_says(path: Path, ours: np.ndarray) -> bool:
    """Whether nibabel makes the same of a NIfTI, or refuses it.

    ITK takes tiny slopes for 1, and uses the valid half of a broken scaling.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        return False
    try:
        theirs = np.asanyarray(nibabel.load(path).dataobj).T
    except nibabel.spatialimages.HeaderDataError:
        return True
    return _same(ours, theirs.reshape(ours.shape) if theirs.size == ours.size else theirs)


def silence() -> None:
    """Send what ITK and the C libraries print nowhere."""
    sitk.ProcessObject.GlobalWarningDisplayOff()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
