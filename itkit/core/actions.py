"""What a run may be asked to do to files besides writing volumes; `itkit.engine.actions` does it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

Sample = tuple[tuple[Path, Path], ...]
"""The volumes of one sample: each one's file, and its path in the new place."""


@dataclass(frozen=True)
class Transfer:
    """Copy or link samples into a folder: all volumes of a sample or none, and their data files with them.

    Parameters
    ----------
    samples
        What to copy or link.
    folder
        The folder that gets them; its index is refreshed.
    is_link
        Whether to make relative symbolic links.
    what
        How the last line calls the samples.
    notes
        Lines that are said before the last one.
    """

    samples: tuple[Sample, ...]
    folder: Path
    is_link: bool = False
    what: str = "samples"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Delete:
    """Delete volumes and their data files, but not data that another header needs.

    Parameters
    ----------
    volumes
        What to delete.
    folder
        The folder that they are in; its index is refreshed.
    what
        How the last line calls the volumes together, e.g. ``3 samples``.
    question
        What the user is asked before; empty where the user has agreed already.
    """

    volumes: tuple[Path, ...]
    folder: Path
    what: str
    question: str = ""


@dataclass(frozen=True)
class RefreshIndex:
    """Write the index of a folder: an entry for each volume that is there now."""

    folder: Path


Action = Transfer | Delete | RefreshIndex
