"""A form: the fields of a command under their headings, with the model's message beside each wrong one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PyQt6.QtCore import Qt, QTimer, pyqtSignal
from PyQt6.QtWidgets import QCheckBox, QFrame, QToolButton, QVBoxLayout, QWidget

from itkit.core.operation import Operation
from itkit.core.params import Params
from itkit.core.tool import Tool
from itkit.engine.options import RunOptions
from itkit.forms.checking import Checked, check
from itkit.forms.description import Field, Form, form_of, option_form
from itkit.gui.fields import Editor, FlagEditor, editor_of, tab_order
from itkit.gui.texts import plain_label
from itkit.gui.theme import GAP

_PAUSE_MS = 150


class FieldRow(QWidget):
    """A field's name, its editor, what it means, and what is wrong with it."""

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field
        self.editor: Editor = editor_of(field)
        self.is_touched = False
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, GAP)
        box.setSpacing(2)
        if not isinstance(self.editor, FlagEditor):
            label = plain_label(self._title(), role="label", wraps=True)
            label.setBuddy(self.editor)
            box.addWidget(label)
        box.addWidget(self.editor)
        self.about = plain_label(self._about(), role="muted", wraps=True)
        self.about.setVisible(bool(self.about.text()))
        box.addWidget(self.about)
        self.problem = plain_label(role="bad", name=f"{field.name}_problem", wraps=True, copies=True)
        self.problem.hide()
        box.addWidget(self.problem)
        self.editor.changed.connect(self._touch)

    def _touch(self) -> None:
        self.is_touched = True

    def _title(self) -> str:
        field = self.field
        extra = [*([" ".join(field.axes)] if field.axes and field.kind == "triplet" else []), field.unit]
        words = ", ".join(filter(None, extra))
        star = "" if not field.required else " *"
        return f"{field.label}{star}" + (f"  ({words})" if words else "")

    def _about(self) -> str:
        field = self.field
        bounds = f" ({field.bounds})" if field.bounds and field.kind == "number" else ""
        return f"{field.help.rstrip('.')}{bounds}." if field.help else ""

    def show_problem(self, message: str) -> None:
        """Show what is wrong; empty if nothing is."""
        if message != self.problem.text():
            self.problem.setText(message)
            self.editor.mark(message)
        self.problem.setVisible(bool(message))


