"""What each command takes, as far as a shell completes it: options, arguments, and the words that they accept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from itkit.catalogue import ALIASES, CATALOGUE, describe_registered, load
from itkit.cli import models
from itkit.cli.adapter import models_of
from itkit.cli.main import SCRIPTS
from itkit.cli.verbs import VERBS, tools
from itkit.core.fields import (
    Choices,
    PathRole,
    Steps,
    Suggest,
    base_type,
    flags,
    is_flag,
    is_many,
    is_positional,
    marker,
    metavar,
    option_name,
    value_count,
)
from itkit.core.operation import Operation
from itkit.core.tool import Tool
from itkit.engine.options import RunOptions

CONVERTER = "convert_"
MANY = 99
"""Stands for any number of values."""
_PLAIN = re.compile(r"[\w.,:+@%=/-]+")
"""Words that no shell takes apart; others, of plug-ins, are not completed."""
_ALTERNATIVES = re.compile(r"\(?(?:\?:)?([A-Za-z][\w.-]*(?:\|[A-Za-z][\w.-]*)*)\)?")


@dataclass(frozen=True)
class Values:
    """The values of an option or an argument.

    Attributes
    ----------
    count
        How many there are: 0 for a flag, `MANY` for any number.
    names
        Their placeholders in the help, one or one for each.
    words
        The words that are accepted; empty for numbers, texts and paths.
    path
        ``file`` or ``folder`` if they are paths.
    """

    count: int = 1
    names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    path: Literal["", "file", "folder"] = ""


@dataclass(frozen=True)
class Option:
    """An option: its spellings, what it does in a few words, its values, and whether it may stand more than once."""

    flags: tuple[str, ...]
    text: str
    values: Values
    is_repeated: bool = False


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes
    ----------
    name
        Name of the operation, or of the verb.
    words
        Everything that names it after ``itkit``.
    program
        The program that it is, too; empty if it is none.
    summary
        What it does, in a few words.
    options
        Its own options, without those of `Grammar.common`.
    arguments
        Its positional arguments.
    is_operation
        Whether it has the common options.
    """

    name: str
    words: tuple[str, ...]
    program: str
    summary: str
    options: tuple[Option, ...]
    arguments: tuple[Values, ...]
    is_operation: bool

    @property
    def spellings(self) -> list[str]:
        """Return everything that names it: its words, and its program."""
        return list(dict.fromkeys([*self.words, *([self.program] if self.program else [])]))


@dataclass(frozen=True)
class Grammar:
    """All commands, the options that operations share, and the names of datasets with summaries."""

    commands: tuple[Command, ...]
    common: tuple[Option, ...]
    verbs: tuple[tuple[str, str], ...]
    datasets: tuple[tuple[str, str], ...]

    @property
    def programs(self) -> list[str]:
        """Return every program: ``itkit`` and the commands that are programs of their own."""
        return ["itkit", *(command.program for command in self.commands if command.program)]


def grammar() -> Grammar:
    """Return what all commands take, also those of other packages; plug-ins that can't be used are left out."""
    entries = {**CATALOGUE, **describe_registered()[0]}
    verbs = {name.removeprefix("itk_"): entry.summary for name, entry in entries.items()}
    verbs |= {name: verb.summary for name, verb in VERBS.items()}
    known = {"verbs": list(verbs), "networks": models.names()}
    commands = [_command(load(name), name, words_for(name), entry.summary, known) for name, entry in entries.items()]
    commands += [_command(tool, name, (name,), verbs[name], known) for name, tool in tools().items()]
    commands.append(_app())
    datasets = {
        word.removeprefix(CONVERTER): entry.summary
        for name, entry in entries.items()
        for word in words_for(name)
        if word.startswith(CONVERTER)
    }
    return Grammar(tuple(commands), tuple(_options(RunOptions, known)), tuple(verbs.items()), tuple(datasets.items()))


