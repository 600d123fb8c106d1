"""The main window: pages on the left, the chosen one beside them."""

from __future__ import annotations

from pathlib import Path

from PyQt6.QtCore import QSize, Qt, QTimer
from PyQt6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QGuiApplication, QKeySequence, QShortcut
from PyQt6.QtWidgets import (
    QApplication,
    QButtonGroup,
    QHBoxLayout,
    QMainWindow,
    QMessageBox,
    QSizePolicy,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from itkit.core.text import counted
from itkit.core.version import VERSION
from itkit.forms.chains import Step, is_pipeline
from itkit.forms.jobs import GRACE_S
from itkit.forms.progress import CaseRow
from itkit.forms.queue import Job
from itkit.forms.trainings import is_training
from itkit.gui import settings, theme
from itkit.gui.bridge import Jobs
from itkit.gui.icons import dress, redress, sheet_pictures
from itkit.gui.jobs_page import JobsPage
from itkit.gui.operation_page import OperationPage
from itkit.gui.queue_page import QueuePage
from itkit.gui.start_page import StartPage
from itkit.gui.texts import plain_label
from itkit.gui.theme import GAP
from itkit.gui.train_page import TrainPage
from itkit.gui.viewer.opening import case_files
from itkit.gui.viewer.page import ViewerPage

_SIZE = QSize(1280, 820)
_POLL_MS = 50
_THEMES = ("system", "light", "dark")


class MainWindow(QMainWindow):
    """The window of ``itkit-app``.

    Parameters
    ----------
    start
        A file or folder to open: a volume, a case, a dataset, a DICOM series, the folder of a training run, a saved
        pipeline.
    """

    def __init__(self, start: Path | None = None) -> None:
        super().__init__()
        self.setWindowTitle("ITKIT")
        self.setAcceptDrops(True)
        self._apply_theme()
        self.jobs = Jobs(self)
        self._may_close = False
        self.jobs_page = JobsPage(self.jobs)
        self.queue_page = QueuePage(self.jobs)
        self.viewer_page = ViewerPage()
        self.start_page = StartPage(self.jobs)
        self.train_page = TrainPage([page for page in self.jobs_page.pages.values() if page.is_tool])
        self.stack = QStackedWidget()
        self._names: list[str] = []
        self._buttons: list[QToolButton] = []
        self._group = QButtonGroup(self)
        self._nav = QVBoxLayout()
        self._nav.setContentsMargins(GAP // 2, GAP, GAP // 2, GAP)
        self._nav.setSpacing(GAP // 2)
        for name, title, page in self._pages():
            self._add_page(name, title, page)
        self._nav.addStretch()
        self._theme_button = self._tool("theme", self.theme_name().capitalize())
        self._theme_button.setAccessibleName("Theme")
        self._theme_button.setToolTip("Light, dark, or as the system")
        self._theme_button.clicked.connect(self._next_theme)
        self._nav.addWidget(self._theme_button)
        version = plain_label(VERSION, role="muted")
        version.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self._nav.addWidget(version)
        nav = QWidget()
        nav.setObjectName("nav")
        nav.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        nav.setLayout(self._nav)
        nav.setFixedWidth(nav.fontMetrics().horizontalAdvance("Queue (000)") + 3 * GAP)
        middle = QWidget()
        row = QHBoxLayout(middle)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(nav)
        row.addWidget(self.stack, 1)
        self.setCentralWidget(middle)
        self.start_page.step_opened.connect(self._open_step)
        self.start_page.path_opened.connect(self.open_path)
        self.queue_page.opened.connect(self.open_job)
        self.jobs_page.case_opened.connect(self._open_case)
        self.jobs_page.training_opened.connect(self._watch)
        self.train_page.command_opened.connect(self.open_operation)
        self.jobs.changed.connect(lambda _: self._show_count())
        self._connect_system()
        screen = QGuiApplication.primaryScreen()
        self.resize(_SIZE if screen is None else _SIZE.boundedTo(screen.availableSize()))
        self.show_page(self._names[0])
        if start is not None:
            self.open_path(Path(start))

    def _pages(self) -> list[tuple[str, str, QWidget]]:
        return [
            ("start", "Start", self.start_page),
            ("jobs", "Jobs", self.jobs_page),
            ("queue", "Queue", self.queue_page),
            ("viewer", "Viewer", self.viewer_page),
            ("train", "Train", self.train_page),
        ]

    def _add_page(self, name: str, title: str, page: QWidget) -> None:
        button = self._tool(name, title)
        button.setCheckable(True)
        number = len(self._names)
        button.clicked.connect(lambda: self.show_page(name))
        button.setToolTip(f"{title} (Ctrl+{number + 1})")
        QShortcut(QKeySequence(f"Ctrl+{number + 1}"), self).activated.connect(lambda: self.show_page(name))
        self._group.addButton(button)
        self._names.append(name)
        self._buttons.append(button)
        self._nav.addWidget(button)
        page.setFocusPolicy(Qt.FocusPolicy.ClickFocus)  # its keys count at once; Tab goes on to what is in it
        self.stack.addWidget(page)

    def _tool(self, name: str, title: str) -> QToolButton:
        button = QToolButton()
        button.setText(title)
        button.setProperty("role", "nav")
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        button.setIconSize(QSize(22, 22))
        dress(button, name)
        button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        button.setAccessibleName(title)
        return button

    @property
    def page_names(self) -> tuple[str, ...]:
        """The names of the pages, in order."""
        return tuple(self._names)

    def show_page(self, name: str) -> QWidget:
        """Show a page."""
        number = self._names.index(name)
        self.stack.setCurrentIndex(number)
        self._buttons[number].setChecked(True)
        page = self.stack.widget(number)
        assert page is not None
        page.setFocus(Qt.FocusReason.OtherFocusReason)
        return page

    def open_operation(self, name: str) -> OperationPage:
        """Show the page of an operation, e.g. ``itk_resample``.

        Raises
        ------
        ItkitError
            When there is no such operation, or it can't be used.
        """
        page = self.jobs_page.open(name)
        self.show_page("jobs")
        return page

    def open_job(self, job: Job) -> None:
        """Show a job on the page of its operation."""
        self.open_operation(job.command.name).follow(job)

    def open_path(self, path: Path) -> None:
        """Open a file or folder in the viewer, the folder of a training run or a saved pipeline on its page."""
        if is_training(path):
            self._watch(path)
            return
        if is_pipeline(path):
            self.show_page("start")
            self.start_page.open_pipeline(path)
            return
        self.show_page("viewer")
        self.viewer_page.open_path(path)

    def _watch(self, folder: Path) -> None:
        """Show the curves of a training."""
        self.show_page("train")
        self.train_page.watch(folder)

    def _open_step(self, step: Step) -> None:
        """Show a step of a chain on the page of its operation."""
        self.open_operation(step.operation).form.set_values(step.values)

    def _open_case(self, row: CaseRow) -> None:
        """Show a case, and what was made of it beside it."""
        before, after = case_files(row)
        if before is not None:
            self.show_page("viewer")
            self.viewer_page.open_case(before, after)

    def _show_count(self) -> None:
        active = len(self.jobs.queue.active())
        self._buttons[self._names.index("queue")].setText(f"Queue ({active})" if active else "Queue")

    def _connect_system(self) -> None:
        hints = QGuiApplication.styleHints()
        if hints is not None:
            hints.colorSchemeChanged.connect(lambda _: self._apply_theme())

    def theme_name(self) -> str:
        """Return which theme the user has chosen."""
        name = str(settings.store().value("theme", "system"))
        return name if name in _THEMES else "system"

    def set_theme(self, name: str) -> None:
        """Choose ``light``, ``dark``, or the one of the ``system``."""
        settings.store().setValue("theme", name)
        self._apply_theme()

    def _next_theme(self) -> None:
        self.set_theme(_THEMES[(_THEMES.index(self.theme_name()) + 1) % len(_THEMES)])

    def _apply_theme(self) -> None:
        app = QApplication.instance()
        name = self.theme_name()
        if isinstance(app, QApplication):
            dark = theme.is_dark() if name == "system" else name == "dark"
            theme.apply(app, sheet_pictures(dark=dark), dark=dark)
        if hasattr(self, "_theme_button"):
            self._theme_button.setText(name.capitalize())
            for root in (self, *self.jobs_page.hidden_pages()):
                redress(root)

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:  # noqa: N802 - Qt's name
        """Accept files and folders anywhere in the window."""
        data = None if event is None else event.mimeData()
        if event is not None and data is not None and data.hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:  # noqa: N802 - Qt's name
        """Open what is dropped."""
        data = None if event is None else event.mimeData()
        if data is not None and data.hasUrls():
            self.open_path(Path(data.urls()[0].toLocalFile()))

    def ask_to_close(self, count: int) -> bool:
        """Ask whether running jobs may be stopped."""
        answer = QMessageBox.question(
            self,
            "Jobs are running",
            f"{counted(count, 'job')} still running or waiting. Stop and close? What is finished stays, and the same "
            "command goes on from there.",
            QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
            QMessageBox.StandardButton.No,
        )
        return answer == QMessageBox.StandardButton.Yes

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Ask if jobs are running, end them cleanly, and close when they have ended."""
        if event is None:
            return
        active = self.jobs.queue.active()
        if active and not self._may_close:
            event.ignore()
            if self.ask_to_close(len(active)):
                self._end_jobs()
            return
        self._leave()
        event.accept()

    def close_at_once(self) -> None:
        """Close without a question: jobs that run are ended cleanly first."""
        if self.jobs.queue.active():
            self._end_jobs()
        else:
            self.close()

    def _end_jobs(self) -> None:
        self._may_close = True
        self.setEnabled(False)
        self.setWindowTitle("ITKIT: ending the jobs …")
        self.jobs.queue.refuse_more()
        for job in self.jobs.queue.active():
            self.jobs.queue.stop(job, grace_s=GRACE_S)
        timer = QTimer(self)
        timer.setInterval(_POLL_MS)
        timer.timeout.connect(self._close_when_ended)
        timer.start()

    def _close_when_ended(self) -> None:
        if not self.jobs.queue.active():
            self.close()

    def _leave(self) -> None:
        self.jobs_page.forget_pages()
        self.viewer_page.close_files()
