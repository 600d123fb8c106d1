"""What is exported: a trained network, or one of the registry with its initial weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itkit.core.errors import ModelError
from itkit.core.extras import require_torch
from itkit.core.text import some
from itkit.inference.model_folder import (
    Intensity,
    ModelFacts,
    ModelFolder,
    NetworkFacts,
    build_network,
    read_model,
)

if TYPE_CHECKING:
    from torch import nn

_SIDE = {2: 256, 3: 64}
"""Side of a window of a network that nobody has trained."""


@dataclass(frozen=True, eq=False)
class Source:
    """A network that is to be exported.

    Parameters
    ----------
    name
        How people call it: its path, or its name in the registry.
    facts
        Its description; that of the registry's networks names classes by their numbers.
    folder
        Where its weights lie; ``None`` for initial weights.
    """

    name: str
    facts: ModelFacts
    folder: ModelFolder | None

    def load(self, *, seed: int = 0) -> nn.Module:
        """Build the network with its weights, in evaluation mode.

        Parameters
        ----------
        seed
            Seed of initial weights.

        Raises
        ------
        ModelError, WeightsError
            When it can't be built.
        """
        torch = require_torch("itkit export")
        if self.folder is not None:
            return self.folder.load()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build_network(self.facts.network).eval()


def find_source(
    model: Path | str,
    *,
    options: Mapping[str, Any] | None = None,
    in_channels: int | None = None,
    num_classes: int | None = None,
    spatial_dims: int | None = None,
    patch_size: Sequence[int] | None = None,
) -> Source:
    """Find what is to be exported.

    Parameters
    ----------
    model
        A trained model (see `itkit.inference.read_model`), or the name of a network of ``itkit models``.
    options, in_channels, num_classes, spatial_dims
        What a network of the registry is built with.
    patch_size
        Voxels of a window, ZYX; by default that of the trained model.

    Raises
    ------
    ModelError
        When there is neither; or options are given for a trained model, which has its own.
    """
    path = Path(model)
    given = {
        "network-option": options,
        "in-channels": in_channels,
        "num-classes": num_classes,
        "spatial-dims": spatial_dims,
    }
    if path.exists():
        if wrong := [f"--{name}" for name, value in given.items() if value]:
            raise ModelError(f"{model}: a trained model has its own network; drop {some(wrong)}")
        folder = read_model(path)
        facts = folder.facts
        if patch_size is not None:
            facts = _with_patch(facts, patch_size)
        return Source(str(model), facts, folder)
    if len(path.parts) > 1 or path.suffix:
        raise ModelError(f"{model}: no such model; give a model folder, a checkpoint, or a name of itkit models")
    facts = _registered(str(model), options or {}, in_channels or 1, num_classes or 2, spatial_dims, patch_size)
    return Source(str(model), facts, None)


def _with_patch(facts: ModelFacts, patch_size: Sequence[int]) -> ModelFacts:
    return ModelFacts.model_validate({**facts.model_dump(), "patch_size": tuple(patch_size)})


def _registered(
    name: str,
    options: Mapping[str, Any],
    in_channels: int,
    num_classes: int,
    spatial_dims: int | None,
    patch_size: Sequence[int] | None,
) -> ModelFacts:
    from itkit.models import model_card

    try:
        card = model_card(name)
    except ModelError as error:
        raise ModelError(f"{name}: there is no such file or folder, and {error}") from error
    dims = spatial_dims or card.spatial_dims[0]
    if dims not in card.spatial_dims or dims not in (2, 3):
        supported = " or ".join(map(str, card.spatial_dims))
        raise ModelError(f"{name}: --spatial-dims must be {supported}; got {dims}")
    if patch_size is None:
        patch_size = _usual_patch({**card.options, **options}, card.divisor, card.minimum_size, dims)
    return ModelFacts(
        network=NetworkFacts(
            name=name,
            options=dict(options),
            in_channels=in_channels,
            num_classes=num_classes,
            spatial_dims=dims,
        ),
        channels=("CT",) if in_channels == 1 else tuple(f"channel {number}" for number in range(1, in_channels + 1)),
        labels={value: f"class {value}" for value in range(1, num_classes)},
        spacing=(-1, -1, -1),
        intensity=Intensity(),
        patch_size=tuple(patch_size),
    )


def _usual_patch(options: Mapping[str, Any], divisor: int, minimum: int, dims: int) -> tuple[int, ...]:
    side = options.get("image_size")
    if isinstance(side, int):
        sides: tuple[int, ...] = (side,) * dims
    elif side is not None:
        sides = tuple(side)
    else:
        least = max(_SIDE[dims], minimum)
        sides = (-(-least // divisor) * divisor,) * dims
    return (1, *sides) if dims == 2 else sides
