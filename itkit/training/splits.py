"""Which cases of a dataset train and which validate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from itkit.core.errors import LayoutError, ParamsError
from itkit.core.text import counted, some
from itkit.io.splits import read_splits
from itkit.process.splitting import Unit, balanced_parts


class Fold(NamedTuple):
    """Cases that train and cases that validate."""

    train: tuple[str, ...]
    val: tuple[str, ...]


def draw_fold(cases: Sequence[str], folds: int, fold: int, seed: int, groups: Mapping[str, str] | None = None) -> Fold:
    """Deal cases into parts at random, as ``itk_split --folds`` does; one part validates.

    Parameters
    ----------
    cases
        Their ids, in any order.
    folds
        Number of parts; 1: all cases train and validate.
    fold
        The part that validates, from 0 on.
    seed
        Decides the order; with the same cases and seed, the parts are the same.
    groups
        Group of each case, e.g. its patient; cases of one group stay together. Cases without one are alone.

    Raises
    ------
    ParamsError
        When there is no such fold, or fewer groups than parts.

    Examples
    --------
    >>> draw_fold("abcde", 5, 0, seed=1)
    Fold(train=('a', 'b', 'd', 'e'), val=('c',))
    >>> draw_fold("abcde", 2, 0, seed=1, groups={"a": "Kim", "e": "Kim"}).val
    ('a', 'd', 'e')
    """
    if not 0 <= fold < folds:
        raise ParamsError(f"--fold: expected 0 to {folds - 1}; got {fold}")
    ordered = sorted(cases)
    if folds == 1:
        return Fold(tuple(ordered), tuple(ordered))
    members: dict[str, list[str]] = {}
    for case in ordered:
        name = (groups.get(case) or f"case {case}") if groups else case  # as itk_split names them
        members.setdefault(name, []).append(case)
    if len(members) < folds:
        what = counted(len(ordered), "case") if len(members) == len(ordered) else counted(len(members), "patient")
        raise ParamsError(f"split.folds: {what} can't be dealt into {folds} folds")
    units = [Unit(name, tuple(found)) for name, found in members.items()]
    sizes = {str(n): len(ordered) // folds + (n < len(ordered) % folds) for n in range(folds)}
    parts = balanced_parts(units, sizes, seed=seed)
    val = {case for unit in units if parts[unit.name] == str(fold) for case in unit.cases}
    return Fold(tuple(case for case in ordered if case not in val), tuple(sorted(val)))


def read_fold(path: Path, fold: int, cases: Sequence[str], groups: Mapping[str, str] | None = None) -> Fold:
    """Read a fold from a file of splits; see `itkit.io.splits.read_splits`.

    Parameters
    ----------
    path
        The file.
    fold
        The fold, from 0 on.
    cases
        Ids of all cases of the dataset.
    groups
        Group of each case, e.g. its patient, as the dataset states it; those of the file come first.

    Raises
    ------
    ParamsError
        When the file can't be read, has no such fold, names a case that is not there, or names a case or a group for
        both parts.
    """
    try:
        splits = read_splits(path)
    except LayoutError as error:
        raise ParamsError(f"split.file {error}") from error
    if not 0 <= fold < len(splits.folds):
        raise ParamsError(f"split.file {path}: expected --fold 0 to {len(splits.folds) - 1}; got {fold}")
    train, val = (splits.folds[fold].get(name, ()) for name in ("train", "val"))
    if missing := sorted({*train, *val} - set(cases)):
        raise ParamsError(f"split.file {path}: the dataset has no image with a label of {some(missing)}")
    group_of = {**(groups or {}), **splits.groups}
    shared = sorted({group_of.get(case, case) for case in train} & {group_of.get(case, case) for case in val})
    if shared:
        raise ParamsError(f"split.file {path}: {some(shared)} would both train and validate; itk_split --group-by")
    if not train or not val:
        raise ParamsError(f"split.file {path}: fold {fold} has no case to {'validate' if train else 'train'}")
    return Fold(train, val)


def patients_of(meta: Mapping[str, object]) -> dict[str, str]:
    """Return the patient of each case, as far as ``dataset.json`` states it.

    Examples
    --------
    >>> patients_of({"cases": {"a_1": {"patient": "a"}, "b": {}}})
    {'a_1': 'a'}
    """
    cases = meta.get("cases")
    found = cases.items() if isinstance(cases, Mapping) else ()
    stated = ((str(case), facts.get("patient")) for case, facts in found if isinstance(facts, Mapping))
    return {case: str(patient) for case, patient in stated if patient}
