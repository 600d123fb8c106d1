"""File names: the extensions of volume files, the names of ITKIT's own files, and the levels of compression."""

from __future__ import annotations

import os
import re
from functools import cache, lru_cache
from typing import Literal

from itkit.core.plugins import Plugin, Plugins, find_plugins

Compression = Literal["none", "fast", "small"]
"""How the voxels of a file are compressed."""

VOLUME_EXTENSIONS = (".mha", ".mhd", ".nii.gz", ".nii", ".nrrd", ".nhdr")
"""Extensions of the volume files that ITKIT reads and writes, in any letter case."""

SLIDE_EXTENSIONS = (
    ".svs", ".tif", ".tiff", ".btf", ".ndpi", ".scn", ".mrxs", ".vms", ".vmu", ".bif", ".svslide", ".czi", ".dcm",
)  # fmt: skip
"""Extensions of files that may be whole-slide images, in any letter case."""

READERS = "itkit.readers"
"""Group of entry points under which packages register readers: the name is an extension, the value a function."""

SERIES_META = "series_meta.json"
"""Index of a folder of volumes: the grid of each."""
DATASET_META = "dataset.json"
"""Description of a dataset: classes, channels, splits. The Decathlon and nnU-Net use the same name for theirs."""
STATE_FOLDER = ".itkit"
"""Folder inside a destination that holds the manifest and unfinished work."""


def is_inner_name(name: str) -> bool:
    """Whether a name that an index, a tag or a folder gives leads to a file below the folder that it is joined to.

    Examples
    --------
    >>> is_inner_name("case_1.mha"), is_inner_name("site/case_1.mha")
    (True, True)
    >>> is_inner_name("../case_1.mha"), is_inner_name("/etc/passwd"), is_inner_name("a/.itkit/run.json")
    (False, False, False)
    """
    if "/" not in name and os.sep == "/":
        return "\0" not in name and name not in ("", ".", "..", STATE_FOLDER)
    if os.sep == "\\":
        name = name.replace("\\", "/").replace(":", "/../")  # a drive is no name of a folder
    parts = name.split("/")
    return "\0" not in name and not any(part in ("", ".", "..", STATE_FOLDER) for part in parts)


def split_extension(name: str) -> tuple[str, str] | None:
    """Split a file name into case and volume extension; ``None`` if the file is not a volume or is hidden.

    Extensions for which other packages register readers count as volume extensions.

    Examples
    --------
    >>> split_extension("case.1.nii.gz"), split_extension("scan.NRRD"), split_extension("notes.txt")
    (('case.1', '.nii.gz'), ('scan', '.NRRD'), None)
    """
    end = ".nii.gz" if name.endswith(".nii.gz") else name[name.rfind(".") :]
    if end in VOLUME_EXTENSIONS and end != name and name[0] != ".":  # most names of large folders
        return name[: -len(end)], end
    return _split(name)


@lru_cache(1 << 12)
def _split(name: str) -> tuple[str, str] | None:
    lower = name.lower()
    extension = next((one for one in VOLUME_EXTENSIONS if lower.endswith(one)), None) or _plugged_extension(lower)
    if extension is None or len(name) <= len(extension) or name.startswith("."):
        return None
    return name[: -len(extension)], name[-len(extension) :]


def volume_suffix(path: str | os.PathLike[str]) -> str | None:
    """Return the extension of a volume file in lower case; ``None`` if the file is not a volume or is hidden.

    Examples
    --------
    >>> volume_suffix("a/scan.NII.GZ"), volume_suffix("scan.nii.v2.mha"), volume_suffix("scan.gz")
    ('.nii.gz', '.mha', None)
    """
    parts = split_extension(os.path.basename(os.fspath(path)))  # noqa: PTH119 - called for thousands of files
    return None if parts is None else parts[1].lower()


def volume_pattern() -> str:
    r"""Return a regular expression that matches the volume extensions in any letter case.

    Examples
    --------
    >>> bool(re.fullmatch(r"(?P<case>case_\d+)" + volume_pattern(), "case_01.NII.gz"))
    True
    """
    return f"(?i:{'|'.join(map(re.escape, VOLUME_EXTENSIONS))})"


_BY_3D_SLICER = "save them as .nii.gz with 3D Slicer"
IMAGE_LIKE = {
    (".hdr", ".img", ".hdr.gz", ".img.gz"): (
        "Analyze or NIfTI pairs",
        "save them as .nii.gz with nibabel or 3D Slicer",
    ),
    (".mgz", ".mgh"): ("FreeSurfer volumes", "convert them with mri_convert IN.mgz OUT.nii.gz"),
    (".bz2", ".xz", ".zst", ".zip", ".7z", ".tar", ".tgz", ".tar.gz", ".rar"): (
        "packed files",
        "unpack them; .gz alone is read as it is",
    ),
    (".dcm", ".dicom", ".ima"): ("DICOM files", "convert them with itk_convert dicom"),
    (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp"): (
        "pictures",
        "stack the slices of a volume to .nii.gz, e.g. with 3D Slicer",
    ),
    (".mnc", ".gipl", ".gipl.gz", ".mif", ".mif.gz", ".vtk", ".vti", ".par", ".rec", ".v", ".nii.zip"): (
        "volumes of other formats",
        _BY_3D_SLICER,
    ),
    (".npy", ".npz", ".h5", ".hdf5"): ("arrays without a grid", "write them with itkit.write, with their spacing"),
    (".raw", ".zraw", ".bin"): ("voxels without a header", "an .mhd or .nhdr file must say what they are"),
}
"""Files that look like images and that ITKIT does not read as volumes: endings, what they are, what helps."""
_LOOKS = {ending: group for group in IMAGE_LIKE for ending in group}


@lru_cache(1 << 12)
def image_like(name: str) -> tuple[str, ...]:
    """Return the group of `IMAGE_LIKE` that a file belongs to; empty for volumes, hidden files and all else.

    Examples
    --------
    >>> image_like("p1.IMG")[:2], image_like("scan.nii.bz2")[0], image_like("scan.nii.gz"), image_like("notes.txt")
    (('.hdr', '.img'), '.bz2', (), ())
    """
    lower = name.lower()
    if name.startswith(".") or lower.endswith(VOLUME_EXTENSIONS) or split_extension(name) is not None:
        return ()
    parts = lower.split(".")
    endings = ("." + ".".join(parts[-count:]) for count in (2, 1) if len(parts) > count)
    return next((_LOOKS[ending] for ending in endings if ending in _LOOKS), ())


def reader_plugins() -> Plugins:
    """Return the readers of other packages by the extension that they register, e.g. ``npy``."""
    return find_plugins(READERS, {extension[1:] for extension in VOLUME_EXTENSIONS})


def reader_of(name: str) -> Plugin | None:
    """Return the reader that another package registers for files of this name; ``None`` for our own formats."""
    lower = name.lower()
    extension = None if lower.endswith(VOLUME_EXTENSIONS) else _plugged_extension(lower)
    return None if extension is None else _plugged_readers()[extension]


def _plugged_extension(lower: str) -> str | None:
    """Return the registered extension of a file name; JSON files, which folders of volumes have, hold no volume."""
    if lower.endswith(".json"):  # nobody looks for plug-ins because of them
        return None
    return next((extension for extension in _plugged_readers() if lower.endswith(extension)), None)


@cache
def _plugged_readers() -> dict[str, Plugin]:
    """Map extensions to readers, longest first: ``.ome.tif`` before ``.tif``."""
    found = {f".{name.lower()}": plugin for name, plugin in reader_plugins().by_name.items()}
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))
