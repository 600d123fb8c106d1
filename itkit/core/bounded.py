"""Text that anybody may have written (configurations, state files, headers): read within limits, or refused.

A refusal is a ``ValueError`` whose message begins with *it*, to be put after the name of the file.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

MOST_BYTES = 128 << 20
"""Largest text file that is read as a whole: an index of 400,000 volumes."""
MOST_VALUES = 8_000_000
"""Most values in one text; more of the smallest fill a gigabyte of memory."""
MOST_CONFIG_BYTES = 4 << 20
MOST_CELLS = 8_000_000
"""Most cells of a table."""
_PIECE_BYTES = 1 << 20
_CELL_ENDS = ",;\t\n\r"
_MARKS = ",:[{="
_MOST_DOTS = 250
"""Most dots in a line of TOML; the time for a key grows with the square of its parts."""


class NotRegular(ValueError):  # noqa: N818 - its callers make an error of it
    """A path leads to a folder, pipe or device."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; a pipe or device is refused without waiting for it.

    Raises
    ------
    NotRegular
        When it is no regular file.
    OSError
        When it can't be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegular("it is not a file but a folder, pipe or device")
    return os.fdopen(descriptor, "rb")


def read_bounded(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return the bytes of a regular file.

    Raises
    ------
    ValueError
        When it is no regular file, or larger than ``most`` bytes.
    OSError
        When it can't be read.
    """
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it has more than {most >> 20} MiB, which are the most that is read")
    return data


def read_lines(path: Path, most: int = MOST_BYTES) -> Iterator[bytes]:
    """Yield the lines of a regular file, without their ends; lines longer than ``most`` bytes are left out.

    Raises
    ------
    ValueError
        When it is no regular file.
    OSError
        When it can't be read.
    """
    with open_regular(path) as file:
        while line := file.readline(most + 1):
            if line.endswith(b"\n") or len(line) <= most:
                yield line.rstrip(b"\n")
                continue
            while line and not line.endswith(b"\n"):
                line = file.readline(_PIECE_BYTES)


def read_table_text(path: Path) -> str:
    """Return the text of a table in UTF-8; a byte order mark is left out.

    Raises
    ------
    ValueError
        When it is no regular file, too large, no text, or holds too many cells.
    OSError
        When it can't be read.
    """
    try:
        text = read_bounded(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8 text") from error
    if len(text) > MOST_CELLS and sum(map(text.count, _CELL_ENDS)) > MOST_CELLS:
        raise ValueError(f"it holds more than {MOST_CELLS} cells")
    return text


def parse_json(data: bytes | str, **hooks: Any) -> Any:
    """Return what a JSON text says; ``hooks`` are passed on to `json.loads`.

    Raises
    ------
    ValueError
        When it is not JSON, holds too many values, or is nested too deeply.

    Examples
    --------
    >>> parse_json(b'{"a": [1]}')
    {'a': [1]}
    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ValueError: it is nested too deeply
    """
    return _parsed(data, "JSON", lambda text: json.loads(text, **hooks))


def parse_toml(data: bytes | str) -> Any:
    """Return what a TOML text says.

    Raises
    ------
    ValueError
        When it is not TOML, holds too many values, or is nested too deeply.
    """

    def parse(text: str) -> Any:
        if max((line.count(".") for line in text.splitlines()), default=0) > _MOST_DOTS:
            raise RecursionError
        return import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads(text)

    return _parsed(data, "TOML", parse)


def _parsed(data: bytes | str, language: str, parse: Any) -> Any:
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        require_few_values(text)
        return parse(text)
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8 text") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except MemoryError as error:
        raise ValueError("it does not fit into memory") from error
    except ValueError as error:
        if str(error).startswith("it "):
            raise
        raise ValueError(f"it is not {language} ({error})") from error


def require_few_values(text: str) -> None:
    """Refuse a text that may hold too many values.

    Raises
    ------
    ValueError
        When it does.
    """
    if len(text) > MOST_VALUES and sum(map(text.count, _MARKS)) > MOST_VALUES:
        raise ValueError(f"it holds more than {MOST_VALUES} values")
