"""The planes of one case beside each other, or one of them alone."""

from __future__ import annotations

from PyQt6.QtWidgets import QGridLayout, QWidget

from itkit.core.slices import PLANES
from itkit.gui.viewer.plane_view import PlaneView, Shared
from itkit.gui.viewer.scene import Scene


class Views(QWidget):
    """The planes of one case: axial, coronal, sagittal, and the projection."""

    def __init__(self, scene: Scene, shared: Shared) -> None:
        super().__init__()
        self.scene = scene
        self.planes = [PlaneView(plane, scene, shared) for plane in PLANES]
        self.planes.append(PlaneView("coronal", scene, shared, projects=True))
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(2)
        self.alone: PlaneView | None = None
        self._columns = 2
        self.arrange()

    def arrange(self, *, as_column: bool | None = None) -> None:
        """Show all planes, or the one that is shown alone; in one column where another volume stands beside them."""
        if as_column is not None:
            self._columns = 1 if as_column else 2
        shown = {divmod(number, self._columns) for number, view in enumerate(self.planes) if self.alone in (None, view)}
        for number, view in enumerate(self.planes):
            self._grid.addWidget(view, *divmod(number, self._columns))
            view.setVisible(self.alone in (None, view))
        for line in range(len(self.planes)):
            self._grid.setRowStretch(line, int(any(row == line for row, _ in shown)))
            self._grid.setColumnStretch(line, int(any(column == line for _, column in shown)))

    def maximise(self, view: PlaneView) -> None:
        """Show a plane alone, or all again."""
        self.alone = None if self.alone is view else view
        self.arrange()

    def refresh(self) -> None:
        """Draw what has changed."""
        for view in self.planes:
            view.refresh()
