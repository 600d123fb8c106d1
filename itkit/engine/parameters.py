"""Make parameter models from values and config files, and command lines from models; explain errors in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from itkit.catalogue import load
from itkit.core.bounded import MOST_CONFIG_BYTES, parse_json, parse_toml, read_bounded
from itkit.core.errors import ParamsError
from itkit.core.fields import (
    Axes,
    Secret,
    Steps,
    base_type,
    is_flag,
    is_positional,
    marker,
    metavar,
    option_name,
    other_names,
    step_kinds,
)
from itkit.core.operation import Operation
from itkit.core.params import Params
from itkit.core.text import did_you_mean
from itkit.core.tool import Tool
from itkit.engine.options import RunOptions


@dataclass(frozen=True)
class Problem:
    """What is wrong with the values of a model: the parameter that it is about, if it is about one, and the message."""

    name: str
    message: str


def make_params(model: type[Any], values: Mapping[str, Any]) -> Any:
    """Build a parameter model.

    Raises
    ------
    ParamsError
        When a value or a name is wrong; the message names each.
    """
    made = try_params(model, values)
    if isinstance(made, Params):
        return made
    raise ParamsError("; ".join(dict.fromkeys(problem.message for problem in made)))


def try_params(model: type[Params], values: Mapping[str, Any]) -> Params | list[Problem]:
    """Build a parameter model, or return all problems of the values."""
    try:
        values = model.with_present_names(values)
    except ValueError as error:
        return [Problem("", str(error))]
    for name, value in values.items():
        if value == "" and name in model.model_fields and base_type(model.model_fields[name].annotation) is Path:
            return [Problem(name, f"{option_name(name)}: an empty path; is a shell variable unset?")]
        if isinstance(value, str) and "\0" in value:
            return [Problem(name, f"{option_name(name)}: it holds a zero byte; got {value[:60]!r}")]
    try:
        return model(**values)
    except ValidationError as error:
        wrong = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")  # it may be what is missing
        return [Problem(_name_in(item, model), _explain(model, item)) for item in wrong]


def _name_in(item: Mapping[str, Any], model: type[Params]) -> str:
    name = next((part for part in item["loc"] if isinstance(part, str)), "")
    return name if name in model.model_fields else ""


def known_names(*models: type[Params]) -> dict[str, str]:
    """Return the field for every name of a parameter: its own, the one shown in the help, and former ones."""
    fields = {name: field for model in models for name, field in model.model_fields.items()}
    return other_names(fields) | {name: name for name in fields}


_IN_OUR_WORDS = {
    **dict.fromkeys(("float_parsing", "float_type"), "expected a number"),
    "finite_number": "expected a finite number",
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "expected a whole number"),
}
"""What pydantic says at length, by its kinds of errors."""


def _explain(model: type[Params], item: Mapping[str, Any]) -> str:
    location = [part for part in item["loc"] if isinstance(part, str)]
    name = location[0] if location else ""
    field = model.model_fields.get(name)
    message = _IN_OUR_WORDS.get(item["type"], str(item["msg"]).removeprefix("Value error, "))
    if item["type"] == "extra_forbidden":
        hint = did_you_mean(name, model.model_fields)
        return f"unknown parameter {name!r}{hint} (there are {', '.join(model.model_fields)})"
    if field is None:
        return message
    label = metavar(name, field) if is_positional(field) else option_name(name)
    if item["type"] == "missing":
        return f"missing {label}: {' '.join(model.descriptions()[name].split())}"
    if item["type"] in ("value_error", "assertion_error"):
        return message if message.startswith("--") else f"{label}: {message}"
    got = item["input"] if marker(field, Secret) is None else "a secret"
    axes = marker(field, Axes)
    index = next((part for part in item["loc"] if isinstance(part, int)), None)
    axis = f" {axes.order[index]}" if axes is not None and index is not None and index < len(axes.order) else ""
    return f"{label}{axis}: {message[:1].lower()}{message[1:]}; got {got!r}"


def schema(operation: str | Operation[Any]) -> dict[str, Any]:
    """Return the JSON schemas of an operation's parameters and of the run options: all that a form needs.

    Returns
    -------
    dict
        ``operation`` (its name), ``params`` (the schema of its parameters) and ``options`` (that of the run options).
        Beside the keys of JSON schema, a parameter may have ``x-axes``, ``x-unit``, ``x-keep``, ``x-path-role``,
        ``x-only-with``, ``x-group``, ``x-advanced``, ``x-secret``, ``x-free-text``, ``x-unbounded``, ``x-positional``,
        ``x-parts``, ``x-alone``, ``x-blank``, ``x-short`` and ``x-address``.

    Raises
    ------
    ParamsError
        When there is no such operation.

    Examples
    --------
    >>> spacing = schema("itk_resample")["params"]["properties"]["spacing"]
    >>> spacing["x-axes"], spacing["x-unit"], spacing["description"]
    ('ZYX', 'mm', 'Target spacing; -1 leaves an axis.')
    """
    found = load(operation) if isinstance(operation, str) else operation
    return {
        "operation": found.name,
        "params": found.params.model_json_schema(),
        "options": RunOptions.model_json_schema(),
    }


def read_config(path: Path, operation: Operation[Any] | Tool[Any]) -> dict[str, Any]:
    """Read the parameters of an operation or a tool from a TOML or JSON file, or from a file that a run of it wrote.

    Names may use ``-`` or ``_``; a positional parameter has its name in the help or in the model.

    Raises
    ------
    ParamsError
        When the file is missing or malformed, or holds a name that is not a parameter.
    """
    try:
        data = read_bounded(path, MOST_CONFIG_BYTES)
        values = parse_json(data) if path.suffix.lower() == ".json" else parse_toml(data)
    except OSError as error:
        raise ParamsError(f"--config {path}: can't be read ({error.strerror or error})") from error
    except ValueError as error:
        raise ParamsError(f"--config {path}: {error}") from error
    if not isinstance(values, dict):
        raise ParamsError(f"--config {path}: expected names and values")
    if isinstance(values.get("params"), dict) and "operation" in values:
        if values["operation"] != operation.name:
            raise ParamsError(f"--config {path}: describes a run of {values['operation']}, not of {operation.name}")
        options = values.get("options", {})
        if not isinstance(options, dict):
            raise ParamsError(f"--config {path}: options: expected names and values; got {str(options)[:60]}")
        values = {**options, **values["params"]}
    models = (operation.params, RunOptions) if isinstance(operation, Operation) else (operation.params,)
    fields = {name: field for model in models for name, field in model.model_fields.items()}
    known = known_names(*models)
    given: dict[str, Any] = {}
    kinds = step_kinds(fields)
    for name, value in values.items():
        key = str(name).replace("-", "_")
        if key in kinds:
            field, steps = kinds[key]
            text = steps.text(key, value)
            given[field] = [*given.get(field, ()), *([] if text is None else [text])]
            continue
        if key not in known:
            raise ParamsError(f"--config {path}: unknown parameter {name!r}{did_you_mean(key, known)}")
        if known[key] in given:
            raise ParamsError(f"--config {path}: {name}: given twice; it is another name of {known[key]!r}")
        wants_flag = is_flag(fields[known[key]])
        if any(isinstance(item, bool) != wants_flag for item in (value if isinstance(value, list) else [value])):
            raise ParamsError(
                f"--config {path}: {name}: expected {'true or false' if wants_flag else 'no flag'}; got {value!r}"
            )
        given[known[key]] = value
    return given


def to_argv(params: Params, options: RunOptions | None = None) -> list[str]:
    """Return the command line for these parameters: positional ones first, without defaults and secrets."""
    positional: list[str] = []
    optional: list[str] = []
    for model in (params, *([options] if options is not None else [])):
        for name, field in type(model).model_fields.items():
            value = getattr(model, name)
            if marker(field, Secret) is not None:  # every user of a machine can read a command line
                continue
            if value is None and is_positional(field):
                continue
            if is_positional(field):
                positional += map(_word, value if isinstance(value, tuple) else (value,))
            elif value is None or value == field.default:
                continue
            elif (steps := marker(field, Steps)) is not None:
                optional += [word for text in value for word in steps.argv(text)]
            elif value is True:
                optional.append(option_name(name))
            else:
                optional += _with_values(option_name(name), value if isinstance(value, tuple) else (value,))
    return [*positional, *optional]


def _with_values(option: str, values: tuple[Any, ...]) -> list[str]:
    """Return an option and its values; a text that begins with a dash is joined to it."""
    words = [*map(_word, values)]
    dashed = [word for value, word in zip(values, words, strict=True) if isinstance(value, str) and word[:1] == "-"]
    return [f"{option}={word}" for word in words] if dashed else [option, *words]


def _word(value: Any) -> str:
    """Return a value as a word of a command line; a path that begins with a dash is no option."""
    text = str(value)
    return f"./{text}" if isinstance(value, Path) and text.startswith("-") else text
