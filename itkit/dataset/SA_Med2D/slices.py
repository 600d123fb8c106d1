"""Convert SA-Med2D-20M: the index is streamed, a job is a thousand of its members, no list is kept in memory."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from itkit.core.bounded import NotRegular, open_regular
from itkit.core.errors import CaseError, LabelError, LayoutError, ReadError
from itkit.core.files import is_inner_name
from itkit.core.geometry import Geometry
from itkit.core.operation import Context, Outcome
from itkit.core.text import counted, some
from itkit.core.volume import Case, Volume
from itkit.dataset.convert.engine import on_grid
from itkit.dataset.convert.labels import Selection, merge_masks, select
from itkit.dataset.convert.params import ConvertDatasetParams
from itkit.dataset.convert.spec import DatasetSpec, Finding, FoundCase
from itkit.dataset.convert.stream import Member, stream_members
from itkit.io.formats.gate import require_room
from itkit.io.formats.header_model import MOST_INFLATED, product
from itkit.io.formats.itk_child import read_array
from itkit.io.json_files import read_json
from itkit.process.common import converted

INDEX = "SAMed2D_v1.json"
CLASSES = "SAMed2D_v1_class_mapping_id.json"
PART = 1000
"""Number of index members in one job."""
_PNG_SIZE = struct.Struct(">16x2I")
"""Width and height, at the beginning of every PNG."""
_MOST_PNG_BYTES = 8
"""Bytes of a pixel: four values of two bytes."""
_MASK = re.compile(r".*--(?P<class_id>\d{4})_(?P<instance>\d{3})\.png", re.IGNORECASE)
_DOUBTFUL = {
    "ichallenge_adam_task2": "its masks are said to be inverted",
    "Brain_PTM": "its images are said to be binary",
}


@dataclass(frozen=True)
class Part:
    """Some members of the index: their position in it, and the output values of their sources' classes."""

    index: Path
    begin: int
    end: int
    only: tuple[str, ...]
    selections: Mapping[str, Selection]


