"""What the site holds: the pages of the repository, those that are made, and the navigation that lists them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]
CONFIG = DOCS.parent / "mkdocs.yml"
MADE = ("reference/", "images/made/")
"""Folders below ``docs`` that the build writes; git ignores them."""
_FENCE = re.compile(r"^(```+).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+(?:\([^()]*\))?[^()\s]*)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def own_pages() -> dict[str, str]:
    """Return the pages that are kept in the repository, by their path below ``docs``."""
    paths = (path.relative_to(DOCS).as_posix() for path in sorted(DOCS.rglob("*.md")))
    return {path: (DOCS / path).read_text(encoding="utf-8") for path in paths if not path.startswith(MADE)}


def listed(nav: Any) -> Iterator[str]:
    """Yield the pages that a navigation lists, in its order."""
    if isinstance(nav, str):
        yield nav
    else:
        for one in nav.values() if isinstance(nav, dict) else nav:
            yield from listed(one)


def navigation() -> list[str]:
    """Return the pages that the navigation lists, in its order."""
    import yaml

    return [*listed(yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["nav"])]


def links(text: str) -> list[str]:
    """Return the targets of all links and pictures of a page, those in code left out."""
    return _LINK.findall(re.sub(r"`[^`\n]*`", "``", _FENCE.sub("", text)))


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as Python-Markdown makes them."""
    return {slug(heading) for heading in _HEADING.findall(_FENCE.sub("", text))}


def slug(heading: str) -> str:
    """Return the anchor of a heading.

    Examples
    --------
    >>> slug("What `itk_check` finds: a list")
    'what-itk_check-finds-a-list'
    """
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.replace("`", ""))
    kept = re.sub(r"[^\w\s-]", "", plain.encode("ascii", "ignore").decode()).strip().lower()
    return re.sub(r"[-\s]+", "-", kept)


def dead_links(pages: Mapping[str, str], pictures: set[str]) -> list[str]:
    """Return the links that lead nowhere, as ``page: target``.

    Parameters
    ----------
    pages
        All pages by their path below ``docs``.
    pictures
        Pictures that the build makes, likewise.
    """
    dead = []
    for page, text in pages.items():
        for target in links(text):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            place = (DOCS / page).parent / path if path else DOCS / page
            name = _below(place)
            if name in pages:
                if anchor and anchor not in anchors(pages[name]):
                    dead.append(f"{page}: {target}")
            elif name not in pictures and (not name or not (DOCS / name).is_file()):
                dead.append(f"{page}: {target}")
    return dead


def _below(place: Path) -> str:
    """Return a path below ``docs``; empty for what lies outside, as no page may show it."""
    resolved = place.resolve()
    return resolved.relative_to(DOCS.resolve()).as_posix() if resolved.is_relative_to(DOCS.resolve()) else ""
