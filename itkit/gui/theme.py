"""The look of the windows: the colours of our pages as a palette and a style sheet, light and dark."""

from __future__ import annotations

from collections.abc import Mapping

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QColor, QGuiApplication, QPalette
from PyQt6.QtWidgets import QApplication

from itkit.report.style import DARK, LIGHT

GAP = 8
"""The space between widgets, logical pixels; margins are one or two of it."""

_ROLES = {
    QPalette.ColorRole.Window: "paper",
    QPalette.ColorRole.Base: "card",
    QPalette.ColorRole.AlternateBase: "soft",
    QPalette.ColorRole.Button: "soft",
    QPalette.ColorRole.ToolTipBase: "card",
    QPalette.ColorRole.WindowText: "ink",
    QPalette.ColorRole.Text: "ink",
    QPalette.ColorRole.ButtonText: "ink",
    QPalette.ColorRole.ToolTipText: "ink",
    QPalette.ColorRole.PlaceholderText: "muted",
    QPalette.ColorRole.Highlight: "accent",
    QPalette.ColorRole.HighlightedText: "card",
    QPalette.ColorRole.Link: "accent",
    QPalette.ColorRole.LinkVisited: "accent",
    QPalette.ColorRole.Mid: "line",
    QPalette.ColorRole.Midlight: "line",
    QPalette.ColorRole.Light: "card",
    QPalette.ColorRole.Dark: "line",
    QPalette.ColorRole.Shadow: "line",
    QPalette.ColorRole.Accent: "accent",
}
_ROLES_OFF = (QPalette.ColorRole.WindowText, QPalette.ColorRole.Text, QPalette.ColorRole.ButtonText)

