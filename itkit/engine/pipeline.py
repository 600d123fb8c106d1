"""A pipeline: operations one after the other, as a file that can be read, edited and run again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itkit.catalogue import load
from itkit.core.errors import ItkitError, ParamsError
from itkit.core.fields import PathRole, marker
from itkit.core.operation import Operation
from itkit.core.params import Params
from itkit.core.text import did_you_mean
from itkit.core.toml import read_toml
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params, to_argv

_KEYS = ("run", "name", "params", "options")


@dataclass(frozen=True)
class PipelineStep:
    """One step: an operation with its checked parameters and options.

    Parameters
    ----------
    name
        What the step is called; by default the operation's name.
    """

    name: str
    operation: Operation[Any]
    params: Params
    options: RunOptions

    @property
    def command(self) -> str:
        """The command line that does the same."""
        own = self.operation.name
        return shlex.join([*(() if own.startswith("itk_") else ("itkit",)), own, *to_argv(self.params, self.options)])

    @property
    def written(self) -> Path | None:
        """The folder that the step writes, if it has one."""
        for name, field in type(self.params).model_fields.items():
            role, value = marker(field, PathRole), getattr(self.params, name)
            if role is not None and role.role == "out_folder" and isinstance(value, Path):
                return value
        return None


def read_pipeline(path: Path) -> tuple[PipelineStep, ...]:
    """Read a pipeline, and check the parameters of all steps before anything runs.

    Parameters
    ----------
    path
        A TOML file with a table ``[[step]]`` for each step: ``run`` (the operation), ``params`` and ``options`` (as in
        ``--config``), and ``name``. Relative paths are relative to the file.

    Raises
    ------
    ParamsError
        When the file can't be read, or a step is wrong: the message names step, key and what is allowed.
    """
    values = read_toml(path)
    tables = values.pop("step", None)
    if values:
        raise ParamsError(f"{path}: unknown key {next(iter(values))!r}; a pipeline holds tables [[step]]")
    if not isinstance(tables, list) or not tables:
        raise ParamsError(f"{path}: no step; write a table [[step]] for each, with run, params and options")
    steps = []
    for number, table in enumerate(tables, 1):
        try:
            steps.append(_step(table, path.absolute().parent))
        except ItkitError as error:
            raise ParamsError(f"{path}: step {number}: {error}") from error
    names = [step.name for step in steps]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ParamsError(f"{path}: two steps are called {twice!r}; give them a name of their own")
    return tuple(steps)


def _step(table: Any, base: Path) -> PipelineStep:
    if not isinstance(table, Mapping):
        raise ParamsError("expected a table [[step]]")
    unknown = next((key for key in table if key not in _KEYS), None)
    if unknown is not None:
        raise ParamsError(f"unknown key {unknown!r}{did_you_mean(unknown, _KEYS)} (there are {', '.join(_KEYS)})")
    name = table.get("run")
    if not isinstance(name, str):
        raise ParamsError("missing run: the operation, e.g. itk_resample")
    given, options = table.get("params", {}), table.get("options", {})
    if not isinstance(given, Mapping) or not isinstance(options, Mapping):
        raise ParamsError("params and options: expected names and values")
    operation = load(name)
    checked = make_params(operation.params, dict(_based(operation.params, given, base)))
    return PipelineStep(str(table.get("name", name)), operation, checked, make_params(RunOptions, options))


def _based(model: type[Params], values: Mapping[str, Any], base: Path) -> Iterator[tuple[str, Any]]:
    """Yield the values, relative paths made absolute."""
    for name, value in model.with_present_names(values).items():
        field = model.model_fields.get(name)
        is_path = field is not None and marker(field, PathRole) is not None
        yield name, _below(base, value) if is_path else value


def _below(base: Path, value: Any) -> Any:
    """Return a path, or each of several, below a folder; other values as they are."""
    if isinstance(value, list | tuple):
        return [_below(base, item) for item in value]
    return str(base / value) if isinstance(value, str) and value else value
