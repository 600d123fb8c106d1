"""Streams that close or break while a command runs: the files are completed, and nothing is a traceback."""

import os
import subprocess

import pytest
from helpers import BIN

from itkit.testing import phantoms

CASES = 4


@pytest.fixture
def raw(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", CASES)
    return tmp_path / "raw"


def outputs(dest):
    return len(list(dest.rglob("*.mha")))


@pytest.mark.parametrize("progress", ["json", "bar", "none"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_goes_away_stops_no_run(raw, tmp_path, progress, stream):
    reading, writing = os.pipe()
    os.close(reading)
    words = [BIN / "itk_orient", raw, tmp_path / "out", "RAS", "--progress", progress]
    ends = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writing}
    done = subprocess.run(words, **ends, text=True, check=False)
    os.close(writing)
    assert (done.returncode, outputs(tmp_path / "out")) == (0, 2 * CASES)
    assert "Traceback" not in f"{done.stdout}{done.stderr}"


@pytest.mark.parametrize("closing", ["<&- >&- 2>&-", ">&-", "2>&-"])
@pytest.mark.parametrize("progress", ["auto", "json"])
def test_closed_streams_stop_no_run(raw, tmp_path, closing, progress):
    line = f"'{BIN / 'itk_orient'}' '{raw}' '{tmp_path / 'out'}' RAS --progress {progress} {closing}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, outputs(tmp_path / "out")) == (0, 2 * CASES)
    assert "Traceback" not in done.stdout + done.stderr
