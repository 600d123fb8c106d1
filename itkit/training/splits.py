"""Which cases of a dataset train and which validate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from itkit.core.bounded import parse_json, read_bounded
from itkit.core.draws import case_generator
from itkit.core.errors import ParamsError
from itkit.core.text import counted, some


class Fold(NamedTuple):
    """Cases that train and cases that validate."""

    train: tuple[str, ...]
    val: tuple[str, ...]


def draw_fold(cases: Sequence[str], folds: int, fold: int, seed: int) -> Fold:
    """Deal cases into parts at random; one part validates.

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

    Raises
    ------
    ParamsError
        When there is no such fold, or fewer cases than parts.

    Examples
    --------
    >>> draw_fold("abcde", 5, 0, seed=1)
    Fold(train=('a', 'b', 'd', 'e'), val=('c',))
    """
    if not 0 <= fold < folds:
        raise ParamsError(f"--fold: expected 0 to {folds - 1}; got {fold}")
    ordered = sorted(cases)
    if folds == 1:
        return Fold(tuple(ordered), tuple(ordered))
    if len(ordered) < folds:
        raise ParamsError(f"split.folds: {counted(len(ordered), 'case')} can't be dealt into {folds} folds")
    places = case_generator(seed, "folds").permutation(len(ordered)).tolist()
    val = {ordered[place] for place in places[fold::folds]}
    return Fold(tuple(case for case in ordered if case not in val), tuple(sorted(val)))


def read_fold(path: Path, fold: int, cases: Sequence[str]) -> Fold:
    """Read a fold from ``splits.json`` of itk_split, or from nnU-Net's ``splits_final.json``.

    Raises
    ------
    ParamsError
        When the file can't be read, has no such fold, names a case that is not there, or names a case (or a group, e.g.
        a patient, of the file's ``groups``) for both parts.
    """
    try:
        values: Any = parse_json(read_bounded(path))
        folds = values["folds"] if isinstance(values, Mapping) else values
        chosen = folds[fold] if 0 <= fold < len(folds) else None
        parts = None if chosen is None else Fold(*(tuple(map(str, chosen[name])) for name in ("train", "val")))
        groups = values.get("groups") if isinstance(values, Mapping) else None
    except OSError as error:
        raise ParamsError(f"split.file {path}: can't be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ParamsError(
            f"split.file {path}: expected folds with train and val, as itk_split writes ({error})"
        ) from error
    if parts is None:
        raise ParamsError(f"split.file {path}: expected --fold 0 to {len(folds) - 1}; got {fold}")
    if missing := sorted({*parts.train, *parts.val} - set(cases)):
        raise ParamsError(f"split.file {path}: no case {some(missing)} in the dataset")
    group_of = groups if isinstance(groups, Mapping) else {}
    train, val = ({str(group_of.get(case, case)) for case in part} for part in parts)
    if shared := sorted(train & val):
        raise ParamsError(f"split.file {path}: {some(shared)} would both train and validate")
    if not parts.train or not parts.val:
        raise ParamsError(f"split.file {path}: fold {fold} has no case to {'train' if not parts.train else 'validate'}")
    return parts
