"""``itkit train``: train a network by a plan, from the command line."""

from __future__ import annotations

import logging
import re
import shlex
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, model_validator
from typing_extensions import Self

from itkit.cli.terminal import BarOutput, Output
from itkit.core.errors import ItkitError
from itkit.core.extras import require, require_torch
from itkit.core.fields import Bounds, Group, NotInForms, PathRole, Pattern, Positional, Short
from itkit.core.params import Params
from itkit.core.ranks import first_has_ended, is_first
from itkit.core.text import counted, shown
from itkit.core.tool import Tool
from itkit.engine.resources import available_memory, format_bytes
from itkit.inference.backends import DEVICE, device_name
from itkit.io.disk import os_reason
from itkit.io.json_files import json_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from itkit.training.plan_file import Plan

_WHY = "itkit train"
_SHOWN_CLASSES = 8

Event = Mapping[str, Any]
Progress = Literal["auto", "bar", "json", "none"]


_VALUE = r"^[^-=][^=]*=.*$"


def _plan_value(text: str) -> str:
    if not re.match(_VALUE, text, re.DOTALL):
        raise ValueError(f"expected section.key=value, such as training.epochs=50; got {text!r}")
    return text


PlanValue = Annotated[str, Pattern(_VALUE), AfterValidator(_plan_value)]


class TrainParams(Params):
    """Train a network by a plan; the same command again goes on from the last checkpoint."""

    plan: Annotated[Path | None, PathRole("in_file"), Positional("plan.toml")] = None
    """The plan, as itkit plan writes it."""
    values: Annotated[tuple[PlanValue, ...], Positional("section.key=value")] = ()
    """Values that replace those of the plan, e.g. training.epochs=50."""
    fold: Annotated[int, Bounds(least=0)] = 0
    """Part of the cases that validates; the others are learnt from."""
    out: Annotated[Path | None, PathRole("out_folder"), Short("-o")] = None
    """Folder of the run (default: beside the plan, named after plan and fold)."""
    device: Annotated[str, Pattern(DEVICE), AfterValidator(device_name)] = "auto"
    """auto (the GPU if there is one), cpu, cuda or cuda:N."""
    devices: Annotated[int, Bounds(least=1), Group("Several processes")] = 1
    """Number of processes, each with a device of its own; a step takes training.batch_size patches in each."""
    strategy: Annotated[Literal["ddp", "fsdp"], Group("Several processes")] = "ddp"
    """ddp: each process keeps the whole network; fsdp: they share out its weights, for large networks."""
    progress: Annotated[Progress, NotInForms()] = "auto"
    """Progress bar on a terminal, JSON lines on stdout, or none."""
    weights: Annotated[Path | None, PathRole("in_file"), Group("Start")] = None
    """Weights to start from, instead of network.weights: a file, a checkpoint or a model folder."""
    pretrain: Annotated[Literal["moco"] | None, Group("Start")] = None
    """Pre-train the encoder on the images alone, by momentum contrast; a training then starts from it by --weights."""
    watch: Annotated[Path | None, PathRole("in_folder"), NotInForms()] = None
    """Show the curves of a run, also of one that another process trains, until it ends or Ctrl-C is pressed."""

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.plan is None) == (self.watch is None):
            raise ValueError("expected a plan (plan.toml of itkit plan), or --watch RUN")
        return self


def run(params: TrainParams) -> int:
    """Train, or watch a run."""
    if params.watch is not None:
        return watch_run(params.watch)
    from itkit.training.plan_file import read_plan

    assert params.plan is not None
    overrides = list(params.values)
    if params.weights is not None:
        overrides.append(f"network.weights={str(params.weights.absolute())!r}")
    plan = read_plan(params.plan, overrides)
    if params.pretrain is not None:
        _require_packages()
        return pretrain(plan, params.out or params.plan.parent / f"{params.plan.stem}-pretrained", params)
    folder = params.out or params.plan.parent / f"{params.plan.stem}-fold{params.fold}"
    return train(plan, folder, params)


def _require_packages() -> None:
    """Import what trains, which takes seconds.

    Raises
    ------
    MissingExtraError
        When a package is not installed.
    """
    require_torch(_WHY)
    for package in ("lightning.pytorch", "matplotlib"):
        require(package, extra="train", why=_WHY)


