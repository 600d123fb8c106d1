"""``itk_convert dicom-seg``, ``rtstruct`` and ``dicom-series``: label maps and volumes back to DICOM."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from itkit.core.dataset_meta import DatasetMeta
from itkit.core.errors import GeometryMismatchError, IrregularSeriesError
from itkit.core.extras import require
from itkit.core.files import DATASET_META, Compression
from itkit.core.grids import grid_difference
from itkit.core.operation import (
    Batch,
    Collected,
    Context,
    InputFile,
    Job,
    Outcome,
    Place,
    Plan,
    Report,
    Target,
    Written,
)
from itkit.core.text import file_part
from itkit.core.volume import Case, Volume
from itkit.dataset.exchange.bids import names_of
from itkit.dataset.exchange.direction import Direction, finished
from itkit.dataset.exchange.params import ConvertParams
from itkit.io.dcm_toolkit import Series, find_series
from itkit.io.dicom.derived import Template, digest_of, own_uid, save, template_of
from itkit.io.dicom.header import pydicom_module
from itkit.io.dicom.write import series_datasets, write_slice
from itkit.io.dicom.write_rtstruct import rtstruct_dataset
from itkit.io.dicom.write_seg import seg_dataset
from itkit.io.layouts import IMAGE, LABEL, find_description, find_images, find_volumes
from itkit.process.common import sidecar, stamp_of
from itkit.process.geometry import orient
from itkit.process.plans import inputs_of

_OBJECT = "object"
_BY_FOLDER = {"ct": "CT", "pet": "PT"}
_CODES = {"CT": "CT", "MR": "MR", "MRI": "MR", "PT": "PT", "PET": "PT"}
Make = Callable[..., Any]


class _SeriesFolder:
    """The series of a folder: a sub-folder for each case, or one series for all cases."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._all: tuple[Series, ...] | None = None

    def of(self, case_id: str) -> tuple[tuple[Series, ...], str]:
        """Return the series that may be that of a case, or why there is none."""
        own = self.folder / case_id
        if own.is_dir():
            found = _images_in(own)
            return found, "" if found else f"no DICOM image series in {own}"
        if self._all is None:
            self._all = _images_in(self.folder)
        if len(self._all) == 1:
            return self._all, ""
        return (), f"no sub-folder {case_id} in {self.folder}, and {len(self._all)} DICOM image series there, not one"


def _images_in(folder: Path) -> tuple[Series, ...]:
    return tuple(series for series in find_series(folder)[0] if series.kind == "image")


@dataclass(frozen=True)
class _Details:
    """The series that may be that of a case, the names of the classes, and the channels of an image."""

    series: tuple[Series, ...]
    names: Mapping[int, str]
    channels: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    """DICOM's code of each channel's modality as ``dataset.json`` has it; empty if it says nothing."""


def plan_labels(params: ConvertParams) -> Plan:
    """List the label maps of a folder, or of a dataset, each with the series that it belongs to.

    Raises
    ------
    LayoutError
        When there is none.
    MissingExtraError
        When the extra ``dicom`` is not installed.
    """
    assert params.series is not None
    pydicom_module()
    if params.mode == "dicom-seg":
        require("highdicom", extra="dicom", why="Writing DICOM SEG")
    folder = params.source / LABEL if (params.source / LABEL).is_dir() else params.source
    described = find_description(folder)
    names = {} if described.meta is None else described.meta.labels
    notes = list(described.notes)
    if not names:
        notes.append(
            f"no {DATASET_META} names the classes: they are called after their values; itk_describe names them"
        )
    series = _SeriesFolder(params.series)
    jobs = []
    for case, path in find_volumes(folder, recursive=True).items():
        own, problem = series.of(case)
        jobs.append(
            Job(
                case,
                {LABEL: InputFile(path, "label")},
                {_OBJECT: Target(params.dest, ".dcm", "label")},
                details=_Details(own, names),
                stamp=f"{sorted(names.items())} {stamp_of(_files_of(own))}",
                more_files=_files_of(own),
                problem=problem,
            )
        )
    return Plan(tuple(jobs), (), params.dest, tuple(notes))


