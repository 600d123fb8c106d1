"""``itk_extract``: select and renumber classes of label maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Annotated, Any

from pydantic import model_validator
from typing_extensions import Self

from itkit.core.arguments import expect
from itkit.core.dataset_meta import DatasetMeta
from itkit.core.errors import ArgumentError, LayoutError
from itkit.core.fields import Formerly, Group, PathRole, Pattern, Positional, Short, Unkeyed
from itkit.core.operation import CaseInput, Collected, Context, Operation, Outcome, Plan, Report
from itkit.core.params import Params, VolumeExtension
from itkit.core.text import some
from itkit.core.volume import Case, Volume
from itkit.io.layouts import find_description, find_volumes, is_dataset, require_destination, require_folder
from itkit.io.segments import with_segments
from itkit.kernels.arrays import smallest_integer
from itkit.kernels.labels import label_counts, remap
from itkit.process.common import label_doubts, sidecar
from itkit.process.plans import carry, single_jobs


class ExtractParams(Params):
    """Select and renumber classes of label maps; unmapped voxels become 0."""

    source: Annotated[Path, PathRole("in_folder"), Positional("source"), Formerly("source_folder")]
    """Folder of label files."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("dest"), Formerly("dest_folder")]
    """Folder to write."""
    mappings: Annotated[tuple[Annotated[str, Pattern(r"^-?\d+:-?\d+$")], ...], Positional("source:target")]
    """Classes to keep and their new numbers, e.g. 3:1 7:2; negative and large numbers are allowed."""
    recursive: Annotated[bool, Short("-r"), Unkeyed()] = False
    """Search sub-folders."""
    merge: bool = False
    """Allow several source classes for one target class."""
    keep_rest: bool = False
    """Keep the values of unmapped voxels instead of setting them to 0."""
    ext: Annotated[VolumeExtension, Group("Output")] = ".mha"
    """Format of the output files."""

    @model_validator(mode="after")
    def _mapping_is_clear(self) -> Self:
        targets: list[int] = []
        sources: list[int] = []
        for text in self.mappings:
            source, target = _pair(text)
            if source in sources:
                raise ValueError(f"{text}: source class {source} is mapped twice")
            if target in targets and not self.merge:
                raise ValueError(f"{text}: target class {target} is given twice; --merge joins classes on purpose")
            sources.append(source)
            targets.append(target)
        if not self.mappings:
            raise ValueError("give at least one mapping source:target, e.g. 3:1")
        return self

    @property
    def mapping(self) -> dict[int, int]:
        """Target of each source class."""
        return dict(_pair(text) for text in self.mappings)


def _pair(text: str) -> tuple[int, int]:
    parts = text.split(":")
    try:
        source, target = (int(part) for part in parts)
    except ValueError:
        raise ValueError(f"expected source:target, two integers such as 3:1; got {text!r}") from None
    for value in (source, target):
        if not -(2**63) <= value < 2**64:
            raise ValueError(f"{text}: {value} fits no integer type")
    return source, target


def remap_labels(
    volume: Volume, mapping: Mapping[int, int], *, keep_rest: bool = False
) -> tuple[Volume, dict[int, int]]:
    """Renumber the classes of a label map.

    Parameters
    ----------
    volume
        The label map.
    mapping
        New number of each class; all others become 0.
    keep_rest
        Keep the values of unmapped classes.

    Returns
    -------
    Volume
        The new label map, in the smallest integer type that holds all its values: unsigned unless one is negative.
    dict of int to int
        Number of voxels of each source class.

    Raises
    ------
    ArgumentError
        When the volume is not a label map, or a class number is not a whole number.
    LabelError
        When no integer type holds the new numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from itkit.core.geometry import Geometry
    >>> label = Volume(np.array([[[0, 3, 3, 7]]], np.int16), Geometry((1, 1, 4), (1.0, 1.0, 1.0)), "label")
    >>> remap_labels(label, {3: 1, 7: 300})[0].array_zyx.tolist()
    [[[0, 1, 1, 300]]]
    """
    expect(volume, Volume, "remap_labels: volume", "an itkit.Volume")
    expect(mapping, Mapping, "remap_labels: mapping", "new numbers by old ones, e.g. {3: 1}")
    if volume.kind != "label":
        raise ArgumentError("remap_labels: volume: expected a label map; got an image: read it with kind='label'")
    for value in (*mapping, *mapping.values()):
        expect(value, Integral, "remap_labels: mapping", "whole numbers")
    values = [0, *mapping.values()]
    if keep_rest:
        values += [value for value in label_counts(volume.array_zyx) if value not in mapping]
    dtype = smallest_integer(min(values), max(values))
    array, counts = remap(volume.array_zyx, mapping, dtype=dtype, rest="keep" if keep_rest else 0)
    return volume.with_array(array), counts


