"""Names and colours of classes in 3D Slicer's segmentations, for the label table of ``dataset.json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from itkit.core.dataset_meta import DatasetMeta
from itkit.core.errors import ReadError
from itkit.core.text import some
from itkit.io.dataset_meta import FoundMeta
from itkit.io.formats.inspect import read_any_header

if TYPE_CHECKING:
    from itkit.io.formats.segments import Segment

_SUFFIXES = (".nrrd", ".nhdr")


def with_segments(described: FoundMeta, files: Mapping[str, Path]) -> FoundMeta:
    """Return a dataset's description with the names and colours of its segmentations, if it names no classes itself.

    Parameters
    ----------
    described
        What was found of ``dataset.json``.
    files
        The label files, by case. Only headers of NRRD files are read; a file that can't be read fails later, by name.
    """
    if described.problem or (described.meta is not None and described.meta.values.get("labels")):
        return described
    files = {case: path for case, path in files.items() if str(path).lower().endswith(_SUFFIXES)}
    table = SegmentTable.of(files) if files else None
    if table is None:
        return described
    if not table.names:
        return described if not table.problems else replace(described, more_notes=table.problems)
    kept = {} if described.meta is None else dict(described.meta.values)
    return replace(described, meta=DatasetMeta({**kept, **table.entries}), more_notes=table.problems)


@dataclass(frozen=True)
class SegmentTable:
    """The classes that all segmentations of a dataset agree on.

    Parameters
    ----------
    names, colours
        By label value.
    problems
        Values and names that the files do not agree on; they are left out.
    """

    names: Mapping[int, str]
    colours: Mapping[int, tuple[int, int, int]]
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, files: Mapping[str, Path]) -> SegmentTable:
        """Return the classes of some label files, by case."""
        where: dict[tuple[int, str], str] = {}
        colours: dict[int, tuple[int, int, int]] = {}
        for case, path in sorted(files.items()):
            for segment in _segments_in(path):
                if segment.value is not None:
                    where.setdefault((segment.value, segment.name), case)
                    if segment.colour is not None:
                        colours.setdefault(segment.value, segment.colour)
        doubtful = {*_several(where, by=0), *_several(where, by=1)}
        names = {value: name for value, name in sorted(where) if (value, name) not in doubtful and value != 0}
        problems: tuple[str, ...] = ()
        if doubtful:
            said = some(f"{value} is {name} in {where[value, name]}" for value, name in sorted(doubtful))
            problems = (f"warning: segments are not numbered alike: {said}; renumber them with itk_extract first",)
        return cls(names, {value: colours[value] for value in names if value in colours}, problems)

    @property
    def entries(self) -> dict[str, object]:
        """The parts of ``dataset.json``: ``labels`` and ``colours``."""
        labels = {"0": "background", **{str(value): name for value, name in self.names.items()}}
        colours = {str(value): list(colour) for value, colour in self.colours.items()}
        return {"labels": labels, **({"colours": colours} if colours else {})}


def _segments_in(path: Path) -> Iterable[Segment]:
    from itkit.io.formats.segments import segments_of

    if not str(path).lower().endswith(_SUFFIXES):
        return ()
    try:
        header = read_any_header(path)
    except ReadError:
        return ()
    return segments_of(header.metadata) if header.components == 1 else ()


def _several(pairs: Iterable[tuple[int, str]], *, by: int) -> list[tuple[int, str]]:
    """Return the pairs whose value (``by`` 0) or name (1) occurs in another pair, too."""
    listed = list(pairs)
    times: dict[object, int] = {}
    for pair in listed:
        times[pair[by]] = times.get(pair[by], 0) + 1
    return [pair for pair in listed if times[pair[by]] > 1]
