"""Windows without a display, with settings of their own."""

import os

os.environ["QT_QPA_PLATFORM"] = "offscreen"  # before Qt is loaded

import time

import pytest
from PyQt6.QtCore import QCoreApplication, QEvent, QSettings


@pytest.fixture(autouse=True)
def settings(tmp_path):
    """Settings that no other test sees."""
    QSettings.setDefaultFormat(QSettings.Format.IniFormat)
    for kind in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
        QSettings.setPath(kind, QSettings.Scope.UserScope, str(tmp_path / "settings"))


@pytest.fixture
def window(qtbot, monkeypatch):
    from itkit.gui.app import MainWindow

    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)  # the windows of other tests are gone
    made = MainWindow()
    monkeypatch.setattr(made, "ask_to_close", lambda count: True)
    qtbot.addWidget(made)
    made.resize(1200, 800)
    made.show()
    yield made
    if made.jobs.queue.active():
        made.jobs.queue.close(grace_s=5)


@pytest.fixture
def until(qtbot):
    """Wait, with the window alive, until something holds."""

    def wait(holds):
        end = time.monotonic() + 180
        while not holds():
            assert time.monotonic() < end, "it took too long"
            qtbot.wait(20)

    return wait
