"""Two real processes, joined by gloo on this machine, learn what one learns from twice the batch."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import itkit
from itkit.lightning import fit
from itkit.training.plan_file import plan_text, read_plan

from .cases import write_dataset
from .ranks import Keep
from .test_fitting import QUIET, plan_of

SCRIPT = Path(__file__).with_name("ranks.py")
pytestmark = pytest.mark.slow


def train(plan, run, strategy):
    root = Path(itkit.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(SCRIPT), str(plan), str(run), "2", strategy]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return lambda step, rank: torch.load(run.parent / f"{step}-{rank}.pt", weights_only=True)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    root = tmp_path_factory.mktemp("ranks")
    write_dataset(root / "ct", 3)
    path = root / "plan.toml"
    sections = {"training": {"epochs": 1, "steps_per_epoch": 2, "batch_size": 1}, "split": {"folds": 1}}
    path.write_text(plan_text(plan_of("ct", **sections)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def alone(plan):
    run = plan.parent / "one" / "run"
    fit(read_plan(plan, ["training.batch_size=2"]), run, base=plan.parent, callbacks=[Keep(run.parent)], **QUIET)
    return lambda step: torch.load(run.parent / f"{step}-0.pt", weights_only=True)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_have_the_weights_of_one_with_twice_the_batch(plan, alone, strategy):
    run = plan.parent / strategy / "run"
    found = train(plan, run, strategy)
    for step in (1, 2):
        first, second, expected = found(step, 0), found(step, 1), alone(step)
        for name, value in expected.items():
            assert torch.equal(first[name], second[name]), (step, name)
            torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-6)
    one = (plan.parent / "one" / "run" / "metrics.csv").read_text().splitlines()[1].split(",")
    two = (run / "metrics.csv").read_text().splitlines()[1].split(",")
    assert [float(cell) for cell in two[:-1]] == pytest.approx([float(cell) for cell in one[:-1]], abs=1e-3)
    assert len(list((run / "overlays").glob("*.png"))) == 3


def test_a_process_that_waits_for_the_first_is_ended_by_its_launcher_at_once(plan):
    """It waits in code that is not Python's; until that ends, a handler of Python's would not run."""
    with socket.create_server(("127.0.0.1", 0)) as first:
        port = str(first.getsockname()[1])
        launched = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
        launched |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none"}
        words = [
            "-m",
            "itkit",
            "train",
            str(plan),
            "-o",
            str(plan.parent / "none"),
            "--device",
            "cpu",
            "--devices",
            "2",
        ]
        process = subprocess.Popen([sys.executable, *words], env={**os.environ, **launched}, stderr=subprocess.PIPE)
        try:
            first.settimeout(300)
            with first.accept()[0]:  # it has come to where it waits
                process.terminate()
                assert process.wait(60) == -signal.SIGTERM
        finally:
            process.kill()
            process.communicate()
