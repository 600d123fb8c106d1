"""The cases of a dataset or folder, with small pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PyQt6.QtCore import QSize, Qt
from PyQt6.QtGui import QIcon, QImage, QPixmap
from PyQt6.QtWidgets import QListWidget, QListWidgetItem

from itkit.gui.texts import tip
from itkit.gui.viewer.opening import CaseFiles

_ICON = 64


class CaseList(QListWidget):
    """The list of cases."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("case_list")
        self.setAccessibleName("Cases")
        self.setIconSize(QSize(_ICON, _ICON))
        self.setMinimumWidth(120)
        self.setWordWrap(True)

    def show_cases(self, cases: Sequence[CaseFiles]) -> None:
        """Show other cases, none of them chosen; one alone needs no list."""
        self.blockSignals(True)
        self.clear()
        for case in cases:
            item = QListWidgetItem(case.name)
            item.setToolTip(tip("\n".join(str(path) for path in (case.image, case.label) if path is not None)))
            self.addItem(item)
        self.blockSignals(False)
        self.setVisible(len(cases) > 1)

    def show_picture(self, at: int, rgb: NDArray[np.uint8] | Any) -> None:
        """Show the picture of a case."""
        item = self.item(at)
        if item is None:
            return
        rows, columns = rgb.shape[:2]
        data = rgb.tobytes()
        kept = QPixmap.fromImage(QImage(data, columns, rows, 3 * columns, QImage.Format.Format_RGB888))
        item.setIcon(QIcon(kept.scaled(_ICON, _ICON, Qt.AspectRatioMode.KeepAspectRatio)))
