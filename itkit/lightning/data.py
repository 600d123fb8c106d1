"""The data of a plan for Lightning: patches to train, whole volumes to validate, the same in every process count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.utils.data import DataLoader, Dataset, Sampler

from itkit.core.errors import CaseError, ItkitError, ParamsError, WriteError
from itkit.core.text import some
from itkit.lightning.events import EventSink
from itkit.lightning.workers import Watched, explained, outlive_first_sigterm
from itkit.training.augmenting import Augmentation
from itkit.training.patches import TrainingPatches
from itkit.training.plan_file import Plan
from itkit.training.prepared import PreparedCase, PreparedFolder
from itkit.training.sources import find_fold
from itkit.training.splits import Fold


class DatasetModule(LightningDataModule):
    """Cases of a plan.

    Patches are numbered through the whole training; the number of a step's first patch follows from the number of
    steps that were taken. So a resumed run goes on where it was, also in the middle of an epoch.

    Parameters
    ----------
    plan
        The plan.
    base
        Folder to which paths of the plan are relative.
    prepared
        Folder of prepared cases.
    fold
        Part of the cases that validates.
    on_event
        Called when a case is prepared.
    """

    def __init__(
        self,
        plan: Plan,
        base: Path | str,
        prepared: Path | str,
        fold: int = 0,
        on_event: EventSink | None = None,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.base = Path(base)
        self.prepared = PreparedFolder(Path(prepared), plan)
        self.fold = fold
        self._emit = on_event or (lambda _: None)
        self.parts: Fold | None = None
        self.watched: Watched | None = None
        self.cases: dict[str, PreparedCase] = {}

    def prepare_data(self) -> None:
        """Prepare all cases of the fold once, in one process."""
        self.setup("fit")

    def setup(self, stage: str) -> None:
        """Find the prepared cases."""
        if not self.cases:
            self._prepare()

    def _prepare(self) -> None:
        """Prepare the cases.

        Raises
        ------
        CaseError
            When cases can't be learnt from; each is named with its reason.
        ParamsError
            When the split is wrong.
        WriteError
            When prepared cases can't be written, for instance because the disk is full.
        """
        source, self.parts = find_fold(self.plan, self.base, self.fold)
        files, wrong = source.cases, []
        wanted = list(dict.fromkeys([*self.parts.train, *self.parts.val]))
        for number, name in enumerate(wanted, 1):
            try:
                self.cases[name] = self.prepared.prepare(files[name], channels=source.channels)
                self._emit({"event": "prepared", "case": name, "number": number, "total": len(wanted)})
            except WriteError:
                raise  # it is not the case's fault, and the next one would not fit either
            except (ItkitError, OSError, MemoryError) as error:
                wrong.append(f"{name}: {str(error) or 'not enough memory'}")
        if wrong:
            listed = some(wrong, most=20, separator="\n  ")
            raise CaseError(f"mend these cases, or leave them out by split.file:\n  {listed}")
        found = {number for name in self.parts.train for number in self.cases[name].foreground.classes}
        names = list(self.plan.dataset.labels.values())
        if missing := [name for number, name in enumerate(names, 1) if number not in found]:
            raise ParamsError(f"dataset.labels: no training case has the class {', '.join(missing)}")

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader of one epoch's batches, each of ``batch_size`` patches a process."""
        assert self.parts is not None
        training = self.plan.training
        patches = TrainingPatches(
            [self.cases[name] for name in self.parts.train],
            training.patch_size,
            1 << 62,
            foreground=training.foreground,
            seed=training.seed,
            augmentation=Augmentation(self.plan.augment) if self.plan.augment.on == "worker" else None,
            flat=training.patch_size[0] == 1,
        )
        self.watched = Watched(patches, training.workers)
        return DataLoader(
            self.watched,
            batch_size=training.batch_size,
            sampler=_Numbers(self),
            num_workers=training.workers,
            worker_init_fn=outlive_first_sigterm,
            generator=torch.Generator(),
            pin_memory=torch.cuda.is_available(),
        )

    def explained(self, error: BaseException) -> CaseError | None:
        """Return what the loss of a loader worker means; ``None`` if the error is another one."""
        watched = self.watched
        if watched is None:
            return None
        return explained(error, watched, lambda number: str(watched.patches.case_of(number).case_id))

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the loader of whole volumes, shared out among the processes.

        Where the processes share out the weights, they need each other for every window, and all of them get all.
        """
        assert self.parts is not None
        trainer = self.trainer
        rank, world = 0, 1
        if trainer is not None and not isinstance(trainer.strategy, ModelParallelStrategy):
            rank, world = trainer.global_rank, trainer.world_size
        cases = [self.cases[name] for name in self.parts.val][rank::world]
        return DataLoader(_Volumes(cases), batch_size=1, generator=torch.Generator())


class _Numbers(Sampler[int]):
    """Numbers of the patches of an epoch for this process, from the step on that the trainer has reached."""

    def __init__(self, data: DatasetModule) -> None:
        self.data = data

    def __len__(self) -> int:
        training = self.data.plan.training
        return training.steps_per_epoch * training.accumulate * training.batch_size

    def __iter__(self) -> Iterator[int]:
        trainer, training = self.data.trainer, self.data.plan.training
        assert trainer is not None
        if self.data.watched is not None:  # the workers have been started, and wait for these numbers
            self.data.watched.note_processes()
        batches, world, rank = trainer.global_step * training.accumulate, trainer.world_size, trainer.global_rank
        for batch in range(batches, batches + training.steps_per_epoch * training.accumulate):
            first = (batch * world + rank) * training.batch_size
            yield from range(first, first + training.batch_size)


class _Volumes(Dataset[dict[str, Any]]):
    """Prepared cases as whole volumes."""

    def __init__(self, cases: list[PreparedCase]) -> None:
        self.cases = cases

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, number: int) -> dict[str, Any]:
        case = self.cases[number]
        image, label = torch.from_numpy(np.array(case.image())), torch.from_numpy(np.array(case.label()))
        return {"image": image, "label": label, "case": case.case_id, "spacing": case.spacing_zyx}
