"""Every error that ITKIT raises on purpose, in one tree.

ItkitError
├── ParamsError            a parameter is wrong                     exit 2: nothing ran
│   ├── ArgumentError      an argument of a Python function is wrong
│   │   └── GeometryError      numbers that are not those of a voxel grid
│   └── ModelError         a network's or a loss's name, size or option is wrong
├── LayoutError            a folder is not what the command needs   exit 2
├── MissingExtraError      an optional package is not installed     exit 2
├── PluginError            another package's plug-in can't be used  exit 2
├── WeightsError           a weights file can't be used
├── RequestError           a web server refuses a request
│   ├── NotServedError         its path is not below the folder that is served
│   ├── TooManyError           it is more than the server does at once
│   ├── FullError              the queue is full
│   └── UploadError            what it brings is malformed or too much
├── CaseSkipped            one case is left out on purpose          exit 0: named
└── CaseError              one case failed, the others go on        exit 1
    ├── ReadError          a file can't be read as a volume
    │   ├── BusyError              too many volumes are being read at once
    │   ├── NotDicomError          it is not a DICOM file
    │   ├── UndecodableError       its pixels can't be decoded
    │   └── IrregularSeriesError   its slices do not make one regular volume
    ├── WriteError         a file can't be written
    │   └── DiskFullError          there is no room for it
    ├── GeometryMismatchError   two grids differ but must agree
    ├── LabelError         a label map holds invalid values
    ├── DownloadError      a file can't be downloaded, or arrives damaged
    └── ResourceError      the case needs more memory than is available

Exceptions that a module raises and catches itself (a lost worker, a header that another reader must parse) are not in
the tree, because no caller ever sees them.
"""

from __future__ import annotations

from collections.abc import Iterable


class ItkitError(Exception):
    """Base of every error that ITKIT raises on purpose."""


class ParamsError(ItkitError):
    """A parameter is missing, malformed or contradicts another."""


class ArgumentError(ParamsError, ValueError):
    """An argument of a Python function is wrong; it is also a ``ValueError``, as Python users expect."""


class GeometryError(ArgumentError):
    """Numbers do not describe a voxel grid, or do not fit the voxels on it."""


class ModelError(ParamsError, ValueError):
    """The name, the size or an option of a network or a loss is wrong; it is also a ``ValueError``, as in torch."""


class LayoutError(ItkitError):
    """A folder is missing, unwritable, or not laid out as the command needs."""


class MissingExtraError(ItkitError):
    """An optional package is needed; the message names the extra that installs it."""


class PluginError(ItkitError):
    """A plug-in of another package can't be used; the message names the package."""


class WeightsError(ItkitError, ValueError):
    """A weights file is unsafe, damaged, incomplete or belongs to another network."""


class RequestError(ItkitError):
    """A web server refuses what a client asks for."""


class NotServedError(RequestError):
    """A path is missing, lies outside the folder that is served, or is neither a file nor a folder.

    All three look alike to the client, which learns nothing about what lies outside.
    """


class TooManyError(RequestError):
    """More jobs or streams than a server takes at once."""


class FullError(RequestError):
    """The queue is full."""


class UploadError(RequestError):
    """An upload is malformed or holds too much."""


class CaseSkipped(ItkitError):  # noqa: N818 - not a failure
    """One case is left out on purpose; the message says why."""


class CaseError(ItkitError):
    """One case can't be processed; the others can."""


class ReadError(CaseError):
    """A file can't be read as the volume it should hold."""


class BusyError(ReadError):
    """Too many volumes are being read at once."""


class NotDicomError(ReadError):
    """A file is not a DICOM file."""


class UndecodableError(ReadError):
    """Pixels are damaged, or compressed in a format that no installed decoder can read."""


class IrregularSeriesError(ReadError):
    """A series is not a single regular volume.

    Attributes
    ----------
    reasons
        Codes of all problems found, e.g. ``("missing",)`` or ``("echo", "tilt")``.
    """

    def __init__(self, message: str, reasons: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.reasons = tuple(dict.fromkeys(reasons))


class WriteError(CaseError):
    """A file can't be written; no file is left under its final name."""


class DiskFullError(WriteError):
    """A file can't be written because there is no room for it."""


class GeometryMismatchError(CaseError):
    """Two grids that must agree differ."""


class LabelError(CaseError):
    """A label map holds invalid values."""


class DownloadError(CaseError):
    """A file can't be downloaded, or what arrives is not what the server announced."""


class ResourceError(CaseError):
    """A case needs more memory than the run may use."""
