"""``itkit rerun``: repeat the run that a file describes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from itkit.catalogue import load
from itkit.cli.terminal import run_operation
from itkit.core.errors import ParamsError
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params
from itkit.io.meta import read_json


def main(arguments: Sequence[str]) -> int:
    """Repeat a run and return its exit code."""
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        raise ParamsError("give one file: a run.json or …_configs.json that a command wrote")
    value = read_json(Path(arguments[0]))
    name = value.get("operation") if isinstance(value, dict) else None
    if not isinstance(name, str):
        raise ParamsError(f"{arguments[0]}: does not describe a run of ITKIT")
    operation = load(name)
    given, options = value.get("params", {}), value.get("options", {})
    if not isinstance(given, dict) or not isinstance(options, dict):
        raise ParamsError(f"{arguments[0]}: params and options: expected names and values")
    options = {key: item for key, item in options.items() if item is not None}
    return run_operation(operation, make_params(operation.params, given), make_params(RunOptions, options))
