"""Train by a plan in a run folder; started again, a run goes on from its last checkpoint."""

from __future__ import annotations

import logging
import re
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.trainer.connectors import checkpoint_connector
from lightning.pytorch.utilities import rank_zero_only

from itkit.core.errors import ItkitError, WeightsError, WriteError
from itkit.core.text import counted, last_line
from itkit.inference.model_folder import ModelFolder
from itkit.io.disk import is_full, write_error
from itkit.lightning.data import DatasetModule
from itkit.lightning.events import NAME, EventSink, Reporter
from itkit.lightning.run_folder import RunFolder, is_over, last_checkpoint
from itkit.lightning.starting import start_weights
from itkit.lightning.task import SegmentationTask, require_step
from itkit.models.checkpoints import torch_bytes
from itkit.training.memory import is_out_of_memory, out_of_memory
from itkit.training.plan_file import Plan, moved_plan
from itkit.training.remarks import Remarks
from itkit.training.run_files import require_same
from itkit.training.run_lock import RunLock
from itkit.training.status import State

LOGGER = logging.getLogger(__name__)
_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def fit(
    plan: Plan,
    run: Path | str,
    *,
    base: Path | str = ".",
    fold: int = 0,
    prepared: Path | str | None = None,
    accelerator: str = "auto",
    devices: int | str | list[int] = 1,
    strategy: Any = "auto",
    callbacks: Any = (),
    on_event: EventSink | None = None,
    memory: int | None = None,
    remarks: Remarks | None = None,
    **trainer: Any,
) -> ModelFolder:
    """Train a network.

    Parameters
    ----------
    plan
        The plan.
    run
        Folder of the run. It receives ``plan.toml``, ``metrics.jsonl`` and ``metrics.csv``, ``checkpoints/last.ckpt``
        and ``best.ckpt``, and ``model/``. If it holds a checkpoint of the same plan, training goes on from there, with
        the losses of a run that was never interrupted.
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
    on_event
        Called with each event of the first process; `itkit.lightning.events` has them.
    memory
        Bytes that a step may take; a larger one is refused. ``None``: not known.
    remarks
        Comments of the plan, which its copy in the run folder keeps.

    Returns
    -------
    ModelFolder
        The best network by the mean Dice of whole volumes.

    Raises
    ------
    ParamsError
        When the run folder belongs to another plan, another training writes into it, a patch is larger than the only
        size that the network takes, or a step does not fit into memory.
    LayoutError
        When a folder lies where a checkpoint belongs.
    CaseError
        When cases can't be learnt from.
    ModelError
        When network or loss are unknown, or the loss is nan.
    WeightsError
        When the weights to start from don't fit.
    WriteError
        When the folder can't be written, for instance because the disk is full.
    ResourceError
        When there is not enough memory for a step or a validation.
    KeyboardInterrupt
        When it was interrupted; the step was finished, and a checkpoint written.
    """
    run, base = Path(run), Path(base)
    lock = RunLock(run)
    with closing(lock):
        if is_first() and run.is_dir():
            lock.take()
        emit: EventSink = on_event if on_event is not None and is_first() else lambda _: None
        kept = moved_plan(plan, base, run)
        require_same(run, kept, fold)
        pl.seed_everything(plan.training.seed, verbose=False)
        training = plan.training
        no_memory = partial(out_of_memory, run, batch=training.batch_size, patch=training.patch_size)
        try:
            task = SegmentationTask(plan)
            if memory is not None:
                require_step(task, memory)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise no_memory("the network and one patch") from error
        data = DatasetModule(plan, base, prepared if prepared is not None else run.parent / "prepared", fold, emit)
        found = last_checkpoint(run, task.state_dict())
        steps, done = training.epochs * training.steps_per_epoch, 0 if found is None else int(found[1]["global_step"])
        states = {} if found is None else found[1].get("callbacks", {})
        left = 0 if is_over(plan, states.get(RunFolder.__qualname__, {})) else steps - done
        notes = [] if found is None else [f"goes on from {found[0]}, step {done} of {steps}"]
        emit(
            {
                "event": "start",
                "operation": NAME,
                "total": steps,
                "to_do": left,
                "notes": notes,
                "dest": str(run),
            }
        )
        weights = None
        if found is None and plan.network.weights:
            weights = str(start_weights(task, base / plan.network.weights))
            emit({"event": "note", "text": weights})
        folder = RunFolder(run, kept, lock, weights, remarks)
        reporter = [] if on_event is None else [Reporter(emit, training.batch_size * training.accumulate)]
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
            plugins=None if isinstance(strategy, ModelParallelStrategy) else [_Files(found and found[1])],
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            callbacks=[folder, *reporter, *callbacks],
            **trainer,
        )
        begin = time.monotonic()
        state: State = "failed"
        try:
            with _quiet(), _interrupting(folder):
                if is_first():  # it refuses before it starts the others
                    data.prepare_data()
                    if found is not None:
                        folder.require_same_data(data)
                loop = pl.Trainer(**settings)
                loop.fit(task, datamodule=data, ckpt_path=None if found is None else found[0], weights_only=True)
            state = "finished"
        except (RuntimeError, MemoryError, ConnectionError, EOFError) as error:
            if reason := data.explained(error):
                raise reason from error
            if not folder.training or not is_out_of_memory(error):
                _require_restored(found and found[0], error)
                raise
            wanted = "the validation after" if folder.validates else "the step after"
            raise no_memory(f"{wanted} step {loop.global_step}") from error
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            _require_restored(found and found[0], error)
            raise
        except OSError as error:
            if not is_full(error):
                raise
            raise write_error(run, error) from error
        except (SystemExit, KeyboardInterrupt) as end:  # Lightning answers an interrupt by the first
            if not folder.interrupted:
                raise
            state = "interrupted"
            raise KeyboardInterrupt from end
        finally:
            if is_first():
                _end(folder, state)
        if is_over(plan, folder.state_dict()) and loop.global_step < steps:
            number = counted(folder.waiting, "validation")
            emit({"event": "note", "text": f"ended at step {loop.global_step} of {steps}: no better Dice in {number}"})
        model = ModelFolder(run / "model", task.facts, run / "model" / "model.safetensors")
        emit({"event": "end", "best": folder.best, "seconds": time.monotonic() - begin})
        return model


