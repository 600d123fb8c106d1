"""The first page: what do you have? It proposes the commands that make a clean dataset of it."""

from __future__ import annotations

import shlex
from pathlib import Path

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QGuiApplication
from PyQt6.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from itkit.catalogue import load
from itkit.core.errors import ItkitError, ParamsError
from itkit.forms.chains import STARTS, Start, Step, chain, pipeline_text
from itkit.forms.command import Command, command_of
from itkit.forms.deleting import deletion, with_consent
from itkit.forms.description import form_of, option_form
from itkit.forms.pages import pages
from itkit.forms.queue import Job
from itkit.gui import settings
from itkit.gui.bridge import Jobs
from itkit.gui.fields import PathLine, pick_path
from itkit.gui.icons import dress
from itkit.gui.operation_page import ask_to_delete, report_links
from itkit.gui.texts import plain_label
from itkit.gui.theme import GAP
from itkit.io.disk import write_text


class StepCard(QFrame):
    """A command of the chain: what it is for, its line, its state."""

    opened = pyqtSignal(object)

    def __init__(self, number: int) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.step: Step | None = None
        self.why = plain_label(role="label", wraps=True)
        self.line, self.state = plain_label(wraps=True, copies=True), plain_label(role="muted", wraps=True, copies=True)
        self.reports = QLabel()  # its links are rich text
        font = self.line.font()
        font.setFamilies(["DejaVu Sans Mono", "Menlo", "Consolas", "monospace"])
        self.line.setFont(font)
        self.reports.setWordWrap(True)
        self.reports.setOpenExternalLinks(True)
        edit = QPushButton("Open")
        edit.setToolTip("Open the command's page with these values")
        edit.setAccessibleName(f"Open step {number}")
        edit.clicked.connect(lambda: self.opened.emit(self.step))
        texts = QVBoxLayout()
        texts.setSpacing(2)
        for label in (self.why, self.line, self.state, self.reports):
            texts.addWidget(label)
        row = QHBoxLayout(self)
        row.addLayout(texts, 1)
        row.addWidget(edit, 0, Qt.AlignmentFlag.AlignTop)

    def show_step(self, number: int, step: Step, job: Job | None) -> None:
        """Show a command, and how far its job is."""
        self.step = step
        command = step.command
        self.why.setText(f"{number}. {step.why}")
        self.line.setText(command.text if command is not None else step.problem)
        self.state.setText("" if job is None else job.state)
        self.state.setVisible(job is not None)
        links = "" if job is None or not job.is_over else report_links(job)
        self.reports.setText(links)
        self.reports.setVisible(bool(links))


