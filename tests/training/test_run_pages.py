"""What people see of a run: metrics as files, curves, pictures, the page, the terminal."""

import json
import math
import struct

import numpy as np
import pytest

from itkit.core.errors import LayoutError
from itkit.inference.model_folder import Intensity
from itkit.training import watching
from itkit.training.curves import draw_curves, smooth_losses, thinned
from itkit.training.history import History, Step, Validation, csv_text, dice_of, jsonl_text, read_history
from itkit.training.overlays import overlay_picture
from itkit.training.run_lock import RunLock
from itkit.training.status import read_status, write_status
from itkit.training.watching import curves_text, watch


def history(epochs=3):
    found = History()
    for step in range(1, 4 * epochs + 1):
        epoch = (step - 1) // 4
        found.steps.append(Step(step, epoch, 2 / step, 0.1 / (epoch + 1), float(step)))
        if step % 8 == 0:
            dice = 0.1 * step / 4
            classes = {"liver": {"dice": dice, "iou": None}, "cyst, left": {"dice": None}}
            found.validations.append(Validation(step, epoch, dice, classes))
    return found


def test_what_is_written_reads_back(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(jsonl_text(history()) + '{"step": 13, "epo')
    assert read_history(path) == history()
    lines = path.read_text().splitlines()
    assert [next(iter(json.loads(line))) for line in lines[:-1]] == ["step"] * 13
    assert "val_dice" in lines[8]
    assert read_history(tmp_path / "none.jsonl") == History()
    assert [one.step for one in read_history(path).until(8).validations] == [8]


def test_the_table_has_a_row_an_epoch(tmp_path):
    rows = csv_text(history().epochs(), ["liver", "cyst, left"]).splitlines()
    assert rows[0] == 'epoch,step,train_loss,learning_rate,val_dice,liver_dice,"cyst, left_dice",seconds'
    mean = sum(2 / step for step in range(5, 9)) / 4
    assert rows[2] == f"1,8,{mean},0.05,0.2,0.2,,8.0"
    assert rows[3].split(",")[4:7] == ["", "", ""]


def test_curves_are_a_readable_picture_of_what_was_logged():
    data = draw_curves(history(), ["liver", "cyst, left"])
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">2I", data[16:24]) == (1210, 440)
    assert data == draw_curves(history(), ["liver", "cyst, left"])
    assert draw_curves(History(), []) != data
    assert smooth_losses(history())[0] == (2.5, (2 + 1 + 2 / 3 + 1 / 2) / 4)
    assert dice_of(history(), "cyst, left") == []
    assert len(thinned([(n, 1.0) for n in range(5001)])) <= 2000


def test_truth_stands_above_prediction_and_its_outline_is_white_there():
    truth = np.zeros((6, 20, 30), np.uint8)
    truth[1:4, 4:12, 5:20] = 1
    found = np.zeros_like(truth)
    found[1:4, 4:12, 9:26] = 1
    image = np.zeros(truth.shape, np.float32)
    ct = Intensity(scheme="ct", low=-200, high=300, mean=40, sd=100)
    picture = overlay_picture(
        image, truth, found, spacing_zyx=(3, 1, 1), orient="LPS", intensity=ct, values=(0, 4), longest_side=60
    )
    height = (picture.shape[0] - 6) // 2
    above, below = picture[:height, :60], picture[height + 6 :, :60]  # axial: 2 pixels a voxel

    def coloured(part):
        return np.ptp(part.astype(int), axis=2) > 20

    def white(part):
        return (part == 255).all(axis=2)

    assert not white(above).any()
    assert white(below).any()
    rows, columns = np.nonzero(coloured(above))
    assert (rows.min(), columns.min(), rows.max(), columns.max()) == (8, 10, 23, 39)
    assert np.nonzero(white(below))[1].min() == 10
    assert np.nonzero(coloured(below))[1].max() == 51


def test_the_patients_left_is_on_the_right_whatever_the_orientation():
    truth = np.zeros((4, 10, 10), np.uint8)
    truth[:, 2:5, 6:9] = 1  # towards larger x
    pictures = {}
    for orient, label in (("LPS", truth), ("RPS", truth[:, :, ::-1])):
        none = Intensity(scheme="none")
        shown = {"spacing_zyx": (1, 1, 1), "orient": orient, "intensity": none, "values": (0, 1)}
        pictures[orient] = overlay_picture(np.zeros(truth.shape, np.float32), label, label, **shown)
    assert np.array_equal(pictures["LPS"], pictures["RPS"])


