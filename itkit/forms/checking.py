"""Check the values of a form by the command's own model, and say beside which field each problem belongs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from itkit.core.params import Params
from itkit.engine.parameters import Problem, try_params
from itkit.forms.description import Field, in_words_of_forms


@dataclass(frozen=True)
class Checked:
    """What a form's values amount to.

    Parameters
    ----------
    params
        The model, if the values are right.
    problems
        The message for each wrong field; under ``""``, what is about no single field.
    """

    params: Params | None = None
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All problems in one text, a line each."""
        return "\n".join(dict.fromkeys(self.problems.values()))


def check(model: type[Params], fields: Iterable[Field], values: Mapping[str, Any]) -> Checked:
    """Check values as a form has them: texts as they were typed, lists, true and false.

    What is blank is not given, so that the default counts. A value that other parameters rule out is not given either
    if it is the field's default.

    Examples
    --------
    >>> from itkit.catalogue import load
    >>> from itkit.forms.description import form_of
    >>> operation = load("itk_resample")
    >>> values = {"mode": "image", "source": "raw", "dest": "out", "spacing": ["1", "x", "-1"]}
    >>> check(operation.params, form_of(operation).fields, values).problems["spacing"]
    "Spacing Y: expected a number; got 'x'"
    """
    known = {one.name: one for one in fields}
    given = {
        name: _plain(value, known.get(name))
        for name, value in values.items()
        if not _is_left_out(value, known.get(name))
    }
    made = try_params(model, given)
    if isinstance(made, Params):
        return Checked(made)
    problems: dict[str, str] = {}
    for problem in made:
        for name, placed in _placed(problem, known.values()):
            message = in_words_of_forms(placed, known.values())
            problems[name] = f"{problems[name]}; {message}" if name in problems else message
    return Checked(None, problems)


def _is_left_out(value: Any, known: Field | None) -> bool:
    if known is None:
        return False
    return known.is_blank(value) or (not known.required and value == known.default)


def _plain(value: Any, known: Field | None) -> Any:
    if isinstance(value, str) and known is not None and known.item in ("integer", "number", "choice"):
        return value.strip()
    return tuple(value) if isinstance(value, list) else value


def _placed(problem: Problem, fields: Iterable[Field]) -> list[tuple[str, str]]:
    """Split a message that names several parameters, and return the field that each part is about.

    A model's own rules are about no single field for pydantic; their messages name the options.
    """
    if problem.name:
        return [(problem.name, problem.message)]
    names = {field.option: field.name for field in fields}
    starts = re.compile(rf"({'|'.join(map(re.escape, sorted(names, key=len, reverse=True)))})(?![\w-])")
    parts: list[tuple[str, str]] = []
    for piece in problem.message.split("; "):
        begin = starts.match(piece)
        if begin is not None:
            parts.append((names[begin[1]], piece))
        elif parts:
            parts[-1] = (parts[-1][0], f"{parts[-1][1]}; {piece}")
        else:
            found = starts.search(piece)
            parts.append((names[found[1]] if found is not None else "", piece))
    return parts
