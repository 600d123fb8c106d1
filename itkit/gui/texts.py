"""Texts as they are: in a name with angle brackets, Qt would see tags, and hide them."""

from __future__ import annotations

import re

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QLabel

from itkit.report.pages import markup


def plain_label(text: str = "", *, role: str = "", name: str = "", wraps: bool = False, copies: bool = False) -> QLabel:
    """Return a label that shows plain text.

    Parameters
    ----------
    text
        Its text.
    role
        What it is in the style sheet, e.g. ``muted`` or ``bad``.
    name
        Its object name.
    wraps
        Whether long lines are broken.
    copies
        Whether the mouse can select its text.
    """
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    if role:
        made.setProperty("role", role)
    if name:
        made.setObjectName(name)
    made.setWordWrap(wraps)
    if copies:
        made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return made


def breakable(text: str) -> str:
    r"""Return a text whose long names may be broken anywhere; it is to be read, not to be copied.

    Examples
    --------
    >>> breakable("ab cd") == "a\u200bb c\u200bd"
    True
    """
    return re.sub(r"(?<=\S)(?=\S)", "\u200b", text)


def tip(text: str) -> str:
    """Return a tool tip that shows a text as it is, its long lines broken.

    Examples
    --------
    >>> tip("a<b>.nii.gz"), tip("")
    ('<qt>a&lt;b&gt;.nii.gz</qt>', '')
    """
    return f"<qt>{markup(text)}</qt>".replace("\n", "<br>") if text else ""