def _require_possible(plan: Plan, folder: Path, params: TrainParams) -> None:
    """Refuse what needs no look at voxels; before Lightning is imported, which takes longer than all of this.

    Raises
    ------
    ItkitError
        When the run is one of another plan, or the dataset, the split or the network is wrong.
    """
    from itkit.training.networks import network_facts
    from itkit.training.plan_file import moved_plan
    from itkit.training.run_files import require_same
    from itkit.training.sources import find_fold

    assert params.plan is not None
    base = params.plan.parent
    require_same(folder, moved_plan(plan, base, folder), params.fold)
    network_facts(plan)
    find_fold(plan, base, params.fold)


def pretrain(plan: Plan, folder: Path, params: TrainParams) -> int:
    """Pre-train and return the exit code; events go to the terminal."""
    from itkit.inference.backends import choose_device
    from itkit.training.pretraining import pretrain as pretrained

    assert params.plan is not None
    show: JsonEvents | Bar = JsonEvents() if params.progress == "json" else Bar(params.progress)
    code = 0
    try:
        with _notes(show):
            path = pretrained(plan, folder, base=params.plan.parent, device=choose_device(params.device), progress=show)
        again = shlex.join(["itkit", "train", str(params.plan), "--weights", str(path)])
        text = f"pre-trained: {path}; start from it with: {again}"
    except KeyboardInterrupt:
        code, text = 130, "interrupted; the same command goes on from the last hundred steps"
    except (ItkitError, OSError, MemoryError) as error:
        code, text = _failed(show, error)
    return _end(show, code, text)


def train(plan: Plan, folder: Path, params: TrainParams) -> int:
    """Train and return the exit code; events go to the terminal."""
    show: JsonEvents | Bar = JsonEvents() if params.progress == "json" else Bar(params.progress)
    from itkit.lightning.machines import accelerator_of, memory_of, strategy_of

    if not is_first():
        show = Silent()
    try:
        _require_possible(plan, folder, params)
        require_torch(_WHY)
        machine = accelerator_of(params.device, params.devices)
        _require_packages()
    except (ItkitError, OSError) as error:
        if not is_first() and first_has_ended():
            return 2
        return _end(show, *_failed(show, error))
    from itkit.lightning.fitting import fit
    from itkit.lightning.run_folder import has_checkpoint
    from itkit.training.plan_file import overridden
    from itkit.training.remarks import read_remarks

    assert params.plan is not None
    code, text = 0, ""
    try:
        with _notes(show):
            model = fit(
                plan,
                folder,
                base=params.plan.parent,
                fold=params.fold,
                on_event=show,
                enable_progress_bar=False,
                memory=memory_of(machine, available_memory()),
                remarks=read_remarks(params.plan, overridden(params.values)),
                strategy=strategy_of(params.strategy, params.devices),
                **machine,
            )
        text = f"trained: {model.path}; apply it with: itkit predict {shlex.quote(str(folder))} SOURCE DEST"
    except KeyboardInterrupt:
        goes_on = "goes on from the last checkpoint" if has_checkpoint(folder) else "begins anew"
        code, text = 130, f"interrupted; the same command {goes_on}"
    except Exception as error:
        if not is_first() and first_has_ended():
            return 1
        if not isinstance(error, (ItkitError, OSError, MemoryError)):
            raise
        code, text = _failed(show, error)
    return _end(show, code, text)


def _failed(show: JsonEvents | Bar, error: ItkitError | OSError | MemoryError) -> tuple[int, str]:
    """Tell why a training ends, and return its exit code and the reason."""
    show.close()
    text = os_reason(error) if isinstance(error, OSError) else str(error) or "not enough memory"
    print(f"{_WHY}: error: {shown(text, lines=True)}", file=sys.stderr)
    return 1 if show.has_begun else 2, text


def _end(show: JsonEvents | Bar, code: int, text: str) -> int:
    """Tell that a training has ended, and return the exit code."""
    show.close()
    show({"event": "summary", "operation": _WHY, "interrupted": code == 130, "exit_code": code, "text": text})
    return show.output.exit_code(code)


def watch_run(folder: Path) -> int:
    """Show the curves of a run until it ends, and return the exit code."""
    from shutil import get_terminal_size

    from itkit.training.watching import watch

    is_terminal = sys.stdout.isatty()

    def show(text: str) -> None:
        start = "\x1b[H\x1b[J" if is_terminal else ""
        print(f"{start}{shown(text, lines=True)}", end="\n" if is_terminal else "\n\n", flush=True)

    try:
        watch(folder, show, width=lambda: get_terminal_size().columns - 2)
    except KeyboardInterrupt:
        return 130
    return 0