class StartPage(QWidget):
    """The guided start."""

    step_opened = pyqtSignal(object)
    """A step whose page is wanted."""
    path_opened = pyqtSignal(object)
    """A path that is to be looked at."""

    def __init__(self, jobs: Jobs) -> None:
        super().__init__()
        self.jobs = jobs
        self.steps: list[Step] = []
        self._jobs: dict[int, Job] = {}
        self._is_ready = False
        inner = QWidget()
        inner.setObjectName("form")
        box = QVBoxLayout(inner)
        box.setContentsMargins(3 * GAP, 3 * GAP, 3 * GAP, 3 * GAP)
        box.setSpacing(GAP)
        title = plain_label("What do you have?", name="title")
        box.addWidget(title)
        self.kinds = QButtonGroup(self)
        for number, start in enumerate(STARTS):
            button = QRadioButton(start.title)
            button.setObjectName(f"start_{start.key}")
            about = plain_label(start.help, role="muted", wraps=True)
            about.setContentsMargins(3 * GAP, 0, 0, GAP // 2)
            self.kinds.addButton(button, number)
            box.addWidget(button)
            box.addWidget(about)
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        self.converter = QComboBox()
        self.converter.setAccessibleName("Public dataset")
        for page in pages()[0]:
            if page.group == "Public datasets":
                self.converter.addItem(page.title, page.name)
        self.converter_label = plain_label("Dataset")
        form.addRow(self.converter_label, self.converter)
        self.source, self.work = self._path("start_source", "Where it is"), self._path("start_work", "Where results go")
        self.source_label, self.work_label = plain_label("It is in"), plain_label("Results go to")
        self.work_row = self._with_button(self.work)
        form.addRow(self.source_label, self._with_button(self.source))
        form.addRow(self.work_label, self.work_row)
        box.addLayout(form)
        self.about = plain_label(role="muted", wraps=True)
        box.addWidget(self.about)
        self.cards: list[StepCard] = []
        self._card_box = QVBoxLayout()
        self._card_box.setSpacing(GAP)
        box.addLayout(self._card_box)
        self.run_button = QPushButton("Run these steps")
        self.run_button.setObjectName("run_chain")
        self.run_button.setProperty("role", "main")
        dress(self.run_button, "run", "card")
        self.run_button.clicked.connect(self.run)
        self.stop_button = QPushButton("Stop")
        self.stop_button.setObjectName("stop_chain")
        self.stop_button.setToolTip(
            "End the steps that run or wait: what is finished stays, and Run goes on from there"
        )
        dress(self.stop_button, "stop")
        self.stop_button.clicked.connect(self.stop)
        self.copy_button = QPushButton("Copy as a script")
        dress(self.copy_button, "copy")
        self.copy_button.clicked.connect(self.copy)
        self.save_button = QPushButton("Save as a pipeline")
        self.save_button.setToolTip("A TOML file that `itkit run` takes")
        dress(self.save_button, "save")
        self.save_button.clicked.connect(self.save)
        self.look_button = QPushButton("Look at it")
        dress(self.look_button, "eye")
        self.look_button.clicked.connect(lambda: self.path_opened.emit(Path(self.source.text())))
        row = QHBoxLayout()
        for one in (self.run_button, self.stop_button, self.copy_button, self.save_button, self.look_button):
            row.addWidget(one)
        row.addStretch()
        box.addLayout(row)
        box.addStretch()
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setWidget(inner)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)
        self.kinds.button(0).setChecked(True)  # type: ignore[union-attr]  # there are several
        self.kinds.idToggled.connect(lambda _, on: self._show() if on else None)
        self.converter.currentIndexChanged.connect(lambda _: self._show())
        for line in (self.source, self.work):
            line.textChanged.connect(lambda _: self._show())
        jobs.changed.connect(self._on_job)
        self._show()

    def _path(self, name: str, about: str) -> PathLine:
        line = PathLine()
        line.setObjectName(name)
        line.setAccessibleName(about)
        line.setPlaceholderText("Choose or drop a folder")
        return line

    def _with_button(self, line: PathLine) -> QWidget:
        button = QToolButton()
        dress(button, "folder", "muted")
        button.setAccessibleName(f"Choose: {line.accessibleName()}")
        button.clicked.connect(lambda: self._choose(line))
        both = QWidget()
        row = QHBoxLayout(both)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(line, 1)
        row.addWidget(button)
        return both

    def _choose(self, line: PathLine) -> None:
        is_file = line is self.source and self.start.is_saved
        path = pick_path(self, line.accessibleName(), line.text(), file=is_file)
        if path:
            line.setText(path)

    @property
    def start(self) -> Start:
        """What the user has."""
        return STARTS[max(0, self.kinds.checkedId())]

    def open_pipeline(self, path: Path) -> None:
        """Show the steps of a saved pipeline."""
        number = next(at for at, start in enumerate(STARTS) if start.is_saved)
        self.kinds.button(number).setChecked(True)  # type: ignore[union-attr]  # it is there
        self.source.setText(str(path))

    def _show(self) -> None:
        start = self.start
        own: tuple[QWidget, ...] = (self.work_label, self.work_row, self.look_button, self.save_button)
        for widget in own:
            widget.setVisible(not start.is_saved)
        for asked in (self.converter, self.converter_label):
            asked.setVisible(start.asks_converter)
        self.source_label.setText("File" if start.is_saved else "It is in")
        self.source.setPlaceholderText("Choose or drop a pipeline" if start.is_saved else "Choose or drop a folder")
        source, work = self.source.text().strip(), self.work.text().strip()
        is_ready = bool(source and (work or start.is_saved))
        self.steps, problem = [], ""
        if is_ready or not start.is_saved:
            try:
                self.steps = chain(start, source or "SOURCE", work or "RESULTS", str(self.converter.currentData()))
            except ItkitError as error:
                problem = str(error)
        self._jobs = {}
        right = bool(self.steps) and all(step.command is not None for step in self.steps)
        self.about.setText(problem or self._about(start, is_ready=is_ready))
        self._mark(bad=bool(problem))
        self._is_ready = is_ready and right
        self.copy_button.setEnabled(right)
        self.save_button.setEnabled(right and is_ready)
        self.look_button.setEnabled(bool(source))
        self._show_steps()

    @staticmethod
    def _about(start: Start, *, is_ready: bool) -> str:
        if start.is_saved:
            if not is_ready:
                return "Choose the file; its steps then run one after the other."
            return "The steps of this file run one after the other; a step that has been done is not done again."
        if not is_ready:
            return "Choose both folders; the proposed steps then run one after the other."
        return (
            "These steps make a clean dataset of it. Each can be opened and changed; they run one after the other, and "
            "a step that has been done is not done again."
        )

    def _mark(self, *, bad: bool) -> None:
        self.about.setProperty("role", "bad" if bad else "muted")
        style = self.about.style()
        if style is not None:
            style.polish(self.about)

    def _show_steps(self) -> None:
        while len(self.cards) < len(self.steps):
            card = StepCard(len(self.cards) + 1)
            card.opened.connect(self.step_opened)
            self.cards.append(card)
            self._card_box.addWidget(card)
        is_active = any(not job.is_over for job in self._jobs.values())
        self.stop_button.setVisible(is_active)
        self.run_button.setEnabled(self._is_ready and not is_active)
        for number, card in enumerate(self.cards):
            card.setVisible(number < len(self.steps))
            if number < len(self.steps):
                card.show_step(number + 1, self.steps[number], self._jobs.get(number))

    def _commands(self) -> list[Command] | None:
        """Return the command of each step; ``None`` if one may delete files, and the user has not typed its folder."""
        found = []
        for step in self.steps:
            if step.params is None:
                raise ParamsError(step.problem)
            operation = load(step.operation)
            form, params = form_of(operation), step.params
            values = params.model_dump(mode="json")
            options = {} if step.options is None else step.options.model_dump(mode="json")
            question = deletion(form, values, option_form(), options)
            if question is not None:
                if not ask_to_delete(self, question):
                    return None
                params = type(params).model_validate({**params.model_dump(), **with_consent(form, {})})
            found.append(command_of(operation, params, step.options))
        return found

    def run(self) -> None:
        """Run the steps one after the other; ask first if one may delete files."""
        commands = self._commands()
        if commands is None:
            self.about.setText("Nothing was started: the folder's name was not typed.")
            return
        settings.remember_paths(*filter(None, (self.source.text(), "" if self.start.is_saved else self.work.text())))
        before: Job | None = None
        self._jobs = {}
        for number, command in enumerate(commands):
            before = self._jobs[number] = self.jobs.queue.add(command, folder=Path.cwd(), after=before)
        self._show_steps()

    def stop(self) -> None:
        """Stop the steps that run or wait."""
        for job in reversed(self._jobs.values()):  # none begins because the one before it has ended
            self.jobs.queue.stop(job)
        self._show_steps()

    def _on_job(self, job: Job) -> None:
        if job not in self._jobs.values():
            return
        self._show_steps()
        jobs = list(self._jobs.values())
        if not all(one.is_over for one in jobs):
            return
        early = next((one for one in jobs if not one.may_go_on), None)
        if early is None:
            self.about.setText("All steps have ended. The Queue page shows each; a step's page has its table and log.")
        else:
            self.about.setText(
                f"{early.command.name} ended early; the steps after it did not run. {early.as_json()['message']}"
            )

    def script(self) -> str:
        """Return the steps as a script."""
        commands = [step.command for step in self.steps]
        return "\n".join(["set -e", *(command.text for command in commands if command is not None), ""])

    def copy(self) -> None:
        """Copy the steps as a script."""
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self.script())
            self.about.setText("The steps are copied as a script.")

    def save(self) -> None:
        """Save the steps as a pipeline."""
        path, _ = QFileDialog.getSaveFileName(self, "Save the steps", "pipeline.toml", "Pipelines (*.toml)")
        if not path:
            return
        try:
            write_text(Path(path), pipeline_text(self.steps))
        except (ItkitError, OSError) as error:
            self.about.setText(f"Not saved: {error}")
        else:
            self.about.setText(f"Saved: itkit run {shlex.quote(str(path))}")
