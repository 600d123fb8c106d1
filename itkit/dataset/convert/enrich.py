"""Add facts about cases (splits, modalities, points) from a release's further files or from its numbering."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from itkit.core.bounded import read_bounded, read_table_text
from itkit.core.errors import LayoutError
from itkit.core.files import split_extension
from itkit.core.text import some
from itkit.dataset.convert.find import walk_files
from itkit.dataset.convert.spec import Finding, FoundCase


def find_file(source: Path, name: str) -> Path | None:
    """Return the file of this name from anywhere in the release; ``None`` if there is none."""
    if (source / name).is_file():
        return source / name
    return next((source / path for path in walk_files(source) if path.rsplit("/", 1)[-1] == name), None)


def read_table(path: Path, *, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file as text by column; a byte order mark is ignored.

    Raises
    ------
    LayoutError
        When the file can't be read.
    """
    try:
        text = read_table_text(path)
        for row in csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter):
            yield {str(name).strip(): (value or "").strip() for name, value in row.items() if isinstance(value, str)}
    except (OSError, ValueError, csv.Error) as error:
        raise LayoutError(f"{path}: can't be read ({error})") from error


def split_by_label(source: Path, finding: Finding) -> Finding:
    """Put cases with a label into the split ``train``, and those without into ``unlabeled``."""
    del source
    return finding.with_cases(lambda case: replace(case, split="train" if case.has_label else "unlabeled"))


def _number(case: FoundCase) -> int:
    digits = re.findall(r"\d+", case.case_id)
    return int(digits[-1]) if digits else -1


@dataclass(frozen=True)
class SplitByNumber:
    """Splits given by ranges of the number in the case id, each ``(first, last, name)``."""

    ranges: tuple[tuple[int, int, str], ...]

    def __call__(self, source: Path, finding: Finding) -> Finding:
        """Give every case its split."""
        del source
        return finding.with_cases(lambda case: replace(case, split=self._split(_number(case))))

    def _split(self, number: int) -> str:
        return next((name for first, last, name in self.ranges if first <= number <= last), "")


@dataclass(frozen=True)
class ModalityByNumber:
    """Modality given by the number in the case id: the first modality up to ``last``, then the second."""

    last: int
    first_modality: str
    second_modality: str

    def __call__(self, source: Path, finding: Finding) -> Finding:
        """Add the modality to every case."""
        del source

        def one(case: FoundCase) -> FoundCase:
            name = self.first_modality if _number(case) <= self.last else self.second_modality
            return replace(case, facts={**case.facts, "modality": name})

        return finding.with_cases(one)


@dataclass(frozen=True)
class SplitBlocks:
    """Splits from a text file with blocks: a line with the block's name, then one line per case."""

    file: str
    blocks: Mapping[str, str]

    def __call__(self, source: Path, finding: Finding) -> Finding:
        """Give every case its split."""
        path = find_file(source, self.file)
        if path is None:
            return replace(finding, notes=(*finding.notes, f"{self.file} is not there: no splits"))
        members: dict[str, str] = {}
        block = ""
        for line in _text_of(path).split():
            name = line.rstrip(":")
            if name in self.blocks:
                block = self.blocks[name]
            else:
                members[(split_extension(name) or (name, ""))[0]] = block
        return finding.with_cases(lambda case: replace(case, split=members.get(case.case_id, case.split)))


def _text_of(path: Path) -> str:
    try:
        return read_bounded(path).decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        raise LayoutError(f"{path}: can't be read ({error})") from error


@dataclass(frozen=True)
class SplitFromTable:
    """Splits, and other facts about cases, from columns of a table."""

    file: str
    case: str
    split: str
    delimiter: str = ","
    names: Mapping[str, str] | None = None

    def __call__(self, source: Path, finding: Finding) -> Finding:
        """Give every case its split."""
        path = find_file(source, self.file)
        if path is None:
            return replace(finding, notes=(*finding.notes, f"{self.file} is not there: no splits"))
        found = {row.get(self.case, ""): row.get(self.split, "") for row in read_table(path, delimiter=self.delimiter)}
        names = self.names or {}

        def one(case: FoundCase) -> FoundCase:
            said = found.get(case.case_id, case.split)
            return replace(case, split=names.get(said, said))

        return finding.with_cases(one)


@dataclass(frozen=True)
class PointsFromCsv:
    """Points of each case from a table, in physical coordinates (LPS, mm)."""

    file: str
    case: str
    point: Sequence[str]
    more: Sequence[str] = ()

    def __call__(self, source: Path, finding: Finding) -> Finding:
        """Add the points to every case."""
        path = find_file(source, self.file)
        if path is None:
            return replace(finding, notes=(*finding.notes, f"{self.file} is not there: no points"))
        points: dict[str, list[dict[str, Any]]] = {}
        broken: list[str] = []
        for row in read_table(path):
            try:
                entry: dict[str, Any] = {"point_xyz": [float(row[name]) for name in self.point]}
                entry |= {name: float(row[name]) for name in self.more}
            except (KeyError, ValueError):
                broken.append(row.get(self.case, "?"))
                continue
            points.setdefault(row[self.case], []).append(entry)
        known = {case.case_id for case in finding.cases}
        strange = sorted(points.keys() - known)
        notes = list(finding.notes)
        if broken:
            notes.append(f"{self.file}: {len(broken)} rows without numbers left out: {some(broken)}")
        if strange:
            notes.append(f"{self.file}: points of {len(strange)} scans that are not in the source")
        finding = replace(finding, notes=tuple(notes))
        return finding.with_cases(
            lambda case: replace(case, facts={**case.facts, "points": points.get(case.case_id, [])})
        )
