"""The argument parser of all operations: it turns command lines into parameter models.

Every option is derived from the model; pydantic checks the values.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

from pydantic.fields import FieldInfo

from itkit.core.errors import ParamsError
from itkit.core.fields import (
    Alone,
    Axes,
    Step,
    Steps,
    all_flags,
    base_type,
    is_flag,
    is_many,
    is_positional,
    marker,
    option_name,
    step_kinds,
    value_count,
)
from itkit.core.operation import Operation
from itkit.core.params import Params
from itkit.core.text import close_words
from itkit.core.tool import Tool
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params, read_config

P = TypeVar("P", bound=Params)

_SEPARATOR = "\x1f"  # values may hold blanks
_UNKNOWN_OPTION = re.compile(r"unrecognized arguments: (-\S+)")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?|inf|nan|infinity)", re.IGNORECASE)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        unknown = _UNKNOWN_OPTION.match(message)
        hint = "" if unknown is None else self._like(unknown[1])
        raise ParamsError(f"{message}{hint}; see {self.prog} --help")

    def _like(self, word: str) -> str:
        known = {option.lstrip("-"): option for option in self._option_string_actions}
        close = close_words(word.lstrip("-").split("=")[0], known)
        return f"; did you mean {known[close[0]]}?" if close else ""


class _StepAction(argparse.Action):
    """Append a step to its field, so that steps keep the order of their options."""

    def __call__(self, parser: object, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Append the step."""
        words = [str(self.const), *filter(None, values)]
        setattr(namespace, self.dest, [*getattr(namespace, self.dest, ()), " ".join(words)])


