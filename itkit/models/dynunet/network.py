"""MONAI's DynUNet with strides and kernels as nnU-Net plans them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from itkit.core.extras import require
from itkit.models.blocks.aliases import with_all_names
from itkit.models.unet.network import stages_of


def build(
    *,
    in_channels: int,
    num_classes: int,
    spatial_dims: int,
    patch_size: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    strides: Sequence[int | Sequence[int]] | None = None,
    kernel_sizes: int | Sequence[int | Sequence[int]] | None = None,
    features_per_stage: Sequence[int] | None = None,
    deep_supervision: bool = False,
    **options: Any,
) -> nn.Module:
    """Build MONAI's class.

    Parameters
    ----------
    in_channels, num_classes, spatial_dims
        Channels of image and logits; 2 or 3.
    patch_size, spacing, strides, kernel_sizes, features_per_stage
        As those of :func:`itkit.models.unet.network.build`.
    deep_supervision
        Also return logits of all decoder stages but the coarsest, in training mode.
    **options
        Further arguments of ``monai.networks.nets.DynUNet``: ``res_block``, ``dropout``, ``norm_name``, ...
    """
    nets = require("monai.networks.nets", extra="train", why="dynunet")
    stages = stages_of(
        spatial_dims,
        patch_size=patch_size,
        spacing=spacing,
        strides=strides,
        kernel_sizes=kernel_sizes,
        features_per_stage=features_per_stage,
    )
    network: nn.Module = nets.DynUNet(
        spatial_dims,
        in_channels,
        num_classes,
        kernel_size=stages.kernel_sizes,
        strides=stages.strides,
        upsample_kernel_size=stages.strides[1:],
        filters=stages.features_per_stage,
        deep_supervision=deep_supervision,
        **({"deep_supr_num": max(1, len(stages.strides) - 2)} | options),
    )
    network.divisor = stages.divisor  # type: ignore[assignment]  # torch types attributes as tensors or modules
    network.minimum_size = stages.minimum_size  # type: ignore[assignment]  # likewise
    network.to_logits = partial(_unstacked, spatial_dims=spatial_dims)  # type: ignore[assignment]  # likewise
    network.adapt_state_dict = partial(with_all_names, network)  # type: ignore[assignment]  # likewise
    return network


def _unstacked(output: Tensor, size: Sequence[int], *, spatial_dims: int) -> Tensor | list[Tensor]:
    """Turn MONAI's stack of outputs ``(N, outputs, K, *spatial)``, which it returns in training mode, into a list."""
    del size
    return list(output.unbind(1)) if output.ndim == spatial_dims + 3 else output
