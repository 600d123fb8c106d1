"""Comments of a plan that people, or ``itkit plan``, have written: the copy of a plan in a run folder keeps them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from itkit.core.bounded import MOST_CONFIG_BYTES, read_bounded
from itkit.training.plan_file import HEAD, description_lines

_CODE = r"""(?:[^"'#]|"(?:\\.|[^"\\])*"|'[^']*')*"""
_COMMENT = re.compile(rf"({_CODE})#(.*)")
_SECTION = re.compile(r"\s*\[([\w. ]+)\]")
_KEY = re.compile(r"\s*([\w.]+)\s*=")

Remarks = Mapping[str, tuple[str, ...]]
"""Lines of comment by ``section`` or ``section.key``; those that end a file by ``""``."""


def read_remarks(path: Path, changed: Collection[str] = ()) -> Remarks:
    """Return the comments of a plan that are not the descriptions of its keys.

    Parameters
    ----------
    path
        The plan; it was read before.
    changed
        Keys, as ``section.key``, that get another value: the reason (``->``) of theirs is left out.
    """
    return remarks_of(read_bounded(path, MOST_CONFIG_BYTES).decode("utf-8", "replace"), changed)


def remarks_of(text: str, changed: Collection[str] = ()) -> Remarks:
    r"""Return the comments in the text of a plan that are not the descriptions of its keys.

    Examples
    --------
    >>> text = "# of our first scanner\n[training]\n# patches a step\n# -> 8 GB\nbatch_size = 2 # tried 4"
    >>> remarks_of(text)
    {'training': ('of our first scanner',), 'training.batch_size': ('-> 8 GB', 'tried 4')}
    >>> remarks_of(text, ["training.batch_size"])["training.batch_size"]
    ('tried 4',)
    """
    found: dict[str, tuple[str, ...]] = {}
    section, above = "", list[str]()
    for line in text.splitlines():
        comment = _COMMENT.fullmatch(line)
        code = comment[1] if comment else line
        said = [comment[2].strip()] if comment else []
        if header := _SECTION.match(code):
            section = name = header[1].strip()
        elif key := _KEY.match(code):
            name = f"{section}.{key[1]}" if section else key[1]
        else:
            above += said
            continue
        name = ".".join(name.split(".")[:2])
        if name in changed:
            above = above[: next((number for number, one in enumerate(above) if one.startswith("->")), len(above))]
        known = {HEAD, *description_lines(name)}
        if kept := tuple(one for one in [*above, *said] if one and one not in known):
            found[name] = (*found.get(name, ()), *kept)
        above = []
    return {**found, "": tuple(above)} if above else found