class JsonEvents:
    """Prints events as JSON lines on stdout, the summary last; its text goes to stderr, too."""

    def __init__(self) -> None:
        self.output = Output()
        self.has_begun = False
        """Whether a step was taken."""

    def __call__(self, event: Event) -> None:
        """Print an event."""
        self.output.tell(json_line(event), sys.stdout)
        self.has_begun = self.has_begun or event["event"] == "step"
        if event["event"] == "summary" and event["exit_code"] in (0, 130):
            self.output.tell(shown(event["text"]), sys.stderr)

    def close(self) -> None:
        """Do nothing; there is no bar to remove."""


class Bar(BarOutput):
    """Shows a bar with loss, speed, memory and time left, and a line for each validation."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(progress)
        self.has_begun = False
        """Whether a step was taken."""

    def __call__(self, event: Event) -> None:
        """Show an event."""
        handler = getattr(self, f"_{event['event']}", None)
        if handler is not None:
            handler(event)

    def _start(self, event: Event) -> None:
        for note in event["notes"]:
            self._say(note, lines=True)
        if self.wants_bar:
            layout = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
            done = event["total"] - event["to_do"]
            self._open(total=event["total"], initial=done, desc="prepare", bar_format=layout)

    def _note(self, event: Event) -> None:
        self._say(event["text"], lines=True)

    def _set(self, description: str, postfix: str) -> None:
        if self.bar is not None:
            self.bar.set_description_str(description, refresh=False)
            self.output.write(sys.stderr, lambda: self.bar.set_postfix_str(postfix))

    def _prepared(self, event: Event) -> None:
        self._set("prepare", f"case {event['number']} of {event['total']}")

    def _step(self, event: Event) -> None:
        self.has_begun = True
        if self.bar is None:
            return
        memory = event["memory_bytes"]
        parts = [
            f"loss {event['train_loss']:.3f}",
            f"{event['patches_per_s']:.3g} patches/s",
            *([] if memory is None else [format_bytes(memory)]),
            f"{clock(event['seconds_left'])} left",
        ]
        self.bar.n = event["step"]
        self._set(f"epoch {event['epoch']}", ", ".join(parts))

    def _volume(self, event: Event) -> None:
        self._set("validate", f"volume {event['number']} of {event['total']}, {event['volumes_per_s']:.3g} volumes/s")

    def _validation(self, event: Event) -> None:
        if self.is_quiet:
            return
        dice = {name: found["dice"] for name, found in event["classes"].items() if found["dice"] is not None}
        named = [f"{name} {value:.3f}" for name, value in list(dice.items())[:_SHOWN_CLASSES]]
        more = len(dice) - _SHOWN_CLASSES
        rest = [f"and {counted(more, 'other')}"] if more > 0 else []
        mean = f"step {event['step']}: mean Dice {event['val_dice']:.3f}"
        self._say(f"{mean} ({', '.join([*named, *rest])})", lines=True)

    def _summary(self, event: Event) -> None:
        if event["exit_code"] in (0, 130):
            self.output.tell(shown(event["text"]), sys.stdout)


class Silent(Bar):
    """Shows nothing: the first process speaks for all."""

    def __init__(self) -> None:
        super().__init__("none")

    def __call__(self, event: Event) -> None:
        """Remember whether a step was taken."""
        self.has_begun = self.has_begun or event["event"] == "step"


def clock(seconds: float) -> str:
    """Return a duration as people read it.

    Examples
    --------
    >>> clock(75), clock(4000), clock(200000)
    ('1:15', '1:06:40', '2 d 7 h')
    """
    whole = round(seconds)
    minutes, left = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


class _Handler(logging.Handler):
    def __init__(self, show: JsonEvents | Bar) -> None:
        super().__init__(logging.WARNING)
        self.show = show

    def emit(self, record: logging.LogRecord) -> None:
        """Show a warning of ITKIT as a note."""
        self.show({"event": "note", "text": record.getMessage()})


@contextmanager
def _notes(show: JsonEvents | Bar) -> Iterator[None]:
    """Show the warnings of ITKIT between progress."""
    logger, handler = logging.getLogger("itkit"), _Handler(show)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def paths_in_plan(params: TrainParams) -> Iterator[Path]:
    """Yield the paths that the plan names; without one that can be read, there are none."""
    from itkit.training.plan_file import read_plan

    if params.plan is None:
        return
    try:
        plan = read_plan(params.plan, params.values)
    except ItkitError:
        return  # the command says why
    for text in (plan.dataset.path, plan.split.file, plan.network.weights):
        if text:
            yield params.plan.parent / text


TOOL = Tool(
    "itkit train",
    TrainParams,
    run,
    "itkit train plan.toml --fold 0 training.epochs=50",
    tells=True,
    reads=paths_in_plan,
)
