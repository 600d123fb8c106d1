"""Actions on files that an operation may request besides writing volumes; `itkit.engine.actions` carries them out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

Sample = tuple[tuple[Path, Path], ...]
"""The volumes of one sample: for each, its file and its path in the destination folder."""


@dataclass(frozen=True)
class Transfer:
    """Copy or link samples into a folder, with their data files; a sample is transferred completely or not at all.

    Parameters
    ----------
    samples
        Samples to copy or link.
    folder
        The destination folder; its index is refreshed.
    is_link
        Whether to make relative symbolic links.
    what
        Name of the samples in the last line of the output.
    notes
        Lines to print before the last one.
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
        Volume files to delete.
    folder
        The folder that contains them; its index is refreshed.
    what
        Name of the volumes in the last line of the output, e.g. ``3 samples``.
    question
        Question to ask the user first; empty if the user has agreed already.
    """

    volumes: tuple[Path, ...]
    folder: Path
    what: str
    question: str = ""


@dataclass(frozen=True)
class RefreshIndex:
    """Rewrite the index of a folder, with one entry for each volume that it contains now."""

    folder: Path


Action = Transfer | Delete | RefreshIndex
