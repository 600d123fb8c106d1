"""``itkit predict`` and ``itkit validate``: apply the network of a run, and measure it on the cases that validate."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from itkit.catalogue import load
from itkit.cli.terminal import JsonLines, run_operation
from itkit.cli.train import Progress as ProgressKind
from itkit.core.errors import ItkitError, LayoutError
from itkit.core.extras import require_torch
from itkit.core.fields import Bounds, NotInForms, PathRole, Pattern, Positional, Short
from itkit.core.operation import Operation, Plan
from itkit.core.params import Params
from itkit.core.text import shown
from itkit.core.tool import Tool
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params
from itkit.engine.progress import Event, joined_summaries
from itkit.inference.backends import DEVICE, device_name
from itkit.io.layouts import LABEL
from itkit.training.run_files import read_run

Device = Annotated[str, Pattern(DEVICE), AfterValidator(device_name)]
RunPath = Annotated[Path, PathRole("in_folder"), Positional("run")]
Workers = Annotated[int | None, Bounds(least=1)]
Progress = Annotated[ProgressKind, NotInForms()]


class PredictParams(Params):
    """Apply the network of a run to images, with the overlap of its plan; itk_infer RUN has all options."""

    run: RunPath
    """Folder of the run."""
    source: Annotated[Path, PathRole("in_folder"), Positional("source")]
    """Folder of images, a dataset (then its images), one volume file, or a folder of DICOM series."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("dest")]
    """Folder to write; the label maps of a dataset go to its sub-folder label."""
    device: Device = "auto"
    """auto (the GPU if there is one), cpu, cuda or cuda:N."""
    progress: Progress = "auto"
    """Progress bar on a terminal, JSON lines on stdout, or none."""
    workers: Workers = None
    """Number of cases to process at once (default: one)."""


class ValidateParams(Params):
    """Predict the cases of a run that were not learnt from, and compare them with their labels."""

    run: RunPath
    """Folder of the run."""
    out: Annotated[Path | None, PathRole("out_folder"), Short("-o")] = None
    """Folder to write: label/ and evaluation/, and volumes/ of stores (default: validation in the run)."""
    device: Device = "auto"
    """auto (the GPU if there is one), cpu, cuda or cuda:N."""
    progress: Progress = "auto"
    """Progress bar on a terminal, JSON lines on stdout, or none."""
    workers: Workers = None
    """Number of cases to process at once (default: one)."""


@dataclass(frozen=True)
class _Only:
    """The plan of an operation for some cases.

    Parameters
    ----------
    plan
        The plan for all cases.
    cases
        Ids of the cases that remain.
    """

    plan: Callable[[Any], Plan]
    cases: Collection[str]

    def __call__(self, params: Any) -> Plan:
        whole = self.plan(params)
        jobs = tuple(job for job in whole.jobs if job.case_id in self.cases)
        unpaired = tuple(item for item in whole.unpaired if item.case_id in self.cases)
        return replace(whole, jobs=jobs, unpaired=unpaired, is_partial=True)


class _OneSummary(JsonLines):
    """Prints the events of several operations as JSON lines, with one summary at the end.

    Parameters
    ----------
    name
        What runs them.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.doing = ""
        """What the operation does that runs now."""
        self.parts: dict[str, Event] = {}

    def __call__(self, event: Event) -> None:
        """Print an event; keep a summary."""
        if event["event"] == "summary":
            self.parts[self.doing] = event
        else:
            super().__call__(event)

    def end(self, code: int) -> None:
        """Print the summary of all, if there is any."""
        if self.parts:
            super().__call__(joined_summaries(self.name, self.parts, code))


def _infer(
    params: PredictParams | ValidateParams,
    source: Path,
    dest: Path,
    cases: Collection[str] | None,
    show: JsonLines | None = None,
) -> int:
    require_torch("a trained network")
    run = read_run(params.run)
    operation: Operation[Any] = load("itk_infer")
    if cases is not None:
        operation = replace(operation, plan=_Only(operation.plan, cases))
    values = {
        "model": params.run / "model",
        "source": source,
        "dest": dest,
        "device": params.device,
        "overlap": run.plan.validation.overlap,
        "recursive": cases is not None,  # training has found them in sub-folders, too
    }
    return run_operation(operation, make_params(operation.params, values), _options(params), show)


def _options(params: PredictParams | ValidateParams) -> RunOptions:
    return RunOptions(progress=params.progress, workers=params.workers)


def predict(params: PredictParams) -> int:
    """Apply the network of a run, and return the exit code."""
    return _infer(params, params.source, params.dest, None)


def validate(params: ValidateParams) -> int:
    """Predict and evaluate the validation cases of a run, and return the exit code."""
    show = _OneSummary("itkit validate") if params.progress == "json" else None
    code = _validate(params, show)
    if show is not None:
        show.end(code)
    return code


def _validate(params: ValidateParams, show: _OneSummary | None) -> int:
    from itkit.training.sources import holds_stores, unpack_stores

    run = read_run(params.run)
    dest = params.out or params.run / "validation"
    if not run.val:
        raise LayoutError(f"{params.run}: run.json names no case that validates")
    dataset, wrong = run.dataset, dict[str, str]()
    if holds_stores(dataset):
        dataset = dest / "volumes"
        wrong = unpack_stores(run.dataset, run.val, dataset)
        for case, reason in wrong.items():
            print(f"itkit validate: error: {shown(f'{case}: {reason}')}", file=sys.stderr)
    if show is not None:
        show.doing = "prediction"
    code = max(_infer(params, dataset, dest, run.val, show), int(bool(wrong)))
    if show is not None:
        show.doing = "evaluation"
    if code in (2, 130):
        return code
    operation: Operation[Any] = load("itk_evaluate")
    operation = replace(operation, plan=_Only(operation.plan, run.val))
    values = {"gt": dataset / LABEL, "pred": dest / LABEL, "dest": dest / "evaluation", "recursive": True}
    return max(code, run_operation(operation, make_params(operation.params, values), _options(params), show))


def dataset_of(params: ValidateParams) -> Iterable[Path]:
    """Return the dataset that a run was trained on; without a run that can be read, there is none."""
    try:
        return (read_run(params.run).dataset,)
    except ItkitError:
        return ()  # the command says why


PREDICT = Tool("itkit predict", PredictParams, predict, "itkit predict plan-fold0 raw predicted", tells=True)
VALIDATE = Tool(
    "itkit validate", ValidateParams, validate, "itkit validate plan-fold0 --device cpu", tells=True, reads=dataset_of
)
