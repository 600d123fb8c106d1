"""A description for a dataset that has none, checked against what the files are known to hold."""

import json

import pytest

from itkit.cli.main import main
from itkit.io.meta import refresh_index
from itkit.testing import phantoms


@pytest.fixture
def raw(tmp_path):
    phantoms.write_channels(tmp_path / "raw", 2)
    (tmp_path / "raw/dataset.json").unlink()
    return tmp_path / "raw"


def describe(folder, *words):
    return main("itk_describe", [str(folder), *words], prog="itkit describe")


def test_it_writes_what_was_given(raw):
    assert describe(raw, "--labels", "2=leg", "1=left arm", "--modality", "MR", "--channels", "t1", "t2",
                    "--licence", "MIT") == 0  # fmt: skip
    said = json.loads((raw / "dataset.json").read_text())
    assert said.pop("history")[0]["operation"] == "itk_describe"
    assert said == {"name": "raw", "licence": "MIT", "modality": ["MR"], "channels": ["t1", "t2"],
                    "labels": {"0": "background", "1": "left arm", "2": "leg"}}  # fmt: skip
    assert main("itk_check", ["check", str(raw)]) == 0


def test_another_ones_description_is_refused_and_redo_adds_to_it(raw, capsys):
    (raw / "dataset.json").write_text('{"name": "kits", "citation": "Heller"}')
    assert describe(raw, "--channels", "t1", "t2") == 2
    assert "was not written by this command" in "".join(capsys.readouterr())
    assert json.loads((raw / "dataset.json").read_text()) == {"name": "kits", "citation": "Heller"}
    assert describe(raw, "--channels", "t1", "t2", "--existing", "redo") == 0
    said = json.loads((raw / "dataset.json").read_text())
    assert (said["name"], said["citation"], said["channels"]) == ("kits", "Heller", ["t1", "t2"])


def test_its_own_is_written_again(raw):
    assert describe(raw, "--channels", "t1", "t2") == 0
    assert describe(raw, "--channels", "t1", "t2", "--labels", "1=arm") == 0
    said = json.loads((raw / "dataset.json").read_text())
    assert (said["labels"]["1"], len(said["history"])) == ("arm", 1)


def test_a_dry_run_prints_it(raw, capsys):
    assert describe(raw, "--channels", "t1", "t2", "--dry-run") == 0
    assert '"channels": ["t1", "t2"]' in capsys.readouterr().out
    assert not (raw / "dataset.json").exists()


def test_channels_that_are_not_there_are_named(raw, capsys):
    (raw / "image/case_01_t2.mha").unlink()
    assert describe(raw, "--channels", "t1", "t2") == 1
    assert "case_01: 1 channel missing: no case_01_t2" in capsys.readouterr().out
    (raw / "dataset.json").unlink()
    assert describe(raw, "--channels", "t1", "t3") == 1
    assert not (raw / "dataset.json").exists()


def test_values_that_the_index_knows_are_compared_with_the_names(tmp_path, capsys):
    phantoms.write_dataset(tmp_path / "raw", 2)
    main("itk_orient", [str(tmp_path / "raw"), str(tmp_path / "out"), "LPI"])  # its index knows the classes
    capsys.readouterr()
    assert describe(tmp_path / "out", "--labels", "1=arm", "9=wing") == 0
    said = capsys.readouterr().out
    assert "label files hold values without a name: 2, 3" in said
    assert "no label file holds 9 (wing)" in said
    refresh_index(tmp_path / "raw")
    assert describe(tmp_path / "raw", "--labels", "1=arm") == 0
    assert "were not compared" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--labels", "liver"], "expected VALUE=NAME"),
        (["--labels", "1=a", "1=b"], "given once"),
        (["--labels", "1=a", "2=a"], "given once"),
        (["--channels", "t1", "t1"], "each once"),
        (["--channels", "t 1", "t-1"], "must differ"),
        ([], "nothing to describe"),
    ],
)
def test_contradictions_are_refused(raw, capsys, words, why):
    assert describe(raw, *words) == 2
    assert why in "".join(capsys.readouterr())
    assert not (raw / "dataset.json").exists()
