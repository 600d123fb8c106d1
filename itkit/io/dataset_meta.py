"""Find and read a ``dataset.json``; its content is checked, because anybody may have written it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from itkit.core.bounded import parse_json, read_bounded
from itkit.core.dataset_meta import DatasetMeta
from itkit.core.files import DATASET_META

_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class FoundMeta:
    """The result of looking for a dataset's description.

    Parameters
    ----------
    path
        The file; ``None`` if there is none.
    meta
        Its content; ``None`` if there is no file, or it is unusable.
    problem
        Why the file is unusable; empty otherwise.
    more_notes
        What else a run should say about the description.
    """

    path: Path | None = None
    meta: DatasetMeta | None = None
    problem: str = ""
    more_notes: tuple[str, ...] = ()

    @property
    def labels(self) -> dict[int, str]:
        """Name of each label value; empty if no description lists them."""
        return {} if self.meta is None else self.meta.labels

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a run prints: a warning if the file is unusable, and the further notes."""
        unusable = (f"warning: {self.path} is not usable and was ignored: {self.problem}",) if self.problem else ()
        return (*unusable, *self.more_notes)


def find_dataset_meta(*folders: Path) -> FoundMeta:
    """Read the ``dataset.json`` of the first folder that has one."""
    for folder in folders:
        path = folder / DATASET_META
        if path.exists():
            try:
                return FoundMeta(path, read_dataset_meta(path))
            except ValueError as error:
                return FoundMeta(path, problem=str(error))
    return FoundMeta()


def read_dataset_meta(path: Path) -> DatasetMeta:
    """Read a dataset's description.

    Raises
    ------
    ValueError
        When the file can't be read, is too large, is not JSON, or has malformed parts.
    """
    try:
        data = read_bounded(path, _MOST_BYTES)
    except OSError as error:
        raise ValueError(f"it can't be read ({error.strerror or error})") from error
    values = parse_json(data, parse_constant=_refuse, parse_float=_finite)
    if not isinstance(values, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004 - the file is wrong, not an argument
    return DatasetMeta(values)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}, which is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)
