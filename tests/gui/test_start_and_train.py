"""The guided start runs a whole chain; the page of trainings follows what a run writes."""

import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import held
from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QComboBox, QLabel, QLineEdit, QPushButton, QRadioButton, QWidget

import itkit
from itkit.core.thumbnail import png
from itkit.engine.pipeline import read_pipeline
from itkit.forms.chains import STARTS, chain, pipeline_text
from itkit.forms.command import Command
from itkit.forms.trainings import RunLog
from itkit.testing.phantoms import write_dataset

PROPOSED = [start for start in STARTS if not start.is_saved]


@pytest.mark.parametrize("start", PROPOSED, ids=lambda start: start.key)
def test_every_chain_is_made_of_right_command_lines(start):
    steps = chain(start, "my source", "my results", "convert_kits23")
    assert not [step.problem for step in steps if step.problem]
    assert all("my source" in step.command.text for step in steps[:1])
    assert all(step.values for step in steps)


def test_a_wrong_step_says_what_is_wrong():
    steps = chain(STARTS[2], "a", "b", "convert_nothing")
    assert steps[0].command is None
    assert "convert_nothing" in steps[0].problem


@pytest.mark.parametrize("start", PROPOSED, ids=lambda start: start.key)
def test_a_chain_is_saved_as_a_pipeline_that_says_the_same(tmp_path, start):
    steps = chain(start, "my scäns", "out", "convert_word")
    file = tmp_path / "other" / "pipeline.toml"
    file.parent.mkdir()
    file.write_text(pipeline_text(steps, tmp_path), encoding="utf-8")
    expected = chain(start, str(tmp_path / "my scäns"), str(tmp_path / "out"), "convert_word")
    assert [step.command for step in read_pipeline(file)] == [step.command.text for step in expected]


def test_the_start_page_saves_its_steps(window, tmp_path, monkeypatch):
    page = window.start_page
    assert not page.save_button.isEnabled()
    page.source.setText(str(tmp_path / "raw"))
    page.work.setText(str(tmp_path / "work"))
    file = tmp_path / "pipeline.toml"
    monkeypatch.setattr("itkit.gui.start_page.QFileDialog.getSaveFileName", lambda *_: (str(file), ""))
    page.save_button.click()
    assert len(read_pipeline(file)) == len(page.steps)
    assert str(file) in page.about.text()
    monkeypatch.setattr("itkit.gui.start_page.QFileDialog.getSaveFileName", lambda *_: (str(tmp_path), ""))
    page.save_button.click()
    assert page.about.text().startswith("Not saved")


def test_a_chain_runs_to_its_end(window, qtbot, until, tmp_path):
    write_dataset(tmp_path / "raw", 2)
    page = window.start_page
    window.show_page("start")
    page.findChild(QRadioButton, "start_dataset").setChecked(True)
    assert not page.run_button.isEnabled()
    page.findChild(QLineEdit, "start_source").setText(str(tmp_path / "raw"))
    page.findChild(QLineEdit, "start_work").setText(str(tmp_path / "work"))
    assert page.script().splitlines()[1].startswith("itk_check check")
    qtbot.mouseClick(page.findChild(QPushButton, "run_chain"), Qt.MouseButton.LeftButton)
    until(lambda: "All steps have ended" in page.about.text())
    assert [card.state.text() for card in page.cards[:4]] == ["done"] * 4
    assert itkit.read(tmp_path / "work" / "resampled" / "image" / "case_00.mha").spacing_zyx == (1.5, 1, 1)
    page.cards[2].opened.emit(page.steps[2])
    shown = window.findChild(QComboBox, "mode")
    assert shown.currentText() == "dataset"
    assert window.findChild(QLineEdit, "source").text() == str(tmp_path / "work" / "oriented")


def test_a_chain_ends_where_a_step_can_not_run(window, qtbot, until, tmp_path):
    page = window.start_page
    page.findChild(QRadioButton, "start_dataset").setChecked(True)
    (tmp_path / "raw").mkdir()
    page.findChild(QLineEdit, "start_source").setText(str(tmp_path / "raw"))
    page.findChild(QLineEdit, "start_work").setText(str(tmp_path / "work"))
    page.run()
    until(lambda: "ended early" in page.about.text())
    jobs = list(window.jobs.queue.jobs.values())
    assert [job.state for job in jobs] == ["failed", "stopped", "stopped", "stopped"]
    assert all("itk_check before it ended early" in job.message for job in jobs[1:2])
    assert not (tmp_path / "work").exists()


STEP = '[[step]]\nrun = "{run}"\nparams = {{ {params} }}\n'


def test_a_saved_pipeline_is_opened_run_stopped_and_linked(window, qtbot, until, tmp_path, monkeypatch):
    write_dataset(tmp_path / "raw", 2)
    file = tmp_path / "chain.toml"
    orient = STEP.format(run="itk_orient", params='source = "raw", dest = "made", orient = "LPI"')
    stats = STEP.format(run="itk_stats", params='source = "made", dest = "stats"')
    file.write_text(orient + stats)
    window.open_path(file)
    page = window.start_page
    assert [step.operation for step in page.steps] == ["itk_orient", "itk_stats"]
    assert not page.work_row.isVisible()
    told = (page.cards[0].why, page.cards[0].line, page.about)
    assert {label.textFormat() for label in told} == {Qt.TextFormat.PlainText}, "names may look like marks of HTML"
    qtbot.mouseClick(page.run_button, Qt.MouseButton.LeftButton)
    assert not page.run_button.isEnabled()
    until(lambda: "All steps have ended" in page.about.text())
    assert (tmp_path / "stats" / "stats.html").as_uri() in page.cards[1].reports.text()
    words = Command.words
    monkeypatch.setattr(Command, "words", lambda self, **how: held(words(self, **how), tmp_path / "never"))
    qtbot.mouseClick(page.run_button, Qt.MouseButton.LeftButton)
    jobs = list(window.jobs.queue.jobs.values())[2:]
    qtbot.mouseClick(page.stop_button, Qt.MouseButton.LeftButton)
    until(lambda: all(job.is_over for job in jobs))
    assert jobs[1].state == "stopped"
    assert jobs[1].started is None
    file.write_text(orient.replace('"LPI"', '"XYZ"'))
    page.source.setText(f"{file} ")
    assert "step 1" in page.about.text()
    assert not page.run_button.isEnabled()