def find(spec: DatasetSpec, source: Path, params: ConvertDatasetParams) -> Finding:
    """Cut the index into parts; with ``--only``, parts without a match are left out.

    Raises
    ------
    LayoutError
        When the index or the class table is missing or broken.
    """
    del spec
    index, classes = find_file_at(source, INDEX), find_file_at(source, CLASSES)
    table = read_json(classes)
    try:
        tables = {
            str(name): {int(number) + 1: str(label) for label, number in labels.items()}
            for name, labels in table.items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise LayoutError(f"{classes}: not understood ({error})") from error
    choose = partial(select, labels=params.labels, merge=params.merge, renumber=params.renumber, is_complete=False)
    cases: list[FoundCase] = []
    sources: set[str] = set()
    count = 0
    listed = Names()
    begin = end = 0
    used: set[str] = set()

    def part() -> FoundCase:
        suffix = f"@{'+'.join(params.only)}" if params.only else ""
        payload = Part(index, begin, end, params.only, {name: choose(tables.get(name, {})) for name in sorted(used)})
        name = re.sub(r"[^A-Za-z0-9@+*.-]", "-", f"part-{len(cases):06d}{suffix}")
        return FoundCase(name, (index,), facts={"has_label": True, "bytes": [begin, end]}, payload=payload)

    try:
        for number, member in enumerate(stream_members(index)):
            if number % PART == 0 and number and used:
                cases.append(part())
                used = set()
            listed.add(member.key)
            if not _wanted(member, params.only):
                continue
            begin, end = (begin if used else member.begin), member.end
            used.add(source_of(member.key))
            sources |= used
            count += 1
    except ReadError as error:
        raise LayoutError(str(error)) from error
    if used:
        cases.append(part())
    notes = [f"{name}: {why}; converted as it is" for name, why in _DOUBTFUL.items() if name in sources]
    by_source = {
        name: {str(value): label for value, label in sorted(tables.get(name, {}).items())} for name in sorted(sources)
    }
    about = {"labels_by_source": by_source, "spacing_note": "2-D images without spacing: one-slice volumes, 1 mm"}
    notes += _not_listed(index, listed)
    notes.insert(0, f"{count} images in {len(cases)} jobs")
    return Finding(tuple(cases), notes=tuple(notes), about={"": about})


@dataclass
class Names:
    """Count and order-independent sum of names, so that millions of names can be compared without keeping them."""

    count: int = 0
    total: int = 0

    def add(self, name: str) -> None:
        """Add a name to the count and the sum."""
        self.count += 1
        self.total += crc32(name.encode(errors="surrogateescape"))


def _not_listed(index: Path, listed: Names) -> list[str]:
    """Return a note about images that the index does not list; names are kept only if folder and index differ."""
    folder = index.parent / "images"
    if not folder.is_dir():
        return []
    there = Names()
    for name in _pngs(folder):
        there.add(name)
    if there == listed:
        return []
    known = {member.key for member in stream_members(index)}
    strange = sorted(name for name in _pngs(folder) if name not in known)
    return [f"{INDEX} does not list {counted(strange, 'image')}, left out: {some(strange)}"] if strange else []


def _pngs(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.lower().endswith(".png") and not entry.name.startswith("."):
                yield f"{folder.name}/{entry.name}"


def find_file_at(source: Path, name: str) -> Path:
    """Return a file in the source or one folder below; the folders of images are not listed.

    Raises
    ------
    LayoutError
        When the file is missing.
    """
    places = [source / name, *sorted(source.glob(f"*/{name}"))]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise LayoutError(f"{source}: no {name} in it or one folder below")
    return found


def case_of(key: str) -> str:
    """Return the case id of an image.

    Examples
    --------
    >>> case_of("images/mr_00--ACDC--patient001--x_0006.png"), source_of("images/mr_00--ACDC--patient001--x_0006.png")
    ('mr_00--ACDC--patient001--x_0006', 'ACDC')
    """
    return key.rsplit("/", 1)[-1].rsplit(".", 1)[0]


def source_of(key: str) -> str:
    """Return the source dataset of an image; empty if its name does not state one."""
    parts = case_of(key).split("--")
    return parts[1] if len(parts) > 2 else ""


def _wanted(member: Member, only: tuple[str, ...]) -> bool:
    return not only or any(fnmatchcase(case_of(member.key), pattern) for pattern in only)


def convert_part(spec: DatasetSpec, case: Case, params: ConvertDatasetParams, context: Context) -> Outcome:
    """Convert the images of a part one by one; an image that fails is left out and named."""
    part: Part = case.details[1].payload
    members: dict[str, Any] = {}
    failed: dict[str, str] = {}
    facts: dict[str, Any] = {"members": members, "failed": failed, "overlap_voxels": 0}

    def volumes() -> Iterator[Case]:
        for member in stream_members(part.index, start=part.begin, stop=part.end):
            if not _wanted(member, part.only):
                continue
            try:
                made, said = _convert(spec, member, part, params, context)
            except CaseError as error:
                failed[case_of(member.key)] = str(error)
                continue
            members[made.id] = said
            facts["overlap_voxels"] += said.get("overlap_voxels", 0)
            yield made

    return Outcome(volumes(), facts)


def _convert(
    spec: DatasetSpec, member: Member, part: Part, params: ConvertDatasetParams, context: Context
) -> tuple[Case, dict[str, Any]]:
    root, name = part.index.parent, case_of(member.key)
    array = read_png(root / _inner(member.key), context)
    size_zyx = (1, array.shape[1], array.shape[2])
    grid = Geometry(size_zyx, (1.0, 1.0, 1.0))
    if array.ndim == 4 and all(np.array_equal(array[..., 0], array[..., c]) for c in range(1, array.shape[3])):
        array = array[..., 0]
    selection = part.selections[source_of(member.key)]
    instances: list[list[int]] = []

    def masks() -> Iterator[tuple[int, NDArray[Any]]]:
        for value, instance, path in _masks(member, root):
            new = value if selection.mapping is None else selection.mapping.get(value, 0)
            mask = read_png(path, context)
            mask = mask.max(axis=-1) if mask.ndim == 4 else mask
            if mask.shape != size_zyx:
                raise LabelError(f"{path.name}: {mask.shape[1:]} pixels YX, the image has {size_zyx[1:]}")
            instances.append([value, instance, int(np.count_nonzero(mask))])
            if new:
                yield new, mask

    values = [value for value, _, _ in _masks(member, root)]
    if selection.mapping is not None:
        values = [selection.mapping[value] for value in values if value in selection.mapping]
    merged = merge_masks(masks(), grid, values or [0], spec.overlap)
    new_grid = params.target(grid)
    image = converted(on_grid(Volume(array, grid), new_grid, params, context), params)
    label = on_grid(merged.label, new_grid, params, context)
    facts: dict[str, Any] = {"source": source_of(member.key), "modality": name.split("--")[0], "has_label": True}
    facts["instances"] = instances
    if merged.overlap_voxels:
        facts["overlap_voxels"] = merged.overlap_voxels
    return Case(name, {"image": image, "label": label}), facts


def _masks(member: Member, root: Path) -> list[tuple[int, int, Path]]:
    """Return value (class id + 1), instance and file of each mask, in the order of painting.

    Raises
    ------
    LabelError
        When the name of a mask does not state its class.
    """
    found = []
    for name in member.value:
        match = _MASK.fullmatch(str(name))
        if match is None:
            raise LabelError(f"{name}: expected a mask called <image>--CCCC_III.png")
        found.append((int(match["class_id"]) + 1, int(match["instance"]), root / _inner(str(name))))
    return sorted(found)


def _inner(name: str) -> str:
    """Return a name of the index, if it lies in the release."""
    if not is_inner_name(name):
        raise ReadError(f"{INDEX}: {name!r} lies outside the release; it is refused")
    return name


def read_png(path: Path, context: Context) -> NDArray[Any]:
    """Read a PNG as a one-slice volume: ``(1, Y, X)``, or ``(1, Y, X, C)`` for colours.

    Raises
    ------
    ReadError
        When the file can't be read.
    """
    try:
        with open_regular(path) as file:
            head = file.read(_PNG_SIZE.size)
            length = os.fstat(file.fileno()).st_size
    except (OSError, NotRegular) as error:
        reason = getattr(error, "strerror", None) or error
        raise ReadError(f"{path.name}: can't be opened ({reason})") from error
    if len(head) < _PNG_SIZE.size or not head.startswith(b"\x89PNG"):
        raise ReadError(f"{path.name}: not readable as an image (no PNG)")
    pixels = product(_PNG_SIZE.unpack(head))
    require_room(path, pixels // (8 * MOST_INFLATED), length)
    array = read_array(path, _MOST_PNG_BYTES * pixels, "PNGImageIO", threads=context.threads)
    return array[None]
