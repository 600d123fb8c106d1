"""The first page: what do you have? It proposes the commands that make a clean dataset of it."""

from __future__ import annotations

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

from itkit.core.errors import ItkitError
from itkit.forms.chains import STARTS, Step, chain, pipeline_text
from itkit.forms.pages import pages
from itkit.forms.queue import Job
from itkit.gui import settings
from itkit.gui.bridge import Jobs
from itkit.gui.fields import PathLine, pick_path
from itkit.gui.icons import dress
from itkit.gui.theme import GAP
from itkit.io.meta import write_text


class StepCard(QFrame):
    """A command of the chain: what it is for, its line, its state."""

    opened = pyqtSignal(object)

    def __init__(self, number: int) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.step: Step | None = None
        self.why, self.line, self.state = QLabel(), QLabel(), QLabel()
        self.why.setProperty("role", "label")
        self.why.setWordWrap(True)
        font = self.line.font()
        font.setFamilies(["DejaVu Sans Mono", "Menlo", "Consolas", "monospace"])
        self.line.setFont(font)
        for label in (self.line, self.state):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.state.setProperty("role", "muted")
        edit = QPushButton("Open")
        edit.setToolTip("Open the command's page with these values")
        edit.setAccessibleName(f"Open step {number}")
        edit.clicked.connect(lambda: self.opened.emit(self.step))
        texts = QVBoxLayout()
        texts.setSpacing(2)
        for label in (self.why, self.line, self.state):
            texts.addWidget(label)
        row = QHBoxLayout(self)
        row.addLayout(texts, 1)
        row.addWidget(edit, 0, Qt.AlignmentFlag.AlignTop)

    def show_step(self, number: int, step: Step, state: str) -> None:
        """Show a command."""
        self.step = step
        command = step.command
        self.why.setText(f"{number}. {step.why}")
        self.line.setText(command.text.replace("/", "/\u200b") if command is not None else step.problem)
        self.state.setText(state)
        self.state.setVisible(bool(state))


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
        inner = QWidget()
        inner.setObjectName("form")
        box = QVBoxLayout(inner)
        box.setContentsMargins(3 * GAP, 3 * GAP, 3 * GAP, 3 * GAP)
        box.setSpacing(GAP)
        title = QLabel("What do you have?")
        title.setObjectName("title")
        box.addWidget(title)
        self.kinds = QButtonGroup(self)
        for number, start in enumerate(STARTS):
            button = QRadioButton(start.title)
            button.setObjectName(f"start_{start.key}")
            about = QLabel(start.help)
            about.setProperty("role", "muted")
            about.setWordWrap(True)
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
        self.converter_label = QLabel("Dataset")
        form.addRow(self.converter_label, self.converter)
        self.source, self.work = self._path("start_source", "Where it is"), self._path("start_work", "Where results go")
        for text, line in (("It is in", self.source), ("Results go to", self.work)):
            form.addRow(text, self._with_button(line))
        box.addLayout(form)
        self.about = QLabel()
        self.about.setProperty("role", "muted")
        self.about.setWordWrap(True)
        box.addWidget(self.about)
        self.cards: list[StepCard] = []
        for number in range(max(len(start.steps) for start in STARTS)):
            card = StepCard(number + 1)
            card.opened.connect(self.step_opened)
            self.cards.append(card)
            box.addWidget(card)
        self.run_button = QPushButton("Run these steps")
        self.run_button.setObjectName("run_chain")
        self.run_button.setProperty("role", "main")
        dress(self.run_button, "run", "card")
        self.run_button.clicked.connect(self.run)
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
        for one in (self.run_button, self.copy_button, self.save_button, self.look_button):
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
        path = pick_path(self, line.accessibleName(), line.text(), file=False)
        if path:
            line.setText(path)

    def _show(self) -> None:
        start = STARTS[max(0, self.kinds.checkedId())]
        for widget in (self.converter, self.converter_label):
            widget.setVisible(start.asks_converter)
        source, work = self.source.text().strip(), self.work.text().strip()
        is_ready = bool(source and work)
        self.steps = chain(start, source or "SOURCE", work or "RESULTS", str(self.converter.currentData()))
        self._jobs = {}
        right = all(step.command is not None for step in self.steps)
        self.about.setText(
            "These steps make a clean dataset of it. Each can be opened and changed; they run one after the other, and "
            "a step that has been done is not done again."
            if is_ready
            else "Choose both folders; the proposed steps then run one after the other."
        )
        self.run_button.setEnabled(is_ready and right)
        self.copy_button.setEnabled(right)
        self.save_button.setEnabled(right and is_ready)
        self.look_button.setEnabled(bool(source))
        self._show_steps()

    def _show_steps(self) -> None:
        for number, card in enumerate(self.cards):
            card.setVisible(number < len(self.steps))
            if number < len(self.steps):
                job = self._jobs.get(number)
                card.show_step(number + 1, self.steps[number], "" if job is None else job.state)

    def run(self) -> None:
        """Run the steps one after the other."""
        settings.remember_paths(self.source.text(), self.work.text())
        before: Job | None = None
        self._jobs = {}
        for number, step in enumerate(self.steps):
            if step.command is not None:
                before = self.jobs.queue.add(step.command, folder=Path.cwd(), after=before)
                self._jobs[number] = before
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
            self.about.setText(f"Saved: itkit run {path}")
