"""VMamba's first encoder with the parameter names of github.com/JiarunLiu/Swin-UMamba.

Liu et al., "Swin-UMamba", MICCAI 2024, arXiv:2402.03302, on Liu et al., "VMamba", arXiv:2401.10166. Maps inside are
channels-last.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor, nn

from itkit.models.blocks.drop_path import DropPath, linear_rates
from itkit.models.blocks.recompute import recompute
from itkit.models.blocks.released import rename, under
from itkit.models.vmamba.layers import merge_patches
from itkit.models.vmamba.ss2d import SS2D
from itkit.models.vmamba.vssm import initialise_linear, widths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_VMAMBA_NAMES = (
    (r"^layers\.(\d+)\.downsample\.", r"downsamples.\1."),
    (r"^patch_embed\.0\.", "patch_embed.proj."),
    (r"^patch_embed\.2\.", "patch_embed.norm."),
    (r"\.blocks\.(\d+)\.norm\.", r".blocks.\1.ln_1."),
    (r"\.blocks\.(\d+)\.op\.", r".blocks.\1.self_attention."),
)
_CLASSIFIER = ("norm.", "head.", "classifier.", "outnorm")


def with_encoder(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a file of the encoder alone to the names of a network that keeps it as ``vssm_encoder``."""
    if any(key.startswith("vssm_encoder.") for key in state):
        return dict(state)
    encoder: VSSMEncoder = network.vssm_encoder  # type: ignore[assignment]  # both forms of Swin-UMamba have one
    named = {f"vssm_encoder.{key}": value for key, value in encoder.adapt_state_dict(state).items()}
    return named if any(key in network.state_dict() for key in named) else dict(state)


class VSSBlock(nn.Module):
    """Pre-norm scan layer with a residual path."""

    def __init__(self, dim: int, d_state: int, drop_path: float = 0.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim)
        self.self_attention = SS2D(dim, d_state=d_state, dropout=dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, Y, X, C)``."""
        return x + self.drop_path(self.self_attention(self.ln_1(x)))  # type: ignore[no-any-return]


class VSSLayer(nn.Module):
    """Blocks on one grid, computed again in the backward pass where wanted."""

    def __init__(
        self, dim: int, d_state: int, drop_paths: Sequence[float], dropout: float, *, use_checkpoint: bool
    ) -> None:
        super().__init__()
        self.use_checkpoint = use_checkpoint
        self.blocks = nn.ModuleList(VSSBlock(dim, d_state, rate, dropout) for rate in drop_paths)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, Y, X, C)``."""
        for block in self.blocks:
            x = recompute(block, x) if self.use_checkpoint else block(x)
        return x


class PatchEmbed(nn.Module):
    """Convolution without overlap and layer norm, to channels-last."""

    def __init__(self, in_chans: int, dim: int, patch_size: int, *, norm: bool) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, patch_size, patch_size)
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to ``(N, Y / p, X / p, dim)``."""
        out: Tensor = self.norm(self.proj(x).movedim(1, -1))
        return out


class PatchMerging(nn.Module):
    """Cells of two pixels a side joined on the channels, norm, linear; an odd last row or column is dropped."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, Y, X, C)`` to ``(N, Y // 2, X // 2, 2 C)``."""
        even = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
        out: Tensor = self.reduction(self.norm(merge_patches(even)))
        return out


class VSSMEncoder(nn.Module):
    """Patch embedding and stages of scan blocks with patch merging between them; arguments have the authors' names.

    ``d_state`` None means ``ceil(dims[0] / 6)``.

    Raises
    ------
    ValueError
        When widths do not double from stage to stage, as merging makes them.
    """

    def __init__(
        self,
        patch_size: int = 4,
        in_chans: int = 3,
        depths: Sequence[int] = (2, 2, 9, 2),
        dims: int | Sequence[int] = (96, 192, 384, 768),
        d_state: int | None = 16,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        patch_norm: bool = True,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.dims = widths(dims, len(depths))
        if self.dims != widths(self.dims[0], len(depths)):
            raise ValueError(f"dims: expected widths that double from stage to stage; got {self.dims}")
        states = math.ceil(self.dims[0] / 6) if d_state is None else d_state
        self.patch_embed = PatchEmbed(in_chans, self.dims[0], patch_size, norm=patch_norm)
        self.pos_drop = nn.Dropout(drop_rate)
        rates = linear_rates(drop_path_rate, sum(depths))
        starts = [sum(depths[:stage]) for stage in range(len(depths))]
        self.layers = nn.ModuleList(
            VSSLayer(dim, states, rates[start : start + depth], attn_drop_rate, use_checkpoint=use_checkpoint)
            for dim, start, depth in zip(self.dims, starts, depths, strict=True)
        )
        self.downsamples = nn.ModuleList(PatchMerging(dim) for dim in self.dims[:-1])
        self.apply(initialise_linear)

    def adapt_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert weights of VMamba's first version, a classifier, to this encoder's names.

        As in the authors' loader, its embedding is left out where this encoder's patches have other sides.
        """
        named = {rename(key, _VMAMBA_NAMES): value for key, value in under(state, "backbone.").items()}
        own = self.state_dict()
        if not any(key in own for key in named):
            return dict(state)
        embedding = named.get("patch_embed.proj.weight")
        fits = embedding is None or embedding.shape[2:] == own["patch_embed.proj.weight"].shape[2:]
        spare = _CLASSIFIER if fits else (*_CLASSIFIER, "patch_embed.proj.", "patch_embed.norm.weight")
        return {key: value for key, value in named.items() if not key.startswith(spare)}

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map ``(N, C, Y, X)`` to the input itself and one channels-first map a stage."""
        features = [x]
        x = self.pos_drop(self.patch_embed(x))
        for stage, layer in enumerate(self.layers):
            x = layer(self.downsamples[stage - 1](x) if stage else x)
            features.append(x.movedim(-1, 1))
        return features
