"""MedNeXt v1.

Roy et al., "MedNeXt: Transformer-driven Scaling of ConvNets for Medical Image Segmentation", MICCAI 2023
(arXiv:2303.09975); parameter names as in github.com/MIC-DKFZ/MedNeXt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from itkit.models.blocks.by_dims import CONV, TRANSPOSED
from itkit.models.mednext.blocks import Block, DownBlock, UpBlock
from itkit.models.mednext.released import from_monai, is_monai

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RATIOS_B = (2, 3, 4, 4, 4, 4, 4, 3, 2)
_SIZES: dict[str, tuple[int | tuple[int, ...], tuple[int, ...], str | None]] = {
    "S": (2, (2,) * 9, None),
    "B": (_RATIOS_B, (2,) * 9, None),
    "M": (_RATIOS_B, (3, 4, 4, 4, 4, 4, 4, 4, 3), "outside_block"),
    "L": ((3, 4, 8, 8, 8, 8, 8, 4, 3), (3, 4, 8, 8, 8, 8, 8, 4, 3), "outside_block"),
}


class OutBlock(nn.Module):
    """A 1x1 head, written as a transposed convolution as the authors did."""

    def __init__(self, channels: int, n_classes: int, spatial_dims: int) -> None:
        super().__init__()
        self.conv_out = TRANSPOSED[spatial_dims](channels, n_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits at the map's own size."""
        return self.conv_out(x)  # type: ignore[no-any-return]


