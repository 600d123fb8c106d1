"""Every command, as text: the help of one imports one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from itkit.core.operation import Operation

CATALOGUE = {
    "itk_check": ("itkit.process.itk_check:OPERATION", "find samples that do not conform; delete, copy or link"),
    "itk_resample": ("itkit.process.itk_resample:OPERATION", "new spacing, size or reference grid; the extent is kept"),
    "itk_orient": ("itkit.process.itk_orient:OPERATION", "turn axes to given directions, exactly"),
    "itk_patch": ("itkit.process.itk_patch:OPERATION", "cut overlapping patches that keep their physical place"),
    "itk_aug": ("itkit.process.itk_aug:OPERATION", "augmented copies by random affine and elastic transforms"),
    "itk_extract": ("itkit.process.itk_extract:OPERATION", "pick and renumber classes of label maps"),
    "itk_convert": ("itkit.process.itk_convert:OPERATION", "DICOM trees to datasets; volume files to other formats"),
}


def load(name: str) -> Operation[Any]:
    """Import a command's operation.

    Raises
    ------
    KeyError
        When there is no such command.
    """
    module, _, attribute = CATALOGUE[name][0].partition(":")
    operation: Operation[Any] = getattr(import_module(module), attribute)
    return operation
