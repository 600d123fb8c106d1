"""Networks exactly as their authors build them, from a record of their class and its arguments."""

from __future__ import annotations

import inspect
import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itkit.core.errors import ModelError
from itkit.core.plugins import resolve
from itkit.models.registry import references

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn


def builder_path(official_class: str) -> str:
    """Find ``"module:function"`` for an authors' class.

    The name is looked up as it is, then without a trailing remark in parentheses, then as the text that a
    pattern of the table describes (``mmseg EncoderDecoder(mit_*``).

    Raises
    ------
    ModelError
        When no network knows the class.
    """
    known = references()
    bare = re.sub(r"\s+\([^()]*(\([^()]*\))?[^()]*\)$", "", official_class)
    for name in (official_class, bare):
        if name in known:
            return known[name]
    for pattern, path in known.items():
        if fnmatchcase(official_class, pattern) or fnmatchcase(bare, pattern):
            return path
    raise ModelError(f"no network is built from {official_class!r}; known: {', '.join(sorted(known))}")


def from_reference(spec: Mapping[str, Any] | str | Path) -> nn.Module:
    """Build a network in the authors' form: their keys, shapes and raw output.

    Parameters
    ----------
    spec
        A mapping (or a path to a JSON file) with ``official_class`` and ``config``, the arguments of that class. Other
        entries are passed on to builders that ask for them by name, as ``commit`` where key names depend on a release.

    Returns
    -------
    torch.nn.Module
        The network with the framework's initial weights.

    Raises
    ------
    ModelError, TypeError
        For an unknown class or an argument that it does not take.
    """
    facts = json.loads(Path(spec).read_text(encoding="utf-8")) if isinstance(spec, str | Path) else spec
    build = resolve(builder_path(facts["official_class"]))
    takes = inspect.signature(build).parameters
    extra = {key: value for key, value in facts.items() if key in takes and key not in {"config", "official_class"}}
    return build(facts.get("config") or {}, facts["official_class"], **extra)  # type: ignore[no-any-return]