def convert_labels(make: Make, case: Case, params: ConvertParams, context: Context) -> Outcome:
    """Write one label map as one DICOM object, on the grid of its series."""
    details: _Details = case.details
    template, label = _on_grid(case, details.series, context)
    dataset = make(label, details.names, template, title=case.id.rsplit("/", 1)[-1])

    def write(place: Place, compression: Compression) -> list[Written]:
        del compression
        save(dataset, place(_OBJECT, case.id), implicit=params.mode == "rtstruct")
        return [Written(_OBJECT, case.id)]

    return Outcome(batches=(write,), facts={"classes": len(np.unique(label.array_zyx)) - 1})


def _on_grid(case: Case, series: tuple[Series, ...], context: Context) -> tuple[Template, Volume]:
    """Return the series that the label map belongs to, by its grid, and the map with its axes as those of the series.

    Raises
    ------
    GeometryMismatchError
        When the voxels are those of no series, or of several.
    IrregularSeriesError
        When the only series is not a regular volume.
    """
    found, reasons = [], []
    for one in series:
        try:
            template = template_of(one)
        except IrregularSeriesError:
            if len(series) == 1:
                raise
            continue
        label = case.volumes[LABEL]
        if label.geometry.orientation != template.geometry.orientation:
            label = orient(label, template.geometry.orientation, threads=context.threads)
        reason = grid_difference(template.geometry, label.geometry, "the series", "the label")
        if reason:
            reasons.append(reason)
        else:
            found.append((template, label.with_array(label.array_zyx, template.geometry)))
    if len(found) == 1:
        return found[0]
    if found:
        raise GeometryMismatchError(f"{case.id}: {len(found)} series have the grid of the label; keep the right one")
    none = f"none of {len(series)} series has the grid of the label; " if len(series) > 1 else ""
    raise GeometryMismatchError(
        f"{case.id}: {none}{'; '.join(reasons)}; put the label on the grid of the series with "
        "itk_resample --target-folder"
    )


def _files_of(series: Iterable[Series]) -> tuple[Path, ...]:
    return tuple(path for one in series for path in one.files)


def plan_series(params: ConvertParams) -> Plan:
    """List the images of a folder, or of a dataset.

    Raises
    ------
    LayoutError
        When there is none.
    MissingExtraError
        When the extra ``dicom`` is not installed.
    """
    pydicom_module()
    folder = params.source / IMAGE if (params.source / IMAGE).is_dir() else params.source
    images = find_images(folder, recursive=True)
    series = _SeriesFolder(params.series) if params.series is not None else None
    meta = images.described.meta
    jobs = []
    for case, files in images.cases.items():
        own, problem = series.of(case) if series is not None else ((), "")
        if len(own) > 1:
            problem = f"{len(own)} DICOM image series in {params.series}/{case}, not one"
        is_vector = images.components != (1,) and meta is not None and list(files) == [IMAGE]
        channels = tuple(map(file_part, meta.channels)) if is_vector and meta is not None else tuple(files)
        modalities = tuple(modality_code(name.removeprefix(f"{IMAGE}_"), meta, case) for name in channels)
        jobs.append(
            Job(
                case,
                inputs_of(files, images),
                {name: Target(params.dest, ".dcm", "image") for name in channels},
                (),
                _Details(own, {}, channels, modalities),
                f"{stamp_of(_files_of(own))} {' '.join(modalities)}".rstrip(),
                _files_of(own),
                images.problems.get(case, "") or problem,
            )
        )
    return Plan(tuple(jobs), images.extras, params.dest, images.described.notes)


