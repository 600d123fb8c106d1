"""``itkit convert-dataset NAME SOURCE DEST``: convert official releases to one layout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from itkit.catalogue import ALIASES, CATALOGUE, describe_registered, named, registered
from itkit.cli.operation import main as run_by_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from itkit.core.operation import Operation

_PREFIX = "convert_"


def listing() -> str:
    """Return the names of all datasets."""
    rows = {name: CATALOGUE[name].summary for name in named("convert")}
    rows |= {
        alias: f"{name.removeprefix(_PREFIX)} --variant {values['variant']}"
        for alias, (name, values) in ALIASES.items()
    }
    rows |= {name: entry.summary for name, entry in describe_registered()[0].items() if name.startswith(_PREFIX)}
    back = {name: CATALOGUE[name].summary for name in named("export")}
    width = max(map(len, [*rows, *back])) - len(_PREFIX) + 2
    lines = ["datasets:", *(_row(name, text, width) for name, text in sorted(rows.items()))]
    return "\n".join([*lines, "", "and the way back:", *(_row(name, text, width) for name, text in back.items())])


def _row(name: str, text: str, width: int) -> str:
    return f"  {name.removeprefix(_PREFIX):<{width}}{text}"


def usage() -> str:
    """Return the usage text of the command, with the names of all datasets."""
    return (
        "usage: itkit convert-dataset NAME source dest [options]\n"
        "       itkit convert-dataset NAME --help\n"
        "       itkit convert-dataset --list\n\n" + listing()
    )


def main(arguments: Sequence[str]) -> int:
    """Convert a dataset by name and return the exit code."""
    if not arguments or arguments[0] in ("--help", "-h"):
        print(usage(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] == "--list":
        print(listing())
        return 0
    given, *rest = arguments
    key = given.lower().replace("-", "_").removeprefix(_PREFIX)
    name, implied = ALIASES.get(_PREFIX + key, (_PREFIX + key, {}))
    if name not in CATALOGUE and name not in registered():
        from itkit.core.text import did_you_mean

        known = [*CATALOGUE, *ALIASES, *registered()]
        hint = did_you_mean(key, [other.removeprefix(_PREFIX) for other in known if other.startswith(_PREFIX)])
        message = f"no dataset {given!r}{hint} (itkit convert-dataset --list shows all)"
        print(f"itkit convert-dataset: error: {message}", file=sys.stderr)
        return 2
    for parameter, value in implied.items() if rest else ():
        if f"--{parameter}" not in rest:
            rest += [f"--{parameter}", value]
    return run_by_name(name, rest, prog=f"itkit convert-dataset {given}")


def run(operation: Operation[Any], arguments: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """Run a converter with a command line (by default that of this process) and return the exit code."""
    from itkit.cli.help import help_text
    from itkit.cli.terminal import run_command

    arguments = sys.argv[1:] if arguments is None else list(arguments)
    asks_help = "--help" in arguments or "-h" in arguments
    if asks_help or not arguments:
        print(help_text(operation, prog=prog), end="", file=sys.stdout if asks_help else sys.stderr)
        return 0 if asks_help else 2
    if "--version" in arguments:
        from itkit.core.version import VERSION

        print(f"{operation.name} (itkit {VERSION})")
        return 0
    return run_command(operation, arguments, prog=prog)
