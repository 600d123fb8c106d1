"""The commands that a window offers, operations and tools, in groups, without importing any of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from itkit.catalogue import CATALOGUE, Entry, describe_registered, load
from itkit.cli.verbs import VERBS, Verb
from itkit.core.operation import Operation
from itkit.core.plugins import resolve
from itkit.core.tool import Tool
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
        The operation or tool, its name for people, and what it does in a few words.
    group
        The heading under which it stands.
    extra, package
        The extra of ITKIT that it needs, and the package that brings it; mostly empty.
    is_tool
        Whether it is a tool: no plan, and none of the run options.
    """

    name: str
    title: str
    summary: str
    group: str
    extra: str = ""
    package: str = ""
    is_tool: bool = False

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
    """Return the pages of all operations and tools, and a message for each plug-in that can't be used.

    Our operations come first, then the tools, then what other packages bring.
    """
    more, wrong = describe_registered()
    tools = [_tool_page(verb, about) for verb, about in VERBS.items() if about.group]
    found = [_page(name, entry) for name, entry in CATALOGUE.items()]
    last_common = max((at for at, page in enumerate(found) if page.group == _GROUPS["process"]), default=-1)
    found[last_common + 1 : last_common + 1] = tools
    return [*found, *(_page(name, entry) for name, entry in more.items())], wrong


def load_command(name: str) -> Operation[Any] | Tool[Any]:
    """Import the operation or tool of a page.

    Raises
    ------
    ParamsError
        When there is no such command.
    PluginError
        When another package registers it, but it can't be used.

    Examples
    --------
    >>> load_command("itkit train").name, load_command("itk_orient").name
    ('itkit train', 'itk_orient')
    """
    verb = VERBS.get(name.removeprefix("itkit "))
    if verb is None or not verb.group:
        return load(name)
    tool: Tool[Any] = resolve(verb.path)
    return tool


def _tool_page(verb: str, about: Verb) -> Page:
    name = f"itkit {verb}"
    summary = about.summary[:1].upper() + about.summary[1:]
    return Page(name, title_of(name), summary, about.group, about.extra, is_tool=True)


def _page(name: str, entry: Entry) -> Page:
    summary = entry.summary[:1].upper() + entry.summary[1:]
    dataset, colon, _ = summary.partition(":")
    title = dataset if colon and entry.group == "convert" else title_of(name)
    return Page(name, title, summary, _GROUPS.get(entry.group, entry.group.capitalize()), entry.extra, entry.package)
