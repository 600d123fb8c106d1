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
        self.arrange()
        for view in self.planes:
            view.maximised.connect(lambda view=view: self.maximise(view))

    def arrange(self) -> None:
        """Show all planes, or the one that is shown alone."""
        for number, view in enumerate(self.planes):
            self._grid.addWidget(view, number // 2, number % 2)
            view.setVisible(self.alone in (None, view))
        for line in (0, 1):
            on = self.alone is None or self.planes.index(self.alone) // 2 == line
            self._grid.setRowStretch(line, 1 if on else 0)
            on = self.alone is None or self.planes.index(self.alone) % 2 == line
            self._grid.setColumnStretch(line, 1 if on else 0)

    def maximise(self, view: PlaneView) -> None:
        """Show a plane alone, or all again."""
        self.alone = None if self.alone is view else view
        self.arrange()

    def refresh(self) -> None:
        """Draw what has changed."""
        for view in self.planes:
            view.refresh()
