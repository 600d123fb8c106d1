"""The verbs of ``itkit`` that are no operations: one line each, as text, so that no verb imports what another needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from itkit.core.tool import Tool


class Verb(NamedTuple):
    """A verb.

    Attributes
    ----------
    path
        ``"module:attribute"`` of a `Tool`, or of a function that takes the arguments and returns the exit code.
    summary
        What it does, in a few words.
    arguments
        Its arguments, for the list of all verbs.
    group
        The heading under which windows offer it; empty if they do not.
    extra
        Extra of this package that it needs.
    """

    path: str
    summary: str
    arguments: str = ""
    group: str = ""
    extra: str = ""

    def line(self) -> str:
        """Return arguments and summary, for the list of all verbs."""
        return f"{self.arguments}: {self.summary}" if self.arguments else self.summary


def _training(path: str, summary: str, arguments: str) -> Verb:
    return Verb(path, summary, arguments, "Train and deploy", "train")


VERBS: Mapping[str, Verb] = {
    "convert-dataset": Verb(
        "itkit.cli.datasets:main",
        "convert an official release to image/ + label/ (--list shows the names)",
        "NAME SOURCE DEST",
    ),
    "list": Verb(
        "itkit.cli.listing:TOOL", "list all operations: commands, converters, and operations of other packages"
    ),
    "doctor": Verb("itkit.cli.doctor:TOOL", "show versions, optional packages, cores, memory, codecs"),
    "rerun": Verb("itkit.cli.rerun:TOOL", "repeat the run that a run.json or …_configs.json describes", "FILE"),
    "run": Verb("itkit.cli.pipeline:TOOL", "run the steps of a pipeline; again: go on where it was left", "FILE"),
    "demo": Verb(
        "itkit.cli.demo:TOOL", "run the whole chain on a real CT, with a report to look at", "[--data DIR] [--out DIR]"
    ),
    "plan": _training(
        "itkit.cli.plan:TOOL", "plan a training by what is measured of data and machine", "DATASET [-o plan.toml]"
    ),
    "train": _training(
        "itkit.cli.train:TOOL", "train a network; again: go on from there", "PLAN [section.key=value ...]"
    ),
    "validate": _training(
        "itkit.cli.trained:VALIDATE", "apply a trained network to the cases it was not trained on", "RUN"
    ),
    "predict": _training("itkit.cli.trained:PREDICT", "apply the network of a run to images", "RUN SOURCE DEST"),
    "export": _training(
        "itkit.cli.export:TOOL", "a network as one file that proves that it computes the same", "MODEL DEST --to FORMAT"
    ),
    "mm-convert": Verb("itkit.mm.convert:TOOL", "from MMEngine to itkit train, and back", "SOURCE DEST --to WHAT"),
    "mmrun": Verb(
        "itkit.mm.run:TOOL", "train or test the models of experiments with MMEngine (also as mmrun)", "EXPERIMENT..."
    ),
    "web": Verb(
        "itkit.web.tool:TOOL", "run operations and look at volumes in a browser (also itkit-web)", "[--root DIR]"
    ),
    "bench": _training("itkit.cli.bench:TOOL", "seconds a window and volumes a minute, for each backend", "MODEL ..."),
    "serve": Verb("itkit.cli.serve:TOOL", "segment images that other programs send, such as 3D Slicer", "MODEL ..."),
    "models": Verb("itkit.cli.models:TOOL", "list the networks", "[PATTERN]"),
    "completion": Verb(
        "itkit.cli.completion:TOOL", "print a script that completes commands, options and names", "bash|zsh|fish"
    ),
    "man": Verb("itkit.cli.man:TOOL", "print the manual page of a command, or write all of them", "[VERB]"),
    "help": Verb("itkit.cli.helping:TOOL", "show the help of a command, or all commands", "[VERB]"),
}


def tools() -> dict[str, Tool[Any]]:
    """Import the verbs that have a model, and return them by name; the others run operations."""
    from itkit.core.plugins import resolve
    from itkit.core.tool import Tool

    found = {name: resolve(verb.path) for name, verb in VERBS.items()}
    return {name: tool for name, tool in found.items() if isinstance(tool, Tool)}
