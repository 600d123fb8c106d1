"""``itkit list``: every operation by name."""

from __future__ import annotations

from itkit.catalogue import CATALOGUE, Entry, describe_registered, named
from itkit.cli.verbs import VERBS
from itkit.core.params import Params
from itkit.core.tool import Tool


class ListParams(Params):
    """List all operations: commands, converters of datasets, downloads, and operations of other packages."""


def run(params: ListParams) -> int:
    """Print all operations."""
    del params
    print(listing())
    return 0


def listing() -> str:
    """Return the list of all operations, by the names for ``itkit`` and `itkit.run`, and of unusable plug-ins."""
    more, wrong = describe_registered()
    groups = {
        "commands (also without itk_; itkit NAME --help tells more)": _entries("process"),
        "converters of datasets (also: itkit convert-dataset NAME)": _entries("convert"),
        "exports": _entries("export"),
        "downloads": _entries("download"),
        "of other packages": more,
    }
    width = max(len(name) for entries in groups.values() for name in entries) + 2
    lines = []
    for title, entries in groups.items():
        rows = [f"  {name:<{width}}{_summary(entry)}" for name, entry in entries.items()]
        lines += [f"{title}:", *rows, ""] if rows else []
    lines += ["and (itkit NAME --help tells more):"]
    lines += [*(f"  {name:<{width}}{verb.summary}" for name, verb in VERBS.items()), ""]
    lines += ["plug-ins that can't be used:", *(f"  {message}" for message in wrong), ""] if wrong else []
    return "\n".join([*lines, 'in Python: itkit.run(NAME, ...), or the function of that operation; see help("itkit")'])


def _entries(group: str) -> dict[str, Entry]:
    return {name: CATALOGUE[name] for name in named(group)}


def _summary(entry: Entry) -> str:
    return f"{entry.summary} ({entry.package})" if entry.package else entry.summary


TOOL = Tool("itkit list", ListParams, run, "itkit list")
