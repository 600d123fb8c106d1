"""TOML files read within bounds, and values as TOML, which Python can read but not write."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from itkit.core.bounded import MOST_CONFIG_BYTES, parse_toml, read_bounded
from itkit.core.errors import ParamsError


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file that a user wrote.

    Raises
    ------
    ParamsError
        When it can't be read; the message names the file.
    """
    try:
        found: dict[str, Any] = parse_toml(read_bounded(path, MOST_CONFIG_BYTES))
    except OSError as error:
        raise ParamsError(f"{path}: can't be read ({error.strerror or error})") from error
    except ValueError as error:
        raise ParamsError(f"{path}: {error}") from error
    return found


def toml_value(value: Any) -> str:
    r"""Write a value as TOML.

    Raises
    ------
    ParamsError
        When TOML has no form for it.

    Examples
    --------
    >>> print(toml_value({"sizes": [1, 2.5], "name": 'a "b"', 3: True}))
    { sizes = [1, 2.5], name = "a \"b\"", 3 = true }
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_toml_key(str(key))} = {toml_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    raise ParamsError(f"TOML can't hold {value!r}")


def _toml_key(text: str) -> str:
    is_bare = text != "" and text.isascii() and all(letter.isalnum() or letter in "-_" for letter in text)
    return text if is_bare else toml_value(text)
