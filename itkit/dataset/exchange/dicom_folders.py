"""Cases of `itk_collect` whose images are folders of DICOM files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from itkit.core.errors import GeometryMismatchError, LabelError
from itkit.core.grids import grid_difference
from itkit.core.text import key_of, some
from itkit.core.volume import Volume
from itkit.dataset.convert.labels import Selection, select
from itkit.dataset.convert.load import load_files, merge_parts, read_label
from itkit.dataset.convert.spec import DatasetSpec, FoundCase, Loaded
from itkit.process.common import stamp_of

if TYPE_CHECKING:
    from itkit.core.operation import Context
    from itkit.dataset.convert.params import ConvertDatasetParams
    from itkit.process.dicom_cases import DicomCase


def dicom_case(case: FoundCase) -> FoundCase:
    """Return a case with the series of its folders, one in each; with two or none it fails by name.

    SEG and RTSTRUCT files in the folder become its label, if it has no other.
    """
    from itkit.process.dicom_cases import find_dicom_cases

    series: list[DicomCase] = []
    for folder in case.images:
        found, refused = find_dicom_cases(folder, labels=case.label is None and not case.parts)
        if len(found) != 1:
            why = f": {some(item.reason for item in refused)}" if refused else ""
            problem = f"{folder} holds {len(found)} DICOM series that are volumes, expected one{why}"
            return replace(case, images=(), problem=problem)
        series.append(found[0])
    fault = next((one.fault for one in series if one.fault), "")
    files = tuple(path for one in series for path in one.files)
    return replace(
        case,
        images=tuple(one.series.files[0] for one in series),
        payload=tuple(series),
        facts={**case.facts, "has_label": case.has_label or any(one.annotations for one in series)},
        stamp=stamp_of(files),
        more_files=files,
        problem=fault,
    )


def load_collected(spec: DatasetSpec, found: FoundCase, params: ConvertDatasetParams, context: Context) -> Loaded:
    """Read a case of volume files, or of DICOM series.

    Raises
    ------
    CaseError
        When a file can't be read, grids differ, or a label map holds invalid values.
    """
    if found.payload is None:
        return load_files(spec, found, params, context)
    from itkit.io.dcm_toolkit import read_series
    from itkit.process.dicom_cases import kinds_of, read_annotations

    series: tuple[DicomCase, ...] = found.payload
    grid = series[0].require_grid()
    for one, name in zip(series[1:], spec.channels[1:], strict=True):
        reason = grid_difference(grid, one.require_grid(), spec.channels[0], name)
        if reason:
            raise GeometryMismatchError(f"{found.case_id}: {reason}; nothing was resampled")
    channels: dict[str, Callable[[], Volume]] = {
        name: partial(read_series, one.series) for name, one in zip(spec.channels, series, strict=True)
    }
    warnings = [note for one in series for note in one.notes]
    selection = select(spec.labels) if found.selection is None else found.selection
    facts: dict[str, Any] = {}
    label: Volume | None = None
    if found.label is not None:
        label, more = read_label(found.label, grid, spec.labels, selection, context)
        warnings += more
    elif found.parts:
        label, facts, more = merge_parts(found, grid, selection, spec.overlap, context)
        warnings += more
    else:
        for one in series:
            read = read_annotations(one, spec.overlap)
            if read is None:
                continue
            if label is not None:
                raise LabelError(f"{found.case_id}: several channels have annotations; keep those of one")
            own = _by_name(read.names, spec.labels)
            label, selection = own.apply(read.volume) if spec.overlap != "multi" else read.volume, own
            facts = {"annotation": kinds_of(one), "labels": {str(value): name for value, name in own.names.items()}}
            if read.overlaps:
                facts |= {"overlap_voxels": read.overlaps, "overlap_rule": spec.overlap}
                warnings.append(f"{read.overlaps} voxels are in several regions; rule: {spec.overlap}")
            lost = (
                [] if own.mapping is None else [name for value, name in read.names.items() if value not in own.mapping]
            )
            if lost:
                warnings.append(f"regions that --labels does not name became background: {some(lost)}")
    return Loaded(grid, channels, label, selection.names, facts, tuple(warnings))


def _by_name(names: Mapping[int, str], table: Mapping[int, str]) -> Selection:
    """Return the values that regions get: those of the classes of their names; without a table their own."""
    known = {key_of(name): value for value, name in table.items() if value}
    if not known:
        return Selection(names)
    mapping = {number: known[key_of(name)] for number, name in names.items() if key_of(name) in known}
    return Selection({value: table[value] for value in mapping.values()}, mapping)
