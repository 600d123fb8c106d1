"""From the files of an upload to the channels of an image, and from a label map to the file that goes back."""

from __future__ import annotations

import lzma
import re
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from itkit.core.bounded import read_bounded
from itkit.core.errors import ReadError
from itkit.core.files import VOLUME_EXTENSIONS, split_extension
from itkit.core.volume import Volume
from itkit.deploy.server.uploads import own_name, require_files
from itkit.io.anything import read
from itkit.io.sitk_toolkit import write_volume

if TYPE_CHECKING:
    from itkit.inference.model_folder import ModelFacts
    from itkit.io.dicom.derived import Template

SegKind = Literal["labelmap", "binary"]
ONE_FILE = tuple(extension for extension in VOLUME_EXTENSIONS if extension not in (".mhd", ".nhdr"))
"""Extensions of volumes that are one file."""
_DATA_LINE = {
    ".mhd": (re.compile(rb"^([ \t]*ElementDataFile[ \t]*=)[^\r\n]*", re.MULTILINE), ".mha"),
    ".nhdr": (re.compile(rb"^(data ?file:)[^\r\n]*", re.MULTILINE | re.IGNORECASE), ".nrrd"),
}
"""The line of a header that names the file with the voxels, and the extension of the same format in one file."""
_MOST_MEMBERS = 20_000
_MOST_UNPACKED = 8 << 30
_PIECE = 1 << 20
_UNPACKED = "unpacked"


@dataclass(frozen=True)
class Given:
    """An uploaded image.

    Parameters
    ----------
    images
        Its channels, or one volume with all.
    template
        Its DICOM series, if it came as one.
    extension
        How the label map is written, unless the client wants something else.
    """

    images: tuple[Volume, ...]
    template: Template | None
    extension: str


def read_upload(paths: Sequence[Path], facts: ModelFacts, folder: Path) -> Given:
    """Read the image of an upload.

    Parameters
    ----------
    paths
        One volume, also as a header and the file with its voxels; one volume a channel, in the network's order; a zip
        archive of these; or the files of a DICOM series.
    facts
        Description of the network.
    folder
        Folder to which an archive is unpacked.

    Raises
    ------
    ReadError
        When they are nothing of that, or can't be read.
    """
    files = require_files(list(paths))
    if len(files) == 1 and files[0].suffix == ".zip":
        unpacked = folder / _UNPACKED
        unpacked.mkdir()
        files = require_files(unpack(files[0], unpacked))
    kinds = {parts[1] if (parts := split_extension(path.name)) else "" for path in files}
    if kinds <= set(ONE_FILE):
        several = len(facts.channels) > 1 and len(files) == 1
        images = tuple(read(path, channels=several) for path in files)
        return Given(images, None, next(iter(kinds)) if len(kinds) == 1 else ".nii.gz")
    if kinds & set(_DATA_LINE):
        header, extension = _united(files)
        return Given((read(header, channels=len(facts.channels) > 1),), None, extension)
    if kinds & set(ONE_FILE):
        raise ReadError("volumes and other files were sent together; send one kind")
    return _read_series(files)


def _united(files: Sequence[Path]) -> tuple[Path, str]:
    """Let the header of a volume of two files name the other one, and return it and the extension of one file."""
    headers = [path for path in files if path.suffix in _DATA_LINE]
    if len(files) != 2 or len(headers) != 1:
        raise ReadError("a header whose voxels lie in another file; send both files, or .mha, .nrrd or .nii.gz")
    header = headers[0]
    data = next(path for path in files if path != header)
    line, extension = _DATA_LINE[header.suffix]
    try:
        text = read_bounded(header, 1 << 16)
    except ValueError as error:
        raise ReadError(f"a header of more than {1 << 16} bytes") from error
    named, count = line.subn(rb"\g<1> " + data.name.encode(), text)
    if count != 1:
        raise ReadError(f"the header names {count} files with voxels; expected 1")
    header.write_bytes(named)
    return header, extension


