"""The page of an operation or a tool: form, command line, plan, run, stop, and what happens to which case."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from PyQt6.QtCore import Qt, QTimer, pyqtSignal
from PyQt6.QtGui import QGuiApplication, QResizeEvent
from PyQt6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSplitter,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from itkit.core.errors import ItkitError
from itkit.core.operation import Operation
from itkit.core.text import counted
from itkit.core.tool import Tool
from itkit.forms.checking import check
from itkit.forms.command import command_of
from itkit.forms.deleting import Deletion, deletion, with_consent
from itkit.forms.pages import Page
from itkit.forms.presets import load_preset, preset_values, save_preset
from itkit.forms.progress import time_in_words
from itkit.forms.queue import Job
from itkit.forms.reports import reports_of
from itkit.forms.trainings import is_training
from itkit.gui import settings
from itkit.gui.bridge import Jobs
from itkit.gui.form_view import FormView
from itkit.gui.icons import dress
from itkit.gui.log import Log
from itkit.gui.tables import PLAN_COLUMNS, RUN_COLUMNS, CaseTable
from itkit.gui.texts import breakable, plain_label
from itkit.gui.theme import GAP
from itkit.report.pages import markup

_NARROW = 900
_TICK_MS = 500
_BOX_WIDTH = 460


def ask_to_delete(parent: QWidget, question: Deletion) -> bool:
    """Ask before a run that may delete files: the user types the folder's name."""
    box = DeletionBox(parent, question)
    is_given = box.exec() == QDialog.DialogCode.Accepted
    box.deleteLater()
    return is_given and question.is_answered_by(box.line.text())


class DeletionBox(QDialog):
    """The question before a run that may delete files."""

    def __init__(self, parent: QWidget, question: Deletion) -> None:
        super().__init__(parent)
        self.setWindowTitle("Files may be deleted")
        self.setMinimumWidth(_BOX_WIDTH)
        self.line = QLineEdit()
        self.line.setObjectName("typed_name")
        self.line.setAccessibleName("Name of the folder")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        box = QVBoxLayout(self)
        for text in (
            question.text,
            f"This may delete files in {breakable(question.folder)}",
            f"Type the name of the folder to go on: {breakable(question.word)}",
        ):
            box.addWidget(plain_label(text, wraps=True))
        box.addWidget(self.line)
        box.addWidget(buttons)
        self.line.setFocus()


def _note(text: str) -> QLabel:
    return plain_label(text, role="muted", wraps=True, copies=True)


