"""Editors: a widget for each kind of field. Each carries the parameter's name as ``objectName``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QSize, Qt, pyqtSignal
from PyQt6.QtGui import QDragEnterEvent, QDropEvent
from PyQt6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QMenu,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from itkit.forms.description import Field
from itkit.gui import settings
from itkit.gui.icons import dress
from itkit.gui.texts import plain_label, tip
from itkit.gui.theme import GAP


class Editor(QWidget):
    """The widget of one field: it holds a value as a form has it, and tells when the user changes it."""

    changed = pyqtSignal()

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field
        self.lines: list[QWidget] = []
        """The widgets that a problem marks."""

    def value(self) -> Any:
        """Return the value: a text, a list of texts, true or false; ``None`` for nothing."""
        raise NotImplementedError

    def set_value(self, value: Any) -> None:
        """Show a value."""
        raise NotImplementedError

    def mark(self, problem: str) -> None:
        """Show whether a problem is that of the value; of several values, that of each which it names."""
        named = self.named_in(problem)
        for line in self.lines:
            line.setProperty("wrong", bool(problem) and (not named or line in named))
            style = line.style()
            if style is not None:
                style.unpolish(line)
                style.polish(line)

    def named_in(self, problem: str) -> list[QWidget]:
        """Return the widgets of the values that a problem names, e.g. by their axis."""
        del problem
        return []

    def _row(self, *widgets: QWidget) -> QHBoxLayout:
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(GAP)
        for widget in widgets:
            row.addWidget(widget)
        return row

    def _named(self, widget: QWidget) -> None:
        widget.setObjectName(self.field.name)
        widget.setAccessibleName(f"{self.field.label} ({self.field.unit})" if self.field.unit else self.field.label)
        widget.setAccessibleDescription(self.field.help)
        widget.setToolTip(self.field.option)
        self.setFocusProxy(widget)


class TextEditor(Editor):
    """A line of text: texts, numbers, secrets, and lists of words."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.line = QLineEdit()
        self._named(self.line)
        self.lines = [self.line]
        row = self._row(self.line)
        self.line.setPlaceholderText(self._hint())
        if field.kind == "secret":
            self.line.setEchoMode(QLineEdit.EchoMode.Password)
        if field.item in ("integer", "number") and field.kind == "number":
            self.line.setMaximumWidth(220)
            row.addStretch()
        self.line.textChanged.connect(self.changed)

    def _hint(self) -> str:
        field = self.field
        if field.kind == "list" and field.choices:
            return " ".join(field.choices)
        default = field.default
        if default not in (None, "", [], ()):
            return " ".join(map(str, default)) if isinstance(default, list) else str(default)
        return f"e.g. {field.example}" if field.example else field.bounds

    def value(self) -> Any:
        """Return the text, or the words of a list."""
        text = self.line.text()
        return words_of(text) if self.field.kind == "list" else text

    def set_value(self, value: Any) -> None:
        """Show a text, or the words of a list."""
        if isinstance(value, (list, tuple)):
            value = shlex.join(map(str, value))
        self.line.setText("" if value is None or value == self.field.default else str(value))


def words_of(text: str) -> list[str]:
    """Return the words of a line as a shell splits them; what is not closed yet is split at blanks.

    Examples
    --------
    >>> words_of("3:1 7:2"), words_of("organs='liver, spleen' x"), words_of("it's")
    (['3:1', '7:2'], ['organs=liver, spleen', 'x'], ["it's"])
    """
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


class PathLine(QLineEdit):
    """A line for a path, onto which a file or folder can be dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.setAcceptDrops(True)

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:  # noqa: N802 - Qt's name
        """Accept files."""
        data = None if event is None else event.mimeData()
        if event is not None and data is not None and data.hasUrls():
            event.acceptProposedAction()
        else:
            super().dragEnterEvent(event)

    def dropEvent(self, event: QDropEvent | None) -> None:  # noqa: N802 - Qt's name
        """Take the path of what is dropped."""
        data = None if event is None else event.mimeData()
        if event is not None and data is not None and data.hasUrls():
            self.setText(data.urls()[0].toLocalFile())
            event.acceptProposedAction()
        else:
            super().dropEvent(event)


class PathEditor(Editor):
    """A path: a line, a button that opens a picker, and a menu of recent paths."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.line = PathLine()
        self._named(self.line)
        self.lines = [self.line]
        is_file = field.kind == "file"
        wanted = "Choose or drop a file" if is_file else "Choose or drop a folder"
        self.line.setPlaceholderText(str(field.default) if field.default else wanted)
        self.button = QToolButton()
        dress(self.button, "folder", "muted")
        self.button.setIconSize(QSize(18, 18))
        self.button.setAccessibleName(f"Choose: {field.label}")
        self.button.setToolTip("Choose …  (the arrow shows recent ones)")
        self.button.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)
        self.button.clicked.connect(self._choose)
        self._menu = QMenu(self.button)
        self._menu.aboutToShow.connect(self._fill_menu)
        self.button.setMenu(self._menu)
        self._row(self.line, self.button)
        self.line.textChanged.connect(self.changed)

    def value(self) -> Any:
        """Return the path as it was typed."""
        return self.line.text()

    def set_value(self, value: Any) -> None:
        """Show a path."""
        self.line.setText("" if value is None else str(value))

    def _choose(self) -> None:
        path = pick_path(
            self, self.field.label, self.line.text(), file=self.field.kind == "file", new=self.field.writes
        )
        if path:
            self.line.setText(path)

    def _fill_menu(self) -> None:
        self._menu.clear()
        for path in settings.recent_paths():
            action = self._menu.addAction(path.replace("&", "&&"))
            if action is not None:
                action.triggered.connect(lambda _=False, path=path: self.line.setText(path))
        if self._menu.isEmpty():
            action = self._menu.addAction("No recent folder yet")
            if action is not None:
                action.setEnabled(False)


