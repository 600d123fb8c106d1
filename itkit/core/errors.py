"""What can go wrong, in one tree.

ItkitError
├── ParamsError            a parameter is wrong                     exit 2: nothing ran
├── LayoutError            a folder is not what the command needs   exit 2
├── MissingExtraError      an optional package is not installed     exit 2
├── PluginError            another package's plug-in can't be used  exit 2
├── CaseSkipped            one case is left out on purpose          exit 0: named
└── CaseError              one case failed, the others go on        exit 1
    ├── ReadError          a file can't be read as a volume
    ├── WriteError         a file can't be written
    ├── GeometryMismatchError   grids differ that must agree
    ├── LabelError         a label file holds what no label may
    └── ResourceError      the case needs more than there is
"""

from __future__ import annotations


class ItkitError(Exception):
    """Base of every error that ITKIT raises on purpose."""


class ParamsError(ItkitError):
    """A parameter is missing, malformed or contradicts another."""


class LayoutError(ItkitError):
    """A folder is missing, unwritable, or not laid out as the command needs."""


class MissingExtraError(ItkitError):
    """An optional package is needed; the message names the extra that brings it."""


class PluginError(ItkitError):
    """What another package registers can't be used; the message names the package."""


class CaseSkipped(ItkitError):  # noqa: N818 - not a failure
    """One case is left out on purpose; the message says why."""


class CaseError(ItkitError):
    """One case can't be processed; the others can."""


class ReadError(CaseError):
    """A file can't be read as the volume it should hold."""


class WriteError(CaseError):
    """A file can't be written; nothing is left under its final name."""


class GeometryMismatchError(CaseError):
    """Two grids that must agree differ."""


class LabelError(CaseError):
    """A label map holds values that no label map may hold."""


class ResourceError(CaseError):
    """A case needs more memory than the run may use."""
