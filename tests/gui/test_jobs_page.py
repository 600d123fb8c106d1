"""From a form to finished output, on real CT; and what happens when it is stopped, wrong, or closed."""

import itertools
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import held
from PyQt6.QtCore import Qt, QTimer
from PyQt6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QTableView,
    QWidget,
)

import itkit
from itkit.catalogue import CATALOGUE, Entry
from itkit.core.volume import Volume
from itkit.forms.command import Command
from itkit.forms.deleting import Deletion
from itkit.forms.progress import CaseRow
from itkit.gui.faults import report_to
from itkit.gui.fields import words_of
from itkit.gui.operation_page import DeletionBox, ask_to_delete
from itkit.testing.phantoms import write_dataset

TORSO = Path(itkit.__file__).parent / "data" / "torso"


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Three small pieces of a real CT with their labels."""
    root = tmp_path_factory.mktemp("ct") / "raw"
    for kind in ("image", "label"):
        (root / kind).mkdir(parents=True)
        volume = itkit.read(TORSO / f"{kind}.nii.gz", kind)
        for number in range(3):
            piece = volume.array_zyx[4 * number : 4 * number + 12, 20:60, 20:70]
            grid = itkit.Geometry(piece.shape, volume.geometry.spacing_zyx)
            itkit.write(Volume(np.ascontiguousarray(piece), grid, kind), root / kind / f"c{number}.mha")
    return root


def child(page, kind, name):
    found = page.findChild(kind, name)
    assert found is not None, name
    return found


def fill(page, source, dest, spacing=("3", "2", "")):
    child(page, QComboBox, "mode").setCurrentText("dataset")
    child(page, QLineEdit, "source").setText(str(source))
    child(page, QLineEdit, "dest").setText(str(dest))
    for line, text in zip(child(page, QWidget, "spacing").findChildren(QLineEdit), spacing, strict=True):
        line.setText(text)


def press(qtbot, page, name):
    qtbot.mouseClick(child(page, QPushButton, name), Qt.MouseButton.LeftButton)


def rows_of(page, name):
    model = child(page, QTableView, name).model()
    return [
        [model.index(row, column).data() for column in range(model.columnCount())] for row in range(model.rowCount())
    ]


def test_from_form_over_plan_to_finished_output(window, qtbot, until, crops, tmp_path):
    page = window.open_operation("itk_resample")
    fill(page, crops, tmp_path / "out")
    press(qtbot, page, "plan")
    until(lambda: page.job.is_over)
    until(lambda: len(rows_of(page, "plan_table")) == 3)
    first = rows_of(page, "plan_table")[0]
    assert first[:4] == ["c0", "would be made", "image/c0.mha\nlabel/c0.mha", "image/c0.mha\nlabel/c0.mha"]
    assert not (tmp_path / "out").exists()
    press(qtbot, page, "run")
    until(lambda: page.job.is_over and not page.job.is_plan)
    until(lambda: [row[1] for row in rows_of(page, "cases")] == ["done"] * 3)
    made = itkit.read(tmp_path / "out" / "image" / "c1.mha")
    assert made.spacing_zyx[:2] == (3, 2)
    until(lambda: "3 done" in child(page, QLabel, "state").text())
    words = ["itk_resample", "dataset", str(crops), str(tmp_path / "out"), "--spacing", "3.0", "2.0", "-1.0"]
    assert page.command.text().startswith(shlex.join(words))


def test_the_models_message_stands_beside_the_field_while_one_types(window, qtbot, until, crops, tmp_path):
    page = window.open_operation("itk_resample")
    fill(page, crops, tmp_path / "out", spacing=("3", "", ""))
    box = child(page, QWidget, "spacing").findChildren(QLineEdit)[1]
    qtbot.keyClicks(box, "two")
    until(lambda: child(page, QLabel, "spacing_problem").isVisible())
    assert child(page, QLabel, "spacing_problem").text().startswith("Spacing Y: expected a number")
    assert [line.property("wrong") for line in page.form.rows["spacing"].editor.boxes] == [False, True, False]
    assert page.command.text() == ""
    press(qtbot, page, "run")
    assert page.job is None
    box.clear()
    until(lambda: not child(page, QLabel, "spacing_problem").isVisible())
    assert page.command.text()


def test_run_on_an_empty_form_names_what_is_missing_and_starts_nothing(window, qtbot):
    page = window.open_operation("itk_orient")
    assert not child(page, QLabel, "source_problem").isVisible()
    press(qtbot, page, "run")
    assert child(page, QLabel, "source_problem").text().startswith("missing")
    assert page.job is None


def test_a_failing_case_has_its_reason_in_the_table_and_the_others_are_made(window, qtbot, until, crops, tmp_path):
    raw = tmp_path / "raw"
    (raw / "image").mkdir(parents=True)
    for path in (crops / "image").glob("*.mha"):
        (raw / "image" / path.name).write_bytes(path.read_bytes()[: 400 if path.stem == "c1" else None])
    page = window.open_operation("itk_orient")
    child(page, QLineEdit, "source").setText(str(raw / "image"))
    child(page, QLineEdit, "dest").setText(str(tmp_path / "out"))
    child(page, QComboBox, "orient").setCurrentText("RAS")
    press(qtbot, page, "run")
    until(lambda: page.job.is_over)
    wanted = {"c0": "done", "c1": "failed", "c2": "done"}
    until(lambda: {row[0]: row[1] for row in rows_of(page, "cases")} == wanted)
    reason = rows_of(page, "cases")[1][2]
    assert reason.startswith(str(raw / "image" / "c1.mha"))
    said = child(page, QLabel, "cases_said")
    until(lambda: said.text() == f"c1: {reason}")  # all of it, whatever room the table has
    assert page.job.state == "failed"
    until(lambda: "Run goes on with these alone" in child(page, QLabel, "state").text())
    page.log.search.setText("failed")
    assert page.log.find_next()


def group_of(pid):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def start_long(window, qtbot, until, tmp_path):
    write_dataset(tmp_path / "raw", 60)
    page = window.open_operation("itk_resample")
    fill(page, tmp_path / "raw", tmp_path / "out", ("0.4", "0.2", "0.2"))
    child(page, QLineEdit, "workers").setText("2")
    press(qtbot, page, "run")
    until(lambda: page.job.view.ended > 0)
    return page


def test_stop_leaves_no_process_and_nothing_half_written(window, qtbot, until, tmp_path):
    page = start_long(window, qtbot, until, tmp_path)
    assert child(page, QPushButton, "stop").isEnabled()
    press(qtbot, page, "stop")
    until(lambda: page.job.is_over)
    assert page.job.state == "stopped"
    assert group_of(page.job.child.pid) == []
    assert 0 < page.job.view.counts["done"] < 60
    for path in (tmp_path / "out").rglob("*.mha"):
        itkit.read(path)
    until(lambda: not child(page, QPushButton, "stop").isEnabled())


def test_closing_while_a_job_runs_asks_and_ends_it(window, qtbot, until, tmp_path, monkeypatch):
    page = start_long(window, qtbot, until, tmp_path)
    asked = []
    monkeypatch.setattr(window, "ask_to_close", lambda count: bool(asked.append(count)))
    window.close()
    assert asked == [1]
    assert window.isVisible()
    monkeypatch.setattr(window, "ask_to_close", lambda count: True)
    window.close()
    until(lambda: not window.isVisible())
    assert page.job.state == "stopped"
    assert group_of(page.job.child.pid) == []


def test_a_session_that_ends_stops_the_jobs_without_a_question(window, qtbot, until, tmp_path, monkeypatch):
    from itkit.gui import app

    page = start_long(window, qtbot, until, tmp_path)
    monkeypatch.setattr(window, "ask_to_close", lambda count: pytest.fail("nobody is there to answer"))
    assert [number.name for number in app._ends()] == ["SIGTERM", "SIGHUP"]
    window.close_at_once()
    until(lambda: not window.isVisible())
    assert page.job.state == "stopped"
    assert group_of(page.job.child.pid) == []


def test_what_deletes_asks_for_the_typed_name(window, qtbot, until, tmp_path, monkeypatch):
    write_dataset(tmp_path / "raw", 2)
    page = window.open_operation("itk_check")
    child(page, QComboBox, "mode").setCurrentText("delete")
    child(page, QLineEdit, "source").setText(str(tmp_path / "raw"))
    child(page, QWidget, "min_size").findChildren(QLineEdit)[0].setText("900")
    asked = []
    monkeypatch.setattr("itkit.gui.operation_page.ask_to_delete", lambda parent, question: bool(asked.append(question)))
    press(qtbot, page, "run")
    assert page.job is None
    assert asked[0].word == "raw"
    assert not asked[0].is_answered_by("yes")
    press(qtbot, page, "plan")
    until(lambda: page.job.is_over)
    assert len(asked) == 1
    assert len(list((tmp_path / "raw").rglob("case*"))) == 4
    monkeypatch.setattr("itkit.gui.operation_page.ask_to_delete", lambda parent, question: True)
    press(qtbot, page, "run")
    until(lambda: page.job.is_over and not page.job.is_plan)
    assert not list((tmp_path / "raw").rglob("case*"))


def test_names_with_angle_brackets_are_shown_as_they_are(window, qtbot):
    page = window.open_operation("itk_check")
    question = Deletion("Mode delete: …", "/data/<b>raw</b> ", "<b>raw</b> ")
    box = DeletionBox(window, question)
    qtbot.addWidget(box)
    labels = [*window.findChildren(QLabel), *box.findChildren(QLabel)]
    assert "<b>raw</b>" in " ".join(one.text() for one in labels).replace("\u200b", "")
    linked = {one for one in labels if one.openExternalLinks()}
    assert {one.textFormat() for one in labels if one not in linked} == {Qt.TextFormat.PlainText}
    page.case_table.cases.rows = [CaseRow("<i>c</i>", "failed", "a < b & c")]
    shown = page.case_table.cases.index(0, 0).data(Qt.ItemDataRole.ToolTipRole)
    assert "&lt;i&gt;c&lt;/i&gt;" in shown

    def answer():
        asked = window.findChild(DeletionBox, options=Qt.FindChildOption.FindDirectChildrenOnly)
        qtbot.keyClicks(child(asked, QLineEdit, "typed_name"), "<b>raw</b>")
        qtbot.keyClick(asked, Qt.Key.Key_Return)

    box.setParent(None)
    QTimer.singleShot(0, answer)
    assert ask_to_delete(window, question)


def test_last_values_and_recent_folders_are_kept(window, qtbot, until, crops, tmp_path):
    page = window.open_operation("itk_resample")
    fill(page, crops, tmp_path / "out")
    press(qtbot, page, "plan")
    until(lambda: page.job.is_over)
    from itkit.gui import settings
    from itkit.gui.app import MainWindow

    other = MainWindow()
    qtbot.addWidget(other)
    again = other.open_operation("itk_resample")
    assert again.form.values() == page.form.values()
    assert settings.recent_paths()[:2] == [str(crops), str(tmp_path / "out")]


def test_presets_are_loaded_from_a_runs_own_configuration(window, qtbot, until, crops, tmp_path):
    page = window.open_operation("itk_resample")
    fill(page, crops, tmp_path / "out")
    press(qtbot, page, "run")
    until(lambda: page.job.is_over)
    line = page.command.text()
    page.form.clear()
    assert page.command.text() == ""
    page.load(tmp_path / "out" / "resample_configs.json")
    assert page.command.text().split("--spacing")[1] == line.split("--spacing")[1]


def test_jobs_wait_for_each_other_and_open_from_the_queue(window, qtbot, until, crops, tmp_path, monkeypatch):
    page = window.open_operation("itk_resample")
    words = Command.words
    monkeypatch.setattr(Command, "words", lambda self, **how: held(words(self, **how), tmp_path / "go"))
    fill(page, crops, tmp_path / "a")
    press(qtbot, page, "run")
    fill(page, crops, tmp_path / "b")
    press(qtbot, page, "run")
    first, second = window.jobs.queue.jobs.values()
    assert (second.state, first.is_over) == ("waiting", False)
    (tmp_path / "go").touch()
    until(lambda: not window.jobs.queue.active())
    assert first.ended <= second.started
    window.show_page("queue")
    until(lambda: window.queue_page.table.rowCount() == 2)
    window.open_job(first)
    assert page.job is first
    until(lambda: len(rows_of(page, "cases")) == 3)


def test_every_field_has_its_name_and_a_name_for_screen_readers(window):
    page = window.open_operation("itk_convert")
    for name, row in page.form.rows.items():
        widget = page.findChild(QWidget, name)
        assert widget is not None, name
        assert widget.accessibleName(), name
        assert row.editor.focusProxy() is not None or row.editor.focusPolicy() != Qt.FocusPolicy.NoFocus
    hidden = child(page, QCheckBox, "keep_ids")
    assert not hidden.isVisible()
    child(page, QComboBox, "mode").setCurrentText("dicom")
    page.form.check()
    assert hidden.isVisible()


def test_a_name_in_the_window_is_that_of_the_shown_page(window):
    first = window.open_operation("itk_resample")
    second = window.open_operation("itk_orient")
    assert window.findChild(QPushButton, "run") is second.run_button
    window.open_operation("itk_resample")
    assert window.findChild(QPushButton, "run") is first.run_button


def test_operations_are_searched_and_opened_by_keyboard(window, qtbot):
    page = window.show_page("jobs")
    page.search.setFocus()
    qtbot.keyClicks(page.search, "directions")
    qtbot.keyClick(page.search, Qt.Key.Key_Return)
    assert window.findChild(QLineEdit, "source") is not None
    assert window.findChild(QComboBox, "orient") is not None


def test_a_new_operation_appears_without_a_line(window, qtbot, monkeypatch):
    entry = Entry("itkit.process.itk_orient:OPERATION", "turn things", "process")
    monkeypatch.setattr("itkit.forms.pages.CATALOGUE", {**CATALOGUE, "itk_turn": entry})
    monkeypatch.setattr("itkit.catalogue.CATALOGUE", {**CATALOGUE, "itk_turn": entry})
    from itkit.gui.app import MainWindow

    other = MainWindow()
    qtbot.addWidget(other)
    assert child(other.open_operation("itk_turn"), QComboBox, "orient") is not None


def test_what_can_not_be_written_is_told_and_the_window_goes_on(window, monkeypatch, tmp_path):
    page = window.open_operation("itk_orient")
    child(page, QLineEdit, "source").setText("raw")
    child(page, QLineEdit, "dest").setText("out")
    child(page, QComboBox, "orient").setCurrentText("RAS")
    (tmp_path / "nowhere").write_text("a file, not a folder")
    page.log.save(tmp_path / "nowhere" / "a.log")
    assert page.state.text().startswith("Not saved: ")
    page.state.clear()
    for name in ("a.toml", "a.json"):
        file = str(tmp_path / "nowhere" / name)
        monkeypatch.setattr("itkit.gui.operation_page.QFileDialog.getSaveFileName", lambda *_, file=file: (file, ""))
        page._save_preset()
        assert page.state.text().startswith("Not saved: ")


def test_a_fault_is_told_once_and_ends_nothing(window, capsys):
    tell = report_to(window)
    tell(ValueError, ValueError("nobody thought of it"), None)
    tell(itkit.ItkitError, itkit.ItkitError("a second one"), None)
    (box,) = window.findChildren(QMessageBox, "fault")
    assert box.text().startswith("A fault of ITKIT: ValueError: nobody thought of it")
    assert "nobody thought of it" in capsys.readouterr().err
    box.close()
    tell(itkit.ItkitError, itkit.ItkitError("case.mha: can't be written"), None)
    assert window.findChildren(QMessageBox, "fault")[-1].text() == "case.mha: can't be written"
    assert not capsys.readouterr().err
    window.findChildren(QMessageBox, "fault")[-1].close()


def test_words_are_split_as_a_shell_does():
    assert words_of("a 'b c'") == ["a", "b c"]


def run_app(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "itkit.gui.app", *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **environment},
    )


def test_without_a_display_one_line_says_what_to_do():
    empty = dict.fromkeys(("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"), "")
    found = run_app(**empty)
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert "no display" in found.stderr
    found = run_app(**{**empty, "DISPLAY": ":91"})
    assert found.returncode == 2
    assert [line for line in found.stderr.splitlines() if line.startswith("itkit-app: error:")]
    assert "Traceback" not in found.stderr


def test_without_pyqt_one_line_names_the_extra(monkeypatch, capsys):
    from itkit.gui import app

    monkeypatch.setitem(sys.modules, "PyQt6.QtWidgets", None)
    assert app.main([]) == 2
    assert "pip install 'itkit[gui]'" in capsys.readouterr().err


def test_wrong_words_are_refused(capsys, tmp_path):
    from itkit.gui import app

    assert app.main(["--nonsense"]) == 2
    assert app.main([str(tmp_path / "nowhere")]) == 2
    assert app.main(["--version"]) == 0
    assert "itkit-app (itkit" in capsys.readouterr().out


@pytest.mark.slow
def test_check_opens_every_page_at_200_percent():
    found = run_app("--check", QT_SCALE_FACTOR="2")
    assert found.returncode == 0, found.stderr
    assert all(f"\n{name} (" in found.stdout for name in CATALOGUE)
    assert not found.stderr


def test_settings_hold_no_secret(window, qtbot, until, tmp_path):
    page = window.open_operation("itk_convert")
    child(page, QComboBox, "mode").setCurrentText("dicom")
    child(page, QLineEdit, "source").setText(str(tmp_path))
    child(page, QLineEdit, "dest").setText(str(tmp_path / "out"))
    child(page, QLineEdit, "key").setText("a secret of mine")
    press(qtbot, page, "plan")
    until(lambda: page.job.is_over)
    from itkit.gui import settings

    assert "secret of mine" not in json.dumps(settings.last_values("itk_convert")) + page.command.text()
    assert settings.last_values("itk_convert")["source"] == str(tmp_path)


def test_the_window_answers_while_a_job_runs(window, qtbot, until, tmp_path):
    """No turn of the event loop does much, whatever the job tells; calls are counted, since time depends on others."""
    write_dataset(tmp_path / "raw", 25)
    page = window.open_operation("itk_resample")
    fill(page, tmp_path / "raw", tmp_path / "out")
    until(lambda: not page.form._timer.isActive())  # it has checked its values
    press(qtbot, page, "run")
    turns, end = [], time.monotonic() + 180
    while not (page.job.is_over and [row[1] for row in rows_of(page, "cases")] == ["done"] * 25):
        assert time.monotonic() < end
        calls = itertools.count()
        sys.setprofile(lambda *_, calls=calls: next(calls))
        try:
            QApplication.processEvents()
        finally:
            sys.setprofile(None)
        turns.append(next(calls))
        time.sleep(0.002)
    assert page.job.state == "done"
    assert max(turns) < 20_000


def cut_texts(root):
    """Return the texts that do not fit into their labels and buttons."""
    for label in root.findChildren(QLabel):
        if label.isVisible() and label.text():
            is_high = label.wordWrap() and label.heightForWidth(label.width()) > label.height() + 1
            is_wide = not label.wordWrap() and label.sizeHint().width() > label.width() + 1
            if is_high or is_wide:
                yield label.text()
    for button in root.findChildren(QAbstractButton):
        if button.isVisible() and button.minimumSizeHint().width() > button.width() + 1:
            yield button.text()


@pytest.mark.parametrize("size", [(1280, 800), (640, 600)])
def test_no_text_is_cut_also_where_words_are_as_long_as_german_ones(window, until, size):
    window.resize(*size)
    long = "Mindestabstandsüberschreitungstoleranz der Ränder"
    for name in ("itk_check", "itkit train"):
        page = window.open_operation(name)
        for row in page.form.rows.values():
            for label in row.findChildren(QLabel):
                if label is row.about or label.property("role") == "label":
                    label.setText(f"{long}  (Z Y X, mm)")
        QApplication.processEvents()  # it is laid out
        until(lambda: not list(cut_texts(window)))
        assert page.form.width() <= page.form.parentWidget().width()
    for name in window.page_names:
        window.show_page(name)
        QApplication.processEvents()
        until(lambda: not list(cut_texts(window)))
