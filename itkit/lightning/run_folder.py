"""The folder of a run: what was measured, checkpoints, the best model."""

from __future__ import annotations

import logging
import pickle
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from itkit.core.errors import LayoutError, ParamsError
from itkit.core.text import some
from itkit.inference.model_folder import write_model
from itkit.io.disk import hidden_beside, left_by_dead_runs, sync_file, write_text, writing
from itkit.io.json_files import write_json
from itkit.lightning.pictures import Pictures
from itkit.training.history import (
    METRICS_CSV,
    METRICS_JSONL,
    EpochRow,
    History,
    Step,
    Validation,
    add,
    as_line,
    csv_text,
    jsonl_text,
    read_history,
)
from itkit.training.plan_file import Plan, moved_plan, plan_text
from itkit.training.remarks import Remarks
from itkit.training.run_files import (
    PLAN_FILE,
    RUN_FILE,
    contents_of,
    digest_of,
    require_same,
    require_same_data,
    run_facts,
)
from itkit.training.run_lock import RunLock
from itkit.training.run_report import write_curves, write_report
from itkit.training.status import State, write_status

LOGGER = logging.getLogger(__name__)
_CURVES_PART = 0.02
"""Part of the time that drawing curves may take."""
CHECKPOINTS, LAST, PREVIOUS, BEST = "checkpoints", "last.ckpt", "previous.ckpt", "best.ckpt"


def _checkpoints(run: Path) -> list[Path]:
    return [path for name in (LAST, PREVIOUS) if (path := run / CHECKPOINTS / name).is_file()]


def has_checkpoint(run: Path) -> bool:
    """Whether there is a checkpoint from which a run may go on."""
    return bool(_checkpoints(run))


def last_checkpoint(run: Path, network: Mapping[str, Any] | None = None) -> tuple[Path, Any] | None:
    """Return the newest checkpoint of a run that can be used, with its content; a damaged one is named.

    Parameters
    ----------
    run
        The folder.
    network
        Weights by name, whose shapes those of the checkpoint must have.

    Raises
    ------
    LayoutError
        When a folder lies where a checkpoint belongs.
    """
    for name in (LAST, PREVIOUS, BEST):
        if (path := run / CHECKPOINTS / name).is_dir():
            raise LayoutError(f"{path} is a folder; move it away, a checkpoint belongs there")
    paths = _checkpoints(run)
    for path in paths:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            fault = _fault(content, network)
        except pickle.UnpicklingError:
            fault = "it holds more than tensors, numbers and texts, or is no file of torch"
        except Exception as error:  # noqa: BLE001 - what a damaged file makes torch raise is not defined
            fault = str(error).partition("\n")[0] or type(error).__name__
        if not fault:
            return path, content
        then = "training begins anew" if path == paths[-1] else "the one before is taken"
        LOGGER.warning("%s: damaged, %s (%s)", path, then, fault)
    return None


def _fault(content: Any, network: Mapping[str, Any] | None) -> str:
    """Return why training can't go on from the content of a checkpoint; empty if it can."""
    kinds = {
        "global_step": int,
        "epoch": int,
        "state_dict": dict,
        "optimizer_states": list,
        "lr_schedulers": list,
        "loops": dict,
        "callbacks": dict,
    }
    if not isinstance(content, dict):
        return "it is no checkpoint"
    if wrong := [name for name, kind in kinds.items() if not isinstance(content.get(name), kind)]:
        return f"{some(wrong)} is missing or malformed"
    own = content["callbacks"].get(RunFolder.__qualname__, {})
    if not isinstance(own, dict) or not all(isinstance(value, int | float) for value in own.values()):
        return f"the state of {RunFolder.__qualname__} is malformed"
    shapes = {name: getattr(value, "shape", None) for name, value in content["state_dict"].items()}
    if network is not None and shapes != {name: value.shape for name, value in network.items()}:
        return "its weights are those of another network"
    return ""


def is_over(plan: Plan, state: Mapping[str, Any]) -> bool:
    """Whether a training ends early: its last validations, as many as the plan allows, found no better mean Dice.

    Parameters
    ----------
    plan
        The plan.
    state
        That of `RunFolder`.
    """
    return 0 < plan.validation.patience <= int(state.get("waiting", 0))


