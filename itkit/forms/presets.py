"""Presets: the values of a form in a TOML or JSON file, which ``--config`` takes too."""

from __future__ import annotations

import shlex
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from itkit.core.errors import ParamsError
from itkit.core.fields import Secret, marker
from itkit.core.operation import Operation
from itkit.core.params import Params
from itkit.core.text import shown
from itkit.core.toml import toml_value
from itkit.core.tool import Tool
from itkit.engine.options import RunOptions
from itkit.engine.parameters import read_config, try_params
from itkit.io.disk import write_text
from itkit.io.json_files import write_json


def preset_values(*models: Params) -> dict[str, Any]:
    """Return what differs from the defaults, as JSON values; secrets are left out."""
    values: dict[str, Any] = {}
    for model in models:
        dumped = model.model_dump(mode="json")
        for name, info in type(model).model_fields.items():
            if marker(info, Secret) is None and (info.is_required() or getattr(model, name) != info.default):
                values[name] = dumped[name]
    return {name: value for name, value in values.items() if value is not None}


def save_preset(
    path: Path, operation: Operation[Any] | Tool[Any], params: Params, options: RunOptions | None = None
) -> None:
    """Write the parameters, and the run options if given, as TOML, or as JSON if the file's name says so."""
    values = preset_values(params, *([] if options is None else [options]))
    if path.suffix.lower() == ".json":
        write_json(path, values)
        return
    lines = [f"{name} = {toml_value(value)}" for name, value in values.items()]
    is_batch = isinstance(operation, Operation)
    use = shlex.join([operation.name, "--config", path.name]) if is_batch else f"values of {operation.name}"
    write_text(path, "\n".join([shown(f"# {use}"), *lines, ""]))


def load_preset(path: Path, operation: Operation[Any] | Tool[Any]) -> dict[str, Any]:
    """Read values from a preset, a config file, or a ``run.json`` or ``…_configs.json`` that a run wrote.

    Raises
    ------
    ParamsError
        When the file can't be read, or holds a name that is not a parameter, or a value that it can't have: a form has
        no place for it.
    """
    values = read_config(path, operation)
    for model in (operation.params, RunOptions):
        own = {name: value for name, value in values.items() if name in model.model_fields}
        made = try_params(model, own)
        wrong = [] if isinstance(made, Params) else [one.message for one in made if one.name in own]
        if wrong:
            raise ParamsError(f"--config {path}: {'; '.join(wrong)}")
    return values


def preset_in(text: str, file: str, operation: Operation[Any] | Tool[Any]) -> dict[str, Any]:
    """Read values from the text of a preset, for windows that have no file of their user: as `load_preset` does.

    Raises
    ------
    ParamsError
        When the text is malformed, or holds a name that is not a parameter, or a value that it can't have.

    Examples
    --------
    >>> from itkit.catalogue import load
    >>> preset_in('orient = "LPI"', "mine.toml", load("itk_orient"))
    {'orient': 'LPI'}
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / ("preset.json" if file.lower().endswith(".json") else "preset.toml")
        path.write_bytes(text.encode("utf-8", "replace"))
        try:
            return load_preset(path, operation)
        except ParamsError as error:
            raise ParamsError(str(error).replace(f"--config {path}", file)) from error
