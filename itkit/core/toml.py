"""Values as TOML, which Python can read but not write."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from itkit.core.errors import ParamsError


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