class MedNeXt(nn.Module):
    """U-shaped network of ConvNeXt blocks; every side must be a multiple of 16.

    Parameters
    ----------
    in_channels, n_channels, n_classes
        Image channels, channels at full resolution, classes.
    exp_r
        Expansion ratio, one integer or one for each of the nine stages.
    kernel_size
        Odd kernel side of the whole network; None to give ``enc_kernel_size`` and ``dec_kernel_size`` apart
        (the bottleneck belongs to the decoder).
    deep_supervision
        Return the list of logits at 1, 1/2, 1/4, 1/8 and 1/16 of the size.
    do_res, do_res_up_down
        Residual paths in plain blocks, and in down and up blocks.
    checkpoint_style
        None, or ``"outside_block"`` to recompute each block in the backward pass.
    block_counts
        Plain blocks in each of the nine stages.
    norm_type
        ``"group"`` or ``"layer"``.
    dim
        ``"2d"`` or ``"3d"``.
    grn
        Global response normalisation in every block but ``down_0``, as in released checkpoints.
    down_exp_r
        Expansion ratios of the four down blocks; by default those of the stages that follow, as the authors have it.
    """

    def __init__(
        self,
        in_channels: int,
        n_channels: int,
        n_classes: int,
        exp_r: int | Sequence[int] = 4,
        kernel_size: int | None = 7,
        enc_kernel_size: int | None = None,
        dec_kernel_size: int | None = None,
        deep_supervision: bool = False,
        do_res: bool = False,
        do_res_up_down: bool = False,
        checkpoint_style: str | None = None,
        block_counts: Sequence[int] = (2,) * 9,
        norm_type: str = "group",
        dim: str = "3d",
        grn: bool = False,
        down_exp_r: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        ratios = (exp_r,) * 9 if isinstance(exp_r, int) else tuple(exp_r)
        enc_kernel = kernel_size if kernel_size is not None else enc_kernel_size
        dec_kernel = kernel_size if kernel_size is not None else dec_kernel_size
        _check(ratios, block_counts, enc_kernel, dec_kernel, checkpoint_style, norm_type, dim)
        dims = int(dim[0])
        down_ratios = ratios[1:5] if down_exp_r is None else tuple(down_exp_r)
        self.do_ds = deep_supervision
        self.outside_block_checkpointing = checkpoint_style == "outside_block"
        common: dict[str, Any] = {"norm_type": norm_type, "spatial_dims": dims}
        widths = [n_channels * 2**level for level in range(5)]

        def stage(index: int, level: int, kernel: int | None) -> nn.Sequential:
            options = {"expansion": ratios[index], "kernel_size": kernel, "residual": do_res, "grn": grn, **common}
            return nn.Sequential(*(Block(widths[level], widths[level], **options) for _ in range(block_counts[index])))

        self.stem = CONV[dims](in_channels, n_channels, 1)
        for level in range(4):
            setattr(self, f"enc_block_{level}", stage(level, level, enc_kernel))
            options = {"expansion": down_ratios[level], "kernel_size": enc_kernel, "residual": do_res_up_down, **common}
            down = DownBlock(widths[level], widths[level + 1], grn=grn and level > 0, **options)
            setattr(self, f"down_{level}", down)
        self.bottleneck = stage(4, 4, dec_kernel)
        for level in (3, 2, 1, 0):
            index = 8 - level
            options = {"expansion": ratios[index], "kernel_size": dec_kernel, "residual": do_res_up_down, **common}
            setattr(self, f"up_{level}", UpBlock(widths[level + 1], widths[level], grn=grn, **options))
            setattr(self, f"dec_block_{level}", stage(index, level, dec_kernel))
        for level in range(5 if deep_supervision else 1):
            setattr(self, f"out_{level}", OutBlock(widths[level], n_classes, dims))
        self.dummy_tensor = nn.Parameter(torch.ones(1))

    def adapt_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert weights under MONAI's names, or of a network with deep supervision into one without."""
        named = from_monai(state, self.state_dict()) if is_monai(state) else dict(state)
        spare = () if self.do_ds else ("out_1.", "out_2.", "out_3.", "out_4.")
        return {key: value for key, value in named.items() if not key.startswith(spare)}

    def _run(self, name: str, x: Tensor) -> Tensor:
        module = getattr(self, name)
        if not (self.outside_block_checkpointing and torch.is_grad_enabled()):
            return module(x)  # type: ignore[no-any-return]
        for block in module if isinstance(module, nn.Sequential) else (module,):
            x = checkpoint(block, x, use_reentrant=False)
        return x

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Map ``(N, C, *spatial)`` to logits, or with deep supervision to five of them, finest first."""
        x = self.stem(x)
        skips = []
        for level in range(4):
            skips.append(self._run(f"enc_block_{level}", x))
            x = self._run(f"down_{level}", skips[-1])
        x = self._run("bottleneck", x)
        maps = [x]
        for level in (3, 2, 1, 0):
            x = self._run(f"dec_block_{level}", skips[level] + self._run(f"up_{level}", x))
            maps.insert(0, x)
        if self.do_ds:
            return [self._run(f"out_{level}", feature) for level, feature in enumerate(maps)]
        return self._run("out_0", x)


def _check(
    ratios: Sequence[int],
    block_counts: Sequence[int],
    enc_kernel: int | None,
    dec_kernel: int | None,
    checkpoint_style: str | None,
    norm_type: str,
    dim: str,
) -> None:
    for name, values in (("exp_r", ratios), ("block_counts", block_counts)):
        if len(values) != 9:
            raise ValueError(f"{name}: expected 9 values, one a stage; got {len(values)}")
    for name, kernel in (("enc_kernel_size", enc_kernel), ("dec_kernel_size", dec_kernel)):
        if kernel is None or kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel_size or {name}: expected an odd number; got {kernel}")
    if checkpoint_style not in {None, "outside_block"}:
        raise ValueError(f"checkpoint_style must be None or 'outside_block'; got {checkpoint_style!r}")
    if norm_type not in {"group", "layer"}:
        raise ValueError(f"norm_type must be 'group' or 'layer'; got {norm_type!r}")
    if dim not in {"2d", "3d"}:
        raise ValueError(f"dim must be '2d' or '3d'; got {dim!r}")


def create_mednext_v1(
    num_input_channels: int,
    num_classes: int,
    model_id: str,
    kernel_size: int | None = 3,
    deep_supervision: bool = False,
    **changes: Any,
) -> MedNeXt:
    """Build a published size: S, B, M or L; ``changes`` override arguments of :class:`MedNeXt`."""
    if model_id not in _SIZES:
        raise ValueError(f"model_id must be one of {', '.join(_SIZES)}; got {model_id!r}")
    exp_r, block_counts, style = _SIZES[model_id]
    arguments: dict[str, Any] = {
        "n_channels": 32,
        "exp_r": exp_r,
        "block_counts": block_counts,
        "checkpoint_style": style,
        "do_res": True,
        "do_res_up_down": True,
        "kernel_size": kernel_size,
        "deep_supervision": deep_supervision,
        **changes,
    }
    return MedNeXt(num_input_channels, n_classes=num_classes, **arguments)


def build(
    *,
    in_channels: int,
    num_classes: int,
    spatial_dims: int,
    model_id: str = "S",
    kernel_size: int | None = 3,
    deep_supervision: bool = False,
    use_checkpoint: bool | None = None,
    layout: str = "authors",
    **changes: Any,
) -> MedNeXt:
    """Build a published size for 2-D or 3-D; ``use_checkpoint=None`` keeps the authors' choice for the size.

    ``layout="monai"`` gives MONAI's sizes B, M and L, whose down blocks have the ratios of the stages before them.
    """
    if layout not in {"authors", "monai"}:
        raise ValueError(f"layout must be 'authors' or 'monai'; got {layout!r}")
    if layout == "monai" and model_id in _SIZES:
        ratio = changes.get("exp_r", _SIZES[model_id][0])
        changes.setdefault("down_exp_r", (ratio,) * 4 if isinstance(ratio, int) else tuple(ratio)[:4])
    if use_checkpoint is not None:
        changes["checkpoint_style"] = "outside_block" if use_checkpoint else None
    return create_mednext_v1(
        in_channels,
        num_classes,
        model_id,
        kernel_size,
        deep_supervision,
        dim=f"{spatial_dims}d",
        **changes,
    )


def from_config(config: Mapping[str, Any], official_class: str) -> nn.Module:
    """Build the authors' class or factory from their own arguments."""
    factory = create_mednext_v1 if official_class.endswith("create_mednext_v1") else MedNeXt
    return factory(**config)