def pick_path(parent: QWidget, title: str, start: str = "", *, file: bool, new: bool = False) -> str:
    """Ask for a file or folder; empty if the user thinks better of it."""
    start = start or next(iter(settings.recent_paths()), str(Path.home()))
    if not file:
        return QFileDialog.getExistingDirectory(parent, title, start)
    ask = QFileDialog.getSaveFileName if new else QFileDialog.getOpenFileName
    return ask(parent, title, start)[0]


class FlagEditor(Editor):
    """A box to tick; it has the field's name beside it."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.box = QCheckBox(field.label)
        self._named(self.box)
        self._row(self.box).addStretch()
        self.box.toggled.connect(self.changed)

    def value(self) -> Any:
        """Return whether it is ticked."""
        return self.box.isChecked()

    def set_value(self, value: Any) -> None:
        """Tick it or not."""
        self.box.setChecked(bool(value))


class ChoiceEditor(Editor):
    """One of several words."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.box = choice_box(field, required=field.required)
        self._named(self.box)
        self.lines = [self.box]
        self._row(self.box).addStretch()
        self.box.currentIndexChanged.connect(self.changed)

    def value(self) -> Any:
        """Return the chosen word."""
        return self.box.currentData()

    def set_value(self, value: Any) -> None:
        """Choose a word."""
        self.box.setCurrentIndex(max(0, self.box.findData(value)))


def choice_box(field: Field, *, required: bool) -> QComboBox:
    """Return a box with a field's choices; the first one stands for none, unless there is a default."""
    box = QComboBox()
    box.setMaxVisibleItems(16)
    if field.default is None or isinstance(field.default, list):
        box.addItem("choose …" if required else "default", None)
    elif field.default not in field.choices:
        box.addItem("default", field.default)
    for choice in field.choices:
        box.addItem(choice, choice)
    box.setCurrentIndex(max(0, box.findData(field.default)))
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
    return box


class SeveralEditor(Editor):
    """A fixed number of values, each in a box of its own with its axis or meaning before it.

    A box that is left blank keeps an axis as it is, if the field says how.
    """

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.setObjectName(field.name)
        self.setAccessibleName(field.label)
        self.setAccessibleDescription(field.help)
        row = self._row()
        self.boxes: list[QLineEdit | QComboBox] = []
        for place, part in enumerate(field.parts):
            box = choice_box(field, required=False) if field.choices else self._line(place)
            box.setObjectName(f"{field.name}_{part.lower()}")
            box.setAccessibleName(f"{field.label} {part}" + (f" ({field.unit})" if field.unit else ""))
            label = plain_label(part, role="muted")
            label.setBuddy(box)
            row.addWidget(label)
            row.addWidget(box, 1)
            self.boxes.append(box)
            self.lines.append(box)
        if field.unit:
            unit = plain_label(field.unit, role="muted")
            row.addWidget(unit)
        row.addStretch()
        self.setFocusProxy(self.boxes[0])

    def _line(self, place: int) -> QLineEdit:
        line = QLineEdit()
        line.setMaximumWidth(110)
        line.setMinimumWidth(56)
        default = self.field.default
        if self.field.blank:
            line.setPlaceholderText(self.field.blank)
            meaning = "this axis stays as it is" if self.field.blank == "keep" else f"{self.field.blank} value will do"
            line.setToolTip(f"{self.field.option}: left blank, {meaning}")
        elif isinstance(default, list):
            line.setPlaceholderText(f"{default[place]:g}" if isinstance(default[place], float) else str(default[place]))
        line.textChanged.connect(self.changed)
        return line

    def named_in(self, problem: str) -> list[QWidget]:
        """Return the boxes of the axes that a problem names."""
        own = zip(self.field.parts, self.lines, strict=True)
        name = re.escape(self.field.label)
        return [line for part, line in own if re.search(rf"\b{name}:? {re.escape(part)}:", problem)]

    def value(self) -> Any:
        """Return all values; ``None`` if all are blank."""
        values = [box.currentData() if isinstance(box, QComboBox) else box.text().strip() for box in self.boxes]
        if not any(values):
            return None
        if self.field.one_for_all and values[0] and not any(values[1:]):
            return values[:1]
        keep, default = self.field.keep, self.field.default
        if keep is not None:
            return [value or f"{keep:g}" for value in values]
        if isinstance(default, list):
            return [value or str(old) for value, old in zip(values, default, strict=True)]
        return values

    def set_value(self, value: Any) -> None:
        """Show values; those that keep an axis, and defaults, are blank."""
        if not isinstance(value, (list, tuple)) or len(value) != len(self.boxes) or list(value) == self.field.default:
            value = [None] * len(self.boxes)
        for box, one in zip(self.boxes, value, strict=True):
            if isinstance(box, QComboBox):
                box.setCurrentIndex(max(0, box.findData(one)))
            else:
                box.setText("" if one is None or self._keeps(one) else _number_text(one))

    def _keeps(self, value: Any) -> bool:
        try:
            return self.field.keep is not None and float(value) == self.field.keep
        except (TypeError, ValueError):
            return False


