"""Several processes on the CPU (gloo): gradients in step, the model's own attributes, sharded training."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine._strategy import DDPStrategy

from itkit.mm.execute import run_job
from itkit.mm.jobs import Job
from itkit.mm.metrics import Seg3DMetric
from mm import ranks
from mm.tiny import write_tree


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """What two processes found in all checks of `mm.ranks`, by rank."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tests, package = Path(__file__).parents[1], Path(__file__).parents[2]
    processes = []
    for rank in range(2):
        environment = {
            **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port), "PYTHONPATH": f"{tests}:{package}", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        command = [sys.executable, "-W", "ignore", "-m", "mm.ranks", str(folder)]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    errors = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(text[-3000:] for text in errors)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2)], folder


def same(first, second, **tolerance):
    assert first.keys() == second.keys()
    return all(torch.allclose(first[key], second[key], **tolerance) for key in first)


def test_ddp_has_the_models_own_attributes_and_mmengines_wrapper_has_not(outcome):
    for found in outcome[0]:
        assert found["ddp"]["attributes"] == ("mine", 3)
        assert "has no attribute 'label_names'" in found["ddp"]["theirs"]
        assert "has no attribute 'nowhere'" in found["ddp"]["unknown"]


@pytest.mark.parametrize("kind", ["default", "custom", "method"])
def test_ddp_keeps_ranks_equal_and_equal_to_one_rank_with_the_doubled_batch(outcome, kind):
    first, second = (found["ddp"][kind] for found in outcome[0])
    assert same(first, second, rtol=0, atol=0)
    assert same(first, ranks.alone(kind), rtol=1e-5, atol=1e-7)


def test_mmengines_wrapper_ignores_a_training_step_of_the_model(outcome):
    theirs = outcome[0][0]["ddp"]["theirs_custom"]
    assert same(theirs, ranks.alone("default"), rtol=1e-5, atol=1e-7)
    assert not same(theirs, ranks.alone("custom"), rtol=1e-3, atol=1e-4)


def test_a_step_whose_gradients_would_not_be_averaged_is_refused(outcome):
    assert all("without calling the model" in found["ddp"]["bypass"] for found in outcome[0])


@pytest.mark.parametrize("kind", ["default", "custom"])
def test_fsdp_trains_as_one_process_does(outcome, kind):
    first, second = (found["fsdp"][kind] for found in outcome[0])
    assert same(first, second, rtol=0, atol=0)
    assert same(first, ranks.alone(kind), rtol=1e-5, atol=1e-7)
    assert outcome[0][0]["fsdp"]["attributes"] == ("mine", 3)
    assert 0 < outcome[0][0]["fsdp"]["local"] < outcome[0][0]["fsdp"]["all"]


def test_the_strategy_saves_whole_states_and_resumes_exactly(outcome):
    found, folder = outcome
    whole = torch.load(folder / "whole/iter_6.pth", weights_only=False)
    resumed = torch.load(folder / "broken/iter_6.pth", weights_only=False)
    assert same(whole["state_dict"], resumed["state_dict"], rtol=0, atol=0)
    plain = ranks.Net()
    plain.load_state_dict(whole["state_dict"])  # names and shapes of the model that is not sharded
    momentum = whole["optimizer"]["state"]["backbone.0.weight"]["momentum_buffer"]
    assert momentum.shape == plain.backbone[0].weight.shape
    assert torch.equal(momentum, resumed["optimizer"]["state"]["backbone.0.weight"]["momentum_buffer"])
    assert found[0]["strategy"] == found[1]["strategy"] == (6, "RemasteredFSDP")


def test_metrics_of_two_processes_are_those_of_one(outcome):
    metric = Seg3DMetric(num_classes=3)
    for number in range(3):
        metric.process({}, [ranks.segmented(number)])
    assert outcome[0][0]["metric"] == metric.evaluate(3)


def test_mmengines_strategies_need_a_gpu_to_join_processes():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    strategy = DDPStrategy.__new__(DDPStrategy)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}.items():
            patch.setenv(name, value)
        with pytest.raises((AssertionError, AttributeError, RuntimeError)):
            strategy._setup_distributed("pytorch", "gloo")


@pytest.mark.slow
def test_torchrun_trains_equal_ranks_that_match_one_rank_with_the_doubled_batch(tmp_path):
    more = "model.update(drop=0.0)\nfrom mm.tiny import DumpHook\ncustom_hooks = [dict(type=DumpHook)]"
    write_tree(tmp_path / "configs", more=more)
    roots = {"mm_configdir": str(tmp_path / "configs"), "mm_workdir": str(tmp_path / "two")}
    environment = {**os.environ, **roots, "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ours = ["-m", "itkit.mm.run", "0.1"]
    done = subprocess.run([*torchrun, *ours], env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("1 trained") == 1
    options = ("train_dataloader.batch_size=4",)
    job = Job(
        "0.1.Tiny", "one", tmp_path / "configs/0.1.Tiny/one.py", tmp_path / "one/0.1.Tiny/one", cfg_options=options
    )
    assert run_job(job).status == "trained"
    first, second = (torch.load(tmp_path / f"two/0.1.Tiny/one/rank{rank}.pt") for rank in range(2))
    assert same(first, second, rtol=0, atol=0)
    assert same(first, torch.load(tmp_path / "one/0.1.Tiny/one/rank0.pt"), rtol=1e-5, atol=1e-7)
