"""``itkit convert-dataset NAME SOURCE DEST``: official releases to one layout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from itkit.core.errors import ItkitError
from itkit.dataset.registry import ALIASES, DATASETS, EXPORTS, load_converter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from itkit.core.operation import Operation


def listing() -> str:
    """Return the names of all datasets."""
    width = max(map(len, [*DATASETS, *ALIASES, *EXPORTS])) + 2
    rows = [(name, text) for name, (_, text) in DATASETS.items()]
    rows += [(name, f"{family} --variant {variant}") for name, (family, variant) in ALIASES.items()]
    lines = ["datasets:", *(f"  {name:<{width}}{text}" for name, text in sorted(rows)), "", "and the way back:"]
    return "\n".join([*lines, *(f"  {name:<{width}}{text}" for name, (_, text) in EXPORTS.items())])


def usage() -> str:
    """Return how the command is called."""
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
    name, *rest = arguments
    try:
        operation = load_converter(name)
    except ItkitError as error:
        print(f"itkit convert-dataset: error: {error}", file=sys.stderr)
        return 2
    variant = ALIASES.get(name.lower().replace("-", "_"), ("", ""))[1]
    if variant and "--variant" not in rest:
        rest = [*rest, "--variant", variant]
    return run(operation, rest, prog=f"itkit convert-dataset {name}")


def run(operation: Operation[Any], arguments: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """Run a converter on a command line (by default this process's) and return the exit code."""
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