class Section(QWidget):
    """Fields under a heading, which opens and closes them."""

    def __init__(self, title: str, *, is_open: bool) -> None:
        super().__init__()
        self.rows: list[FieldRow] = []
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(GAP // 2)
        self.head = QToolButton()
        self.head.setText(title)
        self.head.setCheckable(True)
        self.head.setChecked(is_open)
        self.head.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.head.setProperty("role", "section")
        font = self.head.font()
        font.setBold(True)
        self.head.setFont(font)
        self.head.setVisible(bool(title))
        self.head.toggled.connect(self._show)
        self.inner = QWidget()
        self.fields = QVBoxLayout(self.inner)
        self.fields.setContentsMargins(GAP if title else 0, 0, 0, 0)
        self.fields.setSpacing(GAP // 2)
        box.addWidget(self.head)
        box.addWidget(self.inner)
        self._show(is_open or not title)

    def _show(self, is_open: bool) -> None:
        self.inner.setVisible(is_open)
        self.head.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)

    def add(self, row: FieldRow) -> None:
        """Add a field."""
        self.rows.append(row)
        self.fields.addWidget(row)

    def open(self) -> None:
        """Open it."""
        self.head.setChecked(True)


class FormView(QWidget):
    """The form of an operation with the run options, or of a tool.

    `checked` is emitted shortly after the last change, with what the model says.
    """

    checked = pyqtSignal()

    def __init__(self, command: Operation[Any] | Tool[Any]) -> None:
        super().__init__()
        self.setObjectName("form")
        self.command = command
        self.form: Form = form_of(command)
        self.options: Form | None = option_form() if isinstance(command, Operation) else None
        self.rows: dict[str, FieldRow] = {}
        self.option_rows: dict[str, FieldRow] = {}
        self.sections: list[Section] = []
        self.own, self.run = Checked(), Checked()
        self.shows_all = False
        """Whether problems of fields that nobody has touched are shown too."""
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, GAP, 0)
        box.setSpacing(GAP)
        for title, fields in self.form.groups.items():
            box.addWidget(self._section(title, fields, self.rows, is_open=True))
        if self.options is not None:
            line = QFrame()
            line.setProperty("role", "line")
            line.setFixedHeight(1)
            box.addWidget(line)
            fields = tuple(field for group in self.options.groups.values() for field in group)
            box.addWidget(self._section(self.options.title, fields, self.option_rows, is_open=False))
        self.advanced = QCheckBox("Show advanced fields")
        self.advanced.toggled.connect(self._show_fields)
        box.insertWidget(box.count() - 2 if self.options is not None else box.count(), self.advanced)
        self.general = plain_label(role="bad", name="problem", wraps=True)
        self.general.hide()
        box.addWidget(self.general)
        box.addStretch()
        tab_order([row.editor for row in (*self.rows.values(), *self.option_rows.values())])
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE_MS)
        self._timer.timeout.connect(self.check)
        self.advanced.setVisible(any(row.field.is_advanced for row in self._all_rows()))
        self._show_fields()
        self.check()

    def _section(self, title: str, fields: tuple[Field, ...], rows: dict[str, FieldRow], *, is_open: bool) -> Section:
        section = Section(title, is_open=is_open)
        for field in fields:
            row = rows[field.name] = FieldRow(field)
            row.editor.changed.connect(self._change)
            section.add(row)
        self.sections.append(section)
        return section

    def _all_rows(self) -> list[FieldRow]:
        return [*self.rows.values(), *self.option_rows.values()]

    def _change(self) -> None:
        self._timer.start()

    def _show_fields(self) -> None:
        """Show the fields that matter with the present values, the advanced ones if they are asked for or set."""
        everything = self.advanced.isChecked()
        for form, rows in ((self.form, self.rows), (self.options, self.option_rows)):
            if form is None:
                continue
            values = {name: row.editor.value() for name, row in rows.items()}
            for name, row in rows.items():
                is_set = row.is_touched and not row.field.is_blank(values[name]) and values[name] != row.field.default
                is_wanted = everything or not row.field.is_advanced or is_set
                row.setVisible(is_wanted and row.field.matters(values, form.by_name))
        for section in self.sections:
            section.setVisible(any(not row.isHidden() for row in section.rows))

    def values(self) -> dict[str, Any]:
        """Return the values of the command's own fields that matter."""
        return self._values(self.form, self.rows)

    def option_values(self) -> dict[str, Any]:
        """Return the values of the run options."""
        return {} if self.options is None else self._values(self.options, self.option_rows)

    @staticmethod
    def _values(form: Form, rows: Mapping[str, FieldRow]) -> dict[str, Any]:
        values = {name: row.editor.value() for name, row in rows.items()}
        return {name: value for name, value in values.items() if form.by_name[name].matters(values, form.by_name)}

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Show values, of own fields and of run options; names that are no field are left out."""
        for rows in (self.rows, self.option_rows):
            for name, row in rows.items():
                if name in values:
                    row.editor.set_value(values[name])
        self.check()

    def clear(self) -> None:
        """Show the defaults."""
        for row in self._all_rows():
            row.editor.set_value(row.field.default)
            row.is_touched = False
        self.shows_all = False
        self.check()

    def check(self) -> bool:
        """Let the models check the values, show their messages, and return whether all is right."""
        self._timer.stop()
        self._show_fields()
        self.own = check(self.command.params, self.form.fields, self.values())
        self.run = Checked()
        if self.options is not None:
            self.run = check(RunOptions, self.options.fields, self.option_values())
        for found, rows in ((self.own, self.rows), (self.run, self.option_rows)):
            for name, row in rows.items():
                is_shown = self.shows_all or row.is_touched
                row.show_problem(found.problems.get(name, "") if is_shown else "")
        general = "\n".join(filter(None, (self.own.problems.get(""), self.run.problems.get(""))))
        self.general.setText(general)
        self.general.setVisible(bool(general))
        self.checked.emit()
        return self.is_right

    @property
    def is_right(self) -> bool:
        """Whether the values were right when they were checked last."""
        return self.own.params is not None and (self.options is None or self.run.params is not None)

    @property
    def params(self) -> Params | None:
        """The checked parameters."""
        return self.own.params

    @property
    def run_options(self) -> RunOptions | None:
        """The checked run options."""
        return self.run.params if isinstance(self.run.params, RunOptions) else None

    def show_all_problems(self) -> None:
        """Show every problem, and go to the first."""
        self.shows_all = True
        self.check()
        for section in self.sections:
            for row in section.rows:
                if row.problem.text():
                    section.open()
                    row.editor.setFocus()
                    return