def extract_case(case: Case, params: ExtractParams, context: Context) -> Outcome:
    """Renumber one label map."""
    del context
    warnings = label_doubts(case.volumes["label"], "give the folder of the labels")
    new, original = remap_labels(case.volumes["label"], params.mapping, keep_rest=params.keep_rest)
    extracted: dict[int, int] = {}
    for value, count in original.items():
        target = params.mapping.get(value, value if params.keep_rest else 0)
        extracted[target] = extracted.get(target, 0) + count
    extracted = dict(sorted(extracted.items()))
    new = replace(new, classes=tuple(extracted))
    had = [value for value in original if value != 0]
    is_empty = bool(had) and not any(extracted)
    if is_empty:
        warnings += (f"label is empty now: it had {some(map(str, had))}, of which no class was picked",)
    facts = {
        "original_labels": list(original),
        "extracted_labels": list(extracted),
        "mapping": {str(source): target for source, target in params.mapping.items()},
        "output_shape": list(new.geometry.size_zyx),
        "output_dtype": new.dtype.name,
        "voxels": {str(value): count for value, count in extracted.items()},
    }
    return Outcome((Case(case.id, {"label": new}),), facts, warnings)


def plan(params: ExtractParams) -> Plan:
    """List the label files of the source."""
    source, dest = require_folder(params.source), params.dest
    require_destination(dest, source)
    volumes = find_volumes(source, recursive=params.recursive)
    if not volumes and is_dataset(source):
        raise LayoutError(f"{source} holds image/ and label/; give the label folder itself: {source / 'label'}")
    described = with_segments(find_description(source), volumes)
    change = partial(DatasetMeta.relabelled, mapping=params.mapping, keep_rest=params.keep_rest)
    jobs = single_jobs(volumes, dest, params.ext, "label")
    return Plan(jobs, (), dest, described.notes, carries=carry(described, dest, change=change))


def collect(params: ExtractParams, run: Collected) -> Report:
    """Return ``extract_meta.json`` and ``extract_configs.json``; warn about source classes that are in no file."""
    files = {}
    for case, record in sorted(run.all_records.items()):
        name = next((output["path"] for output in record.outputs if "size" in output), case)
        files[name] = record.facts
    seen = {value for record in run.all_records.values() for value in record.facts.get("original_labels", ())}
    absent = [str(source) for source in params.mapping if source not in seen]
    dropped = [str(value) for value in sorted(seen - params.mapping.keys() - {0})] if not params.keep_rest else []
    lines = []
    if absent and seen:
        lines.append(f"warning: source class {', '.join(absent)} was found in no file")
    if dropped:
        lines.append(f"note: without a mapping, these classes are background now: {some(dropped, 30)}")
    return Report(
        tuple(lines),
        files={Path("extract_meta.json"): files, **sidecar("extract_configs.json", "itk_extract", params, run)},
    )


def memory(inputs: Mapping[str, CaseInput], params: ExtractParams) -> int:
    """Estimate the memory of a case: the label maps before and after."""
    del params
    return sum(3 * item.nbytes for item in inputs.values())


OPERATION: Operation[Any] = Operation(
    "itk_extract",
    ExtractParams,
    plan,
    extract_case,
    collect,
    example="itk_extract raw/label organs 3:1 7:2 --mp",
    memory=memory,
)