def _require_restored(path: Path | None, error: BaseException) -> None:
    """Name the checkpoint from whose content Lightning could not go on; what else goes wrong is not its fault.

    Raises
    ------
    WeightsError
        When the error comes from there.

    Notes
    -----
    Only the traceback tells it. Between two hooks, devices are set up and callbacks of the user run, too; and to try
    the content before, one would have to write Lightning's restoring of loops, optimizers and callbacks once more.
    """
    restoring = vars(checkpoint_connector)
    is_restoring = any(frame.f_globals is restoring for frame, _ in traceback.walk_tb(error.__traceback__))
    if path is not None and is_restoring and not isinstance(error, ItkitError):
        raise WeightsError(
            f"{path}: malformed ({type(error).__name__}: {last_line(error)}); delete it, then the same command goes on "
            "from the one before, or begins anew"
        ) from error


def is_first() -> bool:
    """Whether this is the first of all processes.

    Before they have met, Lightning looks at the variables of `itkit.core.ranks.is_first`; afterwards it also knows what
    these do not tell, e.g. that the first process of a second machine is not the first of all.
    """
    return getattr(rank_zero_only, "rank", 0) == 0


def _end(folder: RunFolder, state: State) -> None:
    """Write what is made when a run ends; where that fails, too, the first failure is the one that is told."""
    try:
        folder.end(state)
    except (OSError, WriteError) as error:
        if state == "finished":
            raise
        LOGGER.warning("%s: the report of the run is not made (%s)", folder.run, error)


class _Files(TorchCheckpointIO):
    """Writes checkpoints where they belong, and gives Lightning the one that was read already, when it was checked.

    Lightning's own writer takes the way over the system's temporary folder, which may be smaller, and where a kill
    leaves what was written.
    """

    def __init__(self, content: Any) -> None:
        super().__init__()
        self.content = content

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; `RunFolder` gives it its final name when it is complete."""
        del storage_options
        Path(path).write_bytes(torch_bytes(checkpoint))

    def load_checkpoint(self, *_: Any, **__: Any) -> Any:
        """Return the checkpoint, once."""
        content, self.content = self.content, None
        return content


_NOT_FOR_USERS = (
    "does not have many workers",  # the plan decides
    "`isinstance(treespec",  # of torch to Lightning
    "returned a view tensor",  # nothing is done in place with a network's output
    "your dataloader is not resumable",  # it follows from the number of steps
)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Lightning says of its own dependencies, and its advertisements, from the terminal."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for text in _NOT_FOR_USERS:
                warnings.filterwarnings("ignore", f".*{re.escape(text)}")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def _interrupting(folder: RunFolder) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM end training after the step that is being computed; another one ends it at once.

    Before the first step there is nothing to save, and the first one ends it. A process that waits for the first of
    several is ended by SIGTERM itself then: it waits in code that is not Python's, which would not see it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        if folder.interrupted or not folder.training:
            folder.interrupted = True
            raise KeyboardInterrupt
        folder.interrupted = True

    signals = [one for one in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {
        number: signal.signal(number, interrupt if is_first() or number == signal.SIGINT else signal.SIG_DFL)
        for number in signals
    }
    folder.handlers = dict.fromkeys(signals, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
