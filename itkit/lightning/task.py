"""The Lightning module of a plan: network, loss, optimiser, and validation on whole volumes."""

from __future__ import annotations

import json
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from itkit.core.errors import ModelError, ParamsError
from itkit.core.geometry import by
from itkit.inference.model_folder import CHECKPOINT_ENTRY, ModelFacts, build_network
from itkit.models.windows import SlidingWindow
from itkit.training.augmenting import Augmentation
from itkit.training.counts import ClassCounts
from itkit.training.memory import measure_step, require_memory
from itkit.training.networks import network_facts, plan_loss
from itkit.training.optimising import make_optimizer, make_scheduler
from itkit.training.patches import augmentation_generator
from itkit.training.plan_file import Plan

_SHARED_ALONE = 1_000_000
"""Parameters from which on a part of a network is gathered by itself when its turn comes (fsdp)."""
_RANDOM = "itkit_random"
"""Entry of a checkpoint with the state of torch's random numbers."""


def model_facts(plan: Plan, **more: Any) -> ModelFacts:
    """Return the description of the trained network, the content of ``model.json``."""
    network = network_facts(plan)
    options = {key: value for key, value in network.options.items() if key != "use_checkpoint"}
    return ModelFacts(
        network=network.model_copy(update={"options": options}),
        channels=plan.dataset.channels,
        labels=plan.dataset.labels,
        spacing=plan.preprocess.spacing,
        orient=plan.preprocess.orient,
        intensity=plan.preprocess.intensity,
        patch_size=plan.training.patch_size,
        **more,
    )


def require_size(plan: Plan, network: Any) -> None:
    """Refuse a patch that is larger than the only size that a network takes.

    Raises
    ------
    ParamsError
        When it is.
    """
    allowed = getattr(network, "image_size", None)
    patch = plan.training.patch_size
    sides = patch[1:] if patch[0] == 1 else patch
    if allowed is not None and any(side > most for side, most in zip(sides, allowed, strict=True)):
        raise ParamsError(
            f"training.patch_size: {by(sides)} is larger than the only size that {plan.network.name} takes, "
            f"{by(allowed)}; make it smaller, or set network.options.image_size"
        )


def require_step(task: SegmentationTask, memory: int) -> None:
    """Refuse a step that does not fit into memory, before anything starts.

    Raises
    ------
    ParamsError
        When it does not fit; the message says how many patches do.
    """
    plan, patch = task.plan, task.facts.window_size
    dtype = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}[plan.training.precision]
    if dtype is torch.float16 and not torch.cuda.is_available():
        dtype = torch.bfloat16  # as large
    channels, copies = task.facts.network.in_channels, 5 if plan.training.ema else 4
    step = measure_step(task.network, task.loss, channels, patch, copies=copies, dtype=dtype)
    batch, workers = plan.training.batch_size, plan.training.workers
    require_memory(step, memory, batch=batch, patch=patch, workers=0 if torch.cuda.is_available() else workers)


