"""The commands that a window offers, in groups, without importing any of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from itkit.catalogue import CATALOGUE, Entry, describe_registered
from itkit.forms.description import title_of

_GROUPS = {
    "process": "Work on datasets",
    "convert": "Public datasets",
    "export": "Exports",
    "download": "Downloads",
    "plug-in": "Of other packages",
}


@dataclass(frozen=True)
class Page:
    """A command that a window offers: its name, its name for people, what it does, and its group.

    Parameters
    ----------
    name, title, summary
        The operation, its name for people, and what it does in a few words.
    group
        The heading under which it stands.
    extra, package
        The extra of ITKIT that it needs, and the package that brings it; mostly empty.
    """

    name: str
    title: str
    summary: str
    group: str
    extra: str = ""
    package: str = ""

    def answers(self, words: str) -> bool:
        """Return whether the page answers a search: each word begins somewhere in its names or summary.

        Examples
        --------
        >>> page = Page("itk_crop", "Crop", "cut to the body", "Work on datasets")
        >>> page.answers("body cut"), page.answers("resample")
        (True, False)
        """
        text = f"{self.name} {self.title} {self.summary} {self.group}".lower()
        return all(word in text for word in words.lower().split())

    def as_json(self) -> dict[str, Any]:
        """Return the page as values that JSON can hold."""
        return asdict(self)


def pages() -> tuple[list[Page], tuple[str, ...]]:
    """Return the pages of all operations, ours first, and a message for each plug-in that can't be used."""
    more, wrong = describe_registered()
    return [_page(name, entry) for name, entry in {**CATALOGUE, **more}.items()], wrong


def _page(name: str, entry: Entry) -> Page:
    summary = entry.summary[:1].upper() + entry.summary[1:]
    dataset, colon, _ = summary.partition(":")
    title = dataset if colon and entry.group == "convert" else title_of(name)
    return Page(name, title, summary, _GROUPS.get(entry.group, entry.group.capitalize()), entry.extra, entry.package)
