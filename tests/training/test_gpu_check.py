"""The script of `make gpu-check` where there is no GPU."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_check.py"


@pytest.fixture
def check(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))

    def run(*words):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return end.value.code

    return run


def test_where_there_is_no_gpu_it_says_so_and_ends_well(check, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    written = SCRIPT.with_name("GPU.md")
    before = written.read_text() if written.exists() else None
    assert check() == 0
    assert capsys.readouterr().out == "no GPU\n"
    assert (written.read_text() if written.exists() else None) == before


@pytest.mark.slow
def test_its_parts_run_on_a_cpu(check, capsys):
    assert check("--device", "cpu", "--parts", "machine", "precisions", "augmentation") == 0
    out = capsys.readouterr().out
    assert "all holds" in out
    assert "does not hold" not in out
    assert "| bf16 |" in out


@pytest.mark.slow
def test_a_part_that_fails_is_named_and_the_run_goes_on(check, capsys, monkeypatch):
    from itkit.training import memory

    monkeypatch.setattr(memory, "measure_step", lambda *_, **__: 1 / 0)
    assert check("--device", "cpu", "--parts", "machine", "memory") == 1
    out = capsys.readouterr().out
    assert "memory failed" in out
    assert "ZeroDivisionError" in out
    assert "PyTorch" in out
    assert "wrong: memory" in out
