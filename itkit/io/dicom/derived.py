"""What DICOM objects that are made of a series have in common: patient, study, references, identifiers."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itkit.core.errors import ReadError, WriteError
from itkit.core.geometry import Geometry
from itkit.core.text import some
from itkit.core.thumbnail import class_colour
from itkit.core.volume import Volume
from itkit.io.dicom.find import Series
from itkit.io.dicom.header import Frame, parse_errors, pydicom_module, read_dataset, short, text, warnings_as_notes
from itkit.io.dicom.labels import Region
from itkit.io.dicom.read import series_stack
from itkit.io.disk import sync_file, write_error

IDENTIFIERS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
"""What references to a file need of it."""
_LONGEST_NAME = 64
"""Characters that a name may have (PS3.5, VR LO)."""


@dataclass(frozen=True)
class Template:
    """A series that a new object refers to.

    Parameters
    ----------
    series
        The series.
    geometry
        Its grid.
    frames
        Its image planes, in the order of the grid's slices.
    """

    series: Series
    geometry: Geometry
    frames: tuple[Frame, ...]

    def datasets(self, keywords: Sequence[str] | None = None) -> list[Any]:
        """Return the header of each plane's file, in slice order; files of many frames only once.

        Raises
        ------
        ReadError
            When a file lacks an identifier that references need.
        """
        paths = dict.fromkeys(frame.path for frame in self.frames)
        read = [read_dataset(path, keywords=keywords, pixels=False, notes=[]) for path in paths]
        for path, dataset in zip(paths, read, strict=True):
            lacking = [keyword for keyword in IDENTIFIERS if not text(dataset, keyword)]
            if lacking:
                raise ReadError(f"{path}: no {some(lacking)}, which a reference to it needs; take the original series")
        return read


def template_of(series: Series) -> Template:
    """Return a series as a template.

    Raises
    ------
    IrregularSeriesError
        When it is not a regular volume.
    """
    return Template(series, *series_stack(series))


def own_uid(*parts: object) -> str:
    """Return a UID that depends on the parts alone: the same run writes the same bytes again (PS3.5 B.2).

    Examples
    --------
    >>> own_uid("case", 1) == own_uid("case", 1), own_uid("case", 1) == own_uid("case", 2)
    (True, False)
    """
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, chr(0).join(map(str, parts))).int}"


def digest_of(volume: Volume) -> str:
    """Return a digest of a volume's voxels and grid."""
    digest = hashlib.sha256(repr(volume.geometry).encode())
    digest.update(volume.dtype.str.encode())
    for plane in volume.array_zyx:
        digest.update(plane.tobytes())
    return digest.hexdigest()


def regions_of(values: Sequence[int], names: Mapping[int, str]) -> list[Region]:
    """Return the regions of a label map: those with a name, whether or not they occur, and those that occur.

    Examples
    --------
    >>> [(region.number, region.name) for region in regions_of([0, 2, 7], {0: "background", 1: "liver", 2: "cyst"})]
    [(1, 'liver'), (2, 'cyst'), (7, 'class 7')]
    """
    wanted = sorted({*names, *values} - {0})
    return [Region(value, names.get(value, f"class {value}"), class_colour(value)) for value in wanted]


def short_names(regions: Sequence[Region]) -> list[str]:
    """Return the regions' names as DICOM holds them: 64 characters, no backslash; still all different.

    Examples
    --------
    >>> short_names([Region(1, "a" * 70), Region(2, "a" * 71)])[1][-6:]
    'aaaa_2'
    """
    names = [region.name.replace(chr(92), "/").strip()[:_LONGEST_NAME] for region in regions]
    counts = Counter(names)
    return [
        name if counts[name] == 1 else f"{name[: _LONGEST_NAME - 1 - len(str(region.number))]}_{region.number}"
        for name, region in zip(names, regions, strict=True)
    ]


def save(dataset: Any, path: Path, *, implicit: bool = False) -> None:
    """Write a DICOM file and flush it to disk; compressed pixels stay as they are.

    Raises
    ------
    WriteError
        When it can't be written.
    """
    pydicom = pydicom_module()
    syntax = pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
    meta = pydicom.dataset.FileMetaDataset()
    before = getattr(dataset, "file_meta", None)
    given = None if before is None else before.get("TransferSyntaxUID")
    meta.TransferSyntaxUID = given if given is not None and given.is_compressed else syntax
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    try:
        with warnings_as_notes([]), path.open("xb") as file:
            pydicom.dcmwrite(file, dataset, enforce_file_format=True)
        sync_file(path)
    except OSError as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error  # pydicom adds a traceback
        raise write_error(path.name, cause) from error
    except parse_errors() as error:
        raise WriteError(f"{path.name}: the series has values that can't be written: {short(error)}") from error