class SegmentationTask(LightningModule):
    """Learns what a plan says, and validates on whole volumes by sliding windows.

    It logs ``train_loss`` each step and, after a validation, ``val_dice`` (mean over classes that are there) and
    ``<class>_dice``; `last_metrics` has all that was measured.

    Parameters
    ----------
    plan
        The plan.

    Raises
    ------
    ModelError
        When the network or a loss is unknown, or an option is wrong.
    ParamsError
        When the network can't do what the plan asks for.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.facts = model_facts(plan)
        self.network = build_network(network_facts(plan), "plan")
        require_size(plan, self.network)
        self.loss = plan_loss(plan, self.facts.network)
        self.averaged = None
        if plan.training.ema:
            average = get_ema_multi_avg_fn(plan.training.ema)
            self.averaged = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        self._compiled = [torch.compile(self.network)] if plan.training.compile else []  # a list: no second child
        self._random: Tensor | None = None
        self._is_shared_out = False
        self._augmentation = Augmentation(plan.augment)
        self.counts = ClassCounts(self.facts.network.num_classes)
        self.last_metrics: dict[str, dict[str, float | None]] = {}
        self.windows = SlidingWindow(
            patch_size=self.facts.window_size, overlap=plan.validation.overlap, batch=plan.training.batch_size
        )

    @property
    def best_network(self) -> torch.nn.Module:
        """The network that is validated and kept: the moving average, if there is one."""
        return self.network if self.averaged is None else self.averaged.module

    @property
    def is_sharded(self) -> bool:
        """Whether each process holds a part of the weights alone."""
        return isinstance(self.trainer.strategy, ModelParallelStrategy)

    def configure_model(self) -> None:
        """Share out the weights among the processes, if the strategy is ``fsdp``.

        Raises
        ------
        ParamsError
            When the plan asks for a moving average, which needs the whole weights.
        """
        if not self.is_sharded or self._is_shared_out:
            return
        if self.averaged is not None:
            raise ParamsError("training.ema: a moving average needs the whole weights; use --strategy ddp")
        from torch.distributed.fsdp import fully_shard

        mesh = self.device_mesh["data_parallel"]  # type: ignore[index]  # the strategy has made it
        inner: Any = getattr(self.network, "network", self.network)
        for child in inner.children():
            is_called = not isinstance(child, torch.nn.ModuleList | torch.nn.ModuleDict | torch.nn.Sequential)
            if is_called and sum(one.numel() for one in child.parameters()) >= _SHARED_ALONE:
                fully_shard(child, mesh=mesh)
        fully_shard(self.network, mesh=mesh)
        self._is_shared_out = True

    def whole_weights(self) -> dict[str, Tensor]:
        """Return the weights that are validated and kept; all processes must call it."""
        if not self.is_sharded:
            return self.best_network.state_dict()
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        whole: dict[str, Any] = get_model_state_dict(self.network, options=options)
        return whole

    def forward(self, image: Tensor) -> Any:
        """Return the network's output for patches ``(N, C, Z, Y, X)``, or ``(N, C, Y, X)``."""
        return (self._compiled[0] if self._compiled else self.network)(image)

    def _augmented(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return images and labels, augmented here if the plan says so.

        What comes from beyond a patch is 0: its surroundings stayed in the worker.
        """
        image, label = batch["image"], batch["label"].long()
        if self.plan.augment.on == "worker":
            return image, label
        flat = image.ndim == 4
        if flat:
            image, label = image[:, :, None], label[:, None]
        images, labels = [], []
        spacings = torch.stack(batch["spacing"], dim=1).tolist()
        for number, case, spacing, pixels, classes in zip(
            batch["number"].tolist(), batch["case"], spacings, image, label, strict=True
        ):
            rng = augmentation_generator(self.plan.training.seed, case, number)
            one, of_one = self._augmentation(pixels, classes, rng, spacing)
            assert of_one is not None
            images.append(one)
            labels.append(of_one)
        image, label = torch.stack(images), torch.stack(labels)
        return (image[:, :, 0], label[:, 0]) if flat else (image, label)

    def training_step(self, batch: dict[str, Any], _index: int) -> Tensor:
        """Return the loss of a batch of patches.

        Raises
        ------
        ModelError
            When it is nan or infinite; the cases of the batch are named.
        """
        image, label = self._augmented(batch)
        loss: Tensor = self.loss(self(image), label)
        if not torch.isfinite(loss):
            raise ModelError(
                f"the loss is {loss.item()} at step {self.global_step} (cases {', '.join(batch['case'])}); "
                "try a lower training.learning_rate, or training.precision 32"
            )
        self.log(
            "train_loss",
            loss.detach(),
            on_step=True,
            on_epoch=False,
            prog_bar=True,
            batch_size=len(batch["case"]),
            sync_dist=self.trainer.world_size > 1,
        )
        return loss

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Step the optimiser, and the moving average of the weights after it."""
        super().optimizer_step(*arguments, **options)
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)

    def on_train_start(self) -> None:
        """Have the last epoch validated, too, also where training goes on in the midst of it."""
        self._validate_last()

    def on_train_epoch_start(self) -> None:
        """Have the last epoch validated, too: what it has learnt may be the best."""
        self._validate_last()

    def _validate_last(self) -> None:
        if self.trainer.current_epoch + 1 == self.trainer.max_epochs:
            self.trainer.check_val_every_n_epoch = 1

    def on_validation_epoch_start(self) -> None:
        """Forget the volumes of the last validation."""
        self.counts.reset()

    def validation_step(self, batch: dict[str, Any], _index: int) -> dict[str, Tensor]:
        """Predict whole volumes, count their voxels, and return their label maps for callbacks."""
        found = self.windows.labels(self.best_network, batch["image"])
        self.counts.add(found, batch["label"])
        return {"found": found}

    def on_validation_epoch_end(self) -> None:
        """Turn the counts of all processes into metrics."""
        for name in ("both", "found", "true"):
            sums = self.trainer.strategy.reduce(getattr(self.counts, name).to(self.device), reduce_op="sum")
            setattr(self.counts, name, sums.cpu())
        self.last_metrics = self.counts.metrics(list(self.facts.labels.values()))
        dice = {name: values["dice"] for name, values in self.last_metrics.items() if values["dice"] is not None}
        several = self.trainer.world_size > 1  # then all have the same values
        self.log("val_dice", sum(dice.values()) / len(dice) if dice else 0.0, prog_bar=True, sync_dist=several)
        for name, value in dice.items():
            self.log(f"{name}_dice", value, sync_dist=several)

    def configure_optimizers(self) -> Any:
        """Return optimiser and learning rate as the plan has them."""
        optimizer = make_optimizer(self.plan.training, self.network.parameters())
        scheduler = make_scheduler(self.plan.training, optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "epoch"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the description of the model, so that ``itk_infer`` takes the checkpoint."""
        checkpoint[CHECKPOINT_ENTRY] = json.loads(self.facts.to_json())
        checkpoint[_RANDOM] = torch.get_rng_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state of the random numbers (of dropout) until the first batch."""
        self._random = checkpoint.get(_RANDOM)

    def on_train_batch_start(self, _batch: Any, _index: int) -> None:
        """Go on with the random numbers where the checkpoint was written."""
        if self._random is not None:
            torch.set_rng_state(self._random)
            self._random = None
