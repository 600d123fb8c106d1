"""Train or test one model with MMEngine: ``python -m itkit.mm.execute RESULT``, with the job on standard input."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from itkit.core.errors import CaseError, ItkitError, ParamsError, WeightsError
from itkit.core.extras import require, require_torch
from itkit.core.ranks import is_first
from itkit.core.text import last_line, shown
from itkit.io.json_files import write_json
from itkit.mm.cfg_options import parse_options
from itkit.mm.jobs import Job, Result
from itkit.mm.records import LAST, plain, read_record, state_of, write_record
from itkit.training.run_lock import RunLock

LOGGER = logging.getLogger(__name__)
_EXPECTED = (ItkitError, OSError, MemoryError)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a training.

    Parameters
    ----------
    path
        The file.
    epoch, iteration
        How far the training had come.
    best
        Names of the best checkpoints so far, by what was compared.
    """

    path: Path
    epoch: int
    iteration: int
    best: tuple[str, ...]

    def reaches(self, goal: Goal) -> bool:
        """Whether the training had come to its end."""
        return (self.epoch if goal.unit == "epoch" else self.iteration) >= goal.count

    @property
    def text(self) -> str:
        """How far it had come, in words."""
        return f"epoch {self.epoch}, iteration {self.iteration}"


@dataclass(frozen=True)
class Goal:
    """When a training ends."""

    unit: str
    count: int

    @property
    def text(self) -> str:
        """The end, in words."""
        return f"{self.count} {'epochs' if self.unit == 'epoch' else 'iterations'}"


def run_job(job: Job) -> Result:
    """Train or test a model; whatever fails is named in the result, with the traceback on standard error."""
    has_begun = False
    try:
        require_torch("mmrun")
        require("mmengine", extra="mm", why="mmrun")
        config = load_config(job)
        has_begun = True
        return _test(job, config) if job.is_test else _train(job, config)
    except KeyboardInterrupt:
        return Result("interrupted")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a configuration is code: it may raise anything
        if not isinstance(error, ItkitError):
            traceback.print_exc()
        message = _message(error)
        if job.dry_run:
            return Result("planned", shown(f"would fail: {message}"))
        return Result("failed", shown(message), can_retry=has_begun and not isinstance(error, ParamsError))


def _message(error: BaseException) -> str:
    if isinstance(error, pickle.UnpicklingError) and "weights_only" in str(error):
        return (
            "this MMEngine can't load its own checkpoints with torch 2.6 or later; install onedl-mmengine, or, if you "
            "trust the checkpoints, set TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1"
        )
    kind = "" if isinstance(error, _EXPECTED) else f"{type(error).__name__}: "
    return f"{kind}{last_line(error) if str(error) else 'no message'}"


def load_config(job: Job) -> Any:
    """Return the configuration of a job, with its options.

    Raises
    ------
    ParamsError
        When an option does not fit the configuration.
    """
    from mmengine.config import Config

    config = Config.fromfile(str(job.config))
    for key in [key for key, value in config.items() if isinstance(value, ModuleType)]:
        config.pop(key)  # an `import os` of the shared part, which MMEngine could not write down
    options = parse_options(job.cfg_options)
    for key in options:
        if not _has(config, key):
            LOGGER.warning("%s: --cfg-options: the configuration has no %s; it is added", job.name, key)
    try:
        config.merge_from_dict(options, allow_list_keys=True)
    except (KeyError, TypeError, AssertionError, IndexError) as error:
        raise ParamsError(f"--cfg-options do not fit {job.config}: {last_line(error)}") from error
    return config


def _name(job: Job, config: Any) -> None:
    """Give a run a name of its own.

    MMEngine's own name changes by the second, and runs of one name in one process share what they have measured.
    """
    if config.get("experiment_name") is None:
        config.experiment_name = f"{job.model}_{time.strftime('%Y%m%d_%H%M%S')}_{os.urandom(3).hex()}"


def _has(config: Any, key: str) -> bool:
    place = config
    for name in key.split("."):
        if isinstance(place, list | tuple) and name.isdigit() and int(name) < len(place):
            place = place[int(name)]
        elif hasattr(place, "keys") and name in place:
            place = place[name]
        else:
            return False
    return True


def goal_of(config: Any) -> Goal | None:
    """Return when the training of a configuration ends; ``None`` if it does not train."""
    loop: Mapping[str, Any] = config.get("train_cfg") or {}
    for key, unit in (("max_iters", "iter"), ("max_epochs", "epoch")):
        if loop.get(key) is not None:
            return Goal(unit, int(loop[key]))
    return None


