"""The types of the functions in `itkit.commands`, as text for type checkers: ``commands.pyi``."""

from __future__ import annotations

import types
from collections.abc import Iterable
from inspect import Parameter
from typing import Any, Literal, Union, get_args, get_origin

from itkit.catalogue import load
from itkit.commands import FUNCTIONS
from itkit.engine.functions import option_parameters, own_parameters

_HEAD = '''\
"""Every operation as a function; made from the parameter models by ``python -m itkit.cli.help_pages``."""

import os
from collections.abc import Sequence
from typing import Literal

from pydantic import SecretStr
from typing_extensions import TypedDict, Unpack

from itkit.engine.progress import EventSink
from itkit.engine.runner import RunResult

FUNCTIONS: dict[str, str]

class RunValues(TypedDict, total=False):
    """Run options, the same for every command."""

'''


def stub_text() -> str:
    """Return the text of ``commands.pyi``."""
    lines = [f"    {parameter.name}: {type_text(parameter.annotation)}" for parameter in option_parameters()]
    lines += ["    on_event: EventSink | None", ""]
    for title, name in FUNCTIONS.items():
        parameters = own_parameters(load(name).params)
        lines += [f"def {title}(", *_parameter_lines(parameters), ") -> RunResult: ..."]
    return _HEAD + "\n".join(lines) + "\n"


def _parameter_lines(parameters: Iterable[Parameter]) -> list[str]:
    lines = []
    has_star = False
    for parameter in parameters:
        if parameter.kind is Parameter.KEYWORD_ONLY and not has_star:
            lines.append("    *,")
            has_star = True
        default = "" if parameter.default is Parameter.empty else f" = {_value_text(parameter.default)}"
        lines.append(f"    {parameter.name}: {type_text(parameter.annotation)}{default},")
    return [*lines, "    **options: Unpack[RunValues],"]


def _value_text(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return repr(value) if value is None or isinstance(value, (bool, int, float, tuple)) else "..."


def type_text(annotation: Any) -> str:
    """Return the source code of a type.

    Examples
    --------
    >>> type_text(Literal["a", "b"] | None)
    'Literal["a", "b"] | None'
    """
    if annotation is type(None):
        return "None"
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " | ".join(map(type_text, parts))
    if origin is Literal:
        return f"Literal[{', '.join(map(_value_text, parts))}]"
    if origin is not None:
        name = "os.PathLike" if origin.__module__ == "os" else origin.__name__
        return f"{name}[{', '.join(map(type_text, parts))}]"
    return "Any" if annotation is Any else str(annotation.__name__)
