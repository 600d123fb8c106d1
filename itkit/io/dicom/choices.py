"""The image series of a folder, as a user chooses among them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itkit.core.errors import ReadError
from itkit.core.text import counted, some
from itkit.io.dicom.find import Series, find_series


@dataclass(frozen=True)
class SeriesChoice:
    """An image series that can be opened.

    Parameters
    ----------
    series
        The series.
    """

    series: Series

    @property
    def key(self) -> str:
        """What tells it from the others of its folder, also after a restart; it says nothing about the patient."""
        one = self.series
        text = "\0".join((one.patient_id, one.study_uid, one.uid, one.kind))
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]

    @property
    def slices(self) -> int:
        """Number of image planes."""
        return len(self.series.frames)

    @property
    def title(self) -> str:
        """Modality, description, number and size of the series, for people."""
        one = self.series
        number = "without number" if one.number is None else f"{one.number}"
        name = f"{one.description} (series {number})" if one.description else f"series {number}"
        return f"{one.modality or 'DICOM'} · {name} · {counted(self.slices, 'slice')}"

    def as_json(self) -> dict[str, Any]:
        """Return it as values that JSON can hold."""
        one = self.series
        facts = {"description": one.description, "modality": one.modality, "number": one.number}
        return {"key": self.key, "title": self.title, **facts, "slices": self.slices}


def series_choices(folder: Path) -> tuple[tuple[SeriesChoice, ...], str]:
    """Return the image series below a folder, and a note about files that belong to none.

    Raises
    ------
    LayoutError
        When the folder is missing.
    ReadError
        When it holds no image series.
    MissingExtraError
        When pydicom is not installed.
    """
    series, refused = find_series(folder)
    found = tuple(SeriesChoice(one) for one in series if one.kind == "image")
    if not found:
        others = "; ".join(one.title for one in series) or (
            f"{counted(refused, 'file')} of another kind" if refused else "0 files"
        )
        raise ReadError(f"{folder}: expected a volume file or the folder of one DICOM image series; found {others}")
    verb = "is" if len(refused) == 1 else "are"
    return found, f"{counted(refused, 'file')} {verb} no part of a series" if refused else ""


def chosen_series(folder: Path, choices: Sequence[SeriesChoice], key: str = "") -> Series:
    """Return the series with a key, or the only one.

    Raises
    ------
    ReadError
        When there is no such series, or there are several to choose from.
    """
    if key:
        for one in choices:
            if one.key == key:
                return one.series
        raise ReadError(f"{folder}: the chosen DICOM series is no longer there; choose again")
    if len(choices) > 1:
        titles = some((one.series.title for one in choices), most=5)
        raise ReadError(
            f"{folder}: {len(choices)} DICOM image series: {titles}; give the folder of one, "
            "or convert all with itk_convert dicom"
        )
    return choices[0].series
