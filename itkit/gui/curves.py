"""A plot of curves, drawn with the scales of our pages."""

from __future__ import annotations

from collections.abc import Mapping

from PyQt6.QtCore import QPointF, QRectF, QSize
from PyQt6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PyQt6.QtWidgets import QSizePolicy, QWidget

from itkit.core.thumbnail import class_colour
from itkit.forms.trainings import Points, last_values, thinned
from itkit.gui.theme import GAP, colour
from itkit.report.scales import scale_of, tick_texts


class CurvePlot(QWidget):
    """Curves over one axis, with a title, ticks and names."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title
        self.curves: dict[str, Points] = {}
        self.setMinimumSize(QSize(220, 150))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName(title)

    def show_curves(self, curves: Mapping[str, Points]) -> None:
        """Show curves by name; the first stands out."""
        self.curves = {name: thinned(points) for name, points in curves.items() if points}
        self.setAccessibleDescription(last_values(self.curves))
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802 - Qt's name
        """Draw the plot."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics = painter.fontMetrics()
        high = metrics.height()
        painter.setPen(colour("ink"))
        font = painter.font()
        font.setBold(True)
        painter.setFont(font)
        painter.drawText(QPointF(0, high), self.title)
        font.setBold(False)
        painter.setFont(font)
        area = QRectF(self.rect()).adjusted(metrics.horizontalAdvance("0.0000") + GAP, high + GAP, -GAP, -high - GAP)
        if not self.curves:
            painter.setPen(colour("muted"))
            painter.drawText(QPointF(area.left(), area.center().y()), "Nothing has been logged yet.")
            return
        everything = [point for points in self.curves.values() for point in points]
        across = scale_of([x for x, _ in everything], area.left(), area.right())
        up = scale_of([y for _, y in everything], area.bottom(), area.top())
        for value, text in tick_texts(up):
            y = up.place(value)
            painter.setPen(colour("line"))
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
            painter.setPen(colour("muted"))
            painter.drawText(QPointF(area.left() - metrics.horizontalAdvance(text) - 6, y + high / 3), text)
        ticks = tick_texts(across)
        step = max(1, round(len(ticks) * 60 / max(60.0, area.width())))
        for value, text in ticks[::step]:
            x = min(
                across.place(value) - metrics.horizontalAdvance(text) / 2,
                self.width() - metrics.horizontalAdvance(text),
            )
            painter.drawText(QPointF(x, area.bottom() + high), text)
        for number, points in reversed(list(enumerate(self.curves.values()))):  # the first on top
            painter.setPen(QPen(self._paint(number), 2 if number == 0 else 1.5))
            painter.drawPolyline(QPolygonF([QPointF(across.place(x), up.place(y)) for x, y in points]))
            if len(points) == 1:
                painter.drawEllipse(QPointF(across.place(points[0][0]), up.place(points[0][1])), 2, 2)
        self._draw_names(painter)
        painter.end()

    def _paint(self, number: int) -> QColor:
        if len(self.curves) <= 2:
            return colour("muted" if number else "accent")
        if not number:  # classes have colours of their own
            return colour("ink")
        own = QColor(*class_colour(number))
        return own.lighter(125) if colour("paper").lightness() < 128 else own.darker(115)

    def _draw_names(self, painter: QPainter) -> None:
        """Write the names beside the title, from the right, as many as there is room for."""
        if len(self.curves) < 2:
            return
        metrics = painter.fontMetrics()
        x, least = float(self.width() - GAP), metrics.horizontalAdvance(self.title) * 1.15
        for number, name in reversed(list(enumerate(self.curves))):
            x -= metrics.horizontalAdvance(name) + 2 * GAP
            if x < least:
                return
            painter.setPen(self._paint(number))
            painter.drawText(QPointF(x, metrics.height()), name)
