"""SwinUMambaD, the dagger of the paper: Swin-UMamba with a Mamba decoder.

Liu et al., MICCAI 2024, arXiv:2402.03302; parameter names as in github.com/JiarunLiu/Swin-UMamba.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from itkit.models.blocks.by_dims import require_dims, resize
from itkit.models.swin_umamba.encoder import VSSLayer, VSSMEncoder, with_encoder
from itkit.models.vmamba.vssm import initialise_linear

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STAGES = 4
_BLOCKS = 2
"""Blocks of every decoder stage."""


class PatchExpand(nn.Module):
    """Linear layer whose features become the pixels of a finer grid, then layer norm."""

    def __init__(self, dim: int, out_dim: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.expand = nn.Linear(dim, factor**2 * out_dim, bias=False)
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, Y, X, dim)`` to ``(N, factor Y, factor X, out_dim)``."""
        n, rows, columns, _ = x.shape
        cells = self.expand(x).reshape(n, rows, columns, self.factor, self.factor, -1)
        grid = cells.transpose(2, 3).reshape(n, rows * self.factor, columns * self.factor, -1)
        out: Tensor = self.norm(grid)
        return out


class MambaDecoder(nn.Module):
    """Expand, join with the encoder's map, scan; four times, the last without either.

    Parameters
    ----------
    num_classes
        Channels of the logits.
    deep_supervision
        Return a list of logits at 1, 1/4, 1/8 and 1/16 of the image's sides, in evaluation too.
    features_per_stage
        Widths of the encoder's four stages.
    drop_path_rate
        Rate of stochastic depth in the deepest block; it falls linearly to 0.
    d_state
        States of the scans; None means ``ceil(2 width / 6)``.
    """

    def __init__(
        self,
        num_classes: int,
        deep_supervision: bool,
        features_per_stage: Sequence[int],
        drop_path_rate: float = 0.2,
        d_state: int | None = 16,
        *,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        finer = list(reversed(features_per_stage))[1:]
        total = _BLOCKS * len(finer)
        rates = [drop_path_rate * (1 - index / (total - 1)) for index in range(total)]
        stages: list[nn.Module] = [
            VSSLayer(
                width,
                math.ceil(2 * width / 6) if d_state is None else d_state,
                rates[_BLOCKS * step : _BLOCKS * (step + 1)],
                0.0,
                use_checkpoint=use_checkpoint,
            )
            for step, width in enumerate(finer)
        ]
        self.stages = nn.ModuleList([*stages, nn.Identity()])
        expands = [PatchExpand(2 * width, width, 2) for width in finer]
        self.expand_layers = nn.ModuleList([*expands, PatchExpand(finer[-1], finer[-1], 4)])
        self.seg_layers = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for width in [*finer, finer[-1]])
        self.concat_back_dim = nn.ModuleList(nn.Linear(2 * width, width) for width in finer)
        self.apply(initialise_linear)

    def forward(self, features: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Map the encoder's channels-first maps, finest first, to logits."""
        *finer, deepest = features
        x = deepest.movedim(1, -1)
        maps = []
        for step, expand in enumerate(self.expand_layers):
            x = expand(x)
            if step < len(finer):
                skip = finer[-1 - step].movedim(1, -1)
                x = self.stages[step](self.concat_back_dim[step](torch.cat([x, skip], -1)))
            maps.append(x.movedim(-1, 1))
        if not self.deep_supervision:
            logits: Tensor = self.seg_layers[-1](maps[-1])
            return logits
        return [layer(x) for layer, x in zip(reversed(self.seg_layers), reversed(maps), strict=True)]


class SwinUMambaD(nn.Module):
    """VMamba encoder and Mamba decoder.

    Parameters
    ----------
    vss_args
        Arguments of :class:`VSSMEncoder`.
    decoder_args
        Arguments of :class:`MambaDecoder`; `features_per_stage` must be the encoder's widths.

    Raises
    ------
    ValueError
        When encoder and decoder do not fit together.
    """

    def __init__(self, vss_args: Mapping[str, Any], decoder_args: Mapping[str, Any]) -> None:
        super().__init__()
        self.vssm_encoder = VSSMEncoder(**vss_args)
        dims = self.vssm_encoder.dims
        if len(dims) != _STAGES:
            raise ValueError(f"depths: expected {_STAGES} stages; got {len(dims)}")
        arguments = {"features_per_stage": dims, **decoder_args}
        if list(arguments["features_per_stage"]) != dims:
            raise ValueError(
                f"features_per_stage: expected the encoder's widths {dims}; got {list(arguments['features_per_stage'])}"
            )
        self.decoder = MambaDecoder(**arguments)
        self.apply(_initialise_convolution)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Map ``(N, C, Y, X)`` to logits ``(N, K, Y, X)``, or to the list of deep supervision."""
        stride = 8 * self.vssm_encoder.patch_embed.proj.kernel_size[0]
        if any(side % stride for side in image.shape[2:]):
            raise ValueError(f"image: expected sides that are multiples of {stride}; got {tuple(image.shape[2:])} YX")
        out: Tensor | list[Tensor] = self.decoder(self.vssm_encoder(image)[1:])
        return out

    def adapt_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert the file that the authors start the encoder from to this network's names."""
        return with_encoder(self, state)

    def to_logits(self, output: Tensor | list[Tensor], size: Sequence[int]) -> list[Tensor]:
        """Resize all outputs to ``size``."""
        outputs = [output] if isinstance(output, Tensor) else output
        return [resize(logits, size) for logits in outputs]


def _initialise_convolution(module: nn.Module) -> None:
    """Start convolutions as nnU-Net does: He et al.'s normal distribution for a slope of 0.01, no bias."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, a=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def build(
    *,
    in_channels: int,
    num_classes: int,
    spatial_dims: int,
    deep_supervision: bool = False,
    depths: Sequence[int] = (2, 2, 9, 2),
    dims: int | Sequence[int] = 96,
    d_state: int | None = 16,
    drop_path_rate: float = 0.2,
    use_checkpoint: bool = False,
) -> SwinUMambaD:
    """Build SwinUMambaD for segmentation; heads that go unused are frozen."""
    require_dims("SwinUMambaD", spatial_dims, 2)
    shared = {"d_state": d_state, "drop_path_rate": drop_path_rate, "use_checkpoint": use_checkpoint}
    network = SwinUMambaD(
        {"in_chans": in_channels, "depths": depths, "dims": dims, **shared},
        {"num_classes": num_classes, "deep_supervision": deep_supervision, **shared},
    )
    for head in network.decoder.seg_layers[:-1]:
        head.requires_grad_(deep_supervision)
    return network


def from_config(config: Mapping[str, Any], official_class: str) -> SwinUMambaD:
    """Build the authors' class from its two mappings."""
    del official_class
    return SwinUMambaD(**config)
