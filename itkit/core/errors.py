"""What can go wrong, in one tree.

ItkitError
├── ParamsError            a parameter is wrong                     exit 2: nothing ran
│   ├── ArgumentError      an argument of a Python function is wrong
│   │   └── GeometryError      numbers that are not those of a voxel grid
│   └── ModelError         a network's or a loss's name, size or option is wrong
├── LayoutError            a folder is not what the command needs   exit 2
├── MissingExtraError      an optional package is not installed     exit 2
├── PluginError            another package's plug-in can't be used  exit 2
├── WeightsError           a file of weights can't be used
├── CaseSkipped            one case is left out on purpose          exit 0: named
└── CaseError              one case failed, the others go on        exit 1
    ├── ReadError          a file can't be read as a volume
    │   ├── NotDicomError          it is not a DICOM file
    │   ├── UndecodableError       its pixels can't be decoded
    │   └── IrregularSeriesError   its slices do not make one regular volume
    ├── WriteError         a file can't be written
    ├── GeometryMismatchError   grids differ that must agree
    ├── LabelError         a label file holds what no label may
    ├── DownloadError      a file can't be downloaded, or is not what was sent
    └── ResourceError      the case needs more than there is

Exceptions that one module raises and catches itself (a lost worker, a header for another reader) are not in the tree:
no caller ever sees them.
"""

from __future__ import annotations

from collections.abc import Iterable


class ItkitError(Exception):
    """Base of every error that ITKIT raises on purpose."""


class ParamsError(ItkitError):
    """A parameter is missing, malformed or contradicts another."""


class ArgumentError(ParamsError, ValueError):
    """An argument of a Python function is wrong; also a ``ValueError``, as Python has it."""


class GeometryError(ArgumentError):
    """Numbers are not those of a voxel grid, or not those of the voxels on it."""


class ModelError(ParamsError, ValueError):
    """The name, the size or an option of a network or a loss is wrong; also a ``ValueError``, as in torch."""


class LayoutError(ItkitError):
    """A folder is missing, unwritable, or not laid out as the command needs."""


class MissingExtraError(ItkitError):
    """An optional package is needed; the message names the extra that brings it."""


class PluginError(ItkitError):
    """What another package registers can't be used; the message names the package."""


class WeightsError(ItkitError, ValueError):
    """A file of weights is unsafe, damaged, incomplete or belongs to another network."""


class CaseSkipped(ItkitError):  # noqa: N818 - not a failure
    """One case is left out on purpose; the message says why."""


class CaseError(ItkitError):
    """One case can't be processed; the others can."""


class ReadError(CaseError):
    """A file can't be read as the volume it should hold."""


class NotDicomError(ReadError):
    """A file is not a DICOM file."""


class UndecodableError(ReadError):
    """Pixels are damaged, or compressed in a way that no installed decoder reads."""


class IrregularSeriesError(ReadError):
    """A series is not a single regular volume.

    Attributes
    ----------
    reasons
        Codes of everything that was found, e.g. ``("missing",)`` or ``("echo", "tilt")``.
    """

    def __init__(self, message: str, reasons: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.reasons = tuple(dict.fromkeys(reasons))


class WriteError(CaseError):
    """A file can't be written; nothing is left under its final name."""


class GeometryMismatchError(CaseError):
    """Two grids that must agree differ."""


class LabelError(CaseError):
    """A label map holds values that no label map may hold."""


class DownloadError(CaseError):
    """A file can't be downloaded, or what came is not what was sent."""


class ResourceError(CaseError):
    """A case needs more memory than the run may use."""