def last_checkpoint(work_dir: Path) -> Checkpoint | None:
    """Return the last checkpoint of a training that can be read; a damaged one is named.

    The path that MMEngine has noted counts by its name alone: a folder that was copied or moved has its own files.
    """
    try:
        noted = (work_dir / LAST).read_text(encoding="utf-8").strip().replace("\\", "/").rpartition("/")[2]
    except OSError:
        return None
    others = sorted(work_dir.glob("*.pth"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in dict.fromkeys([work_dir / noted, *others]):
        try:
            found = read_checkpoint(path)
        except WeightsError as error:
            LOGGER.warning("%s; the one before is taken", error)
            continue
        if found is not None:
            return found
    return None


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Read how far a training had come; ``None`` if the file says nothing of it. No code in the file is executed.

    Raises
    ------
    WeightsError
        When it is damaged or not there.
    """
    from itkit.models.checkpoints import read_content

    content = read_content(path)
    meta = content.get("meta") if isinstance(content, Mapping) else None
    if not isinstance(meta, Mapping) or not isinstance(meta.get("iter"), int) or "optimizer" not in content:
        return None
    hub = content.get("message_hub")
    info = hub.get("runtime_info", {}) if isinstance(hub, Mapping) else {}
    best = [Path(str(value)).name for key, value in info.items() if str(key).startswith("best_ckpt")]
    return Checkpoint(path, int(meta.get("epoch") or 0), int(meta["iter"]), tuple(best))


def _digest(config: Any) -> str:
    return hashlib.sha256(config.pretty_text.encode(errors="surrogateescape")).hexdigest()[:16]


def is_trained(job: Job, config: Any, last: Checkpoint | None) -> bool:
    """Whether the training has come to its end, by its own record or by its last checkpoint."""
    goal = goal_of(config)
    if goal is None or last is None:
        return False
    record = read_record(job.work_dir, "training")
    ended_early = record.get("goal") == asdict(goal) and record.get("checkpoint") == last.path.name
    return ended_early or last.reaches(goal)


def _train(job: Job, config: Any) -> Result:
    goal = goal_of(config)
    if goal is None:
        raise ParamsError(f"{job.config}: no train_cfg with max_iters or max_epochs; there is nothing to train")
    last = last_checkpoint(job.work_dir)
    digest = _digest(config)
    if is_trained(job, config, last):
        record = read_record(job.work_dir, "training")
        changed = "; the configuration has changed since" if record.get("config", digest) != digest else ""
        return Result("skipped", f"trained already, {goal.text}{changed}")
    start = last if job.resume or config.get("resume") else None
    if job.dry_run:
        where = f"from {start.text}" if start is not None else "from the beginning"
        return Result("planned", f"would train {where} to {goal.text} in {job.work_dir}")
    if start is None and last is not None:
        LOGGER.warning("%s: training starts anew (there is %s; --resume goes on from it)", job.name, last.text)
    elif start is None and job.resume:
        LOGGER.warning("%s: no checkpoint in %s; training starts at the beginning", job.name, job.work_dir)
    config.work_dir = str(job.work_dir)
    if start is not None:
        config.load_from, config.resume = str(start.path), True
    _prepare(job, config)
    begin = time.monotonic()
    with _own_folder(job):
        if is_first():
            write_record(job.work_dir, "training", None)
        _name(job, config)
        build_runner(config).train()
    ended = last_checkpoint(job.work_dir)
    if is_first():
        facts = {
            "checkpoint": None if ended is None else ended.path.name,
            "goal": asdict(goal),
            "config": digest,
            "seconds": round(time.monotonic() - begin, 1),
        }
        write_record(job.work_dir, "training", facts)
    return Result("trained", str(job.work_dir))


@contextmanager
def _own_folder(job: Job) -> Iterator[None]:
    """Keep others from training in the same folder; processes of ``torchrun`` share it.

    Raises
    ------
    ParamsError
        When another training is in it.
    """
    job.work_dir.mkdir(parents=True, exist_ok=True)
    if "RANK" in os.environ:
        yield
        return
    with closing(RunLock(job.work_dir, "choose another root (--work-dir-root)")) as lock:
        lock.take()
        yield


def checkpoint_to_test(job: Job, config: Any) -> Path:
    """Return the checkpoint that is to be tested: the best, or the last if there is no best one.

    Raises
    ------
    CaseError
        When there is none, or the training has not ended.
    """
    last = last_checkpoint(job.work_dir)
    if last is None:
        raise CaseError(f"not trained yet: no checkpoint in {job.work_dir}; run mmrun without --test first")
    if job.use_last:
        return last.path
    if not is_trained(job, config, last):
        goal = goal_of(config)
        rest = f" of {goal.text}" if goal is not None else ""
        raise CaseError(f"training has not ended ({last.text}{rest}); end it, or give --test-use-last-ckpt")
    return next((path for name in last.best if (path := job.work_dir / name).is_file()), last.path)


def _test(job: Job, config: Any) -> Result:
    assert job.test_dir is not None
    if not config.get("test_cfg") or not config.get("test_dataloader"):
        raise ParamsError(f"{job.config}: no test_cfg and test_dataloader; there is nothing to test")
    path = checkpoint_to_test(job, config)
    state, digest = state_of(path), _digest(config)
    record = read_record(job.test_dir, "test")
    if record.get("checkpoint") == state and record.get("config") == digest:
        return Result("skipped", f"tested already, {path.name}")
    if job.dry_run:
        return Result("planned", f"would test {path} in {job.test_dir}")
    config.work_dir, config.load_from, config.resume = str(job.test_dir), str(path), False
    _prepare(job, config)
    metrics = build_runner(config).test()
    if is_first():
        facts = {"checkpoint": state, "config": digest, "from": str(path), "metrics": plain(metrics)}
        write_record(job.test_dir, "test", facts)
    return Result("tested", f"{path.name}: {_short(metrics)}; {job.test_dir}")


def _short(metrics: Any) -> str:
    values = plain(metrics) if isinstance(metrics, Mapping) else {}
    numbers = [f"{key} {value:.4g}" for key, value in values.items() if isinstance(value, float)]
    return ", ".join(numbers[:4]) or "no metrics"


def _prepare(job: Job, config: Any) -> None:
    """Set what options ask for, and what keeps a run in its own folder and repeatable."""
    import torch

    import itkit.mm.mmeng_PlugIn  # noqa: F401 - registers what is named below

    require_backends(config)
    torch.autograd.set_detect_anomaly(job.detect_anomaly, check_nan=True)
    if job.amp:
        use_half_precision(config)
    hooks = [{"type": "LocalCheckpointsHook"}, {"type": "RandomStateHook"}]
    config.custom_hooks = [*(config.get("custom_hooks") or []), *hooks]
    _join_processes(config)


def require_backends(config: Any) -> None:
    """Raise an error before anything runs if a visualisation backend of a configuration is not installed.

    Raises
    ------
    MissingExtraError
        When TensorBoard is asked for and not there; MMEngine would say so after it has built everything else.
    """
    visualizer = config.get("visualizer") or {}
    for backend in visualizer.get("vis_backends") or [] if isinstance(visualizer, Mapping) else []:
        kind = backend.get("type", "") if isinstance(backend, Mapping) else ""
        name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
        if name.rpartition(".")[2] == "TensorboardVisBackend":
            require("torch.utils.tensorboard", extra="tensorboard", why="TensorboardVisBackend")


def use_half_precision(config: Any) -> None:
    """Make a configuration compute in half precision.

    Raises
    ------
    ParamsError
        When it has an optimiser wrapper of its own.
    """
    import torch

    wrapper = config.get("optim_wrapper")
    if not wrapper:
        return
    kind = wrapper.get("type", "OptimWrapper")
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
    if name.rpartition(".")[2] not in ("OptimWrapper", "AmpOptimWrapper", "CpuAmpOptimWrapper"):
        raise ParamsError(
            f"--amp: the configuration has an optimiser wrapper of its own ({name}); set its precision there"
        )
    if torch.cuda.is_available():
        wrapper["type"] = "AmpOptimWrapper"
        wrapper.setdefault("loss_scale", "dynamic")
        return
    for key in ("loss_scale", "dtype", "use_fsdp"):
        wrapper.pop(key, None)
    wrapper["type"] = "CpuAmpOptimWrapper"


def _join_processes(config: Any) -> None:
    """Join the processes that ``torchrun`` has started: NCCL with GPUs, gloo without."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    config.launcher = "pytorch"
    if config.get("strategy") is None and not config.get("model_wrapper_cfg"):
        unused = bool(config.get("find_unused_parameters", False))
        config.model_wrapper_cfg = {
            "type": "RemasteredDDP",
            "broadcast_buffers": False,
            "find_unused_parameters": unused,
        }


def build_runner(config: Any) -> Any:
    """Return the runner of a configuration: ``runner_type``, or a flexible one if there is a strategy."""
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    if "runner_type" in config:
        return RUNNERS.build(config)
    if config.get("strategy") is not None:
        from mmengine.runner import FlexibleRunner

        return FlexibleRunner.from_cfg(config)
    return Runner.from_cfg(config)


def _end_with_parent(pipe: int) -> None:
    """End this process when the one that has started it is killed: else it would train on, unseen.

    Of the pipe, that one has the only other end.
    """
    with suppress(OSError):
        while os.read(pipe, 1):  # never by `sys.stdin`, whose lock would stand still in forked processes
            pass
    os._exit(1)


def main() -> int:
    """Run the job on the first line of standard input, and write the result to the file that is named."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    job = Job.from_json(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, args=(sys.stdin.fileno(),), daemon=True).start()
    result = run_job(job)
    write_json(Path(sys.argv[1]), asdict(result))
    return {"failed": 1, "interrupted": 130}.get(result.status, 0)


if __name__ == "__main__":
    raise SystemExit(main())
