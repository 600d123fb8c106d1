"""The verbs of ``itkit`` that are no operations: one line each, as text, so that no verb imports what another needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Verb(NamedTuple):
    """A verb.

    Attributes
    ----------
    path
        ``"module:attribute"`` of a `Tool`, or of a function that takes the arguments and returns the exit code.
    summary
        Its arguments and what it does, in a few words.
    """

    path: str
    summary: str


VERBS: Mapping[str, Verb] = {
    "convert-dataset": Verb(
        "itkit.cli.datasets:main",
        "NAME SOURCE DEST: convert an official release to image/ + label/ (--list shows the names)",
    ),
    "list": Verb(
        "itkit.cli.listing:main", "list all operations: commands, converters, and operations of other packages"
    ),
    "doctor": Verb("itkit.cli.doctor:main", "show versions, optional packages, cores, memory, codecs"),
    "rerun": Verb("itkit.cli.rerun:main", "FILE: repeat the run that a run.json or …_configs.json describes"),
    "run": Verb("itkit.cli.pipeline:TOOL", "FILE: run the steps of a pipeline; again: go on where it was left"),
    "demo": Verb(
        "itkit.cli.demo:main", "[--data DIR] [--out DIR]: run the whole chain on a real CT, with a report to look at"
    ),
    "plan": Verb(
        "itkit.cli.plan:TOOL", "DATASET [-o plan.toml]: plan a training by what is measured of data and machine"
    ),
    "train": Verb("itkit.cli.train:TOOL", "PLAN [section.key=value ...]: train a network; again: go on from there"),
    "validate": Verb("itkit.cli.trained:VALIDATE", "RUN: apply a trained network to the cases it was not trained on"),
    "predict": Verb("itkit.cli.trained:PREDICT", "RUN SOURCE DEST: apply the network of a run to images"),
    "export": Verb(
        "itkit.cli.export:TOOL", "MODEL DEST --to FORMAT: a network as one file that proves that it computes the same"
    ),
    "mm-convert": Verb("itkit.mm.convert:TOOL", "SOURCE DEST --to WHAT: from MMEngine to itkit train, and back"),
    "mmrun": Verb(
        "itkit.mm.run:TOOL", "EXPERIMENT...: train or test the models of experiments with MMEngine (also as mmrun)"
    ),
    "web": Verb(
        "itkit.web.tool:TOOL", "[--root DIR]: run operations and look at volumes in a browser (also itkit-web)"
    ),
    "bench": Verb("itkit.cli.bench:TOOL", "MODEL ...: seconds a window and volumes a minute, for each backend"),
    "serve": Verb("itkit.cli.serve:TOOL", "MODEL ...: segment images that other programs send, such as 3D Slicer"),
    "models": Verb("itkit.cli.models:main", "[PATTERN]: list the networks"),
    "completion": Verb(
        "itkit.cli.completion:main", "bash|zsh|fish: print a script that completes commands and options"
    ),
}
