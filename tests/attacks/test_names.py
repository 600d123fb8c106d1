"""Ids, paths, links and names that lead elsewhere, or that a terminal or spreadsheet would obey."""

import csv
import json
import os
import re

import pytest
from attack_data import folder_with, made, pair

FORGED = "9 done, 0 skipped, 0 failed"
STRANGE = ("\x1b[31mred", "\x1b]0;title\x07", f"x\n{FORGED}", "bell\x07", "back\x08\x08", "\u202egnp.exe", "\x9b2J")
RUN = ("=cmd|'calc'!A1", "+1+1", "-2+3", "@SUM(1)", "<script>alert(1)<", 'a"onload=x')
TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def everything(folder, without):
    return {
        path: path.readlink() if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if (path.is_symlink() or path.is_file()) and without not in path.parents
    }


@pytest.mark.parametrize(
    "case_id", ["../../mine", "{root}/mine", "../../release/imagesTr/new", "../.itkit/x", "a/../../b"]
)
def test_an_id_of_a_release_leads_nowhere_else(attacked, tmp_path, case_id):
    release, out = tmp_path / "release", tmp_path / "out"
    folder_with(release / "imagesTr", {}, good=("a_0000",))
    (tmp_path / "mine.mha").write_text("my only copy")
    case_id = case_id.format(root=tmp_path)
    about = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "a": 1},
        "file_ending": ".mha",
        "numTraining": 1,
        "dataset": {case_id: {"images": ["imagesTr/a_0000.mha"]}},
    }
    (release / "dataset.json").write_text(json.dumps(about))
    before = everything(tmp_path, out)
    ended = attacked("itkit", "convert-dataset", "nnunet", release, out)
    assert ended.is_calm
    assert ended.code in (1, 2)
    assert case_id.rsplit("/", 1)[-1] in ended.text
    assert everything(tmp_path, out) == before
    assert not list((out / ".itkit").glob("*.mha"))


@pytest.mark.parametrize("how", ["absolute", "dotdot"])
def test_the_journal_of_somebody_else_moves_and_removes_nothing_outside(attacked, tmp_path, how):
    source, out = folder_with(tmp_path / "in", {}), tmp_path / "out"
    assert attacked("itk_orient", source, out, "RAS").code == 0
    whole = made(out)
    victim, planted = tmp_path / "victim", tmp_path / "planted"
    victim.write_text("keep")
    staged = out / ".itkit" / "tmp" / "999999999-x"
    staged.mkdir(parents=True)
    (staged / "lock").write_text("x")
    (staged / "f").write_text("evil")
    places = [str(path) if how == "absolute" else f"../{path.name}" for path in (planted, victim)]
    record = {"case": "q", "status": "done", "outputs": []}
    journal = {"operation": "itk_orient", "record": record, "moves": [["f", places[0]]], "stale": [places[1]]}
    (staged / "journal.json").write_text(json.dumps(journal))
    ended = attacked("itk_orient", source, out, "RAS")
    assert ended.is_calm
    assert victim.read_text() == "keep"
    assert not planted.exists()
    assert made(out) == whole


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_links_in_circles_and_closed_folders_stop_no_other_volume(attacked, tmp_path, workers):
    source, out = folder_with(tmp_path / "in", {}), tmp_path / "out"
    for name, target in {
        "x": "x",
        "y.mha": "y.mha",
        "a": "b",
        "b": "a",
        "nowhere": "/nowhere/at/all",
        "up": "..",
    }.items():
        (source / name).symlink_to(target)
    ended = attacked("itk_orient", source, out, "RAS", "--workers", workers)
    assert ended.is_calm
    assert {"good_a.mha", "good_b.mha"} <= set(made(out))
    ended = attacked("itk_check", "check", source)
    assert ended.is_calm
    assert ended.code != 2
    assert "good_a" not in ended.text


def test_names_of_control_characters_are_shown_escaped(attacked, tmp_path):
    source = folder_with(tmp_path / "in", {f"{name}.mha": "no volume" for name in STRANGE})
    out = tmp_path / "out"
    for arguments in (
        ("itk_check", "check", source, "--deep"),
        ("itk_orient", source, out, "RAS"),
        ("itk_resample", "image", source, tmp_path / "dry", "--spacing", 2, 1, 1, "--dry-run"),
    ):
        ended = attacked(*arguments)
        assert ended.is_calm
        assert ended.code != 2
        assert "red" in ended.text
        assert "gnp.exe" in ended.text
        assert {letter for letter in ended.text if not letter.isprintable()} <= set("\n\t"), ended
        assert not set(TURNS) & set(ended.text)
        assert not [line for line in ended.text.splitlines() if line.strip().startswith(FORGED)]


def test_a_report_holds_nothing_that_a_spreadsheet_or_browser_runs(attacked, tmp_path):
    source = pair(tmp_path / "in", 1)
    for name in RUN:
        for kind in ("image", "label"):
            (source / kind / f"{name}.nii.gz").write_bytes((source / kind / "case_0.nii.gz").read_bytes())
    assert attacked("itk_check", "check", source, "--deep", "--report", tmp_path / "report.csv").is_calm
    cells = [cell for row in csv.reader((tmp_path / "report.csv").read_text().splitlines()) for cell in row]
    assert all(any(name in cell for cell in cells) for name in RUN)
    number = r"[+-]?[\d.]+(e[+-]?\d+)?"
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@") and not re.fullmatch(number, cell)]
    assert attacked("itk_check", "check", source, "--deep", "--report", tmp_path / "report.html").is_calm
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in page
    assert 'a"onload=x' not in page


def test_a_hostile_folder_gets_a_table(attacked, tmp_path):
    """Every kind of bad file at once: `itk_check` ends with a row for each and exit code 1."""
    bad = {
        f"bad_{number}.mha": content for number, content in enumerate(("", "x" * 100, "NDims = 3\n", b"\x1f\x8b" * 50))
    }
    source = folder_with(
        tmp_path / "in", {**bad, "deep.nii.gz": b"\x1f\x8b\x08" + bytes(40), "text.nrrd": "NRRD0009\n\n"}
    )
    (source / "loop.mha").symlink_to("loop.mha")
    os.mkfifo(source / "pipe.nii")
    report = tmp_path / "table.csv"
    ended = attacked("itk_check", "check", source, "--deep", "--report", report)
    assert ended.is_calm
    assert ended.code == 1
    rows = list(csv.reader(report.read_text().splitlines()))
    named = {cell for row in rows for cell in row}
    assert {"good_a", "good_b", *(name.partition(".")[0] for name in bad), "deep", "text"} <= named
