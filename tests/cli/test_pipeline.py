"""``itkit run``: a chain of operations as a file: checked before it starts, resumed, its reports linked."""

import json
import re
import shlex

import pytest

from itkit.cli.umbrella import main
from itkit.engine.pipeline import read_pipeline
from itkit.testing.phantoms import write_dataset

TEXT = """
[[step]]
run = "itk_orient"
params = { source = "raw", dest = "oriented", orient = "LPI" }

[[step]]
name = "coarse"
run = "itk_resample"
params = { mode = "dataset", source = "oriented", dest = "resampled", spacing = [2, 2, 2] }
options = { workers = 1 }

[[step]]
run = "itk_stats"
params = { source = "resampled", dest = "measured" }
"""


@pytest.fixture
def place(tmp_path):
    write_dataset(tmp_path / "raw", 2)
    (tmp_path / "chain.toml").write_text(TEXT)
    return tmp_path


def test_steps_run_in_turn_and_again_nothing_is_left_to_do(place, capsys, monkeypatch):
    monkeypatch.chdir("/")  # paths are relative to the file
    assert main(["run", str(place / "chain.toml")]) == 0
    assert len(list((place / "resampled" / "image").iterdir())) == 2
    record = json.loads((place / "chain-run.json").read_text())
    assert [step["step"] for step in record["steps"]] == ["itk_orient", "coarse", "itk_stats"]
    page = (place / "chain-run.html").read_text()
    assert 'href="measured/stats.html"' in page
    assert (place / "measured" / "stats.html").is_file()
    capsys.readouterr()
    assert main(["run", str(place / "chain.toml")]) == 0
    assert capsys.readouterr().out.count("0 done, 2 skipped") == 3


def test_a_dry_run_shows_command_lines_and_touches_nothing(place, capsys):
    assert main(["run", str(place / "chain.toml"), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    words = shlex.join(["itk_orient", f"{place}/raw", f"{place}/oriented", "LPI"])
    assert lines[0].startswith(f"1. itk_orient: {words}")
    assert lines[1].startswith("2. coarse: itk_resample dataset ")
    assert not (place / "oriented").exists()


def test_it_begins_where_it_is_told_to(place):
    assert main(["run", str(place / "chain.toml"), "--first", "coarse"]) == 2  # there is no source yet
    assert not (place / "oriented").exists()
    assert main(["run", str(place / "chain.toml"), "--first", "7"]) == 2


def test_a_failed_case_lets_the_others_go_on(place, capsys):
    (place / "raw" / "image" / "bad.mha").write_text("no volume")
    (place / "raw" / "label" / "bad.mha").write_text("no volume")
    assert main(["run", str(place / "chain.toml")]) == 1
    assert len(list((place / "resampled" / "image").iterdir())) == 2
    assert main(["run", str(place / "chain.toml"), "--strict"]) == 1
    assert "2 steps are left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[2, 2, 2]", "[2, 2, -3]", r"step 2: --spacing: X: expected"),
        ("spacing =", "spacng =", r"step 2: unknown parameter 'spacng'"),
        ("itk_stats", "itk_stat", r"step 3: no operation 'itk_stat'"),
        ('name = "coarse"', "title = 1", r"step 2: unknown key 'title'"),
        ('name = "coarse"', 'name = "itk_orient"', r"two steps are called 'itk_orient'"),
        ("workers = 1", "workrs = 1", r"step 2: unknown parameter 'workrs'"),
        ("[[step]]", "[step]", r"chain\.toml"),
        ("[[step]]", "[[steps]]", r"unknown key 'steps'"),
    ],
)
def test_what_is_wrong_is_named_before_anything_runs(place, capsys, old, new, said):
    (place / "chain.toml").write_text(TEXT.replace(old, new))
    assert main(["run", str(place / "chain.toml")]) == 2
    assert re.search(said, capsys.readouterr().err)
    assert not (place / "oriented").exists()


def test_each_of_several_paths_is_relative_to_the_file(tmp_path):
    (tmp_path / "chain.toml").write_text(
        '[[step]]\nrun = "itk_infer"\n'
        'params = { model = "a", source = "raw", dest = "out", ensemble = ["b.pt", "c.pt"] }\n'
    )
    (step,) = read_pipeline(tmp_path / "chain.toml")
    assert step.params.ensemble == (tmp_path / "b.pt", tmp_path / "c.pt")
