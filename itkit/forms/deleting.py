"""Runs that may delete files of the user: what to ask before, and what the answer must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itkit.forms.description import Field, Form


@dataclass(frozen=True)
class Deletion:
    """A question before a run that may delete files.

    Parameters
    ----------
    text
        What may be deleted, by the fields that say so.
    folder
        The folder in which files may be deleted.
    word
        What the user must type: the folder's name.
    """

    text: str
    folder: str
    word: str

    def is_answered_by(self, text: str) -> bool:
        """Return whether a typed text is the answer."""
        return text.strip() == self.word.strip()


def deletion(
    form: Form, values: Mapping[str, Any], options: Form | None = None, option_values: Mapping[str, Any] | None = None
) -> Deletion | None:
    """Return the question for the values of a form and of the run options; ``None`` if nothing may be deleted."""
    own = form.deleting(values)
    shared = [] if options is None else options.deleting(option_values or {})
    if not own and not shared:
        return None
    folders = [field for field in form.fields if field.kind in ("folder", "dataset") and values.get(field.name)]
    wanted = [field for field in folders if field.writes == (not own)] or folders
    folder = str(values[wanted[0].name]) if wanted else ""
    name = Path(folder).absolute().name or folder or form.name
    return Deletion(" ".join(_said(field, values) for field in (*own, *shared)), folder, name)


def _said(field: Field, values: Mapping[str, Any]) -> str:
    value = values.get(field.name)
    return f"{field.label}: {field.help}" if field.kind == "flag" else f"{field.label} {value}: {field.help}"


def with_consent(form: Form, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with the user's answer in them, if the command asks for it."""
    return {**values, **({} if form.consent is None else {form.consent.name: True})}