class _OnceAction(argparse.Action):
    """Set the value of an option that takes one; where it is given again, nobody can tell which value was meant."""

    def __call__(self, parser: object, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Set the value."""
        before = getattr(namespace, self.dest, values)
        if before != values:
            texts = [" ".join(value) if isinstance(value, list) else value for value in (before, values)]
            raise ParamsError(f"{option_string}: given twice, {texts[0]} and {texts[1]}; it takes one of them")
        setattr(namespace, self.dest, values)


def _split(text: str) -> list[str]:
    return text.split(_SEPARATOR)


def models_of(command: Operation[Any] | Tool[Any]) -> tuple[type[Params], ...]:
    """Return the models of a command's options: its own, and the common ones if it runs on cases."""
    return (command.params, RunOptions) if isinstance(command, Operation) else (command.params,)


def build_parser(command: Operation[Any] | Tool[Any], *, prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of a command; it leaves every value as text, and the model checks it."""
    prog = prog or command.name
    parser = _Parser(
        prog=prog,
        usage=prog,  # avoids building a usage text that is never shown
        formatter_class=partial(argparse.HelpFormatter, width=100),  # avoids asking for the terminal's width per option
        add_help=False,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser._negative_number_matcher = re.compile(rf"{_NUMBER.pattern}|-\d+:-?\d+", re.IGNORECASE)
    for model in models_of(command):
        for name, field in model.model_fields.items():
            if is_positional(field):
                parser.add_argument(name, nargs="*" if is_many(field) else "?")
            elif (steps := marker(field, Steps)) is not None:
                for kind in steps.kinds:
                    parser.add_argument(option_name(kind), dest=name, type=_split, action=_StepAction, const=kind)
            elif is_flag(field):
                parser.add_argument(*all_flags(name, field), dest=name, action="store_true")
            elif is_many(field):
                repeated = "extend" if value_count(field) is None else _OnceAction
                parser.add_argument(*all_flags(name, field), dest=name, type=_split, action=repeated)
            else:
                parser.add_argument(*all_flags(name, field), dest=name, action=_OnceAction)
    return parser


def _join_values(argv: Sequence[str], command: Operation[Any] | Tool[Any]) -> list[str]:
    """Join an option and its values to one token, so that argparse takes no value for an option or an argument."""
    many: dict[str, FieldInfo] = {}
    fields = command.params.model_fields
    kinds = {option_name(kind): steps.kinds[kind] for kind, (_, steps) in step_kinds(fields).items()}
    for model in models_of(command):
        for name, field in model.model_fields.items():
            if is_many(field) and not is_positional(field) and marker(field, Steps) is None:
                many |= dict.fromkeys(all_flags(name, field), field)
    joined: list[str] = []
    tokens = list(argv)
    while tokens:
        token = tokens.pop(0)
        if token == "--":  # all following words are arguments
            joined += [f"./{word}" if word.startswith("-") and not _NUMBER.match(word) else word for word in tokens]
            break
        option, is_set, first = token.partition("=")
        if is_set and (option in many or option in kinds):
            token, tokens = option, [first, *tokens]
        if token in kinds:
            joined.append(f"{token}={_SEPARATOR.join(_step_values(token, kinds[token], tokens))}")
            continue
        if token not in many:
            joined.append(token)
            continue
        field = many[token]
        order = marker(field, Axes)
        per_axis = order is not None and set(order.order) == set("ZYX")
        numeric = per_axis or set(get_args(base_type(field.annotation))) <= {int, float, ...}
        most = None if numeric else value_count(field)
        values: list[str] = []
        while tokens and (most is None or len(values) < most):
            is_text = not numeric and (not tokens[0].startswith("-") or (is_set and not values))  # --labels=-x is clear
            is_value = is_text or _NUMBER.fullmatch(tokens[0])
            if not is_value:
                break
            values.append(tokens.pop(0))
        alone = marker(field, Alone)
        if not values and alone is not None:
            values = [alone.word]
        if not values:
            wanted = f"numbers in the order {' '.join(order.order)}" if per_axis else "values"
            got = f"; got {tokens[0]!r}" if tokens else ""
            raise ParamsError(f"{token}: expected {wanted}{got}")
        if per_axis and len(values) < len(order.order) and tokens and not tokens[0].startswith("-"):
            _refuse_half(token, order, values, tokens[0])
        text = _SEPARATOR.join(values)
        joined.append(f"{token}={text}" if token.startswith("--") else f"{token}{text}")
    return joined


def _step_values(option: str, step: Step, tokens: list[str]) -> list[str]:
    """Take the values of a step from the words that follow its option."""
    values: list[str] = []
    for place, pattern in enumerate(step.values):
        fits = bool(tokens) and re.fullmatch(pattern, tokens[0], re.IGNORECASE) is not None
        if fits:
            values.append(tokens.pop(0))
        elif place >= len(step.values) - step.optional:
            break
        else:
            got = f"; got {' '.join([*values, *tokens[:1]])!r}" if values or tokens else ""
            raise ParamsError(f"{option}: expected {step.metavar}{got}")
    return values


def _refuse_half(option: str, axes: Axes, values: Sequence[str], following: str) -> None:
    """Refuse an option with one value per axis if a word follows too few numbers; one number may stand for all axes."""
    if axes.one_for_all and len(values) == 1:
        return
    raise ParamsError(
        f"{option}: expected {len(axes.order)} values in the order {' '.join(axes.order)}; "
        f"got {' '.join(values)} and then {following!r}"
    )


def parse(operation: Operation[Any], argv: Sequence[str], *, prog: str | None = None) -> tuple[Params, RunOptions]:
    """Turn a command line into checked parameters and run options.

    Raises
    ------
    ParamsError
        When an option or a value is wrong; one line names the option, what was expected and what was given.
    """
    given = _given(operation, argv, prog)
    if "config" in given:
        given = {**read_config(Path(given["config"]), operation), **given}
    run_names = RunOptions.model_fields.keys()
    own = {name: value for name, value in given.items() if name not in run_names}
    common = {name: value for name, value in given.items() if name in run_names}
    return make_params(operation.params, own), make_params(RunOptions, common)


def parse_tool(tool: Tool[P], argv: Sequence[str], *, prog: str | None = None) -> P:
    """Turn the command line of a tool into its checked parameters; it raises what `parse` raises."""
    made: P = make_params(tool.params, _given(tool, argv, prog))
    return made


def _given(command: Operation[Any] | Tool[Any], argv: Sequence[str], prog: str | None) -> dict[str, Any]:
    given = vars(build_parser(command, prog=prog).parse_intermixed_args(_join_values(argv, command)))
    return {name: value for name, value in given.items() if value not in ([], None)}
