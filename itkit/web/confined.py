"""Values of a form, kept below the root: every path in them, and every text that a command might take for one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from itkit.core.errors import NotServedError
from itkit.forms.description import Field
from itkit.serving.paths import Root

_CUT = re.compile(r"[\s=:,;]+")


def confined(values: Mapping[str, Any], fields: Mapping[str, Field], root: Root) -> dict[str, Any]:
    """Return the values with absolute paths.

    Commands run in the root, so that a relative text stays below it. A text that is no path by its description may
    become one inside the command: it is refused if it, or a part of it, leads outside.

    Raises
    ------
    NotServedError
        When a value leads outside the root.
    """
    return {
        name: value if _is_address(fields.get(name)) else _confined(value, fields.get(name), root)
        for name, value in values.items()
    }


def _is_address(field: Field | None) -> bool:
    return field is not None and field.is_address


def _confined(value: Any, field: Field | None, root: Root) -> Any:
    if isinstance(value, (list, tuple)):
        return [_confined(item, field, root) for item in value]
    if not isinstance(value, str) or not value:
        return value
    if field is not None and field.item == "path":
        path = root.any(value.strip() or ".")
        if path.is_dir():
            root.require_links_inside(path)
        return str(path)
    for part in _parts(value):
        if part.startswith("~"):
            raise NotServedError(f"{value[:200]!r}: give a path below the root")
        root.any(part)
    return value


def _parts(text: str) -> Iterator[str]:
    """Yield all that a command might take for a path: the text, what follows each separator, and each piece."""
    yield text
    for match in _CUT.finditer(text):
        yield text[match.end() :]
    yield from _CUT.split(text)


def require_inside(paths: Iterable[Path], root: Root) -> None:
    """Refuse a command that reads, because one of its files says so, what lies outside the root.

    Raises
    ------
    NotServedError
        When one of the paths leads outside.
    """
    for path in paths:
        try:
            found = root.any(str(path))
        except NotServedError as error:
            raise NotServedError(
                f"{str(path)[:200]!r} lies outside the root, and a file among the values names it; start the server "
                "with a --root that holds both, or use a terminal"
            ) from error
        if found.is_dir():
            root.require_links_inside(found)


def refused_addresses(values: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, str]:
    """Return a message for each value that would let a user of the server choose to whom its machine connects."""
    return {
        name: f"{one.label}: not from a browser, since this machine would connect to it; use a terminal"
        for name, one in fields.items()
        if one.is_address and not one.is_blank(values.get(name, "")) and values[name] != one.default
    }


def refused_names(values: Iterable[str], fields: Mapping[str, Field]) -> list[str]:
    """Return the names that a form does not have: what a window sets itself may not be given."""
    return [name for name in values if name not in fields]
