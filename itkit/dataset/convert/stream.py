"""Read a JSON object that is too large for memory member by member.

Each member knows its position in the file, so that reading can start there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from itkit.core.bounded import NotRegular, open_regular
from itkit.core.errors import ReadError

_CHUNK = 1 << 20
_MOST_BYTES = 16 << 20
"""Largest value of a member."""
_DECODER = json.JSONDecoder()
_BLANK = " \t\r\n,"


@dataclass(frozen=True)
class Member:
    """One member of a JSON object: its key, its value, and its first and one-past-last byte in the file."""

    key: str
    value: Any
    begin: int
    end: int


def stream_members(path: Path, *, start: int = 0, stop: int | None = None) -> Iterator[Member]:
    """Yield the members of the object that a JSON file holds.

    Parameters
    ----------
    path
        The file, UTF-8.
    start
        ``begin`` of the member to start from; 0 starts from the first member.
    stop
        Byte at which to stop; ``None`` reads to the end of the object.

    Raises
    ------
    ReadError
        When the file can't be read, does not hold an object, or ends too early.

    Notes
    -----
    Bytes are scanned as Latin-1 text, in which every byte is a character, so that positions in the text are positions
    in the file. The grammar of JSON needs only ASCII; a member with other characters is decoded again, as UTF-8.
    """
    try:
        with open_regular(path) as file:
            file.seek(start)
            yield from _Scanner(path, file, start).members(stop)
    except OSError as error:
        raise ReadError(f"{path}: can't be read ({error.strerror or error})") from error
    except NotRegular as error:
        raise ReadError(f"{path}: {error}") from error


class _Scanner:
    """A window of the file's text that is extended when needed and drops what has been read."""

    def __init__(self, path: Path, file: IO[bytes], start: int) -> None:
        self.path, self.file = path, file
        self.text, self.base, self.at = "", start, 0
        self.is_at_start = start == 0

    def members(self, stop: int | None) -> Iterator[Member]:
        """Yield members until the byte ``stop``, or until the end of the object."""
        if self.is_at_start:
            if self.text == "" and not self._grow():
                raise ReadError(f"{self.path}: the file is empty")
            if self.text.startswith("\xef\xbb\xbf"):
                self.at = 3
            if self._next_character() != "{":
                raise ReadError(f"{self.path}: expected a JSON object")
            self.at += 1
        while (character := self._next_character()) != "}":
            begin = self.base + self.at
            if stop is not None and begin >= stop:
                return
            if character != '"':
                raise ReadError(f"{self.path}: expected a name at byte {begin}, found {character!r}")
            key = self._value()
            if self._next_character(_BLANK[:-1]) != ":":
                raise ReadError(f"{self.path}: expected a colon at byte {self.base + self.at}")
            self.at += 1
            self._next_character()
            value = self._value()
            yield Member(key, value, begin, self.base + self.at)

    def _grow(self) -> bool:
        data = self.file.read(_CHUNK)
        self.base += self.at
        self.text, self.at = self.text[self.at :] + data.decode("latin-1"), 0
        return bool(data)

    def _next_character(self, blank: str = _BLANK) -> str:
        while True:
            while self.at < len(self.text):
                if self.text[self.at] not in blank:
                    return self.text[self.at]
                self.at += 1
            if not self._grow():
                raise ReadError(f"{self.path}: the file ends too early, at byte {self.base + self.at}; copy it again")

    def _value(self) -> Any:
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except RecursionError as error:
                raise ReadError(f"{self.path}: nested too deeply at byte {self.base + self.at}") from error
            except ValueError as error:
                if len(self.text) - self.at > _MOST_BYTES or not self._grow():
                    raise ReadError(f"{self.path}: broken at byte {self.base + self.at}: {error}") from error
                continue
            if end == len(self.text) and self._grow():
                continue  # a number may continue in the next piece
            raw = self.text[self.at : end]
            self.at = end
            return value if raw.isascii() else json.loads(raw.encode("latin-1").decode("utf-8"))
