"""Encoders for momentum contrast out of any registered network, and their way back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from itkit.models.registry import create_model

ENCODER_LAYERS: Mapping[str, str] = {
    "da_transunet": "transformer.encoder.encoder_norm",
    "dconnnet": "sde_module",
    "dsnet": "aff3",
    "dynunet": "bottleneck",
    "ege_unet": "encoder6",
    "lm_net": "gft",
    "mednext": "bottleneck",
    "segformer3d": "segformer_encoder",
    "segmamba": "vit",
    "swin_umamba": "vssm_encoder",
    "swin_unetr": "swinViT",
    "unet3plus": "conv5",
    "unetr": "vit.norm",
}
"""By family, the layer that ends the encoder of networks without a module called ``encoder`` or ``backbone``."""


class _LayerReached(Exception):  # noqa: N818  # it ends a forward pass early; nothing is wrong
    pass


class LayerOutput(nn.Module):
    """The part of a network up to the output of one of its layers; what lies behind is not computed."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.tapped = network
        self.layer = layer

    def forward(self, x: Tensor) -> Any:
        """Return the layer's output for an image."""
        caught: list[Any] = []

        def catch(_module: nn.Module, _inputs: Any, output: Any) -> None:
            caught.append(output)
            raise _LayerReached

        handle = self.tapped.get_submodule(self.layer).register_forward_hook(catch)
        try:
            self.tapped(x)
        except _LayerReached:
            return caught[0]
        finally:
            handle.remove()
        raise ValueError(f"layer: the network does not call {self.layer!r}")


class PooledEncoder(nn.Module):
    """Encoder, global mean of its deepest feature map, linear layer ``fc``.

    Parameters
    ----------
    encoder
        Returns a map ``(N, C, *spatial)`` or tokens ``(N, T, C)``, or several, the deepest last.
    channels
        Channels of the deepest.
    num_classes
        Outputs of ``fc``.
    """

    def __init__(self, encoder: nn.Module, channels: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map an image to ``(N, num_classes)``."""
        out: Tensor = self.fc(_pooled(self.encoder(x)))
        return out


def _pooled(output: Any) -> Tensor:
    while not isinstance(output, Tensor):
        output = output[-1]
    if output.ndim < 3:
        raise ValueError(f"encoder: expected (N, C, *spatial) or (N, T, C); got shape {tuple(output.shape)}")
    return output.mean(1) if output.ndim == 3 else output.flatten(2).mean(2)


def zoo_encoder(
    name: str, *, in_channels: int = 1, spatial_dims: int | None = None, layer: str | None = None, **options: Any
) -> Callable[..., PooledEncoder]:
    """Make the ``base_encoder`` of a registered network.

    Parameters
    ----------
    name
        Name of the network's card.
    in_channels, spatial_dims, **options
        As for ``itkit.models.create_model``.
    layer
        Name of the layer whose output is pooled. By default the network's ``encoder``, or the layer that ends its
        encoder (``ENCODER_LAYERS``). Parameters on which that output doesn't depend are frozen.

    Returns
    -------
    callable
        ``base_encoder(num_classes=...)``.

    Raises
    ------
    ValueError
        When the network has no such part, or returns no feature map.
    """

    def base_encoder(*, num_classes: int) -> PooledEncoder:
        segmenter = create_model(name, in_channels=in_channels, spatial_dims=spatial_dims, **options)
        encoder = _part(segmenter.network, segmenter.card.family, layer)
        if encoder is None:
            raise ValueError(f"{name}: has no part {layer or 'encoder'!r}; name the layer to pool with layer=...")
        image = torch.zeros(1, in_channels, *segmenter.input_size((1,) * segmenter.spatial_dims))
        pooled = _pooled(encoder.eval()(image))
        trainable = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(pooled.sum(), trainable, allow_unused=True)
        for parameter, gradient in zip(trainable, gradients, strict=True):
            parameter.requires_grad = gradient is not None
        return PooledEncoder(encoder.train(), pooled.shape[1], num_classes)

    return base_encoder


def _part(network: nn.Module, family: str, layer: str | None) -> nn.Module | None:
    children = dict(network.named_children())
    if layer is None and "encoder" in children:
        return children["encoder"]
    wanted = layer or ENCODER_LAYERS.get(family, "backbone")
    return LayerOutput(network, wanted) if wanted in dict(network.named_modules()) else None


def encoder_weights(source: nn.Module | Mapping[str, Any], *, prefix: str = "") -> dict[str, Tensor]:
    """Take the trained encoder out of a pre-training, under the names of the network it came from.

    Parameters
    ----------
    source
        A ``MoCo`` (also inside ``DistributedDataParallel``), its ``state_dict``, or a checkpoint that has one under
        ``state_dict``.
    prefix
        Put before each name: ``"encoder."`` brings a plain ResNet into a network that keeps it there.

    Returns
    -------
    dict
        The query encoder's tensors without its last layer ``fc``. Those of ``zoo_encoder`` fit the registered network
        as they are: ``itkit.models.load_pretrained`` or ``load_state_dict(..., strict=False)``.

    Raises
    ------
    ValueError
        When there is no query encoder.
    """
    state = source.state_dict() if isinstance(source, nn.Module) else source
    state = state.get("state_dict", state)
    weights = {
        key.removeprefix("module.").removeprefix("encoder_q."): value
        for key, value in state.items()
        if key.removeprefix("module.").startswith("encoder_q.")
    }
    if not weights:
        raise ValueError("no key starts with 'encoder_q.'; expected the weights of a MoCo pre-training")
    return {
        prefix + key.removeprefix("encoder.tapped."): value
        for key, value in weights.items()
        if not key.startswith("fc.")
    }
