"""Make Python functions of operations; signature, types, defaults and help come from the parameter model."""

from __future__ import annotations

import os
import textwrap
import types
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from inspect import Parameter, Signature
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BeforeValidator, SecretStr

from itkit.core.errors import ParamsError
from itkit.core.fields import Axes, Unit, is_positional, marker
from itkit.engine.api import run
from itkit.engine.options import RunOptions
from itkit.engine.progress import EventSink
from itkit.engine.runner import RunResult

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from itkit.core.operation import Operation
    from itkit.core.params import Params

ON_TERMINALS = {"config", "progress"}
"""Run options that have no use in Python."""
_WIDTH = 100


def make_function(operation: Operation[Any], title: str) -> Callable[..., RunResult]:
    """Return the function that runs an operation."""
    signature = signature_of(operation)
    in_order = [p.name for p in signature.parameters.values() if p.kind is Parameter.POSITIONAL_OR_KEYWORD]

    def function(*values: Any, **named: Any) -> RunResult:
        if len(values) > len(in_order):
            raise ParamsError(
                f"{title}: got {len(values)} values without a name; at most {len(in_order)} are allowed "
                f"({', '.join(in_order)}); give the others as NAME=value"
            )
        given = dict(zip(in_order, values, strict=False))
        twice = sorted(given.keys() & named.keys())
        if twice:
            raise ParamsError(f"{title}: {twice[0]} is given twice")
        return run(operation, **given, **named)

    function.__name__ = function.__qualname__ = title
    function.__module__ = "itkit"
    function.__doc__ = docstring(operation)
    function.__signature__ = signature  # type: ignore[attr-defined]  # what inspect.signature and help() show
    return function


def signature_of(operation: Operation[Any]) -> Signature:
    """Return the signature of an operation's function: folders, then other positional parameters, then options."""
    parameters = [*own_parameters(operation.params), *option_parameters()]
    parameters.append(Parameter("on_event", Parameter.KEYWORD_ONLY, default=None, annotation=EventSink | None))
    return Signature(parameters, return_annotation=RunResult)


def own_parameters(model: type[Params]) -> list[Parameter]:
    """Return the function parameters for the fields of a model."""
    fields = model.model_fields
    first = [name for name, field in fields.items() if is_positional(field)]
    first.sort(key=lambda name: (not fields[name].is_required(), Path not in _parts(fields[name].annotation)))
    rest = [name for name in fields if name not in first]
    return [
        *(_parameter(name, fields[name], Parameter.POSITIONAL_OR_KEYWORD) for name in first),
        *(_parameter(name, fields[name], Parameter.KEYWORD_ONLY) for name in rest),
    ]


def option_parameters() -> list[Parameter]:
    """Return the function parameters for the run options that are useful in Python."""
    fields = RunOptions.model_fields
    return [_parameter(name, fields[name], Parameter.KEYWORD_ONLY) for name in fields if name not in ON_TERMINALS]


def _parameter(name: str, field: FieldInfo, kind: Any) -> Parameter:
    default = Parameter.empty if field.is_required() else field.get_default()
    return Parameter(name, kind, default=default, annotation=accepted_type(field.annotation, field.metadata))


def _parts(annotation: Any) -> list[Any]:
    """Return the types of a union without their annotations."""
    if get_origin(annotation) is Annotated:
        return _parts(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [part for item in get_args(annotation) for part in _parts(item)]
    return [annotation]


def accepted_type(annotation: Any, metadata: Sequence[Any] = ()) -> Any:
    """Return the type that a caller may pass for a field: any path for a `Path`, any sequence for a tuple.

    Examples
    --------
    >>> accepted_type(tuple[float, float, float] | None)
    collections.abc.Sequence[float] | None
    """
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return accepted_type(inner, [*metadata, *more])
    if get_origin(annotation) in (Union, types.UnionType):
        return reduce(or_, (accepted_type(part, metadata) for part in get_args(annotation)))
    if annotation is Path:
        return str | os.PathLike[str]
    if annotation is SecretStr:
        return str | SecretStr
    if get_origin(annotation) is tuple:
        item: Any = accepted_type(get_args(annotation)[0])
        is_one = any(isinstance(mark, Axes) and mark.one_for_all for mark in metadata)
        return item | Sequence[item] if is_one else Sequence[item]
    if annotation is int and any(isinstance(mark, BeforeValidator) for mark in metadata):
        return int | str  # a size such as "8GB"
    return annotation


def docstring(operation: Operation[Any]) -> str:
    """Return the docstring of an operation's function."""
    lines = [*textwrap.wrap(" ".join((operation.params.__doc__ or "").split()), _WIDTH), "", "Parameters", "----------"]
    lines += _described(operation.params, [parameter.name for parameter in own_parameters(operation.params)])
    lines += _described(RunOptions, [parameter.name for parameter in option_parameters()])
    lines += ["on_event", "    Called with each progress event.", "", "Returns", "-------", "RunResult"]
    lines += ["    A record for each case, and the summary with the exit code."]
    return "\n".join([*lines, "", "Notes", "-----", f"The same as ``itkit.run({operation.name!r}, ...)``."])


def _described(model: type[Params], names: Sequence[str]) -> Iterator[str]:
    texts = model.descriptions()
    for name in names:
        field = model.model_fields[name]
        axes, unit = marker(field, Axes), marker(field, Unit)
        notes = [f"order {' '.join(axes.order)}"] if axes is not None else []
        notes += [unit.name] if unit is not None else []
        text = " ".join(texts[name].split()) + (f" [{'; '.join(notes)}]" if notes else "")
        yield name
        yield from textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")