def modality_code(channel: str, meta: DatasetMeta | None, case_id: str = "") -> str:
    """Return DICOM's code of a channel's modality: what its name says, else what is said of the case or the dataset.

    Examples
    --------
    >>> [modality_code(name, DatasetMeta({"modality": ["MR"]})) for name in ("image", "FLAIR", "PET")]
    ['MR', 'MR', 'PT']
    >>> modality_code("0001", DatasetMeta({"channel_names": {"0": "PET", "1": "CT"}})), modality_code("image", None)
    ('CT', '')
    """
    meta = meta or DatasetMeta({})
    name = names_of([dict(zip(meta.endings, meta.channels, strict=True)).get(channel, channel)], ())[0]
    if name.folder in _BY_FOLDER or name.is_known:
        return _BY_FOLDER.get(name.folder, "MR")
    told = meta.cases.get(case_id, {}).get("modality", meta.modality)
    return _CODES.get(str(told).upper(), "")


def convert_series(case: Case, params: ConvertParams, context: Context) -> Outcome:
    """Write each channel of a case as a series."""
    details: _Details = case.details
    template = next(iter(details.series), None)
    warnings: list[str] = []
    batches: list[Batch] = []
    for number, (name, volume) in enumerate(_channels(case, details), 1):
        volume = finished(volume, params=params, context=context)
        folder = case.id if len(details.channels) == 1 else f"{case.id}/{name.removeprefix(f'{IMAGE}_')}"
        warnings += _loss(volume, name)
        if template is None and "Modality" not in volume.metadata:
            code = details.modalities[number - 1]
            volume = replace(volume, metadata={**volume.metadata, **({"Modality": code} if code else {})})
            warnings += [] if code else [_unknown(name)]
        batches.append(partial(_write_series, volume, name, folder, number, template))
    return Outcome(batches=batches, warnings=warnings)


def _unknown(name: str) -> str:
    return (
        f"{name}: {DATASET_META} does not say the modality; the series is a secondary capture of the modality OT; "
        "itk_describe --modality CT says it"
    )


def _channels(case: Case, details: _Details) -> Iterator[tuple[str, Volume]]:
    for name, volume in case.volumes.items():
        if volume.array_zyx.ndim == 3:
            yield name, volume
            continue
        for number, channel in enumerate(details.channels):
            yield channel, volume.with_array(np.ascontiguousarray(volume.array_zyx[..., number]))


def _loss(volume: Volume, name: str) -> list[str]:
    """Say by how much values change, if 16 bits can't hold them."""
    array = volume.array_zyx
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all() or (
        high - low <= 65535 and (array.dtype.kind != "f" or _is_integral(volume))
    ):
        return []
    return [
        f"{name}: values were rounded to 65536 levels from {low:g} to {high:g}, by up to {(high - low) / 131070:.3g}"
    ]


def _is_integral(volume: Volume) -> bool:
    return all(bool((plane == np.rint(plane)).all()) for plane in volume.array_zyx)


def _write_series(
    volume: Volume, name: str, folder: str, number: int, template: Series | None, place: Place, compression: Compression
) -> list[Written]:
    del compression
    key = (folder, template.uid if template else "", digest_of(volume), number)
    case = folder.split("/")[0] if template is None else ""

    def uid_of(*what: object) -> str:
        is_shared = what[0] in ("StudyInstanceUID", "FrameOfReferenceUID")  # by the channels of a case
        return own_uid(case, *what) if is_shared else own_uid(*key, *what)

    written = []
    datasets = series_datasets(
        volume,
        Path(folder),
        template=template,
        description=folder,
        series_number=number if template is None else 1000 + number + (template.number or 0),
        uid_of=uid_of,
    )
    for index, dataset in enumerate(datasets, 1):
        slice_id = f"{folder}/{index:05d}"
        write_slice(dataset, place(name, slice_id))
        written.append(Written(name, slice_id))
    return written


def collect_out(params: ConvertParams, run: Collected) -> Report:
    """Return ``convert_configs.json``."""
    return Report(files=sidecar("convert_configs.json", "itk_convert", params, run))


SEG = Direction(plan_labels, partial(convert_labels, seg_dataset), collect_out)
RTSTRUCT = Direction(plan_labels, partial(convert_labels, rtstruct_dataset), collect_out)
SERIES = Direction(plan_series, convert_series, collect_out)
