"""What a header may ask for: checked before any reader, ours or SimpleITK's, opens what it names.

A header is written by somebody else. It may name a file of the reader's own, a pipe that never ends, a text that a C
library takes as a format, or sizes that no file of its length can hold.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from itkit.core.errors import ReadError
from itkit.core.geometry import LONGEST_AXIS
from itkit.io.formats.header_model import plain

LARGEST_TEXT_HEADER = 4 << 20
MOST_AXES = 7
LOCAL = frozenset({"", "LOCAL", "Local", "local"})
"""Names that a MetaImage has for its own file."""
_MOST_FILES = 1 << 16
_META_DATA = re.compile(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)
_NRRD_DATA = re.compile(rb"^data ?file:[ \t]*(.*?)[ \t\r]*$", re.MULTILINE | re.IGNORECASE)
_ANNEX_KEY = re.compile(r"[A-Z][A-Z0-9_]+(-[smSC]\d+)*--.")
_PATTERN = re.compile(r"([^%]*)%(0?\d{0,2})d([^%]*?)((?: +-?\d+){3,4})")
"""Numbered names of a NRRD: a format with one number, then first, last and step."""


def require_axes(path: Path, count: int) -> None:
    """Refuse a header that claims no axes, or more than any volume has.

    Raises
    ------
    ReadError
        Naming the number.
    """
    if not 1 <= count <= MOST_AXES:
        raise ReadError(f"{path}: the header claims {count} axes, expected 1 to {MOST_AXES}; the file is damaged")


def axis_sizes(path: Path, name: str, text: str, count: int) -> list[int]:
    """Return the sizes of all axes that a text header states in a field.

    Raises
    ------
    ReadError
        When they are not as many as the header claims axes, or a size can't be.
    """
    require_axes(path, count)
    sizes = [int(word) for word in plain(text).split()]
    if len(sizes) != count or min(sizes) < 1 or max(sizes) > LONGEST_AXIS:
        raise ReadError(f"{path}: {name}: expected {count} numbers > 0, got {text!r}; export the file again")
    return sizes


def data_file(header: Path, name: str) -> tuple[Path, int]:
    """Return the file that a header names as its voxels, and its size.

    It is a regular file in the header's folder or below, also when links are followed. Where the header itself is a
    link, the data may lie beside the file that it leads to; a link into git-annex's store is followed, too.

    Raises
    ------
    ReadError
        When it is missing, or any other file.
    """
    if "%" in name or any(letter < " " for letter in name):
        raise ReadError(f"{header}: the name of its data file, {name!r}, is refused; rename the file")
    path = header.parent / name
    try:
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and os.sep not in name and "/" not in name:
            return path, status.st_size
        real = os.path.realpath(path)
        status = os.stat(real)  # noqa: PTH116 - the file that was judged, not the link
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ReadError(
            f"{header}: its data file {name} can't be found ({reason}); put it beside the header"
        ) from error
    folders = (os.path.realpath(header.parent), os.path.dirname(os.path.realpath(header)))  # noqa: PTH120
    if not (any(real.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders) or _is_annexed(real)):
        raise ReadError(f"{header}: its data file {name} lies outside the header's folder; move it beside the header")
    if not stat.S_ISREG(status.st_mode):
        raise ReadError(f"{header}: its data file {name} is no regular file (a folder, pipe or device); move it away")
    return path, status.st_size


def _is_annexed(real: str) -> bool:
    """Whether a file is one that git-annex keeps: in a folder of its own, both named after the digest of its bytes."""
    folder, name = Path(real).parts[-2:] if real.count(os.sep) > 1 else ("", "")
    return _ANNEX_KEY.match(folder) is not None and name.startswith(folder)


def named_files(header: Path, head: bytes, *, is_nrrd: bool) -> tuple[str, ...]:
    """Return the names of the data files that a text header holds; none where the voxels lie in its own file.

    Parameters
    ----------
    header
        The file, for messages.
    head
        The header; of one that lists its files, all of it.
    is_nrrd
        Whether it is a NRRD; else it is a MetaImage.

    Raises
    ------
    ReadError
        When it lists too many files, or numbers them by a pattern that is none.
    """
    match = (_NRRD_DATA if is_nrrd else _META_DATA).search(head)
    name = os.fsdecode(match[1]) if match else ""
    if match is None or (name in LOCAL and not (is_nrrd and name)):
        return ()
    if name.split()[0] == "LIST":
        lines = [line.strip(b" \t\r") for line in head[match.end() :].split(b"\n")]
        names = [os.fsdecode(line) for line in lines if line]
        if not names or len(names) > _MOST_FILES:
            raise ReadError(f"{header}: it lists {len(names)} data files; the header is damaged")
        return tuple(names)
    if "%" in name and is_nrrd:
        return _numbered(header, name)
    return (name,)


def _numbered(header: Path, text: str) -> tuple[str, ...]:
    """Return the names that a pattern such as ``slice%03d.raw 1 20 1`` stands for."""
    match = _PATTERN.fullmatch(text)
    first, last, step, *_ = map(int, match[4].split()) if match else (0, 0, 0)
    if match is None or step == 0 or not 0 <= (last - first) // step < _MOST_FILES:
        raise ReadError(f"{header}: its data files are numbered by {text!r}, which is refused; convert it first")
    numbers = range(first, last + (1 if step > 0 else -1), step)
    return tuple(f"{match[1]}{number:{match[2]}d}{match[3]}" for number in numbers)


def require_room(path: Path, expected: int, available: int) -> None:
    """Refuse a header that claims more voxels than its files can hold.

    Raises
    ------
    ReadError
        Naming both numbers.
    """
    if expected > available:
        raise ReadError(
            f"{path}: truncated: the header claims voxels of {expected} bytes or more, "
            f"there are {max(0, available)}; copy or export the file again"
        )


def checked_files(path: Path, head: bytes, *, is_nrrd: bool) -> dict[Path, int]:
    """Return the data files of a header and their sizes; see `data_file` and `named_files`.

    Raises
    ------
    ReadError
        When one is missing, or refused.
    """
    return dict(data_file(path, name) for name in named_files(path, head, is_nrrd=is_nrrd))
