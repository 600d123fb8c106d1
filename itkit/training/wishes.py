"""The options of ``itkit plan``: what a user wants otherwise than the measurements suggest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from itkit.core.fields import Bounds, FreeText, Group, PathRole, Positional, Short, Suggest, Unit
from itkit.core.params import MemorySize, OrientationCode, Params, PatchZyx, ThreeZyx

Spacing = Annotated[ThreeZyx, Unit("mm"), Bounds(above=0)]
Count = Annotated[int, Field(ge=1)]


class PlanParams(Params):
    """Plan a training: measure a dataset and this machine, and write a commented plan for itkit train."""

    dataset: Annotated[Path, PathRole("in_folder"), Positional("dataset")]
    """Dataset to learn from: image/ and label/."""
    output: Annotated[Path, PathRole("out_file"), Short("-o")] = Path("plan.toml")
    """File to write; another plan that is there is kept as plan.1.toml."""
    network: Annotated[str, FreeText("unet"), Suggest("networks"), Group("Network")] = "unet"
    """One of itkit models."""
    network_option: Annotated[tuple[str, ...], FreeText("n_conv_per_stage=3"), Group("Network")] = ()
    """Options of the network, as NAME=VALUE; the value as in TOML."""
    patch_size: Annotated[PatchZyx | None, Group("Training")] = None
    """Voxels of a patch; 1 Y X for slices and a 2-D network (default: what memory and time allow)."""
    batch_size: Annotated[Count | None, Group("Training")] = None
    """Patches a step (default: what memory and time allow)."""
    steps: Annotated[Count | None, Group("Training")] = None
    """Steps of an epoch (default: 250, or what the time allows)."""
    epochs: Annotated[Count | None, Group("Training")] = None
    """Epochs (default: 1000, or what the time allows)."""
    spacing: Annotated[Spacing | None, Group("Data")] = None
    """Spacing that the network sees (default: by the measured ones)."""
    orient: Annotated[OrientationCode | None, Group("Data")] = None
    """Directions to which the axes X, Y, Z point when the network sees a volume (default: by those of most cases)."""
    memory: Annotated[MemorySize | None, Group("Budget")] = None
    """Memory that a training may use on the device (default: 8GB, or less where less is free)."""
    minutes: Annotated[Annotated[float, Bounds(above=0), Unit("minutes")] | None, Group("Budget")] = None
    """Time for the whole training of a fold, validations included (default: 10 on a CPU, no limit on a GPU)."""
    folds: Annotated[Count | None, Group("Data")] = None
    """Parts of the cases, each of which validates once; 1: validate on the training cases (default: 5)."""
    split: Annotated[Path | None, PathRole("in_file"), Group("Data")] = None
    """splits.json of itk_split, or splits_final.json, in place of folds that are drawn."""
    seed: Annotated[int, Field(ge=0, lt=2**32), Group("Training")] = 0
    """Decides folds, initial weights, patches and augmentation."""
    device: Annotated[Literal["auto", "cpu", "cuda"], Group("Budget")] = "auto"
    """Where to train: the plan is measured there."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.folds is not None and self.split is not None:
            raise ValueError("--split names the folds; drop --folds")
        from itkit.models.registry import model_card

        model_card(self.network)
        _ = self.options
        return self

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of the network by name."""
        from itkit.training.plan_file import with_overrides

        for text in self.network_option:
            if not text.partition("=")[0].strip() or "=" not in text:
                raise ValueError(f"--network-option: expected NAME=VALUE, such as width=16; got {text!r}")
        given = [f"network.{text}" for text in self.network_option]
        options: Mapping[str, Any] = with_overrides({"network": {}}, given)["network"]
        return options
