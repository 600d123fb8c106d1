"""``mmrun``: train and test the models of experiments, one after the other.

Each model runs in a process of its own, so that one that fails or is killed never stops the others. Under ``torchrun``
(``torchrun --nproc-per-node 2 -m itkit.mm.run 0.3``) every process runs all models in turn.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from itkit.core.errors import LayoutError, ParamsError
from itkit.core.fields import Bounds, FreeText, OnlyWith, PathRole, Positional
from itkit.core.params import Params
from itkit.core.text import shown
from itkit.core.tool import Tool
from itkit.io.json_files import read_json
from itkit.mm.cfg_options import parse_options
from itkit.mm.jobs import Job, Result
from itkit.mm.records import LAST
from itkit.mm.tree import choose_models, find_experiment

WORK, TEST, CONFIGS, SUPPORTED = "mm_workdir", "mm_testdir", "mm_configdir", "supported_models"
"""Environment variables that options fall back to."""
_GRACE_S = 20.0
_INTERRUPTED = 130


class MmrunParams(Params):
    """Train the models of experiments with MMEngine, one after the other, or test them (--test).

    An experiment is a folder <version>.<Name> of the config root. Its models are the .py files in it, except mgam.py
    and names that start with an underscore. Results go to <work root>/<experiment>/<model>. What is done already is
    skipped.
    """

    experiments: Annotated[tuple[str, ...], Positional("EXPERIMENT"), FreeText("0.3")]
    """Version (0.3), full name (0.3.Config3), or a beginning of the name (0.3.Con, Con) that fits one experiment."""
    work_dir_root: Annotated[Path | None, PathRole("out_folder")] = None
    """Folder for trainings (default: the environment variable mm_workdir)."""
    test_work_dir_root: Annotated[Path | None, PathRole("out_folder")] = None
    """Folder for tests (default: the environment variable mm_testdir)."""
    config_root: Annotated[Path | None, PathRole("in_folder")] = None
    """Folder of the experiments (default: the environment variable mm_configdir)."""
    models: Annotated[tuple[str, ...], FreeText("unet")] = ()
    """Models to run, in this order (default: those of the environment variable supported_models, a list with commas;
    without it, all, sorted)."""
    cfg_options: Annotated[tuple[str, ...], FreeText("train_cfg.max_iters=100")] = ()
    """Values that replace those of the configurations, key=value: nested keys with dots, items of lists by number, e.g.
    model.criterion.0.weight=2 sizes=[1,2]."""
    test: bool = False
    """Test trained models, with the best checkpoint, instead of training."""
    test_use_last_ckpt: Annotated[bool, OnlyWith("test")] = False
    """Take the last checkpoint, also of a training that has not ended."""
    auto_retry: Annotated[int, Bounds(least=0)] = 0
    """How many times a model that fails is started again from its last checkpoint."""
    detect_anomaly: bool = False
    """Find the operation whose gradient is nan (slow)."""
    amp: bool = False
    """Compute in half precision: float16 on a GPU, bfloat16 on a CPU."""
    resume: bool = False
    """Go on from the last checkpoint of a training that has not ended; without it, training starts anew."""
    dry_run: bool = False
    """Print what would be done; write nothing."""


@dataclass(frozen=True)
class Line:
    """A line of the summary."""

    job: Job
    result: Result
    seconds: float = 0.0


def run(params: MmrunParams) -> int:
    """Run the queue and return the exit code: 0 all is done, 1 some models failed, 130 interrupted.

    Raises
    ------
    ParamsError, LayoutError
        When an experiment, a model, a folder or an option is wrong; nothing has run then.
    """
    jobs, notes = plan_jobs(params)
    say = _say if os.environ.get("RANK", "0") == "0" else _silent
    for note in notes:
        say(f"note: {note}")
    lines, is_interrupted = run_queue(jobs, runner(), params.auto_retry, say)
    say("\n" + summary(lines))
    if is_interrupted:
        return _INTERRUPTED
    return 1 if any(line.result.status == "failed" for line in lines) else 0


def plan_jobs(params: MmrunParams) -> tuple[list[Job], list[str]]:
    """Return the jobs of a command line in order, and what the user should know before.

    Raises
    ------
    ParamsError, LayoutError
        When an experiment, a model, a folder or an option is wrong.
    """
    if not params.experiments:
        raise ParamsError("expected at least one EXPERIMENT, e.g. mmrun 0.3")
    parse_options(params.cfg_options)
    configs = _root(params.config_root, CONFIGS, "--config-root")
    work = _root(params.work_dir_root, WORK, "--work-dir-root")
    test = _root(params.test_work_dir_root, TEST, "--test-work-dir-root") if params.test else None
    supported = [name.strip() for name in os.environ.get(SUPPORTED, "").split(",") if name.strip()]
    given = [name.strip() for text in params.models for name in text.split(",") if name.strip()]
    found = dict.fromkeys(find_experiment(configs, wanted) for wanted in params.experiments)
    jobs, notes = [], []
    for experiment in found:
        models, note = choose_models(experiment, given, supported)
        notes += [note] if note else []
        for model in models:
            place = Path(experiment.full_name, model)
            jobs.append(
                Job(
                    experiment=experiment.full_name,
                    model=model,
                    config=experiment.config(model).absolute(),
                    work_dir=(work / place).absolute(),
                    test_dir=None if test is None else (test / place).absolute(),
                    cfg_options=params.cfg_options,
                    use_last=params.test_use_last_ckpt,
                    detect_anomaly=params.detect_anomaly,
                    amp=params.amp,
                    resume=params.resume,
                    dry_run=params.dry_run,
                )
            )
    return jobs, notes


def _root(given: Path | None, variable: str, option: str) -> Path:
    if given is not None:
        return given
    if value := os.environ.get(variable, "").strip():
        return Path(value)
    raise LayoutError(f"no folder for {option}: give the option, or set the environment variable {variable}")


Run = Callable[[Job], Result]


def runner() -> Run:
    """Return how a model is run: in this process under ``torchrun``, else in a process of its own."""
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        from itkit.mm.execute import run_job

        return run_job
    return run_apart


def run_queue(jobs: Sequence[Job], run_one: Run, retries: int, say: Callable[[str], None]) -> tuple[list[Line], bool]:
    """Run jobs in order; return a line of the summary for each, and whether the user has interrupted the queue."""
    lines: list[Line] = []
    for number, job in enumerate(jobs, 1):
        say(f"[{number}/{len(jobs)}] {job.name}")
        begin = time.monotonic()
        try:
            result = glance(job) or run_one(job)
            for retry in range(1, retries + 1):
                if result.status != "failed" or not result.can_retry:
                    break
                say(f"{job.name}: {result.message}; try {retry} of {retries} from the last checkpoint")
                result = run_one(job.resumed())
        except KeyboardInterrupt:
            result = Result("interrupted")
        lines.append(Line(job, result, time.monotonic() - begin))
        if result.status == "interrupted":
            lines += [Line(later, Result("not run")) for later in jobs[number:]]
            return lines, True
        if result.status in ("failed", "skipped", "planned"):
            say(f"{job.name}: {result.status}: {result.message}")
    return lines, False


def glance(job: Job) -> Result | None:
    """Return what a dry run can tell without looking into the configuration: that there is no checkpoint yet."""
    if not job.dry_run or (job.work_dir / LAST).is_file():
        return None
    if job.is_test:
        return Result("planned", f"would fail: not trained yet: no checkpoint in {job.work_dir}")
    return Result("planned", f"would train from the beginning in {job.work_dir}")


def run_apart(job: Job) -> Result:
    """Run a job in a process of its own; whatever becomes of it is a result."""
    with tempfile.TemporaryDirectory(prefix="mmrun-") as folder:
        answer = Path(folder) / "result.json"
        command = [sys.executable, "-m", "itkit.mm.execute", str(answer)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0) as process:
            try:
                assert process.stdin is not None
                with suppress(BrokenPipeError):
                    process.stdin.write(job.to_json().encode() + b"\n")
                process.wait()  # the pipe stays open: the process ends when this one is killed
            except BaseException:
                _end(process)
                raise
        values = read_json(answer)
    if values is not None:
        return Result.from_values(values)
    code = process.returncode
    if code in (_INTERRUPTED, -signal.SIGINT):
        return Result("interrupted")
    reason = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
    hint = " (9: often out of memory)" if code == -9 else ""
    return Result("failed", f"its process was {reason}{hint}" if code < 0 else f"its process {reason}", can_retry=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a process, and kill it if it does not end."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def summary(lines: Iterable[Line]) -> str:
    """Return the summary: a line for each model, then the counts."""
    rows = [("experiment", "model", "result", "time", "")]
    counts: dict[str, int] = {}
    for line in lines:
        status = line.result.status
        counts[status] = counts.get(status, 0) + 1
        took = f"{line.seconds:.0f} s" if line.seconds else ""
        rows.append((line.job.experiment, line.job.model, status, took, shown(line.result.message)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    text = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in rows
    ]
    return "\n".join([*text, ", ".join(f"{count} {status}" for status, count in counts.items())])


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _silent(text: str) -> None:
    pass


TOOL = Tool("mmrun", MmrunParams, run, "mmrun 0.3 --models unet --cfg-options train_cfg.max_iters=100")

if __name__ == "__main__":
    from itkit.cli.umbrella import script

    raise SystemExit(script("mmrun"))
