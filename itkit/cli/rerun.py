"""``itkit rerun``: repeat the run that a file describes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from itkit.catalogue import load
from itkit.cli.terminal import run_operation
from itkit.core.errors import ParamsError
from itkit.core.fields import PathRole, Positional
from itkit.core.params import Params
from itkit.core.tool import Tool
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params
from itkit.io.json_files import read_json


class RerunParams(Params):
    """Repeat the run that a file describes: finished cases are skipped, as by the command itself."""

    file: Annotated[Path, PathRole("in_file"), Positional("FILE")]
    """A run.json or …_configs.json that a command wrote into its destination."""


def run(params: RerunParams) -> int:
    """Repeat a run and return its exit code."""
    value = read_json(params.file)
    name = value.get("operation") if isinstance(value, dict) else None
    if not isinstance(name, str):
        raise ParamsError(f"{params.file}: does not describe a run of ITKIT")
    operation = load(name)
    given, options = value.get("params", {}), value.get("options", {})
    if not isinstance(given, dict) or not isinstance(options, dict):
        raise ParamsError(f"{params.file}: params and options: expected names and values")
    options = {key: item for key, item in options.items() if item is not None}
    return run_operation(operation, make_params(operation.params, given), make_params(RunOptions, options))


TOOL = Tool("itkit rerun", RerunParams, run, "itkit rerun resampled/resample_configs.json")
