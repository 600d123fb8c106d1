"""Paths that a client names: below one folder after links are resolved, and nothing but regular files and folders."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from itkit.core.errors import LayoutError, NotServedError

_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


_LINK_DEPTH = 2
_MOST_NAMES = 50_000


class Root:
    """The folder below which a server reads and writes.

    Parameters
    ----------
    folder
        The folder; links that lead to it are resolved once.

    Raises
    ------
    LayoutError
        When it is no folder.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.folder = folder.expanduser().resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise LayoutError(f"{folder}: there is no such folder to serve") from error
        if not self.folder.is_dir():
            raise LayoutError(f"{folder}: it is no folder; --root takes the folder that the server may read and write")

    def file(self, text: str) -> Path:
        """Return the path of a regular file.

        Raises
        ------
        NotServedError
            When it is missing, outside, or something else.
        """
        path = self._existing(text)
        if not path.is_file():
            raise NotServedError(_told(text))
        return path

    def holds(self, path: Path) -> bool:
        """Whether `file` gives out a path."""
        try:
            self.file(str(path))
        except NotServedError:
            return False
        return True

    def read(self, text: str, most_bytes: int) -> bytes | None:
        """Return what a regular file holds; ``None`` if that is too much.

        What is opened is what was checked: a link that somebody puts in its place in between is not followed.

        Raises
        ------
        NotServedError
            When it is missing, outside, or something else.
        """
        path = self.file(text)
        try:
            number = os.open(path, os.O_RDONLY | _NO_LINK)
            with open(number, "rb") as file:  # noqa: PTH123 - a number, not a path
                status = os.fstat(number)
                is_same = os.path.samestat(status, self.file(text).stat())
                if not is_same or not stat.S_ISREG(status.st_mode):
                    raise NotServedError(_told(text))
                return None if status.st_size > most_bytes else file.read(most_bytes + 1)[:most_bytes]
        except OSError as error:
            raise NotServedError(_told(text)) from error

    def subfolder(self, text: str) -> Path:
        """Return the path of a folder; an empty text is the root itself.

        Raises
        ------
        NotServedError
            When it is missing, outside, or something else.
        """
        path = self._existing(text)
        if not path.is_dir():
            raise NotServedError(_told(text))
        return path

    def any(self, text: str) -> Path:
        """Return a path that need not exist yet: what exists of it, links resolved, lies inside.

        Raises
        ------
        NotServedError
            When it lies outside, or is neither a file nor a folder.
        """
        path = self._resolved(text, strict=False)
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise NotServedError(_told(text))
        return path

    def require_links_inside(self, folder: Path) -> None:
        """Refuse a folder that holds a link to what lies outside: a command would read, or write, through it.

        Looked at are the folder and its subfolders, which is where datasets have links, up to some ten thousand names.

        Raises
        ------
        NotServedError
            When there is one.
        """
        for link in islice(_names_in(folder, _LINK_DEPTH), _MOST_NAMES):
            if link.is_symlink() and not Path(os.path.realpath(link.path)).is_relative_to(self.folder):
                raise NotServedError(
                    f"{self.shown(Path(link.path))} is a link that leads outside the root; start the server with a "
                    "--root that holds both, or use a terminal"
                )

    def shown(self, path: Path) -> str:
        """Return a path as clients see it: relative to the root, with ``/``; an empty text for the root.

        Examples
        --------
        >>> root = Root(Path("."))
        >>> root.shown(root.folder), root.shown(root.folder / "image" / "case.mha")
        ('', 'image/case.mha')
        """
        try:
            text = path.relative_to(self.folder).as_posix()
        except ValueError:
            return path.name
        return "" if text == "." else text

    def _existing(self, text: str) -> Path:
        return self._resolved(text, strict=True)

    def _resolved(self, text: str, *, strict: bool) -> Path:
        if "\0" in text or len(text) > 4096:
            raise NotServedError(_told(text))
        try:
            path = Path(os.path.realpath(self.folder / text, strict=strict))
            is_inside = path.is_relative_to(self.folder)
        except (OSError, ValueError) as error:
            raise NotServedError(_told(text)) from error
        if not is_inside:
            raise NotServedError(_told(text))
        return path


def _names_in(folder: Path, depth: int) -> Iterator[os.DirEntry[str]]:
    below: list[Path] = []
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for entry in found:
            yield entry
            if depth > 1 and entry.is_dir(follow_symlinks=False):
                below.append(Path(entry.path))
    for one in below:
        yield from _names_in(one, depth - 1)


def _told(text: str) -> str:
    return f"{text[:200]!r}: there is no such file or folder below the root"
