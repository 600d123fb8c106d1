"""Results that are kept on disk as soon as they are there, so that a run that was stopped can go on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from contests import Contest
from measure import Cost
from report import Pairs, Section

Result = TypeVar("Result", Pairs, Section)


class Kept:
    """The results of a run, by name."""

    def __init__(self, path: Path, *, go_on: bool) -> None:
        self._path = path
        self._values: dict[str, Any] = json.loads(path.read_text()) if go_on and path.exists() else {}

    def keep(self, name: str, result: Result) -> Result:
        """Keep a result, and return it."""
        values = asdict(result) if isinstance(result, Section) else _values_of(result)
        self._values[name] = values
        self._path.write_text(json.dumps(self._values))
        return result

    def pairs(self, contest: Contest) -> Pairs | None:
        """Return what was measured of a contest."""
        found = self._values.get(f"{contest.name} / {contest.peer_name}")
        if found is None:
            return None
        costs = tuple((Cost(**ours), Cost(**peer)) for ours, peer in found["costs"])
        return Pairs(contest, costs, tuple(found["peaks"]), found["agreement"])

    def section(self, name: str) -> Section | None:
        """Return a section that was made."""
        found = self._values.get(name)
        return None if found is None else Section(found["title"], tuple(found["lines"]))


def _values_of(pairs: Pairs) -> dict[str, Any]:
    costs = [[asdict(ours), asdict(peer)] for ours, peer in pairs.costs]
    return {"costs": costs, "peaks": pairs.peaks, "agreement": pairs.agreement}
