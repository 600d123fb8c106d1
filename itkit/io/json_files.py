"""JSON files, written completely or not at all, and JSON on one line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from itkit.core.bounded import parse_json, read_bounded
from itkit.io.disk import write_pieces


def read_json(path: Path) -> Any:
    """Read a JSON file; ``None`` when it is missing, broken, or beyond the limits of `itkit.core.bounded`."""
    try:
        return parse_json(read_bounded(path))
    except (OSError, ValueError):
        return None


def write_json(path: Path, value: Any, *, compact_depth: int = 2) -> None:
    """Write a JSON file completely or not at all, in UTF-8, with one line for each entry of the upper levels.

    Raises
    ------
    WriteError
        When it can't be written.
    """
    write_pieces(path, chain(json_pieces(value, compact_depth), "\n"))


def json_text(value: Any, *, compact_depth: int = 2) -> str:
    """Return the text of a JSON file with one line for each entry of the upper levels."""
    return dumps(value, compact_depth) + "\n"


def dumps(value: Any, compact_depth: int) -> str:
    """Return JSON whose upper levels are indented; each entry below them takes one line."""
    return "".join(json_pieces(value, compact_depth))


def json_pieces(value: Any, compact_depth: int, depth: int = 0) -> Iterator[str]:
    """Yield the text of `dumps` piece by piece; an upper level may be a mapping that makes its entries as it goes."""
    if depth >= compact_depth or not isinstance(value, Mapping):
        yield json_line(value)
        return
    first = True
    for key, entry in value.items():
        yield f"{'{' if first else ','}\n{'  ' * (depth + 1)}{json_line(str(key))}: "
        yield from json_pieces(entry, compact_depth, depth + 1)
        first = False
    yield "{}" if first else f"\n{'  ' * depth}}}"


_NO_BLANKS = (",", ":")
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_encode_compactly = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=_NO_BLANKS).encode


def json_line(value: Any) -> str:
    r"""Return JSON on one line that UTF-8 can encode: undecodable bytes of file names are escaped, so they read back.

    Examples
    --------
    >>> json_line("Köln"), json_line("p\udcfc"), json.loads(json_line("p\udcfc")) == "p\udcfc"
    ('"Köln"', '"p\\udcfc"', True)
    """
    text = _encode(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text


def compact_line(value: Any) -> str:
    """Return JSON on one line like `json_line`, without blanks."""
    text = _encode_compactly(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, separators=_NO_BLANKS)
    return text
