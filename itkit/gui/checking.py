"""``itkit-app --check``: open every page once, and print what was drawn."""

from __future__ import annotations

import sys

from PyQt6.QtWidgets import QApplication

from itkit.core.errors import ItkitError
from itkit.core.text import counted
from itkit.gui.window import MainWindow


def check_pages(window: MainWindow) -> int:
    """Open every page, print a line for each, and return the exit code: 1 if one can't be drawn."""
    window.show()
    wrong = 0
    for name in window.page_names:
        window.show_page(name)
        sys.stdout.write(f"{name}: {_drawn(window)}\n")
    for name, page in window.jobs_page.pages.items():
        try:
            form = window.open_operation(name).form
        except ItkitError as error:
            wrong += 1
            sys.stdout.write(f"{name}: error: {error}\n")
            continue
        fields = f"{counted(form.rows, 'field')}, {counted(form.option_rows, 'option')}"
        sys.stdout.write(f"{name} ({page.group}): {fields}, {_drawn(window)}\n")
    window.close()
    return 1 if wrong else 0


def _drawn(window: MainWindow) -> str:
    QApplication.processEvents()
    picture = window.grab()
    return f"{picture.width()} x {picture.height()} pixels"
