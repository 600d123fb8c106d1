"""``itkit completion``: a script for a shell that completes commands, options, choices and names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from itkit.cli.shells import bash, fish, zsh
from itkit.cli.shells.grammar import Grammar, grammar
from itkit.core.fields import Positional
from itkit.core.params import Params
from itkit.core.tool import Tool


class CompletionParams(Params):
    """Print a script that completes commands, options, choices, and the names of datasets and networks."""

    shell: Annotated[Literal["bash", "zsh", "fish"], Positional()]
    """The shell. Put what is printed where it looks: ~/.local/share/bash-completion/completions/itkit, a file _itkit in
    a folder of zsh's fpath, ~/.config/fish/completions/itkit.fish; or source it."""


_SCRIPTS: Mapping[str, Callable[[Grammar], str]] = {"bash": bash.script, "zsh": zsh.script, "fish": fish.script}


def run(params: CompletionParams) -> int:
    """Print the script."""
    print(_SCRIPTS[params.shell](grammar()), end="")
    return 0


TOOL = Tool("itkit completion", CompletionParams, run, "itkit completion bash > itkit.bash")