def _read_series(files: Sequence[Path]) -> Given:
    from itkit.io.dcm_toolkit import read_series
    from itkit.io.dicom.derived import template_of
    from itkit.process.dicom_cases import find_dicom_cases

    cases, refused = find_dicom_cases(files[0].parent, labels=False)
    usable = [case for case in cases if not case.fault]
    if len(usable) != 1:
        reasons = "; ".join(
            dict.fromkeys([*(case.fault for case in cases if case.fault), *(item.reason for item in refused)])
        )
        what = f"{len(usable)} series of images" if usable else "no series of images"
        hint = "" if usable else f"; the name of a volume has to end in {', '.join(ONE_FILE)}"
        raise ReadError(f"{what} in what was sent; expected one{f' ({reasons[:300]})' if reasons else ''}{hint}")
    usable[0].require_grid()
    series = usable[0].series
    return Given((read_series(series),), template_of(series), "dicom")


def unpack(archive: Path, folder: Path) -> list[Path]:
    """Unpack the files of a zip archive under names of our own; the names inside decide nothing but extensions.

    Raises
    ------
    ReadError
        When it is damaged, encrypted, or holds too much.
    """
    made: list[Path] = []
    total = 0
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [item for item in opened.infolist() if not item.is_dir() and _is_data(item.filename)]
            if len(members) > _MOST_MEMBERS or sum(item.file_size for item in members) > _MOST_UNPACKED:
                raise ReadError(f"the archive holds more than {_MOST_MEMBERS} files or {_MOST_UNPACKED >> 30} GiB")
            for number, item in enumerate(members):
                path = folder / own_name(item.filename, number)
                with opened.open(item) as source, path.open("xb") as target:
                    while piece := _read(source):
                        total += len(piece)
                        if total > _MOST_UNPACKED:  # the sizes in the archive were not true
                            raise ReadError(f"the archive holds more than {_MOST_UNPACKED >> 30} GiB")
                        target.write(piece)
                made.append(path)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise ReadError(f"the archive can't be unpacked: {error}") from error
    return made


def _read(source: IO[bytes]) -> bytes:
    try:
        return source.read(_PIECE)
    except (zlib.error, lzma.LZMAError, OSError) as error:  # bz2 raises OSError for damaged data
        raise ReadError(f"the archive can't be unpacked: {error}") from error


def _is_data(name: str) -> bool:
    base = name.rsplit("/", 1)[-1]
    return not base.startswith(".") and base.upper() != "DICOMDIR" and not name.startswith("__MACOSX/")


def write_result(
    label: Volume, given: Given, facts: ModelFacts, folder: Path, wanted: str, kind: SegKind = "labelmap"
) -> Path:
    """Write a label map.

    Parameters
    ----------
    label
        The label map, on the image's grid.
    given
        The image.
    facts
        Description of the network.
    folder
        Folder to write to.
    wanted
        Extension, ``dicom``, or an empty text for the kind of the image.
    kind
        Kind of DICOM segmentation.

    Raises
    ------
    ReadError
        When a DICOM segmentation is wanted for an image that is no DICOM series.
    WriteError
        When it can't be written.
    """
    form = wanted or given.extension
    if form != "dicom":
        return write_volume(label, folder / f"label{form}")[-1]
    if given.template is None:
        raise ReadError("a DICOM segmentation needs the image as a DICOM series")
    from itkit.io.dicom.derived import save
    from itkit.io.dicom.write_seg import seg_dataset

    names = {value: name for value, name in facts.names.items() if value != 0}
    dataset = seg_dataset(label, names, given.template, title="ITKIT", kind=kind, whole=True)
    path = folder / "label.dcm"
    save(dataset, path)
    return path


def remove_inputs(folder: Path) -> None:
    """Remove what was uploaded, and what it was unpacked to."""
    for name in ("input", _UNPACKED):
        shutil.rmtree(folder / name, ignore_errors=True)