class OperationPage(QWidget):
    """The page of one operation, or of one tool: without a plan, and without a table of cases if it tells of none."""

    case_opened = pyqtSignal(object)
    """The row of a case that the user wants to see."""
    training_opened = pyqtSignal(object)
    """The folder of a training that the user wants to watch."""

    def __init__(self, page: Page, operation: Operation[Any] | Tool[Any], jobs: Jobs) -> None:
        super().__init__()
        self.page, self.operation, self.jobs = page, operation, jobs
        self.is_operation = isinstance(operation, Operation)
        self.has_cases = isinstance(operation, Operation) or operation.tells
        self.job: Job | None = None
        self.form = FormView(operation)
        self.form.set_values(settings.last_values(page.name))
        for row in (*self.form.rows.values(), *self.form.option_rows.values()):
            row.is_touched = False
        box = QVBoxLayout(self)
        box.setContentsMargins(2 * GAP, 2 * GAP, 2 * GAP, GAP)
        box.setSpacing(GAP)
        box.addLayout(self._head())
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self.splitter.addWidget(self._form_area())
        self.splitter.addWidget(self._results())
        self.splitter.setStretchFactor(0, 1)
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setSizes([420, 540])
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setHandleWidth(GAP)
        box.addWidget(self.splitter, 1)
        box.addLayout(self._command_line())
        jobs.changed.connect(self._on_job)
        self.form.checked.connect(self._show_command)
        self._clock = QTimer(self)
        self._clock.setInterval(_TICK_MS)
        self._clock.timeout.connect(self._tick)
        self._show_command()
        self._show_job()

    def _head(self) -> QHBoxLayout:
        title = plain_label(self.page.title, name="title")
        about = plain_label(self.form.form.help, role="muted", wraps=True)
        left = QVBoxLayout()
        left.setSpacing(2)
        left.addWidget(title)
        left.addWidget(about)
        if self.page.extra or self.page.package:
            source = (
                f"From {self.page.package}." if self.page.package else f"Some inputs need itkit[{self.page.extra}]."
            )
            note = plain_label(source, role="muted")
            left.addWidget(note)
        presets = QToolButton()
        presets.setText("Presets")
        dress(presets, "save", "muted")
        presets.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        presets.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(presets)
        for text, act in (
            ("Save values as a preset …", self._save_preset),
            ("Load a preset or a run's configuration …", self._load_preset),
            ("Back to the defaults", self.form.clear),
        ):
            action = menu.addAction(text)
            if action is not None:
                action.triggered.connect(lambda _=False, act=act: act())
        presets.setMenu(menu)
        row = QHBoxLayout()
        row.addLayout(left, 1)
        row.addWidget(presets, 0, Qt.AlignmentFlag.AlignTop)
        return row

    def _form_area(self) -> QWidget:
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(self.form)
        area.setMinimumWidth(300)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        return area

    def _results(self) -> QWidget:
        self.tabs = QTabWidget()
        self.plan_table = CaseTable("plan_table", PLAN_COLUMNS)
        self.plan_table.setAccessibleName("Plan: what would happen to which file")
        self.case_table = CaseTable("cases", RUN_COLUMNS)
        self.case_table.setAccessibleName("Cases of the run")
        self.log = Log()
        self.log.failed.connect(lambda text: self.state.setText(text))
        self.plan_note = _note("Plan shows what would happen to which file; nothing is touched.")
        self.run_note = _note("Run starts the command; each case stands here with its status.")
        for table in (self.plan_table, self.case_table):
            table.opened.connect(self.case_opened)
        self.plan_tab = self._tab(self.plan_note, self.plan_table, "Search the plan")
        self.case_tab = self._tab(self.run_note, self.case_table, "Search the cases")
        for tab, title in ((self.plan_tab, "Plan"), (self.case_tab, "Cases"), (self.log, "Log")):
            self.tabs.addTab(tab, title)
        if not self.is_operation:
            self.tabs.setTabVisible(0, False)
            self.tabs.setCurrentWidget(self.log)
            self.tabs.setTabVisible(1, self.has_cases)
        self.bar = QProgressBar()
        self.bar.setObjectName("progress")
        self.bar.setAccessibleName("Progress of the run")
        self.state = plain_label(name="state", wraps=True)
        panel = QWidget()
        panel.setMinimumWidth(260)
        box = QVBoxLayout(panel)
        box.setContentsMargins(GAP, 0, 0, 0)
        box.addWidget(self.tabs, 1)
        box.addWidget(self.bar)
        box.addWidget(self.state)
        self.reports = QLabel()  # its links are rich text
        self.reports.setObjectName("reports")
        self.reports.setWordWrap(True)
        self.reports.setOpenExternalLinks(True)
        box.addWidget(self.reports)
        return panel

    @staticmethod
    def _tab(note: QLabel, table: CaseTable, words: str) -> QWidget:
        search = QLineEdit()
        search.setPlaceholderText(words)
        search.setAccessibleName(words)
        search.setClearButtonEnabled(True)
        search.textChanged.connect(table.proxy.setFilterFixedString)
        tab = QWidget()
        box = QVBoxLayout(tab)
        box.setContentsMargins(0, GAP, 0, 0)
        box.addWidget(note)
        box.addWidget(search)
        box.addWidget(table, 1)
        said = plain_label(name=f"{table.objectName()}_said", wraps=True, copies=True)
        said.hide()
        table.told.connect(said.setText)
        table.told.connect(lambda text: said.setVisible(bool(text)))
        box.addWidget(said)
        return tab

    def _command_line(self) -> QVBoxLayout:
        self.command = QLineEdit()
        self.command.setObjectName("command_line")
        self.command.setReadOnly(True)
        self.command.setAccessibleName("The exact command line")
        self.command.setPlaceholderText("The exact command line stands here as soon as the form is complete.")
        font = self.command.font()
        font.setFamilies(["DejaVu Sans Mono", "Menlo", "Consolas", "monospace"])
        self.command.setFont(font)
        copy = QPushButton("Copy")
        copy.setObjectName("copy")
        copy.setToolTip("Copy the command line")
        copy.clicked.connect(self.copy_command)
        self.plan_button, self.run_button, self.stop_button = (QPushButton(text) for text in ("&Plan", "&Run", "&Stop"))
        for button, name, act in (
            (self.plan_button, "plan", self.plan),
            (self.run_button, "run", self.run),
            (self.stop_button, "stop", self.stop),
        ):
            button.setObjectName(name)
            dress(button, name, "card" if name == "run" else "ink")
            button.clicked.connect(act)
        self.plan_button.setVisible(self.is_operation)
        self.watch_button = QPushButton("&Curves")
        self.watch_button.setObjectName("curves")
        self.watch_button.setToolTip("Show the curves and pictures of this training while it goes on")
        dress(self.watch_button, "train")
        self.watch_button.clicked.connect(self._watch)
        self.watch_button.hide()
        self.run_button.setProperty("role", "main")
        self.plan_button.setToolTip("Show what would happen to which file; touch nothing")
        self.stop_button.setToolTip("End the job as Ctrl-C does: what is finished stays, and the run can go on later")
        line = QHBoxLayout()
        line.addWidget(self.command, 1)
        line.addWidget(copy)
        buttons = QHBoxLayout()
        buttons.addStretch()
        for button in (self.watch_button, self.plan_button, self.stop_button, self.run_button):
            buttons.addWidget(button)
        box = QVBoxLayout()
        box.addLayout(line)
        box.addLayout(buttons)
        return box

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        """Put the results below the form where there is no room beside it."""
        super().resizeEvent(event)
        narrow = self.width() < _NARROW
        self.splitter.setOrientation(Qt.Orientation.Vertical if narrow else Qt.Orientation.Horizontal)

    def _show_command(self) -> None:
        params = self.form.params
        right = self.form.is_right and params is not None
        self.command.setText(command_of(self.operation, params, self.form.run_options).text if right and params else "")
        self.command.setCursorPosition(0)

    def copy_command(self) -> None:
        """Copy the command line."""
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None and self.command.text():
            clipboard.setText(self.command.text())
            self.state.setText("The command line is copied.")

    def plan(self) -> None:
        """Show what would happen to which file."""
        self._start(plan=True)

    def run(self) -> None:
        """Start the command, or put it into the queue; ask first if it may delete files."""
        self._start(plan=False)

    def _start(self, *, plan: bool) -> None:
        if not self.form.check() or self.form.params is None:
            self.form.show_all_problems()
            self.state.setText("Some fields are missing or wrong; the messages stand beside them.")
            return
        params, values = self.form.params, self.form.values()
        question = deletion(self.form.form, values, self.form.options, self.form.option_values())
        if question is not None and not plan:
            if not ask_to_delete(self, question):
                self.state.setText("Nothing was started: the folder's name was not typed.")
                return
            answered = check(self.operation.params, self.form.form.fields, with_consent(self.form.form, values))
            params = answered.params or params
        self._remember(values)
        command = command_of(self.operation, params, self.form.run_options)
        self.follow(self.jobs.queue.add(command, plan=plan, folder=Path.cwd()))

    def _remember(self, values: dict[str, Any]) -> None:
        form, options = self.form.form, self.form.options
        kept = {
            name: value
            for name, value in {**values, **self.form.option_values()}.items()
            for field in [form.by_name.get(name) or (options.by_name[name] if options is not None else None)]
            if field is not None and field.kind != "secret" and not field.is_consent and not field.deletes
        }
        settings.keep_values(self.page.name, kept)
        paths = [value for name, value in values.items() if name in form.by_name and form.by_name[name].item == "path"]
        settings.remember_paths(*(path for path in paths if isinstance(path, str)))

    def stop(self) -> None:
        """Stop the job."""
        if self.job is not None:
            self.jobs.queue.stop(self.job)
            self._show_job()

    def follow(self, job: Job) -> None:
        """Show a job of this operation."""
        self.job = job
        table = self.plan_table if job.is_plan else self.case_table
        table.cases.follow(job)
        table.tell()
        if self.splitter.orientation() == Qt.Orientation.Vertical:  # what happens counts now
            self.splitter.setSizes([self.height() // 3, self.height()])
        self.log.follow(job)
        self.tabs.setCurrentWidget(self.plan_tab if job.is_plan else self.case_tab if self.is_operation else self.log)
        self._clock.start()
        self._show_job()

    def _watch(self) -> None:
        if self.job is not None and self.job.view.dest:
            self.training_opened.emit(Path.cwd() / self.job.view.dest)

    def _on_job(self, job: Job) -> None:
        if job is not self.job:
            return
        table = self.plan_table if job.is_plan else self.case_table
        table.cases.update()
        table.tell()
        self.log.update_lines()
        self._show_job()

    def _tick(self) -> None:
        self.case_table.cases.tick()
        self._show_job()

    def _show_job(self) -> None:
        job = self.job
        is_active = job is not None and not job.is_over
        self.stop_button.setEnabled(is_active and job is not None and job.state != "stopping")
        if job is None:
            self.bar.hide()
            self.reports.hide()
            return
        if not is_active:
            self._clock.stop()
        with job.lock:
            total, ended = job.view.total, job.view.ended
            self.bar.setVisible(is_active or total > 0)
            self.bar.setRange(0, total or (0 if is_active else 1))
            self.bar.setValue(ended)
            self.bar.setFormat(f"{ended} of {total}" if total else "")
            text = state_text(job)
            dest = job.view.dest
        self.watch_button.setVisible(bool(dest) and not self.is_operation and is_training(Path(dest)))
        self.state.setText(text)
        links = "" if is_active or job.is_plan else report_links(job)
        self.reports.setText(links)
        self.reports.setVisible(bool(links))
        self.plan_note.setVisible(self.plan_table.cases.rowCount() == 0)
        self.run_note.setVisible(self.case_table.cases.rowCount() == 0)

    def _save_preset(self) -> None:
        if not self.form.check() or self.form.params is None:
            self.form.show_all_problems()
            return
        path, _ = QFileDialog.getSaveFileName(
            self, "Save a preset", f"{self.page.name.replace(' ', '_')}.toml", "Presets (*.toml *.json)"
        )
        if path:
            try:
                save_preset(Path(path), self.operation, self.form.params, self.form.run_options)
            except (ItkitError, OSError) as error:
                self.state.setText(f"Not saved: {error}")
                return
            self.state.setText(
                f"Saved: {self.page.name} --config {shlex.quote(path)}" if self.is_operation else f"Saved: {path}"
            )

    def _load_preset(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load a preset", "", "Presets (*.toml *.json);;All files (*)")
        if path:
            self.load(Path(path))

    def load(self, path: Path) -> None:
        """Show the values of a preset, or of a run's configuration."""
        try:
            values = load_preset(path, self.operation)
        except ItkitError as error:
            self.state.setText(str(error))
            return
        self.form.clear()
        self.form.set_values(values)
        self.state.setText(f"Loaded: {path}")

    def preset(self) -> dict[str, Any]:
        """Return what a preset of the present values would hold."""
        return {} if self.form.params is None else preset_values(self.form.params)


def report_links(job: Job) -> str:
    """Return links to the pages that a job has written, as rich text; empty if there are none."""
    links = [f'<a href="{path.absolute().as_uri()}">{markup(path.name)}</a>' for path in reports_of(job)]
    return f"Reports: {', '.join(links)}" if links else ""


def state_text(job: Job) -> str:
    """Return the state of a job in a line, with what to do next where it failed."""
    view = job.view
    if job.state == "waiting":
        return "Waits for the jobs before it."
    if job.state in ("running", "stopping"):
        left = time_in_words(view.left_s())
        verb = "Stopping: what is being written is finished first" if job.state == "stopping" else "Running"
        done = f"{view.ended} of {counted(view.total, view.unit)}" if view.total else "" if view.doing else "starting"
        return " · ".join(filter(None, [verb, done, view.doing, f"{left} left" if left else ""]))
    text = job.message or ("" if view.summary is None else str(view.summary["text"]))
    if job.state == "stopped":
        return text or "Stopped."
    if job.state == "failed" and view.summary is not None:
        return f"{text}\nThe table names each case and its reason; after mending them, Run goes on with these alone."
    return text or ("Done." if job.state == "done" else f"Ended with code {job.exit_code}; the log says why.")
