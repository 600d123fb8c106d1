"""``itkit models``: list the networks."""

from __future__ import annotations

from typing import Annotated

from itkit.core.errors import ParamsError
from itkit.core.fields import FreeText, Positional, Suggest
from itkit.core.params import Params
from itkit.core.tool import Tool
from itkit.models.registry import list_models, table


class ModelsParams(Params):
    """List the networks: name, numbers of axes, year, title."""

    pattern: Annotated[str, FreeText("mednext*"), Suggest("networks"), Positional("PATTERN")] = "*"
    """Which names to list; * stands for any letters."""


def run(params: ModelsParams) -> int:
    """Print the networks whose names match the pattern."""
    rows = [(row["name"], row["dims"], row["year"], row["title"]) for row in table(params.pattern)]
    if not rows:
        raise ParamsError(f"no network matches {params.pattern!r}; itkit models lists all")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())
    return 0


def names() -> list[str]:
    """Return the names of our networks."""
    return list_models(plugins=False)


TOOL = Tool("itkit models", ModelsParams, run, "itkit models 'mednext*'")