def words_for(name: str) -> tuple[str, ...]:
    """Return every word that names an operation: its name, its verb and its aliases.

    Examples
    --------
    >>> words_for("itk_check"), words_for("convert_brats2024")[1:]
    (('itk_check', 'check'), ('convert_brats2024_menrt', 'convert_brats2024_ped'))
    """
    aliases = [alias for alias, (target, _) in ALIASES.items() if target == name]
    return tuple(dict.fromkeys([name, name.removeprefix("itk_"), *aliases]))


def first_words(text: str) -> str:
    """Return the first part of a description, for the list that a shell shows.

    Examples
    --------
    >>> first_words("Target spacing; -1 keeps an axis. More."), first_words("Spacing of 0.5 mm (default: none).")
    ('Target spacing', 'Spacing of 0.5 mm')
    """
    first = re.split(r";\s|\.\s|\s\(|\.$", " ".join(text.split()), maxsplit=1)[0]
    before = first.partition(": ")[0]
    return before if " " in before else first


def _command(
    command: Operation[Any] | Tool[Any], name: str, words: tuple[str, ...], summary: str, known: dict[str, list[str]]
) -> Command:
    is_operation = isinstance(command, Operation)
    script = f"itkit-{name}"
    program = name if name.startswith("itk_") or name in SCRIPTS else script if script in SCRIPTS else ""
    arguments = [
        values_of(field_name, field, known)
        for field_name, field in command.params.model_fields.items()
        if is_positional(field)
    ]
    options = list(_options(models_of(command)[0], known))
    return Command(name, words, program, summary, tuple(options), tuple(arguments), is_operation)


def _app() -> Command:
    options = (Option(("--check",), "open every page once", Values(0)), Option(("--version",), "version", Values(0)))
    return Command("itkit-app", (), "itkit-app", "windows", options, (Values(1, ("PATH",), (), "file"),), False)


def _options(model: type[Any], known: dict[str, list[str]]) -> Iterator[Option]:
    texts = model.descriptions()
    for name, field in model.model_fields.items():
        if is_positional(field):
            continue
        steps = marker(field, Steps)
        if steps is None:
            values = values_of(name, field, known)
            is_repeated = is_many(field) and value_count(field) is None
            yield Option(tuple(flags(name, field)), first_words(texts[name]), values, is_repeated)
            continue
        for kind, step in steps.kinds.items():
            words = step.values and _ALTERNATIVES.fullmatch(step.values[0])
            values = Values(len(step.values), tuple(step.metavar.split()), tuple(words[1].split("|")) if words else ())
            yield Option((option_name(kind),), first_words(step.text), values, is_repeated=True)


def values_of(name: str, field: FieldInfo, known: dict[str, list[str]]) -> Values:
    """Return what a parameter takes on a command line."""
    if is_flag(field):
        return Values(0)
    count = 1 if not is_many(field) else value_count(field) or MANY
    shown = metavar(name, field)
    names = tuple(shown.replace("[", "").replace("]", "").split()) if is_many(field) else (shown,)
    suggested = marker(field, Suggest)
    words = known[suggested.kind] if suggested is not None else _words(field)
    role = marker(field, PathRole)
    base = base_type(field.annotation)
    is_path = base is Path or (is_many(field) and get_args(base)[0] is Path)
    path: Literal["", "file", "folder"] = ""
    if is_path:
        path = "folder" if role is not None and role.role.endswith("folder") else "file"
    return Values(
        count, (name.upper(),) if names[0].startswith("{") else names, tuple(filter(_PLAIN.fullmatch, words)), path
    )


def _words(field: FieldInfo) -> Sequence[str]:
    choices = marker(field, Choices)
    if choices is not None:
        return tuple(choices.values)
    base = base_type(field.annotation)
    inner = base_type(get_args(base)[0]) if is_many(field) else base
    return tuple(map(str, get_args(inner))) if get_origin(inner) is Literal else ()
