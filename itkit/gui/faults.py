"""What nobody expected: it is told, and the window and its jobs go on. Qt would end the program."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from types import TracebackType

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QMessageBox, QWidget

from itkit.core.errors import ItkitError

Hook = Callable[[type[BaseException], BaseException, TracebackType | None], None]


def report_to(window: QWidget) -> Hook:
    """Return a hook for exceptions that nobody caught: it tells them on the terminal, and in a box of the window.

    A second one while the box is open is told on the terminal alone.
    """
    shown: list[QMessageBox] = []

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        is_named = isinstance(error, ItkitError | OSError)
        if not is_named:
            sys.stderr.write("".join(traceback.format_exception(kind, error, trace)))
        if any(box.isVisible() for box in shown):
            return
        shown.clear()
        text = str(error) if is_named else f"A fault of ITKIT: {kind.__name__}: {error}\n\nDetails are on the terminal."
        box = QMessageBox(QMessageBox.Icon.Warning, "That did not work", text, parent=window)
        box.setObjectName("fault")
        box.setTextFormat(Qt.TextFormat.PlainText)
        shown.append(box)
        box.open()

    return tell
