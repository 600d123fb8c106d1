"""What the windows remember between starts: last values, recent folders, sizes, theme."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QSettings

_MOST_RECENT = 12


def store() -> QSettings:
    """Return the settings of the program."""
    return QSettings("ITKIT", "itkit-app")


def recent_paths() -> list[str]:
    """Return the folders and files that were used last, the newest first."""
    found = _json(store().value("recent", "[]"))
    return [path for path in found if isinstance(path, str)] if isinstance(found, list) else []


def remember_paths(*paths: str | Path) -> None:
    """Put paths on top of the recent ones."""
    kept = [str(path) for path in paths if str(path)]
    store().setValue("recent", json.dumps(list(dict.fromkeys([*kept, *recent_paths()]))[:_MOST_RECENT]))


def last_values(command: str) -> dict[str, Any]:
    """Return the values with which a command's form was run last."""
    found = _json(store().value(f"values/{command}", "{}"))
    return found if isinstance(found, dict) else {}


def keep_values(command: str, values: Mapping[str, Any]) -> None:
    """Remember the values of a command's form."""
    store().setValue(f"values/{command}", json.dumps(dict(values)))


def _json(text: object) -> Any:
    try:
        return json.loads(str(text))
    except ValueError:  # somebody else's text under our name
        return None