class RunFolder(pl.Callback):
    """Writes what a run leaves: metrics, checkpoints, the best model.

    In a ``Trainer`` of your own, ``trainer.fit(…, ckpt_path="run/checkpoints/last.ckpt")`` goes on with a run; Ctrl-C
    and SIGTERM are Lightning's there, and what was learnt since the last epoch is lost.

    Parameters
    ----------
    run
        The folder.
    plan
        The plan, its paths relative to the folder; without a lock, relative to what those of the data are.
    lock
        That of the folder; it is taken when training begins, unless it is held. ``None``: a lock of its own.
    weights
        Report of the weights from which training starts.
    remarks
        Comments of the plan.
    """

    def __init__(
        self,
        run: Path | str,
        plan: Plan,
        lock: RunLock | None = None,
        weights: str | None = None,
        remarks: Remarks | None = None,
    ) -> None:
        self.run = Path(run)
        self.plan = plan
        self.weights = weights
        self.remarks = remarks
        self.lock = RunLock(self.run) if lock is None else lock
        self._is_alone, self._given = lock is None, plan
        self._goes_on = self._is_same = False
        self.best = -1.0
        self.waiting = 0
        self.interrupted = False
        """Whether training is to end after this step, with a checkpoint."""
        self.training = False
        self.validates = False
        """Whether whole volumes are predicted."""
        self.handlers: dict[signal.Signals, Callable[[int, Any], None]] = {}
        """What answers signals while it trains; Lightning's own answer to SIGTERM leaves no checkpoint."""
        self.pictures = Pictures(self.run, plan)
        self._next_curves = 0.0
        self.history = History()
        self._rows: list[EpochRow] = []
        self._losses: list[float] = []
        self._epoch_losses: list[float] = []
        self._step = 0
        self._rate = 0.0
        self._before_s = 0.0
        self._begin = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {"best": self.best, "waiting": self.waiting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what an interrupted run knew."""
        self.best, self.waiting = state["best"], state["waiting"]
        self._goes_on = True

    def on_fit_start(self, trainer: pl.Trainer, _task: Any) -> None:
        """Refuse to go on with other data, and take no further step in a run that has ended early."""
        self._find_plan(trainer)
        trainer.should_stop = trainer.should_stop or is_over(self.plan, self.state_dict())

    def on_train_start(self, trainer: pl.Trainer, task: Any) -> None:
        """Write what is trained, and drop what an interrupted run logged after its last checkpoint."""
        data = self._find_plan(trainer)
        digest = digest_of(data.cases[name] for name in data.parts.train)
        task.facts = task.facts.model_copy(update={"training_digest": digest})
        self.training = True
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self._step = trainer.global_step
        if trainer.is_global_zero:
            self._begin_run(trainer, data)
            self.history = read_history(self.run / METRICS_JSONL).until(trainer.global_step)
            write_text(self.run / METRICS_JSONL, jsonl_text(self.history))
            rows = list(self.history.epochs())
            self._rows = [row for row in rows if row.epoch < trainer.current_epoch]
            steps = self.history.steps
            self._epoch_losses = [one.train_loss for one in steps if one.epoch == trainer.current_epoch]
            self._before_s = steps[-1].seconds if steps else 0.0
            write_status(self.run, "training", self.plan.training.epochs * self.plan.training.steps_per_epoch)
        self._begin = time.monotonic()

    def _begin_run(self, trainer: pl.Trainer, data: Any) -> None:
        """Write what is trained; a run that goes on keeps its ``run.json``."""
        with writing(self.run):
            self.run.mkdir(parents=True, exist_ok=True)
        if not self.lock.is_held:  # the folder was not there when this training looked for a checkpoint
            self.lock.take()
            if (self.run / RUN_FILE).is_file() and not (self._is_alone and trainer.global_step > 0):
                self.lock.close()
                what = "a run is here already; go on from its checkpoint (ckpt_path), or choose another folder"
                meanwhile = "another training has begun here meanwhile; the same command goes on"
                raise ParamsError(f"{self.run}: {what if self._is_alone else meanwhile}")
        (self.run / CHECKPOINTS).mkdir(exist_ok=True)
        for folder in (self.run, self.run / CHECKPOINTS, self.run / "model"):
            for left in left_by_dead_runs(folder):  # a killed training was writing it
                left.unlink(missing_ok=True)
        write_text(self.run / PLAN_FILE, plan_text(self.plan, remarks=self.remarks))
        if trainer.global_step == 0 or not (self.run / RUN_FILE).is_file():
            facts = run_facts(self.run, self.plan, data.fold, data.parts, data.cases, weights=self.weights)
            write_json(self.run / RUN_FILE, {**facts, "processes": trainer.world_size})

    def _find_plan(self, trainer: pl.Trainer) -> Any:
        """Return the trainer's data, with which a run goes on; a trainer that is not `fit`'s has a plan of its own."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]  # set by fit
        if self._is_alone:
            self.plan = moved_plan(self._given, data.base, self.run)
        if self._goes_on:
            if self._is_alone and (self.run / RUN_FILE).is_file():
                require_same(self.run, self.plan, data.fold)
            self.require_same_data(data)
        return data

    def require_same_data(self, data: Any) -> None:
        """Refuse to go on with other data than the run was begun with; nothing of the run is touched then.

        Parameters
        ----------
        data
            A `DatasetModule` that is set up.

        Raises
        ------
        ParamsError
            When the run was begun with other cases, or with other voxels of them.
        """
        if self._is_same:
            return
        try:
            require_same_data(self.run, data.parts, contents_of(data.cases))
        except ParamsError:
            self.lock.close()
            raise
        self._is_same = True

    @property
    def seconds(self) -> float:
        """Seconds of training, those of interrupted runs included."""
        return self._before_s + time.monotonic() - self._begin

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Note the learning rate of a step; after the last one of an epoch it is another."""
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Log the loss of a step."""
        self._losses.append(float(trainer.callback_metrics["train_loss"]))
        if trainer.global_step == self._step:  # the gradients are still added up
            return
        self._step = trainer.global_step
        loss = sum(self._losses) / len(self._losses)
        self._losses.clear()
        if trainer.is_global_zero:
            self._epoch_losses.append(loss)
            self._log(Step(trainer.global_step, trainer.current_epoch, loss, self._rate, round(self.seconds, 3)))
        is_last = (
            trainer.global_step % self.plan.training.steps_per_epoch == 0
        )  # then validation and the epoch's end come first
        if self._ends_early(trainer) and not is_last:
            self._save(trainer, LAST)
            raise KeyboardInterrupt

    def _ends_early(self, trainer: pl.Trainer) -> bool:
        """Whether any process was interrupted; all must save, and end, after the same step."""
        if trainer.world_size > 1:
            self.interrupted = trainer.strategy.reduce_boolean_decision(self.interrupted, all=False)
        return self.interrupted

    def on_validation_start(self, *_: Any) -> None:
        """Note what memory is needed for."""
        self.validates = True

    def on_validation_batch_end(self, trainer: pl.Trainer, task: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Draw a volume."""
        if task.is_sharded and not trainer.is_global_zero:  # all processes have predicted it
            return
        self.pictures.draw(task.facts, batch, outputs["found"])

    def on_validation_end(self, trainer: pl.Trainer, task: Any) -> None:
        """Log the metrics, and keep the model if it is the best one."""
        self.validates = False
        dice = float(trainer.callback_metrics["val_dice"])
        if trainer.is_global_zero:
            self._log(Validation(trainer.global_step, trainer.current_epoch, dice, task.last_metrics))
        if dice > self.best:
            self.best, self.waiting = dice, 0
            weights = task.whole_weights()
            if trainer.is_global_zero:
                metrics = {"val_dice": dice, "classes": task.last_metrics}
                facts = task.facts.model_copy(update={"metrics": metrics})
                write_model(self.run / "model", facts, weights)
                self.pictures.keep()
            self._save(trainer, BEST)
        else:
            self.waiting += 1
            trainer.should_stop = trainer.should_stop or is_over(self.plan, self.state_dict())
        if trainer.is_global_zero:
            self.pictures.forget()
            self._draw_curves()

    def _draw_curves(self) -> None:
        """Draw the curves, unless that would take a noticeable part of the time."""
        begin = time.monotonic()
        if begin >= self._next_curves:
            write_curves(self.run, self.history, list(self.plan.dataset.labels.values()))
            took = time.monotonic() - begin
            self._next_curves = time.monotonic() + took / _CURVES_PART

    def end(self, state: State) -> None:
        """Write what is made from the other files, when a run ends."""
        if not self.lock.is_held:
            return  # it ended before it began, or the folder is another's
        self.pictures.forget()
        if not (self.run / RUN_FILE).is_file():
            return
        write_status(self.run, state, self.plan.training.epochs * self.plan.training.steps_per_epoch)
        history = read_history(self.run / METRICS_JSONL)
        write_curves(self.run, history, list(self.plan.dataset.labels.values()))
        write_report(self.run)

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Any) -> None:
        """Keep a checkpoint, and add a row to ``metrics.csv``."""
        if trainer.is_global_zero:
            self._add_row(trainer.current_epoch)
            write_text(self.run / METRICS_CSV, csv_text(self._rows, list(task.facts.labels.values())))
        self._save(trainer, LAST)
        if self._ends_early(trainer):
            raise KeyboardInterrupt

    def _add_row(self, epoch: int) -> None:
        last, losses = self.history.steps[-1], self._epoch_losses
        validations = self.history.validations
        validation = validations[-1] if validations and validations[-1].epoch == epoch else None
        mean = sum(losses) / len(losses) if losses else last.train_loss
        self._rows.append(EpochRow(epoch, last.step, mean, last.learning_rate, validation, last.seconds))
        self._epoch_losses = []

    def on_train_end(self, *_: Any) -> None:
        """Let signals end the process again."""
        self.training = False

    def on_fit_end(self, *_: Any) -> None:
        """End a run of a trainer that is not `fit`'s."""
        self._end_alone("finished")

    def on_exception(self, _trainer: pl.Trainer, _task: Any, exception: BaseException) -> None:
        """End a run of a trainer that is not `fit`'s."""
        self._end_alone("interrupted" if isinstance(exception, KeyboardInterrupt) else "failed")

    def _end_alone(self, state: State) -> None:
        if self._is_alone:
            self.end(state)
            self.lock.close()

    def _save(self, trainer: pl.Trainer, name: str) -> None:
        path = self.run / CHECKPOINTS / name
        staged = hidden_beside(path)
        try:
            trainer.save_checkpoint(staged)
            if trainer.is_global_zero:
                sync_file(staged)
                if name == LAST and path.is_file():
                    path.replace(path.with_name(PREVIOUS))
                staged.replace(path)
        finally:
            staged.unlink(missing_ok=True)

    def _log(self, one: Step | Validation) -> None:
        add(self.history, one)
        with (self.run / METRICS_JSONL).open("a", encoding="utf-8") as file:
            file.write(as_line(one))
