"""What a page asks for: values of a form become a command, or messages beside the fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from itkit.core.tool import Tool
from itkit.engine.options import RunOptions
from itkit.forms.checking import check
from itkit.forms.command import Command, command_of
from itkit.forms.description import Field as FormField
from itkit.forms.description import Form, form_of, option_form
from itkit.forms.pages import load_command
from itkit.serving.paths import Root
from itkit.web.confined import confined, refused_addresses, refused_names, require_inside


class Asked(BaseModel):
    """The body of a request: parameters, run options, and the typed name of a folder whose files may be deleted."""

    model_config = ConfigDict(extra="forbid")

    params: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    confirm: str = ""


class Preset(BaseModel):
    """The body of a request: the text of a preset, and the name of its file, which says whether it is JSON or TOML."""

    model_config = ConfigDict(extra="forbid")

    text: str
    file: str = Field(max_length=300)


@dataclass(frozen=True)
class Answer:
    """What became of it.

    Parameters
    ----------
    command
        The command, if all is right.
    problems, option_problems
        The message for each wrong field; under ``""``, what is about no single field.
    deletes
        Name of the folder in which files may be deleted; empty if none are.
    """

    command: Command | None = None
    problems: Mapping[str, str] = field(default_factory=dict)
    option_problems: Mapping[str, str] = field(default_factory=dict)
    deletes: str = ""

    @property
    def text(self) -> str:
        """All problems, a line each."""
        return "\n".join(dict.fromkeys([*self.problems.values(), *self.option_problems.values()]))


@lru_cache(maxsize=256)
def form_named(name: str) -> Form:
    """Return the form of an operation or a tool."""
    return form_of(load_command(name))


@lru_cache(maxsize=256)
def options_named(name: str) -> Form:
    """Return the form of the options that all operations share; a tool has none of them."""
    whole = option_form()
    return replace(whole, fields=()) if isinstance(load_command(name), Tool) else whole


def answer(name: str, asked: Asked, root: Root, *, plan: bool = False) -> Answer:
    """Check what a page asks for.

    Raises
    ------
    NotServedError
        When a value leads outside the root.
    ParamsError
        When there is no such operation or tool.
    """
    command = load_command(name)
    form, options_of = form_named(name), options_named(name)
    problems = {**_shape_problems(asked.params), **_shape_problems(asked.options)}
    if problems:
        return Answer(None, problems)
    try:
        params = command.params.with_present_names(asked.params)
    except ValueError as error:
        return Answer(None, {"": str(error)})
    params = confined(params, form.by_name, root)
    options = confined(asked.options, options_of.by_name, root)
    if form.consent is not None and not plan:
        params[form.consent.name] = bool(asked.confirm)  # the typed name stands for it; the caller compares it
    refused = {one: f"{one}: there is no such field" for one in refused_names(params, form.by_name)}
    refused_options = {one: f"{one}: there is no such field" for one in refused_names(options, options_of.by_name)}
    refused |= refused_addresses(params, form.by_name)
    refused_options |= refused_addresses(options, options_of.by_name)
    if refused or refused_options:
        return Answer(None, refused, refused_options)
    checked = check(command.params, form.fields, params)
    checked_options = check(RunOptions, options_of.fields, options)
    if checked.params is None or checked_options.params is None:
        return Answer(None, checked.problems, checked_options.problems)
    if isinstance(command, Tool):
        require_inside(command.reads(checked.params), root)
        return Answer(command_of(command, checked.params), deletes=_deleted_folder(form, options_of, params, options))
    assert isinstance(checked_options.params, RunOptions)
    return Answer(
        command_of(command, checked.params, checked_options.params),
        deletes=_deleted_folder(form, options_of, params, options),
    )


def _shape_problems(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"{name}: expected a text, a number or a list" for name, value in values.items() if _is_nested(value)}


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, (dict, list)) for one in value))


def _deleted_folder(form: Form, options: Form, params: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Return the name of the folder in which a command may delete files of the user."""
    if form.deleting(params):
        return _name_of([one for one in form.fields if not one.writes], params)
    if options.deleting(given):
        return _name_of([one for one in form.fields if one.writes], params)
    return ""


def _name_of(fields: list[FormField], params: Mapping[str, Any]) -> str:
    folders = [one for one in fields if one.kind in ("folder", "dataset") and params.get(one.name)]
    return Path(str(params[folders[0].name])).name or "/" if folders else "delete"
