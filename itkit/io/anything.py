"""Read one volume from a path that a user names: a volume file, or a folder with one DICOM series."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from itkit.core.arguments import expect, expect_choice
from itkit.core.volume import KINDS, Volume
from itkit.io.formats.label_values import as_labels
from itkit.io.sitk_toolkit import read_volume

if TYPE_CHECKING:
    from itkit.core.volume import Kind


def read(
    path: str | os.PathLike[str],
    kind: Kind = "image",
    *,
    threads: int = 1,
    channels: bool = False,
    assume_spacing: tuple[float, float, float] | None = None,
) -> Volume:
    """Read one 3-D volume from a file, or from a folder with one DICOM image series.

    Parameters
    ----------
    path
        ``.mha``, ``.mhd``, ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.nhdr``, in any letter case; or a folder with the
        files of one DICOM series (sub-folders included), which needs the extra ``dicom``.
    kind
        ``"image"`` keeps the stored type (after NIfTI scaling or DICOM rescale); ``"label"`` returns integers:
        float files with integral values are converted to the smallest integer type.
    threads
        Number of threads that SimpleITK may use if it reads the file.
    channels
        Accept several values per voxel: the array is then ``(Z, Y, X, C)``.
    assume_spacing
        Spacing ZYX, mm, for a NIfTI file that states none; other files keep their own.

    Raises
    ------
    ArgumentError
        When ``path`` is not a path, or the kind is unknown.
    ReadError
        When the file is missing, damaged, or not a single 3-D volume; when the folder does not hold exactly one image
        series, or the series is not a regular volume.
    LabelError
        When a label file holds values that are not integers.
    MissingExtraError
        When ``path`` is a folder and pydicom is not installed.

    Examples
    --------
    >>> import itkit
    >>> itkit.read("raw/image/case_00.nii.gz")  # doctest: +SKIP
    Volume(image, 9 x 14 x 11 voxels ZYX, 2.5 x 0.8 x 0.7 mm ZYX, LPS, int16, 0.0 MB)
    """
    expect(path, (str, os.PathLike), "read: path", "a path")
    expect_choice(kind, KINDS, "read: kind")
    if not Path(path).is_dir():
        return read_volume(path, kind, threads=threads, channels=channels, assume_spacing=assume_spacing)
    return _read_series_folder(Path(path), kind)


def _read_series_folder(folder: Path, kind: Kind) -> Volume:
    from itkit.io.dicom.choices import chosen_series, series_choices
    from itkit.io.dicom.read import read_series

    volume = read_series(chosen_series(folder, series_choices(folder)[0]), kind=kind)
    return volume if kind == "image" else volume.with_array(as_labels(volume.array_zyx, str(folder))[0])
