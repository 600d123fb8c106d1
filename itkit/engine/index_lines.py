"""The lines that an index of volumes has for those that runs have written, from the manifest; no header is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from itkit.core.operation import Record
from itkit.engine.dense import is_of
from itkit.engine.places import relative_path
from itkit.engine.records import Records
from itkit.engine.shape import PlainLines, Shape
from itkit.io.meta import grid_text, line_with_grid

_LEARNED = 8
"""Records whose outputs show how the names of volumes follow from those of the cases."""
_FEW = 8
"""Outputs of a case up to which its manifest line is looked at anew for each."""


class LinesOfRuns:
    """Index lines of the volumes that runs have written, by path relative to a folder.

    Parameters
    ----------
    records
        The finished cases.
    dest
        The destination of the runs.
    folder
        The folder of the index.
    """

    def __init__(self, records: Mapping[str, Record], dest: Path, folder: Path) -> None:
        self._records, self._dest, self._folder = records, dest, folder
        self._is_dest = folder == dest
        self._plain = PlainLines(records) if self._is_dest and isinstance(records, Records) else None
        self._grids: dict[tuple[Shape, int], str | None] = {}
        self._begins: set[str] = set()
        self._cases: dict[str, str] | None = None
        self._open: dict[str, Mapping[str, Mapping[str, Any]]] = {}
        for record in islice(records.values(), _LEARNED):
            self._learn(record)

    def __call__(self, relative: str, stamp: Mapping[str, int]) -> str | None:
        """Return the line of a volume; ``None`` if no case has written it as it is now."""
        for case in self._likely(relative):
            found = self._plain_line(case, relative, stamp) or self._line(case, relative, stamp)
            if found is not None:
                return found
        if self._cases is None:  # names that do not follow from those of the cases
            self._cases = {
                path: case
                for case, record in self._records.items()
                for path in map(self._path, record.outputs)
                if case not in self._likely(path)
            }
        return self._line(self._cases.get(relative, ""), relative, stamp)

    def _learn(self, record: Record) -> None:
        """Learn where names of cases begin in those of their volumes."""
        for output in record.outputs[:_LEARNED]:
            path = f"/{self._path(output)}"
            place = path.find(f"/{record.case_id}")
            if "size" in output and place >= 0:
                self._begins.add(path[1 : place + 1])

    def _likely(self, relative: str) -> Iterator[str]:
        """Yield the cases from whose names that of a volume may follow, the longest first."""
        for before in self._begins:
            if not relative.startswith(before):
                continue
            end = len(relative)
            while end > len(before):
                case = relative[len(before) : end]
                if case in self._records:
                    yield case
                end = max(relative.rfind(mark, len(before), end) for mark in "._/")

    def _path(self, output: Mapping[str, Any]) -> str:
        return str(output["path"]) if self._is_dest else relative_path(self._dest / output["path"], self._folder)

    def _plain_line(self, case: str, relative: str, stamp: Mapping[str, int]) -> str | None:
        line = None if self._plain is None or case in self._open else self._plain.get(case)
        if line is None or len(line.outputs) > _FEW:
            return None
        for number, (output, text) in enumerate(zip(line.shape.outputs, line.outputs, strict=True)):
            if f"{output['in']}{case}{output['ends']}" == relative and is_of(text, stamp):
                grid = self._grid(line.shape, number)
                return None if grid is None else line_with_grid(relative, grid, stamp)
        return None

    def _grid(self, shape: Shape, number: int) -> str | None:
        try:
            return self._grids[shape, number]
        except KeyError:
            output = shape.outputs[number]
            found = self._grids[shape, number] = grid_text(output) if "size" in output else None
            return found

    def _line(self, case: str, relative: str, stamp: Mapping[str, int]) -> str | None:
        output = self._outputs(case).get(relative)
        if output is None or any(output[name] != value for name, value in stamp.items()):
            return None
        grid = grid_text(output)
        return None if grid is None else line_with_grid(relative, grid, stamp)

    def _outputs(self, case: str) -> Mapping[str, Mapping[str, Any]]:
        """Return the volumes of a case by path; those of some cases are kept, for a case may have very many."""
        found = self._open.get(case)
        if found is None:
            record = self._records.get(case)
            outputs = () if record is None else record.outputs
            found = {self._path(output): output for output in outputs if "size" in output}
            if len(self._open) >= _LEARNED:
                del self._open[next(iter(self._open))]
            self._open[case] = found
        return found
