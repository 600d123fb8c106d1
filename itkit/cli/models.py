"""``itkit models``: list the networks."""

from __future__ import annotations

from collections.abc import Sequence

from itkit.core.errors import ParamsError
from itkit.models.registry import table


def main(arguments: Sequence[str]) -> int:
    """Print the networks whose names match a pattern, or all."""
    if len(arguments) > 1 or arguments[:1] in (["-h"], ["--help"]):
        raise ParamsError("give one pattern, such as 'mednext*', or none for all networks")
    rows = [(row["name"], row["dims"], row["year"], row["title"]) for row in table(*arguments)]
    if not rows:
        raise ParamsError(f"no network matches {arguments[0]!r}; itkit models lists all")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())
    return 0