def test_a_pipeline_that_may_delete_asks_for_the_folder(window, qtbot, until, tmp_path, monkeypatch):
    write_dataset(tmp_path / "raw", 2)
    params = 'mode = "delete", source = "raw", min_size = [900, -1, -1], yes = true'
    (tmp_path / "chain.toml").write_text(STEP.format(run="itk_check", params=params))
    window.open_path(tmp_path / "chain.toml")
    page, asked = window.start_page, []
    monkeypatch.setattr("itkit.gui.start_page.ask_to_delete", lambda parent, question: bool(asked.append(question)))
    page.run_button.click()
    assert [question.word for question in asked] == ["raw"]
    assert not window.jobs.queue.jobs
    assert page.about.text().startswith("Nothing was started")


def line(step, loss):
    return (
        json.dumps({"step": step, "epoch": step // 10, "train_loss": loss, "learning_rate": 0.01, "seconds": step})
        + "\n"
    )


def test_a_log_is_read_on_from_where_it_was_left(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = RunLog(tmp_path)
    assert not log.update()
    path.write_text(line(1, 0.9) + line(2, 0.8) + '{"step": 3, "ep')
    assert log.update()
    assert [one.step for one in log.history.steps] == [1, 2]
    with path.open("a") as file:
        file.write('och": 0, "train_loss": 0.7}\n')
    assert log.update()
    assert log.history.steps[-1].train_loss == 0.7
    assert not log.update()
    path.write_text(line(1, 0.5))
    assert log.update()
    assert [one.train_loss for one in log.history.steps] == [0.5]


def test_curves_and_pictures_of_a_run_are_shown_while_it_goes_on(window, until, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text("".join(line(step, 1 / step) for step in range(1, 60)))
    window.open_path(run)
    page = window.train_page
    assert window.stack.currentWidget() is page
    assert "step 59" in page.state.text()
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 60, "epoch": 6, "val_dice": 0.75, "classes": {"liver": {"dice": 0.75}}}) + "\n")
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[10:20] = (255, 0, 0)
    (run / "overlays").mkdir()
    Path(run / "overlays" / "case_1.png").write_bytes(png(picture))
    until(lambda: "best Dice 0.7500" in page.state.text())
    until(lambda: page.list.count() == 1)
    assert set(page.dice.curves) == {"mean", "liver"}
    assert page.picture.pixmap().width() == 60
    assert "0.75" in page.dice.accessibleDescription()


def test_the_page_of_a_tool_has_no_plan_and_its_training_is_watched(window, qtbot, until, tmp_path, monkeypatch):
    """A program stands for `itkit train`: it tells what a training tells, and writes what it logs."""
    run = tmp_path / "my run"
    logged = [line(step, 1 / step) for step in (1, 2)]
    start = {"event": "start", "operation": "itkit train", "total": 2, "to_do": 2, "notes": [], "dest": str(run)}
    told = [start, {"event": "step", "step": 1, "epoch": 0, "train_loss": 1.0, "seconds_left": 3.0}]
    code = (
        "import json, pathlib, sys, time\n"
        f"run = pathlib.Path({str(run)!r})\n"
        f"run.mkdir(); (run / 'metrics.jsonl').write_text({''.join(logged)!r})\n"
        f"[print(json.dumps(one), flush=True) for one in {told!r}]\n"
        "print('loading', sys.argv[1:], file=sys.stderr, flush=True)\n"
        f"while not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.02)\n"
    )
    monkeypatch.setattr(Command, "words", lambda self, plan=False: [sys.executable, "-c", code, *self.argv])
    window.show_page("train")
    qtbot.mouseClick(window.train_page.findChild(QPushButton, "open_train"), Qt.MouseButton.LeftButton)
    page = window.jobs_page.page_of("itkit train")
    assert page is window.open_operation("train")
    assert not page.plan_button.isVisible()
    assert not page.watch_button.isVisible()
    assert page.findChild(QLineEdit, "plan") is not None
    assert page.findChild(QWidget, "progress_problem") is None
    qtbot.mouseClick(page.run_button, Qt.MouseButton.LeftButton)
    assert "expected a plan" in page.findChild(QLabel, "plan_problem").text()
    page.form.set_values({"plan": str(tmp_path / "plan.toml"), "values": ["training.epochs=2"]})
    assert page.command.text() == shlex.join(["itkit", "train", str(tmp_path / "plan.toml"), "training.epochs=2"])
    qtbot.mouseClick(page.run_button, Qt.MouseButton.LeftButton)
    until(lambda: page.watch_button.isVisible())
    until(lambda: "1 of 2 steps · epoch 0, loss 1 · 3 s left" in page.state.text())
    until(lambda: "loading" in page.log.text.toPlainText())
    qtbot.mouseClick(page.watch_button, Qt.MouseButton.LeftButton)
    assert window.stack.currentWidget() is window.train_page
    assert "step 2" in window.train_page.state.text()
    (tmp_path / "go").touch()
    until(lambda: page.job.state == "done")