def test_the_terminal_shows_loss_dice_and_classes():
    text = curves_text(history(), {"state": "training", "total": 40}, name="my run", width=60)
    lines = text.splitlines()
    assert lines[0] == "my run: training, step 12 of 40, loss 0.167, learning rate 0.0333"
    assert "mean Dice of the validation, best 0.200 after step 8" in lines
    assert any(line.startswith("liver") and line.endswith("0.200 ████") for line in lines)
    assert max(map(len, lines)) <= 75
    assert "no step yet" in curves_text(History(), {"state": "training", "total": None})
    broken = history()
    broken.steps.append(Step(13, 3, math.nan, 0.1, 1.0))
    assert "⠀" not in curves_text(broken, {"state": "training", "total": 40})


def test_watching_follows_a_run_and_ends_with_it(tmp_path, monkeypatch):
    run = tmp_path / "run"
    with pytest.raises(LayoutError, match="no such run"):
        watch(run, print, width=lambda: 60)
    run.mkdir()
    seen = []

    def later(_seconds):
        number = len(seen)
        (run / "metrics.jsonl").write_text(jsonl_text(history(number)))
        write_status(run, "training" if number < 3 else "finished", 12)

    monkeypatch.setattr(watching.time, "sleep", later)
    watch(run, seen.append, width=lambda: 60)
    heads = [text.splitlines()[0].partition(", loss")[0].removeprefix(f"{tmp_path}/") for text in seen]
    assert heads == [
        "run: no training has begun here yet; it is waited for until Ctrl-C",
        "run: training, step 4 of 12",
        "run: training, step 8 of 12",
        "run: finished, step 12 of 12",
    ]


@pytest.mark.parametrize(
    ("status", "fault"),
    [(None, "is missing"), ('{"state": "resting"}', "is malformed"), ('{"state": "training"}', "is malformed")],
)
def test_watching_ends_where_nothing_says_whether_it_trains(tmp_path, monkeypatch, status, fault):
    monkeypatch.setattr(watching.time, "sleep", None)  # there is nothing to wait for
    (tmp_path / "run.json").write_text("{}")
    if status is not None:
        (tmp_path / "status.json").write_text(status)
    for steps, shown in ((0, 0), (2, 1)):
        (tmp_path / "metrics.jsonl").write_text(jsonl_text(history(steps)))
        seen = []
        with pytest.raises(LayoutError, match=rf"status\.json {fault}, so it is not known whether a training runs"):
            watch(tmp_path, seen.append, width=lambda: 60)
        assert len(seen) == shown


def test_watching_waits_for_a_training_that_prepares_its_cases_in_a_folder_of_others(tmp_path, monkeypatch):
    (tmp_path / "notes.txt").touch()
    seen, lock = [], RunLock(tmp_path)
    lock.take()
    monkeypatch.setattr(watching.time, "sleep", lambda _seconds: lock.close())
    with pytest.raises(LayoutError, match="is missing"):
        watch(tmp_path, seen.append, width=lambda: 60)
    assert ["no training has begun here yet" in text for text in seen] == [True]


@pytest.mark.parametrize("classes", ["[1]", '{"liver": 3}', '{"liver": {"dice": "x"}}', '{"liver": {"dice": 1e999}}'])
def test_a_malformed_validation_is_left_out(tmp_path, classes):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1, "train_loss": 1}}\n{{"step": 1, "val_dice": 0.5, "classes": {classes}}}\n')
    assert (len(read_history(path).steps), read_history(path).validations) == (1, [])


def test_a_run_whose_process_is_gone_was_killed(tmp_path):
    write_status(tmp_path, "training", 3)
    assert read_status(tmp_path) == {"state": "training", "total": 3}
    values = json.loads((tmp_path / "status.json").read_text())
    (tmp_path / "status.json").write_text(json.dumps({**values, "pid": 2**22 + 1}))
    assert read_status(tmp_path)["state"] == "killed"
