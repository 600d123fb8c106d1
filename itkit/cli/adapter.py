"""Parameter models to command lines and back: the only argument parser.

Every option, its help, its axis order, unit and default come from the model; pydantic checks the values.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
import types
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from itkit.core.errors import ParamsError
from itkit.core.operation import Operation
from itkit.core.params import Axes, Params, Positional, Short, Unit, marker
from itkit.core.text import did_you_mean
from itkit.engine.options import RunOptions

WIDTH = 100
_SEPARATOR = "\x1f"  # values may hold blanks
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?|inf|nan|infinity)", re.IGNORECASE)
_EXIT_CODES = (
    "exit codes: 0 every case done or skipped; 1 some case failed or does not conform; "
    "2 nothing could run; 130 interrupted"
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ParamsError(f"{message}; see {self.prog} --help")


def option_name(name: str) -> str:
    """Return the option of a field.

    Examples
    --------
    >>> option_name("target_folder")
    '--target-folder'
    """
    return "--" + name.replace("_", "-")


def _base(annotation: Any) -> Any:
    """Return an annotation without ``None`` and ``Annotated``; text where several types are left."""
    if get_origin(annotation) in (Union, types.UnionType):
        kept = [part for part in get_args(annotation) if part is not type(None)]
        return _base(kept[0]) if len(kept) == 1 else str
    if get_origin(annotation) is Annotated:
        return _base(get_args(annotation)[0])
    return annotation


def _is_many(field: FieldInfo) -> bool:
    return get_origin(_base(field.annotation)) is tuple


def _count(field: FieldInfo) -> int | None:
    """Return how many values a tuple field takes; ``None`` for any number."""
    parts = get_args(_base(field.annotation))
    return None if parts[-1] is Ellipsis else len(parts)


def _find(field: FieldInfo, kind: type[Any]) -> Any:
    """Return a marker of a field, also one inside an optional type."""
    found = marker(field, kind)
    pending = [field.annotation]
    while found is None and pending:
        annotation = pending.pop()
        found = next((item for item in getattr(annotation, "__metadata__", ()) if isinstance(item, kind)), None)
        pending += list(get_args(annotation)) if get_origin(annotation) in (Union, types.UnionType) else []
        pending += [get_args(annotation)[0]] if get_origin(annotation) is Annotated else []
    return found


def _metavar(name: str, field: FieldInfo) -> str:
    positional, axes = _find(field, Positional), _find(field, Axes)
    base = _base(field.annotation)
    if positional is not None and positional.metavar:
        return str(positional.metavar)
    if get_origin(base) is Literal:
        return "{" + ",".join(str(value) for value in get_args(base)) + "}"
    if axes is not None:
        first, *rest = axes.order
        return f"{first} [{' '.join(rest)}]" if axes.one_for_all else " ".join(axes.order)
    if base is Path:
        return "PATH"
    if base in (int, float):
        return "N" if base is int else "V"
    return name.upper()


def _help(field: FieldInfo, description: str) -> str:
    text = " ".join(description.split())
    notes = []
    axes, unit = _find(field, Axes), _find(field, Unit)
    if axes is not None and set(axes.order) == set("ZYX"):
        notes.append(f"order {' '.join(axes.order)}")
    if unit is not None:
        notes.append(unit.name)
    is_shown = not any(field.default is nothing for nothing in (PydanticUndefined, None, False, ()))
    if is_shown and marker(field, Positional) is None:
        default = field.default
        shown = " ".join(f"{value:g}" for value in default) if isinstance(default, tuple) else default
        notes.append(f"default: {shown}")
    return f"{text} [{'; '.join(notes)}]" if notes else text


def _flags(name: str, field: FieldInfo) -> list[str]:
    short = _find(field, Short)
    return [*([short.flag] if short else []), option_name(name)]


def _split(text: str) -> list[str]:
    return text.split(_SEPARATOR)


def build_parser(operation: Operation[Any], *, prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of an operation; every value stays text, for the model to check."""
    prog = prog or operation.name
    parser = _Parser(
        prog=prog,
        usage=prog,  # else it is made anew, and shown by nobody
        formatter_class=partial(argparse.HelpFormatter, width=WIDTH),  # else every option asks for the terminal's
        add_help=False,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser._negative_number_matcher = re.compile(rf"{_NUMBER.pattern}|-\d+:-?\d+", re.IGNORECASE)
    for model in (operation.params, RunOptions):
        for name, field in model.model_fields.items():
            if marker(field, Positional) is not None:
                parser.add_argument(name, nargs="*" if _is_many(field) else "?")
            elif _base(field.annotation) is bool:
                parser.add_argument(*_flags(name, field), dest=name, action="store_true")
            elif _is_many(field):
                parser.add_argument(*_flags(name, field), dest=name, type=_split)
            else:
                parser.add_argument(*_flags(name, field), dest=name)
    return parser


def _join_values(argv: Sequence[str], operation: Operation[Any]) -> list[str]:
    """Make one token of an option and its several values, so that no value is taken for something else."""
    many: dict[str, FieldInfo] = {}
    for model in (operation.params, RunOptions):
        for name, field in model.model_fields.items():
            if _is_many(field) and marker(field, Positional) is None:
                many |= dict.fromkeys(_flags(name, field), field)
    joined: list[str] = []
    tokens = list(argv)
    while tokens:
        token = tokens.pop(0)
        if token == "--":  # no options from here on
            joined += [f"./{word}" if word.startswith("-") and not _NUMBER.match(word) else word for word in tokens]
            break
        if token not in many:
            joined.append(token)
            continue
        field = many[token]
        numeric = _find(field, Axes) is not None and set(_find(field, Axes).order) == set("ZYX")
        most = None if numeric else _count(field)
        values: list[str] = []
        while tokens and (most is None or len(values) < most):
            is_value = _NUMBER.fullmatch(tokens[0]) if numeric else not tokens[0].startswith("-")
            if not is_value:
                break
            values.append(tokens.pop(0))
        if not values:
            order = _find(field, Axes)
            wanted = f"numbers in the order {' '.join(order.order)}" if numeric else "values"
            got = f"; got {tokens[0]!r}" if tokens else ""
            raise ParamsError(f"{token}: expected {wanted}{got}")
        text = _SEPARATOR.join(values)
        joined.append(f"{token}={text}" if token.startswith("--") else f"{token}{text}")
    return joined


def parse(operation: Operation[Any], argv: Sequence[str], *, prog: str | None = None) -> tuple[Params, RunOptions]:
    """Turn a command line into checked parameters and run options.

    Raises
    ------
    ParamsError
        With one line that names the option, what was expected and what was given.
    """
    given = vars(build_parser(operation, prog=prog).parse_intermixed_args(_join_values(argv, operation)))
    given = {name: value for name, value in given.items() if value not in ([], None)}
    if "config" in given:
        given = {**read_config(Path(given["config"]), operation), **given}
    run_names = RunOptions.model_fields.keys()
    own = {name: value for name, value in given.items() if name not in run_names}
    common = {name: value for name, value in given.items() if name in run_names}
    return make_params(operation.params, own), make_params(RunOptions, common)


def make_params(model: type[Any], values: Mapping[str, Any]) -> Any:
    """Build a parameter model.

    Raises
    ------
    ParamsError
        With one line a wrong value.
    """
    for name, value in values.items():
        if value == "" and name in model.model_fields and _base(model.model_fields[name].annotation) is Path:
            raise ParamsError(f"{option_name(name)}: an empty path; is a shell variable unset?")
    try:
        return model(**values)
    except ValidationError as error:
        lines = [_explain(model, item) for item in error.errors()]
        raise ParamsError("; ".join(dict.fromkeys(lines))) from error


def _explain(model: type[Params], item: Mapping[str, Any]) -> str:
    location = [part for part in item["loc"] if isinstance(part, str)]
    name = location[0] if location else ""
    field = model.model_fields.get(name)
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        return f"unknown parameter {name!r}"
    if field is None:
        return message
    is_positional = marker(field, Positional) is not None
    label = _metavar(name, field) if is_positional else option_name(name)
    if item["type"] == "missing":
        return f"missing {label}: {' '.join(model.descriptions()[name].split())}"
    if item["type"] in ("value_error", "assertion_error"):
        return message if message.startswith("--") else f"{label}: {message}"
    got = item["input"]
    axes = _find(field, Axes)
    index = next((part for part in item["loc"] if isinstance(part, int)), None)
    axis = f" {axes.order[index]}" if axes is not None and index is not None and index < len(axes.order) else ""
    return f"{label}{axis}: {message[:1].lower()}{message[1:]}; got {got!r}"


def read_config(path: Path, operation: Operation[Any]) -> dict[str, Any]:
    """Read an operation's parameters from a TOML or JSON file, or from what a run of it wrote.

    Names may use ``-`` or ``_``; positional ones are those of the help or of the model.

    Raises
    ------
    ParamsError
        When the file is missing or malformed, or holds what is no parameter.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix.lower() == ".json" else _toml().loads(text)
    except OSError as error:
        raise ParamsError(f"--config {path}: can't be read ({error.strerror or error})") from error
    except ValueError as error:
        raise ParamsError(f"--config {path}: {error}") from error
    if not isinstance(values, dict):
        raise ParamsError(f"--config {path}: expected names and values")
    if isinstance(values.get("params"), dict) and "operation" in values:
        if values["operation"] != operation.name:
            raise ParamsError(f"--config {path}: describes a run of {values['operation']}, not of {operation.name}")
        values = {**values.get("options", {}), **values["params"]}
    fields = {**operation.params.model_fields, **RunOptions.model_fields}
    shown = {_metavar(name, field): name for name, field in fields.items() if marker(field, Positional) is not None}
    known = {name: name for name in fields} | shown
    given = {}
    for name, value in values.items():
        key = str(name).replace("-", "_")
        if key not in known:
            raise ParamsError(f"--config {path}: unknown parameter {name!r}{did_you_mean(key, known)}")
        is_flag = _base(fields[known[key]].annotation) is bool
        if any(isinstance(item, bool) != is_flag for item in (value if isinstance(value, list) else [value])):
            raise ParamsError(
                f"--config {path}: {name}: expected {'true or false' if is_flag else 'no flag'}; got {value!r}"
            )
        given[known[key]] = value
    return given


def _toml() -> Any:
    return import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


def to_argv(params: Params, options: RunOptions | None = None) -> list[str]:
    """Return the command line that gives these parameters: positional ones first, defaults left out."""
    positional: list[str] = []
    optional: list[str] = []
    for model in (params, *([options] if options is not None else [])):
        for name, field in type(model).model_fields.items():
            value = getattr(model, name)
            if marker(field, Positional) is not None:
                positional += [str(item) for item in value] if isinstance(value, tuple) else [str(value)]
            elif value is None or value == field.default:
                continue
            elif value is True:
                optional.append(option_name(name))
            elif isinstance(value, tuple):
                optional += [option_name(name), *(str(item) for item in value)]
            else:
                optional += [option_name(name), str(value)]
    return [*positional, *optional]


def help_text(operation: Operation[Any], *, prog: str | None = None) -> str:
    """Return a command's help: arguments, options, common options, one example."""
    prog = prog or operation.name
    positional: list[tuple[str, str]] = []
    own: list[tuple[str, str]] = []
    common: list[tuple[str, str]] = []
    for model, rows in ((operation.params, own), (RunOptions, common)):
        descriptions = model.descriptions()
        for name, field in model.model_fields.items():
            text = _help(field, descriptions[name])
            if marker(field, Positional) is not None:
                metavar = _metavar(name, field) + (" ..." if _is_many(field) else "")
                positional.append((metavar, text))
            else:
                value = "" if _base(field.annotation) is bool else f" {_metavar(name, field)}"
                rows.append((", ".join(_flags(name, field)) + value, text))
    common.append(("--version", "Show the version."))
    common.append(("--help", "Show this help."))
    usage = " ".join([prog, *(name for name, _ in positional), "[options]"])
    intro = textwrap.fill(" ".join((operation.params.__doc__ or "").split()), WIDTH)
    parts = [f"usage: {usage}", intro]
    for title, rows in (("arguments", positional), ("options", own), ("options of every command", common)):
        if rows:
            parts.append(f"{title}:\n" + "\n".join(_entry(*row) for row in rows))
    parts += [f"example:\n  {operation.example}", textwrap.fill(_EXIT_CODES, WIDTH)]
    return "\n\n".join(parts) + "\n"


def _entry(left: str, right: str) -> str:
    column = 34
    lines = textwrap.wrap(right, WIDTH - column) or [""]
    head = f"  {left}"
    first = f"{head:<{column}}{lines[0]}" if len(head) < column - 1 else f"{head}\n{' ' * column}{lines[0]}"
    return "\n".join([first, *(f"{' ' * column}{line}" for line in lines[1:])])
