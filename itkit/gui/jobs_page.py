"""All operations in groups, searchable, and the page of the chosen one."""

from __future__ import annotations

from PyQt6.QtCore import QEvent, QObject, Qt, pyqtSignal
from PyQt6.QtGui import QKeyEvent
from PyQt6.QtWidgets import (
    QHBoxLayout,
    QLineEdit,
    QSplitter,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from itkit.core.errors import ItkitError
from itkit.forms.pages import load_command, pages
from itkit.gui.bridge import Jobs
from itkit.gui.operation_page import OperationPage
from itkit.gui.texts import plain_label, tip
from itkit.gui.theme import GAP

_NAME = Qt.ItemDataRole.UserRole


class JobsPage(QWidget):
    """The list of operations, and one page beside it.

    Pages that are not shown keep their values and jobs, outside the window: a name in the window is that of one widget.
    """

    case_opened = pyqtSignal(object)
    training_opened = pyqtSignal(object)

    def __init__(self, jobs: Jobs) -> None:
        super().__init__()
        self.jobs = jobs
        found, self.unusable = pages()
        self.pages = {page.name: page for page in found}
        self._made: dict[str, OperationPage] = {}
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search operations")
        self.search.setClearButtonEnabled(True)
        self.search.setAccessibleName("Search operations")
        self.search.textChanged.connect(self._filter)
        self.search.installEventFilter(self)
        self.tree = QTreeWidget()
        self.tree.setHeaderHidden(True)
        self.tree.setAccessibleName("Operations")
        self.tree.setIndentation(2 * GAP)
        self._fill()
        self.tree.currentItemChanged.connect(self._choose)
        self.nothing = plain_label("No operation answers these words.", role="muted", wraps=True)
        self.nothing.hide()
        side = QWidget()
        box = QVBoxLayout(side)
        box.setContentsMargins(GAP, 2 * GAP, 0, GAP)
        box.addWidget(self.search)
        box.addWidget(self.nothing)
        box.addWidget(self.tree, 1)
        self._holder = QWidget()
        self._place = QVBoxLayout(self._holder)
        self._place.setContentsMargins(0, 0, 0, 0)
        self._message = plain_label("Choose an operation on the left.", wraps=True)
        self._message.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._place.addWidget(self._message)
        splitter = QSplitter()
        splitter.addWidget(side)
        splitter.addWidget(self._holder)
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([210, 900])
        splitter.setChildrenCollapsible(False)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(splitter)

    def _fill(self) -> None:
        groups: dict[str, QTreeWidgetItem] = {}
        for page in self.pages.values():
            group = groups.get(page.group)
            if group is None:
                group = groups[page.group] = QTreeWidgetItem(self.tree, [page.group])
                group.setFlags(Qt.ItemFlag.ItemIsEnabled)
                font = group.font(0)
                font.setBold(True)
                group.setFont(0, font)
            item = QTreeWidgetItem(group, [page.title])
            item.setData(0, _NAME, page.name)
            item.setToolTip(0, tip(f"{page.name}: {page.summary}"))
        for message in self.unusable:
            item = QTreeWidgetItem(self.tree, ["A plug-in can't be used"])
            item.setToolTip(0, tip(message))
        self.tree.expandAll()

    def _items(self) -> list[QTreeWidgetItem]:
        groups = [item for row in range(self.tree.topLevelItemCount()) if (item := self.tree.topLevelItem(row))]
        return [item for group in groups for row in range(group.childCount()) if (item := group.child(row))]

    def _filter(self, words: str) -> None:
        shown = 0
        for item in self._items():
            fits = self.pages[item.data(0, _NAME)].answers(words)
            item.setHidden(not fits)
            shown += fits
        for row in range(self.tree.topLevelItemCount()):
            group = self.tree.topLevelItem(row)
            if group is not None and group.childCount():
                children = [group.child(at) for at in range(group.childCount())]
                group.setHidden(all(child is None or child.isHidden() for child in children))
        self.nothing.setVisible(shown == 0)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Go from the search to the list with the arrow or Enter: the first answer is opened."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            shown = [item for item in self._items() if not item.isHidden()]
            if event.key() == Qt.Key.Key_Down and shown:
                self.tree.setFocus()
                self.tree.setCurrentItem(shown[0])
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and shown:
                self.tree.setCurrentItem(shown[0])
                return True
        return super().eventFilter(watched, event)

    def _choose(self, item: QTreeWidgetItem | None) -> None:
        name = None if item is None else item.data(0, _NAME)
        if name:
            self._show(name)

    def open(self, name: str) -> OperationPage:
        """Show the page of an operation or a tool.

        Raises
        ------
        ItkitError
            When there is no such command, or it can't be used.
        """
        page = self._page(name)
        for item in self._items():
            if item.data(0, _NAME) == page.page.name:
                self.tree.setCurrentItem(item)
        self._put(page)
        return page

    def _show(self, name: str) -> None:
        try:
            self._put(self._page(name))
        except ItkitError as error:
            self._message.setText(str(error))
            self._put(self._message)

    def _page(self, name: str) -> OperationPage:
        if name not in self._made:
            command = load_command(name)
            if command.name in self._made:  # by another name of it
                return self._made[command.name]
            page = OperationPage(self.pages[command.name], command, self.jobs)
            page.case_opened.connect(self.case_opened)
            page.training_opened.connect(self.training_opened)
            self._made[command.name] = page
            return page
        return self._made[name]

    def _put(self, widget: QWidget) -> None:
        item = self._place.itemAt(0)
        old = None if item is None else item.widget()
        if old is widget or old is None:
            widget.show()
            return
        self._place.removeWidget(old)
        old.hide()
        old.setParent(None)
        self._place.addWidget(widget)
        widget.show()

    def page_of(self, job_name: str) -> OperationPage | None:
        """Return the page of an operation if it has been shown."""
        return self._made.get(job_name)

    def hidden_pages(self) -> list[OperationPage]:
        """Return the pages that are not in the window."""
        return [page for page in self._made.values() if page.parent() is None]

    def forget_pages(self) -> None:
        """Delete the pages that are not in the window."""
        for page in self.hidden_pages():
            page.deleteLater()
        self._made.clear()
