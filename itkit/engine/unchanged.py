"""Tell at a glance what to do with most cases of a large run: those that stand as they were made, and new ones.

A case is unchanged when the stamps of all its files are, letter by letter, what its dense manifest line says. In any
doubt, `itkit.engine.decisions` looks at the whole record.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from itkit.core.files import split_extension
from itkit.core.operation import Job, Jobs, Record
from itkit.engine.dense import status_text
from itkit.engine.options import RunOptions
from itkit.engine.places import placed, places_of
from itkit.engine.prints import Prints
from itkit.engine.records import Records
from itkit.engine.shape import PlainLines, Shape

Others = Callable[[str, str], Mapping[str, Sequence[str]]]
"""Returns the volume files of a folder that have another extension than the given one."""


class _Output(NamedTuple):
    """What stands before and after a case's id in the absolute path of a file that it makes."""

    before: str
    ends: str


class Glance:
    """Looks at the files of cases, without a path object, a job or a record for each.

    Parameters
    ----------
    jobs
        The jobs, which have the same targets and depend on files alone.
    before
        The newest finished record of each case.
    key
        Digest of the parameters.
    at
        The destination's place.
    prints
        Tells where the targets lie.
    others
        Finds files that take part in no run, but have the id of a case.
    prints_later
        Whether who reads a case notes what it is made from, so that nobody has to before.
    """

    def __init__(
        self, jobs: Jobs, before: Records, key: str, at: str, prints: Prints, others: Others, *, prints_later: bool
    ) -> None:
        assert jobs.reads is not None
        assert jobs.targets is not None
        self._reads, self._before, self._key, self._others = jobs.reads, before, key, others
        self._lines = PlainLines(before)
        self._at = at
        self._folders = prints.folders(jobs.targets)
        self._expected = places_of(jobs.targets)
        self._made: dict[Shape, Sequence[_Output] | None] = {}
        self._prints_later = prints_later

    def action(self, case: str) -> Literal["run", "skipped"] | None:
        """Return what to do with a case; ``None`` if a closer look must tell."""
        if case in self._before:
            return "skipped" if self._is_unchanged(case) else None
        return "run" if self._prints_later and self._is_new(case) else None

    def _is_new(self, case: str) -> bool:
        """Whether nothing stands where the files of a case will, nor beside it under the same name."""
        return not any(os.path.lexists(path) or self._has_namesake(path) for path in self._paths(case))

    def _paths(self, case: str) -> list[str]:
        return [folder + target.name(case) for folder, target in self._expected]

    def _has_namesake(self, path: str) -> bool:
        folder, _, name = path.rpartition(os.sep)
        parts = split_extension(name)
        return parts is None or bool(self._others(folder, parts[1]))

    def _is_unchanged(self, case: str) -> bool:
        line = self._lines.get(case)
        if line is None or line.key != self._key:
            return False
        made = self._made_by(line.shape)
        read = self._reads(case)
        if made is None or len(read) != len(line.inputs):
            return False
        base = case.rpartition("/")[2]
        try:
            for (name, ends), stamp in zip(line.shape.inputs, line.inputs, strict=True):
                path = read[name]
                if not path.endswith(f"{os.sep}{base}{ends}") or status_text(os.stat(path)) != stamp:  # noqa: PTH116
                    return False
            for output, stamp in zip(made, line.outputs, strict=True):
                path = f"{output.before}{case}{output.ends}"
                if status_text(os.stat(path)) != stamp:  # noqa: PTH116 - called for thousands of files
                    return False
        except (OSError, ValueError, KeyError):
            return False
        return not any(map(self._has_namesake, self._paths(case)))

    def _made_by(self, shape: Shape) -> Sequence[_Output] | None:
        """Return the places of what a case has made; ``None`` unless they are those that it would have now."""
        if shape not in self._made:
            found = [_Output(placed(f"{item['in']}_", self._at)[:-1], item["ends"]) for item in shape.outputs]
            expected = {_Output(folder, target.suffix) for folder, target in self._expected}
            is_same = shape.folders == self._folders and {*found} == expected
            self._made[shape] = found if is_same and os.sep == "/" else None
        return self._made[shape]


def glance_at(
    jobs: Sequence[Job],
    before: Mapping[str, Record],
    key: str,
    at: str,
    options: RunOptions,
    prints: Prints,
    others: Others,
) -> Glance | None:
    """Return who can tell of most cases at a glance; ``None`` where none is plain."""
    if options.fingerprint != "stat" or options.existing == "redo":
        return None
    if not (isinstance(jobs, Jobs) and isinstance(before, Records) and jobs.reads is not None and jobs.targets):
        return None
    return Glance(jobs, before, key, at, prints, others, prints_later=not options.uses_dask)
