"""Icons, drawn from paths in the colour of the theme, so that no file and no system theme is needed."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

from PyQt6.QtCore import QByteArray, QSize, Qt
from PyQt6.QtGui import QIcon, QPainter, QPixmap
from PyQt6.QtSvg import QSvgRenderer
from PyQt6.QtWidgets import QAbstractButton, QWidget

from itkit.gui.theme import colour, colours

_PATHS = {
    "start": "M3 11 12 4l9 7M6 9v11h12V9M10 20v-6h4v6",
    "jobs": "M4 5h16M4 12h10M4 19h7M17 14v7l5-3.5z",
    "queue": "M4 6h16M4 12h16M4 18h10",
    "viewer": "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
    "train": "M4 20V4M4 20h17M7 15l4-5 3 3 6-8",
    "folder": "M3 6h6l2 2h10v11H3z",
    "copy": "M8 8h12v12H8zM4 16V4h12",
    "run": "M7 4v16l13-8z",
    "stop": "M6 6h12v12H6z",
    "plan": "M5 4h14v16H5zM8 9h8M8 13h8M8 17h5",
    "save": "M12 4v11M7 11l5 5 5-5M4 20h16",
    "open": "M12 16V5M7 9l5-5 5 5M4 20h16",
    "up": "M6 15l6-6 6 6",
    "down": "M6 9l6 6 6-6",
    "remove": "M6 6l12 12M18 6 6 18",
    "add": "M12 5v14M5 12h14",
    "eye": "M2 12c4-7 16-7 20 0-4 7-16 7-20 0zM12 9a3 3 0 1 0 .01 0",
    "measure": "M3 17 17 3l4 4L7 21zM8 12l2 2M12 8l2 2",
    "camera": "M4 8h4l2-3h4l2 3h4v11H4zM12 10a3.5 3.5 0 1 0 .01 0",
    "swipe": "M12 3v18M8 8l-4 4 4 4M16 8l4 4-4 4",
    "more": "M5 12h.01M12 12h.01M19 12h.01",
    "check": "M5 12.5l4.5 4.5L19 7.5",
    "theme": "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
}


def svg(name: str, paint: str, *, width: float = 1.8) -> str:
    """Return an icon as SVG."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path d="{_PATHS[name]}" fill="none" '
        f'stroke="{paint}" stroke-width="{width}" stroke-linecap="round" stroke-linejoin="round"/></svg>'
    )


def icon(name: str, paint: str) -> QIcon:
    """Return an icon in a colour, sharp at any scale."""
    found = QIcon()
    for side in (16, 20, 24, 32, 48, 64):
        found.addPixmap(_pixmap(name, paint, side))
    return found


def _pixmap(name: str, paint: str, side: int) -> QPixmap:
    pixmap = QPixmap(QSize(side, side))
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    QSvgRenderer(QByteArray(svg(name, paint).encode())).render(painter)
    painter.end()
    return pixmap


def dress(button: QAbstractButton, name: str, role: str = "ink") -> None:
    """Give a button an icon in a colour of the theme, which `redress` can follow."""
    button.setProperty("picture", name)
    button.setProperty("picture_role", role)
    button.setIcon(icon(name, colour(role).name()))


def redress(root: QWidget) -> None:
    """Draw the icons of all buttons in a widget in the colours of the present theme."""
    for button in root.findChildren(QAbstractButton):
        name = button.property("picture")
        if name:
            button.setIcon(icon(name, colour(button.property("picture_role")).name()))


@lru_cache
def picture_file(name: str, paint: str) -> str:
    """Return the path of an icon as a file: style sheets take pictures from files alone."""
    path = Path(_folder().name) / f"{name}-{paint.lstrip('#')}.png"
    if not path.exists():
        _pixmap(name, paint, 32).save(str(path))
    return path.as_posix()


def sheet_pictures(*, dark: bool) -> dict[str, str]:
    """Return the files of the pictures that the style sheet names."""
    named = colours(dark=dark)
    return {"arrow": picture_file("down", named["muted"]), "check": picture_file("check", named["card"])}


@lru_cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="itkit-app-")