def _number_text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


class StepsEditor(Editor):
    """A list of steps in their order: each is added by its kind and values, moved up and down, or removed."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.setObjectName(field.name)
        self.setAccessibleName(field.label)
        self.kinds = {kind.name: kind for kind in field.steps}
        self.list = QListWidget()
        self.list.setAccessibleName(f"{field.label}, in order")
        self.list.setMaximumHeight(120)
        self.kind, self.line = QComboBox(), QLineEdit()
        for kind in field.steps:
            self.kind.addItem(kind.name)
            self.kind.setItemData(self.kind.count() - 1, tip(kind.help), Qt.ItemDataRole.ToolTipRole)
        self.kind.setAccessibleName("Kind of step")
        self.line.setAccessibleName("Values of the step")
        self.lines = [self.list]
        add = QPushButton("Add")
        add.clicked.connect(self._add)
        self.line.returnPressed.connect(self._add)
        row = QHBoxLayout()
        row.addWidget(self.kind)
        row.addWidget(self.line, 1)
        row.addWidget(add)
        for name, text, act in (("up", "Move up", -1), ("down", "Move down", 1), ("remove", "Remove the step", 0)):
            row.addWidget(_tool(name, text, lambda _=False, act=act: self._move(act)))
        self._about = plain_label(role="muted", wraps=True)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.list)
        box.addLayout(row)
        box.addWidget(self._about)
        self.kind.currentTextChanged.connect(self._explain)
        self._explain(self.kind.currentText())
        self.setFocusProxy(self.kind)

    def _explain(self, name: str) -> None:
        kind = self.kinds.get(name)
        if kind is not None:
            self.line.setPlaceholderText(kind.metavar)
            self.line.setEnabled(bool(kind.values))
            self._about.setText(kind.help[:1].upper() + kind.help[1:])

    def _add(self) -> None:
        self.list.addItem(" ".join([self.kind.currentText(), *self.line.text().split()]))
        self.line.clear()
        self.changed.emit()

    def _move(self, places: int) -> None:
        row = self.list.currentRow() if self.list.currentRow() >= 0 else self.list.count() - 1
        to = row + places
        if row < 0 or (places and not 0 <= to < self.list.count()):
            return
        item = self.list.takeItem(row)
        if places and item is not None:
            self.list.insertItem(to, item)
            self.list.setCurrentRow(to)
        self.changed.emit()

    def value(self) -> Any:
        """Return the steps as texts."""
        return [item.text() for row in range(self.list.count()) if (item := self.list.item(row)) is not None]

    def set_value(self, value: Any) -> None:
        """Show steps."""
        self.list.clear()
        self.list.addItems([str(step) for step in value or ()])
        self.changed.emit()


def _tool(name: str, text: str, act: Callable[..., object]) -> QToolButton:
    button = QToolButton()
    dress(button, name, "muted")
    button.setToolTip(text)
    button.setAccessibleName(text)
    button.clicked.connect(act)
    return button


_EDITORS: dict[str, type[Editor]] = {
    "file": PathEditor,
    "folder": PathEditor,
    "dataset": PathEditor,
    "number": TextEditor,
    "text": TextEditor,
    "secret": TextEditor,
    "list": TextEditor,
    "triplet": SeveralEditor,
    "several": SeveralEditor,
    "choice": ChoiceEditor,
    "flag": FlagEditor,
    "steps": StepsEditor,
}


def editor_of(field: Field) -> Editor:
    """Return the editor of a field."""
    editor = _EDITORS[field.kind](field)
    editor.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return editor


def tab_order(editors: Sequence[Editor]) -> None:
    """Let the tabulator go through the editors in their order."""
    for before, after in pairwise(editors):
        QWidget.setTabOrder(before, after)
