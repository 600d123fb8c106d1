"""Files that say which cases train, validate and test: those of ``itk_split``, of nnU-Net, and simple ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from itkit.core.bounded import parse_json, read_bounded
from itkit.core.errors import LayoutError

Parts = Mapping[str, tuple[str, ...]]
"""Cases by part: ``train``, ``val``, ``test``."""


@dataclass(frozen=True)
class Splits:
    """Which cases belong to which part, in each fold.

    Parameters
    ----------
    folds
        The parts of each fold.
    groups
        Group of each case, e.g. its patient, as far as the file names it.
    """

    folds: tuple[Parts, ...]
    groups: Mapping[str, str] = field(default_factory=dict)


def read_splits(path: Path) -> Splits:
    """Read a file of splits.

    Parameters
    ----------
    path
        ``splits.json`` of ``itk_split``: ``{"folds": [{"train": [case, …], "val": […]}, …], "test": […], "groups":
        {group: [case, …]}}``; ``splits_final.json`` of nnU-Net: the list of folds alone; or one fold, ``{"train": […],
        …}``.

    Raises
    ------
    LayoutError
        When it can't be read, or has another form.
    """
    try:
        values: Any = parse_json(read_bounded(path))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise LayoutError(f"{path}: can't be read ({reason})") from error
    try:
        return _splits_of(values)
    except (TypeError, AttributeError) as error:
        raise LayoutError(
            f'{path}: expected folds such as {{"train": [case, ...], "val": [...]}}, as itk_split writes them'
        ) from error


def _splits_of(values: Any) -> Splits:
    if isinstance(values, Mapping) and "folds" in values:
        test = {"test": _names(values["test"])} if "test" in values else {}
        groups = values.get("groups") or {}
        members = {case: str(group) for group, cases in groups.items() for case in _names(cases)}
        return Splits(tuple({**_parts(fold), **test} for fold in values["folds"]), members)
    return Splits(tuple(map(_parts, values if isinstance(values, list) else [values])))


def _parts(fold: Any) -> Parts:
    return {str(name): _names(cases) for name, cases in fold.items()}


def _names(cases: Any) -> tuple[str, ...]:
    if not isinstance(cases, list):
        raise TypeError("expected a list of cases")
    return tuple(map(str, cases))
