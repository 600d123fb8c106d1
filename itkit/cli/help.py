"""The help text of a command, made from its parameter model."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from itkit.cli.adapter import models_of
from itkit.core.fields import (
    Axes,
    OnlyWith,
    Secret,
    Steps,
    Unit,
    flags,
    is_flag,
    is_many,
    is_positional,
    marker,
    markers,
    metavar,
    option_name,
)
from itkit.core.operation import Operation
from itkit.core.tool import Tool

WIDTH = 100
_EXIT_CODES = (
    "0 every case done or skipped; 1 some case failed or does not conform; 2 nothing could run; 130 interrupted"
)


@dataclass(frozen=True)
class Help:
    """The help of a command, before it is laid out.

    Attributes
    ----------
    usage
        The command line, with placeholders.
    intro
        What the command does.
    groups
        Titles, and under each the arguments or options with their descriptions.
    example
        A command line.
    closing
        What the exit codes mean; empty for commands that are no operations.
    """

    usage: str
    intro: str
    groups: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    example: str
    closing: str = ""


def help_text(command: Operation[Any] | Tool[Any], *, prog: str | None = None) -> str:
    """Return a command's help: arguments, options, common options if it has them, one example."""
    told = help_of(command, prog=prog)
    parts = [f"usage: {told.usage}", textwrap.fill(told.intro, WIDTH)]
    parts += [f"{title}:\n" + "\n".join(_entry(*row) for row in rows) for title, rows in told.groups]
    parts.append(f"example:\n  {told.example}")
    parts += [textwrap.fill(f"exit codes: {told.closing}", WIDTH)] if told.closing else []
    return "\n\n".join(parts) + "\n"


def help_of(command: Operation[Any] | Tool[Any], *, prog: str | None = None) -> Help:
    """Return a command's help, made from its parameter model."""
    prog = prog or command.name
    positional: list[tuple[str, str]] = []
    usage: list[str] = []
    own: list[tuple[str, str]] = []
    common: list[tuple[str, str]] = []
    for model, rows in zip(models_of(command), (own, common), strict=False):
        descriptions = model.descriptions()
        for name, field in model.model_fields.items():
            text = _help(field, descriptions[name])
            if is_positional(field):
                shown = metavar(name, field) + (" ..." if is_many(field) else "")
                positional.append((shown, text))
                usage.append(shown if field.is_required() else f"[{shown}]")
            elif (steps := marker(field, Steps)) is not None:
                rows += [
                    (f"{option_name(kind)} {step.metavar}".rstrip(), step.text) for kind, step in steps.kinds.items()
                ]
            else:
                value = "" if is_flag(field) else f" {metavar(name, field)}"
                rows.append((", ".join(flags(name, field)) + value, text))
    is_operation = isinstance(command, Operation)
    last = common if is_operation else own
    last += [("--version", "Show the version.")] if is_operation else []
    last.append(("--help", "Show this help."))
    line = " ".join([prog, *usage, "[options]"])
    intro = " ".join((command.params.__doc__ or "").split())
    groups = (("arguments", positional), ("options", own), ("options of every command", common))
    return Help(
        line,
        intro,
        tuple((title, tuple(rows)) for title, rows in groups if rows),
        command.example,
        _EXIT_CODES if is_operation else "",
    )


def _help(field: FieldInfo, description: str) -> str:
    text = " ".join(description.split())
    for rule in markers(field, OnlyWith):
        begins = text[:1] if text[1:2].isupper() else text[:1].lower()  # an abbreviation stays as it is
        text = f"{rule.text().removeprefix('for ')}: {begins}{text[1:]}"
    notes = []
    axes, unit = marker(field, Axes), marker(field, Unit)
    if axes is not None and set(axes.order) == set("ZYX"):
        notes.append(f"order {' '.join(axes.order)}")
    if unit is not None:
        notes.append(unit.name)
    is_shown = not any(field.default is nothing for nothing in (PydanticUndefined, None, False, (), ""))
    if is_shown and not is_positional(field):
        default = field.default if marker(field, Secret) is None else field.default.get_secret_value()
        shown = (
            " ".join(value if isinstance(value, str) else f"{value:g}" for value in default)
            if isinstance(default, tuple)
            else default
        )
        notes.append(f"default: {shown}")
    return f"{text} [{'; '.join(notes)}]" if notes else text


def _entry(left: str, right: str) -> str:
    column = 34
    lines = textwrap.wrap(right, WIDTH - column, break_on_hyphens=False) or [""]
    head = f"  {left}"
    first = f"{head:<{column}}{lines[0]}" if len(head) < column - 1 else f"{head}\n{' ' * column}{lines[0]}"
    return "\n".join([first, *(f"{' ' * column}{line}" for line in lines[1:])])
