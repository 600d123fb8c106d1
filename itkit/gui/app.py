"""``itkit-app``: open the window, or say in one line why there is none."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itkit.core.errors import ItkitError
from itkit.core.extras import require
from itkit.core.lazy import lazy_names

if TYPE_CHECKING:
    from itkit.gui.window import MainWindow as MainWindow

USAGE = """usage: itkit-app [FOLDER|FILE] [--version] [--check]

The windows of ITKIT: jobs, a viewer, trainings. FOLDER (a dataset, a case, a DICOM series, a training run) or FILE
(a volume, a saved pipeline) is opened.

  --check    open every page once, print what was drawn, and end; works with QT_QPA_PLATFORM=offscreen
  --version  print the version
"""
_NO_DISPLAY = (
    "itkit-app: error: there is no display; run it in a desktop session, use itkit-web in a browser, or set "
    "QT_QPA_PLATFORM=offscreen for --check"
)
_INTERRUPTED = 130
_LOOK_MS = 200

__getattr__, __dir__ = lazy_names(__name__, {"MainWindow": "itkit.gui.window"})


def main(argv: Sequence[str] | None = None) -> int:
    """Open the window and return the exit code when it is closed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(USAGE)
        return 0
    if "--version" in arguments:
        from itkit.core.version import VERSION

        sys.stdout.write(f"itkit-app (itkit {VERSION})\n")
        return 0
    paths = [Path(word) for word in arguments if not word.startswith("-")]
    wrong = [word for word in arguments if word.startswith("-") and word != "--check"]
    if wrong or len(paths) > 1:
        return _refuse(f"unknown option {wrong[0]}" if wrong else "give one folder or file")
    if paths and not paths[0].exists():
        return _refuse(f"{paths[0]} does not exist")
    try:
        require("PyQt6.QtWidgets", extra="gui", why="itkit-app")
        require("PyQt6.QtSvg", extra="gui", why="itkit-app")
    except ItkitError as error:
        return _refuse(str(error))
    if not has_display(os.environ):
        sys.stderr.write(f"{_NO_DISPLAY}\n")
        return 2
    return _open(paths[0] if paths else None, check="--check" in arguments)


def _refuse(reason: str) -> int:
    sys.stderr.write(f"itkit-app: error: {reason}; see itkit-app --help\n")
    return 2


def has_display(environment: MutableMapping[str, str]) -> bool:
    """Return whether Qt can be expected to find a display.

    Examples
    --------
    >>> has_display({"QT_QPA_PLATFORM": "offscreen"})
    True
    """
    if sys.platform in ("win32", "darwin"):
        return True
    return any(environment.get(name) for name in ("QT_QPA_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY"))


def forget_foreign_plugins(environment: MutableMapping[str, str]) -> None:
    """Remove the paths of another package's Qt plug-ins, which OpenCV leaves behind for its own Qt.

    Examples
    --------
    >>> environment = {"QT_QPA_PLATFORM_PLUGIN_PATH": "/lib/cv2/qt/plugins", "QT_PLUGIN_PATH": "/mine"}
    >>> forget_foreign_plugins(environment)
    >>> environment
    {'QT_PLUGIN_PATH': '/mine'}
    """
    for name in ("QT_QPA_PLATFORM_PLUGIN_PATH", "QT_PLUGIN_PATH", "QT_QPA_FONTDIR"):
        if "cv2" in Path(environment.get(name, "")).parts:
            del environment[name]


def _open(path: Path | None, *, check: bool) -> int:
    from PyQt6.QtCore import QTimer, qInstallMessageHandler
    from PyQt6.QtWidgets import QApplication

    forget_foreign_plugins(os.environ)
    qInstallMessageHandler(_on_message)
    app = QApplication(["itkit-app"])
    app.setApplicationName("itkit-app")
    app.setApplicationDisplayName("ITKIT")
    from itkit.gui.faults import report_to
    from itkit.gui.window import MainWindow

    window = MainWindow(path)
    sys.excepthook = report_to(window)
    if check:
        from itkit.gui.checking import check_pages

        return check_pages(window)
    before = {signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: window.close())}
    for number in _ends():
        before[number] = signal.signal(number, lambda *_: window.close_at_once())
    waking = QTimer()  # Python sees signals only between two of its own instructions
    waking.timeout.connect(lambda: None)
    waking.start(_LOOK_MS)
    window.show()
    try:
        return app.exec()
    finally:
        sys.excepthook = sys.__excepthook__
        for number, handler in before.items():
            signal.signal(number, handler)


def _ends() -> list[signal.Signals]:
    """Return the signals of a session that ends and of a closed terminal, unless they are ignored (``nohup``)."""
    found = [signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else [])]
    return [number for number in found if signal.getsignal(number) is not signal.SIG_IGN]


def _on_message(kind: Any, context: Any, message: str | None) -> None:
    """Show what Qt says; what ends the program is said in one line, with what to do."""
    from PyQt6.QtCore import QtMsgType

    del context
    if kind == QtMsgType.QtFatalMsg:
        lines = [line for line in (message or "").splitlines() if line.strip()]
        reason = lines[0] if lines else "Qt can't start"
        sys.stderr.write(
            f"itkit-app: error: {reason}; run it in a desktop session with its libraries (on Debian: libxcb-cursor0 "
            "libxcb-icccm4 libxcb-keysyms1 libegl1 libxkbcommon0), or use itkit-web\n"
        )
        sys.stderr.flush()
        os._exit(2)
    if kind in (QtMsgType.QtWarningMsg, QtMsgType.QtCriticalMsg) and "propagateSizeHints" not in (message or ""):
        sys.stderr.write(f"Qt: {message}\n")


if __name__ == "__main__":
    sys.exit(main())
