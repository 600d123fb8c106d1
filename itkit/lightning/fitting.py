"""Train by a plan in a run folder; started again, a run goes on from its last checkpoint."""

from __future__ import annotations

import json
import logging
import math
import re
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from itkit.core.errors import ParamsError, WeightsError
from itkit.inference.model_folder import ModelFolder, write_model
from itkit.io.disk import hidden_beside
from itkit.lightning.data import DatasetModule
from itkit.lightning.task import SegmentationTask
from itkit.models.checkpoints import read_content
from itkit.training.plan_file import Plan, plan_text, read_plan

LOGGER = logging.getLogger(__name__)
PLAN_FILE, METRICS_JSONL = "plan.toml", "metrics.jsonl"
_PRECISIONS: Mapping[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def fit(
    plan: Plan,
    run: Path | str,
    *,
    base: Path | str = ".",
    fold: int = 0,
    prepared: Path | str | None = None,
    accelerator: str = "auto",
    devices: int | str = 1,
    strategy: str = "auto",
    callbacks: Any = (),
    **trainer: Any,
) -> ModelFolder:
    """Train a network.

    Parameters
    ----------
    plan
        The plan.
    run
        Folder of the run. It receives ``plan.toml``, ``metrics.jsonl``, ``checkpoints/last.ckpt`` and
        ``best.ckpt``, and ``model/``. If it holds a checkpoint of the same plan, training goes on from there, with the
        losses of a run that was never interrupted.
    base
        Folder to which paths of the plan are relative.
    fold
        Part of the cases that validates.
    prepared
        Folder of prepared cases; by default ``prepared`` beside the run.
    accelerator, devices, strategy, **trainer
        See ``lightning.pytorch.Trainer``.
    callbacks
        More callbacks.

    Returns
    -------
    ModelFolder
        The best network by the mean Dice of whole volumes.

    Raises
    ------
    ParamsError
        When the run folder belongs to another plan.
    CaseError
        When cases can't be learnt from.
    ModelError
        When network or loss are unknown, or the loss is nan.
    """
    run = Path(run)
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    _keep_plan(plan, run)
    pl.seed_everything(plan.training.seed, verbose=False)
    task = SegmentationTask(plan)
    data = DatasetModule(plan, base, prepared if prepared is not None else run.parent / "prepared", fold)
    training = plan.training
    folder = RunFolder(run, plan.validation.patience)
    settings: dict[str, Any] = dict(
        max_epochs=training.epochs,
        limit_train_batches=training.steps_per_epoch * training.accumulate,
        check_val_every_n_epoch=min(plan.validation.every, training.epochs),
        accumulate_grad_batches=training.accumulate,
        gradient_clip_val=training.clip or None,
        precision=_PRECISIONS[training.precision],
        accelerator=accelerator,
        devices=devices,
        strategy=strategy,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[folder, *callbacks],
        **trainer,
    )
    with _interrupting(folder), _quiet():
        loop = pl.Trainer(**settings)
        loop.fit(task, datamodule=data, ckpt_path=last_checkpoint(run))
    return ModelFolder(run / "model", task.facts, run / "model" / "model.safetensors")


_NOT_FOR_USERS = (
    "does not have many workers",  # the plan decides
    "`isinstance(treespec",  # of torch to Lightning
    "your dataloader is not resumable",  # it follows from the number of steps
)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Lightning says of its own dependencies, and its advertisements, from the terminal."""
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for text in _NOT_FOR_USERS:
                warnings.filterwarnings("ignore", f".*{re.escape(text)}")
            yield
    finally:
        logger.setLevel(before)


@contextmanager
def _interrupting(folder: RunFolder) -> Iterator[None]:
    """Let the first Ctrl-C end training after the step that is being computed; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        if folder.interrupted:
            signal.default_int_handler(number, frame)
        folder.interrupted = True

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _keep_plan(plan: Plan, run: Path) -> None:
    path = run / PLAN_FILE
    if path.is_file():
        there = read_plan(path)
        if there != plan:
            keys = [
                f"{section}.{key}"
                for section, values in plan
                for key in type(values).model_fields
                if getattr(values, key) != getattr(getattr(there, section), key)
            ]
            raise ParamsError(f"{run}: a run of another plan ({', '.join(keys)} differ); choose another folder")
        return
    path.write_text(plan_text(plan), encoding="utf-8")


def last_checkpoint(run: Path) -> Path | None:
    """Return the newest checkpoint of a run that can be read; a damaged one is named."""
    for path in (run / "checkpoints" / "last.ckpt", run / "checkpoints" / "previous.ckpt"):
        if not path.is_file():
            continue
        try:
            read_content(path)
        except WeightsError as error:
            LOGGER.warning("%s: damaged, the one before is taken: %s", path, error)
            continue
        return path
    return None


class RunFolder(pl.Callback):
    """Writes what a run leaves: metrics, checkpoints, the best model.

    Parameters
    ----------
    run
        The folder.
    patience
        Validations without a better mean Dice after which training ends; 0: never.
    """

    def __init__(self, run: Path, patience: int = 0) -> None:
        self.run = run
        self.patience = patience
        self.best = -1.0
        self.waiting = 0
        self.interrupted = False
        """Whether training is to end after this step, with a checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {"best": self.best, "waiting": self.waiting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what an interrupted run knew."""
        self.best, self.waiting = state["best"], state["waiting"]

    def on_train_start(self, trainer: pl.Trainer, _task: pl.LightningModule) -> None:
        """Drop what an interrupted run logged after its last checkpoint."""
        path = self.run / METRICS_JSONL
        if path.is_file() and trainer.is_global_zero:
            kept = [line for line in path.read_text().splitlines() if _step_of(line) <= trainer.global_step]
            path.write_text("".join(f"{line}\n" for line in kept))

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Log the loss of a step."""
        if trainer.is_global_zero:
            loss = float(trainer.callback_metrics["train_loss"])
            self._log({"step": trainer.global_step, "epoch": trainer.current_epoch, "train_loss": loss})
        if self.interrupted:
            self._save(trainer, "last.ckpt")
            raise KeyboardInterrupt

    def on_validation_end(self, trainer: pl.Trainer, task: Any) -> None:
        """Log the metrics, and keep the model if it is the best one."""
        dice = float(trainer.callback_metrics["val_dice"])
        if trainer.is_global_zero:
            values = {"val_dice": dice, "classes": task.last_metrics}
            self._log({"step": trainer.global_step, "epoch": trainer.current_epoch, **values})
        if dice > self.best:
            self.best, self.waiting = dice, 0
            if trainer.is_global_zero:
                facts = task.facts.model_copy(update={"metrics": {"val_dice": dice, "classes": task.last_metrics}})
                write_model(self.run / "model", facts, task.best_network)
            self._save(trainer, "best.ckpt")
        else:
            self.waiting += 1
            trainer.should_stop = trainer.should_stop or bool(self.patience and self.waiting >= self.patience)

    def on_train_epoch_end(self, trainer: pl.Trainer, _task: pl.LightningModule) -> None:
        """Keep a checkpoint."""
        self._save(trainer, "last.ckpt")

    def _save(self, trainer: pl.Trainer, name: str) -> None:
        path = self.run / "checkpoints" / name
        staged = hidden_beside(path)
        trainer.save_checkpoint(staged)
        if trainer.is_global_zero:
            if name == "last.ckpt" and path.is_file():
                path.replace(path.with_name("previous.ckpt"))
            staged.replace(path)

    def _log(self, values: Mapping[str, Any]) -> None:
        with (self.run / METRICS_JSONL).open("a", encoding="utf-8") as file:
            file.write(json.dumps(values, allow_nan=False) + "\n")


def _step_of(line: str) -> float:
    """Return the step of a logged line; infinity for one that a kill has cut."""
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return math.inf
