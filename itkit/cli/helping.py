"""``itkit help VERB``: the same as ``itkit VERB --help``."""

from __future__ import annotations

from typing import Annotated

from itkit.cli import umbrella
from itkit.core.fields import Positional, Suggest
from itkit.core.params import Params
from itkit.core.tool import Tool


class HelpParams(Params):
    """Show the help of a command; without one, the list of all commands."""

    words: Annotated[tuple[str, ...], Suggest("verbs"), Positional("VERB")] = ()
    """The command, as after itkit: resample, train, convert-dataset kits23."""


def run(params: HelpParams) -> int:
    """Show the help, and return the exit code."""
    return umbrella.main([*params.words, "--help"])


TOOL = Tool("itkit help", HelpParams, run, "itkit help resample")