_SHEET = """
QToolTip { color: %(ink)s; background: %(card)s; border: 1px solid %(line)s; padding: 4px }
QLabel#title { font-size: 17pt; font-weight: 600 }
QLabel#heading { font-size: 12pt; font-weight: 600 }
QLabel[role="muted"] { color: %(muted)s }
QLabel[role="bad"] { color: %(bad)s }
QLabel[role="label"] { font-weight: 600 }
QLineEdit, QPlainTextEdit, QComboBox, QSpinBox, QDoubleSpinBox, QListWidget, QTreeWidget, QTableView {
  background: %(card)s; border: 1px solid %(line)s; border-radius: 5px; selection-background-color: %(accent)s;
  selection-color: %(card)s }
QLineEdit, QComboBox, QSpinBox, QDoubleSpinBox { padding: 4px 6px; min-height: 1.3em }
QComboBox::drop-down { border: 0; width: 20px }
QComboBox::down-arrow { image: url(%(arrow)s); width: 10px; height: 10px }
QComboBox QAbstractItemView { background: %(card)s; color: %(ink)s; border: 1px solid %(line)s }
QLineEdit:focus, QPlainTextEdit:focus, QComboBox:focus, QSpinBox:focus, QDoubleSpinBox:focus, QListWidget:focus,
QTreeWidget:focus, QTableView:focus { border: 2px solid %(accent)s }
QLineEdit[wrong="true"], QComboBox[wrong="true"] { border: 2px solid %(bad)s }
QLineEdit:disabled, QComboBox:disabled { color: %(muted)s; background: %(soft)s }
QPushButton { background: %(soft)s; border: 1px solid %(line)s; border-radius: 5px; padding: 5px 12px;
  min-height: 1.3em }
QPushButton:hover, QToolButton:hover { border-color: %(accent)s }
QPushButton:pressed { background: %(accent-soft)s }
QPushButton:focus, QToolButton:focus, QCheckBox:focus, QRadioButton:focus {
  border: 2px solid %(accent)s; border-radius: 5px }
QPushButton:disabled { color: %(muted)s }
QPushButton[role="main"] { background: %(accent)s; color: %(card)s; border-color: %(accent)s; font-weight: 600 }
QPushButton[role="main"]:disabled { background: %(soft)s; color: %(muted)s; border-color: %(line)s }
QPushButton[role="main"]:focus { border: 2px solid %(ink)s }
QToolButton { background: transparent; border: 1px solid transparent; border-radius: 5px; padding: 4px }
QToolButton:checked { background: %(accent-soft)s; border-color: %(accent)s }
QToolButton[role="nav"] { padding: 8px 2px }
QToolButton[role="section"], QToolButton[role="section"]:checked { background: transparent; border-color: transparent;
  padding: 2px; font-weight: 600 }
QToolButton[role="section"]:focus { border: 2px solid %(accent)s }
QToolButton[popupMode="1"] { padding-right: 18px } QToolButton[popupMode="2"] { padding-right: 18px }
QToolButton::menu-button { border: 0; width: 16px }
QToolButton::menu-arrow { image: url(%(arrow)s); width: 10px; height: 10px }
QToolButton::menu-indicator { image: url(%(arrow)s); width: 10px; height: 10px; subcontrol-position: right center;
  right: 4px }
QWidget#nav { background: %(soft)s; border-right: 1px solid %(line)s }
QFrame[role="card"] { background: %(card)s; border: 1px solid %(line)s; border-radius: 8px }
QFrame[role="line"] { background: %(line)s; border: 0 }
QHeaderView::section { background: %(soft)s; color: %(ink)s; border: 0; border-right: 1px solid %(line)s;
  border-bottom: 1px solid %(line)s; padding: 4px 8px; font-weight: 600 }
QTableView { gridline-color: %(line)s; alternate-background-color: %(soft)s }
QTreeWidget { border: 0; background: transparent; selection-background-color: transparent }
QAbstractScrollArea::corner { background: transparent; border: 0 }
QTreeWidget::item, QListWidget::item { padding: 4px }
QTreeWidget::item:selected, QListWidget::item:selected {
  background: %(accent-soft)s; color: %(ink)s; border-radius: 4px }
QTreeWidget::item:selected { border-radius: 0 }
QTabWidget::pane { border: 0; border-top: 1px solid %(line)s }
QTabBar::tab { padding: 6px 12px; border: 0; border-bottom: 2px solid transparent; color: %(muted)s }
QTabBar::tab:selected { color: %(ink)s; border-bottom: 2px solid %(accent)s; font-weight: 600 }
QTabBar::tab:focus { color: %(accent)s }
QProgressBar { border: 1px solid %(line)s; border-radius: 5px; background: %(soft)s; text-align: center;
  min-height: 1.3em }
QProgressBar::chunk { background: %(accent-soft)s; border-radius: 4px }
QScrollArea, QScrollArea > QWidget > QWidget#form { background: transparent; border: 0 }
QSplitter::handle { background: transparent }
QSplitter::handle:hover { background: %(accent-soft)s }
QMenu { background: %(card)s; border: 1px solid %(line)s } QMenu::item { padding: 5px 20px }
QMenu::item:selected { background: %(accent-soft)s; color: %(ink)s }
QTableCornerButton::section { background: %(soft)s; border: 0; border-right: 1px solid %(line)s;
  border-bottom: 1px solid %(line)s }
QCheckBox::indicator, QListWidget::indicator { width: 14px; height: 14px; border: 1px solid %(muted)s;
  border-radius: 3px; background: %(card)s }
QCheckBox::indicator:checked, QListWidget::indicator:checked { background: %(accent)s; border-color: %(accent)s;
  image: url(%(check)s) }
QRadioButton::indicator { width: 12px; height: 12px; border: 1px solid %(muted)s; border-radius: 7px;
  background: %(card)s }
QRadioButton::indicator:checked { border: 4px solid %(accent)s; width: 6px; height: 6px }
QCheckBox { border: 2px solid transparent; padding: 2px; spacing: 8px }
QScrollBar:vertical { background: transparent; width: 12px }
QScrollBar:horizontal { background: transparent; height: 12px }
QScrollBar::handle { background: %(line)s; border-radius: 4px; min-height: 24px; min-width: 24px; margin: 2px }
QScrollBar::handle:hover { background: %(muted)s }
QScrollBar::add-line, QScrollBar::sub-line, QScrollBar::add-page, QScrollBar::sub-page { background: none; border: 0 }
"""


def is_dark() -> bool:
    """Return whether the system prefers dark windows."""
    hints = QGuiApplication.styleHints()
    return hints is not None and hints.colorScheme() == Qt.ColorScheme.Dark


def colours(*, dark: bool) -> Mapping[str, str]:
    """Return the colours by name."""
    return DARK if dark else LIGHT


def apply(app: QApplication, pictures: Mapping[str, str], *, dark: bool) -> None:
    """Give all windows their colours; ``pictures`` are the files of small pictures that the style sheet names.

    Qt can't be told to be dark on every platform, so palette and style sheet are our own. Colours that are there
    already are left: Qt would look at every widget again.
    """
    if app.property("dark") is dark and app.styleSheet():
        return
    named = colours(dark=dark)
    palette = QPalette()
    for role, name in _ROLES.items():
        palette.setColor(role, QColor(named[name]))
    for role in _ROLES_OFF:
        palette.setColor(QPalette.ColorGroup.Disabled, role, QColor(named["muted"]))
    app.setStyle("Fusion")
    app.setPalette(palette)
    app.setProperty("dark", dark)
    app.setStyleSheet(_SHEET % {**named, **pictures})


def colour(name: str) -> QColor:
    """Return a colour of the present theme."""
    app = QApplication.instance()
    return QColor(colours(dark=bool(app is not None and app.property("dark")))[name])
