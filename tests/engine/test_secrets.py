"""A secret is written nowhere: in no file of a run, no message, no command line that we make."""

import json
import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import itkit
from itkit.catalogue import load
from itkit.cli.adapter import parse
from itkit.core.errors import ParamsError
from itkit.core.params import WITHHELD
from itkit.engine.parameters import make_params, to_argv

sys.path.insert(0, str(Path(__file__).parents[1] / "dataset" / "fakes"))

import make_fake
import numpy as np

SECRET = "Xq7-tulip-harbour"
MODEL = load("itk_convert").params
VALUES = {"mode": "dicom", "source": "in", "dest": "out"}


@pytest.fixture
def scan(tmp_path):
    grid = make_fake.Geo((6, 5, 4), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), make_fake.rotation(0, 0.0))
    context = {"patient": "DOE^JOHN", "study": "1.2.3.4", "series": "1.2.3.4.5", "number": 3, "desc": "Abd",
               "date": "20200101", "study_desc": "CT", "frame": "1.2.3.9"}  # fmt: skip
    voxels = np.arange(np.prod(grid.shape)).reshape(grid.shape).astype(np.int16)
    make_fake.write_ct_series(tmp_path / "in", voxels, grid, np.random.default_rng(1), context)
    return tmp_path / "in"


def names(folder):
    return sorted(path.name for path in (folder / "image").glob("*.mha"))


def written(folder):
    return b"\n".join(
        os.fsencode(path.relative_to(folder)) + path.read_bytes() for path in folder.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize("executor", ["serial", "process", "dask"])
def test_no_byte_that_a_run_leaves_holds_the_secret(scan, tmp_path, executor, caplog, capfd):
    if executor == "dask":
        pytest.importorskip("distributed")
    events = []
    (scan / "broken").write_bytes(b"no DICOM")
    options = {"executor": executor, **({} if executor == "serial" else {"workers": 2})}
    with caplog.at_level(logging.DEBUG):
        result = itkit.run("itk_convert", mode="dicom", source=scan, dest=tmp_path / "out", key=SECRET,
                           on_event=events.append, **options)  # fmt: skip
    assert result.exit_code == 0
    assert names(tmp_path / "out")
    assert SECRET.encode() not in written(tmp_path / "out")
    assert b"itk_convert" in written(tmp_path / "out")
    assert SECRET not in str(events) + str(result) + caplog.text + "".join(capfd.readouterr())
    for file in ("convert_configs.json", ".itkit/run.json"):
        assert json.loads((tmp_path / "out" / file).read_text())["params"]["key"] == WITHHELD


def test_value_file_and_variable_give_the_same_names_and_another_key_others(scan, tmp_path, monkeypatch):
    (tmp_path / "key.txt").write_text(f"{SECRET}\n")
    itkit.run("itk_convert", mode="dicom", source=scan, dest=tmp_path / "plain")
    itkit.run("itk_convert", mode="dicom", source=scan, dest=tmp_path / "value", key=SECRET)
    itkit.run("itk_convert", mode="dicom", source=scan, dest=tmp_path / "file", key_file=tmp_path / "key.txt")
    monkeypatch.setenv("ITKIT_KEY", SECRET)
    itkit.run("itk_convert", mode="dicom", source=scan, dest=tmp_path / "variable")
    assert names(tmp_path / "value") == names(tmp_path / "file") == names(tmp_path / "variable")
    assert names(tmp_path / "plain") != names(tmp_path / "value")
    for folder in ("file", "variable"):
        assert SECRET.encode() not in written(tmp_path / folder)
    monkeypatch.setenv("ITKIT_KEY", "other")
    assert make_params(MODEL, {**VALUES, "mode": "format"}).key.get_secret_value() == "itkit"
    itkit.run("itk_convert", mode="dicom", source=scan, dest=tmp_path / "value")
    assert len(names(tmp_path / "value")) == 2


def test_a_run_is_repeated_with_the_secret_and_says_what_is_missing(scan, tmp_path, command, monkeypatch):
    itkit.run("itk_convert", mode="dicom", source=scan, dest=tmp_path / "out", key=SECRET)
    before = names(tmp_path / "out")
    (tmp_path / "out" / "image" / before[0]).unlink()
    for arguments in (("itkit", "rerun", "out/.itkit/run.json"), ("itk_convert", "--config", "out/.itkit/run.json")):
        code, _, stderr = command(*arguments, cwd=tmp_path)
        assert code == 2
        assert "--key: the run that this repeats used a secret" in stderr
        assert "ITKIT_KEY" in stderr
        assert "--key-file" in stderr
    monkeypatch.setenv("ITKIT_KEY", SECRET)
    code, _, stderr = command("itkit", "rerun", "out/convert_configs.json", cwd=tmp_path)
    assert code == 0, stderr
    assert names(tmp_path / "out") == before
    monkeypatch.delenv("ITKIT_KEY")
    (tmp_path / "out" / "image" / before[0]).unlink()
    (tmp_path / "key").write_text(SECRET)
    code, _, stderr = command("itk_convert", "--config", "out/.itkit/run.json", "--key-file", "key", cwd=tmp_path)
    assert code == 0, stderr
    assert names(tmp_path / "out") == before


def test_no_message_and_no_command_line_holds_the_secret(tmp_path):
    params = make_params(MODEL, {**VALUES, "key": SECRET})
    assert SECRET not in " ".join(to_argv(params)) + repr(params) + str(params) + params.model_dump_json()
    assert pickle.loads(pickle.dumps(params)).key.get_secret_value() == SECRET
    wrong = [{"mode": "format"}, {"moden": "x"}, {"ext": ".x"}, {"least_slices": 0}, {"key": [SECRET]}, {"source": 3}]
    for values in wrong:
        with pytest.raises(ParamsError) as caught:
            make_params(MODEL, {**VALUES, "key": SECRET, **values})
        assert SECRET not in str(caught.value) + str(caught.value.__cause__)
    for key_file, said in (("none", "can't be read"), ("empty", "is empty"), (".", "can't be read")):
        (tmp_path / "empty").write_text("\n")
        with pytest.raises(ParamsError, match=f"--key-file .*{said}"):
            make_params(MODEL, {**VALUES, "key_file": tmp_path / key_file})
    with pytest.raises(ParamsError, match="--key and --key-file are both given"):
        make_params(MODEL, {**VALUES, "key": SECRET, "key_file": "x"})


def test_the_default_is_no_secret_and_what_it_made_is_not_made_again():
    params = make_params(MODEL, VALUES)
    assert params.absolute_values()["key"] == "itkit"
    assert params.content_key() == make_params(MODEL, {**VALUES, "key": SECRET}).content_key()
    assert parse(load("itk_convert"), to_argv(params))[0] == params


def test_help_says_who_can_read_a_command_line():
    done = subprocess.run(
        [sys.executable, "-c", "from itkit.cli.main import main; main('itk_convert', ['--help'])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "other users of this machine can read a command line" in " ".join(done.stdout.split())
