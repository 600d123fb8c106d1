"""VMamba as classifier and as backbone.

Liu et al., "VMamba: Visual State Space Model", NeurIPS 2024, arXiv:2401.10166; parameter names as in
github.com/MzeroMiko/VMamba. The volumetric form, with more routes, is this toolkit's own.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.models.blocks.cross_scan import CROSS, volume_routes
from itkit.models.blocks.drop_path import linear_rates
from itkit.models.blocks.released import rename, under
from itkit.models.vmamba.layers import (
    MLP,
    NORMS,
    Stage,
    VSSBlock,
    downsampling,
    is_channels_first,
    make_norm,
    patch_embedding,
)
from itkit.models.vmamba.ss2d import SS2D

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OLD_NAMES = (
    (r"^patch_embed\.proj\.", "patch_embed.0."),
    (r"^patch_embed\.norm\.", "patch_embed.2."),
    (r"\.ln_1\.", ".norm."),
    (r"\.self_attention\.", ".op."),
    (r"^norm\.", "classifier.norm."),
    (r"^head\.", "classifier.head."),
)


def widths(dims: int | Sequence[int], stages: int) -> list[int]:
    """Return one width a stage; a single number doubles from stage to stage."""
    if isinstance(dims, int):
        return [dims * 2**stage for stage in range(stages)]
    if len(dims) != stages:
        raise ValueError(f"dims: expected {stages} widths, one a stage of depths; got {len(dims)}")
    return list(dims)


class Classifier(nn.Module):
    """Norm, mean over the map, linear."""

    def __init__(self, dim: int, num_classes: int, norm_layer: str, spatial_dims: int) -> None:
        super().__init__()
        self.channels_first = is_channels_first(norm_layer)
        self.norm = make_norm(norm_layer, dim, spatial_dims)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map the trunk's last map to ``(N, classes)``."""
        x = self.norm(x)
        pooled = x.flatten(2).mean(2) if self.channels_first else x.flatten(1, -2).mean(1)
        out: Tensor = self.head(pooled)
        return out


class VSSM(nn.Module):
    """VMamba classifier: stem, stages of blocks with downsampling between them, head.

    Arguments have the authors' names and defaults. A map is channels-last with norm_layer "ln", channels-first with
    "ln2d" and "bn"; the numbers are the same. `spatial_dims` 3 with `directions` (6 or 12 routes) makes it volumetric.

    Raises
    ------
    ValueError
        For an argument that names nothing known or does not fit the others.
    """

    def __init__(
        self,
        patch_size: int = 4,
        in_chans: int = 3,
        num_classes: int = 1000,
        depths: Sequence[int] = (2, 2, 9, 2),
        dims: int | Sequence[int] = (96, 192, 384, 768),
        ssm_d_state: int = 16,
        ssm_ratio: float = 2.0,
        ssm_dt_rank: int | str = "auto",
        ssm_act_layer: str = "silu",
        ssm_conv: int = 3,
        ssm_conv_bias: bool = True,
        ssm_drop_rate: float = 0.0,
        ssm_init: str = "v0",
        forward_type: str = "v2",
        mlp_ratio: float = 4.0,
        mlp_act_layer: str = "gelu",
        mlp_drop_rate: float = 0.0,
        gmlp: bool = False,
        drop_path_rate: float = 0.1,
        patch_norm: bool = True,
        norm_layer: str = "LN",
        downsample_version: str = "v2",
        patchembed_version: str = "v1",
        use_checkpoint: bool = False,
        posembed: bool = False,
        imgsize: int | Sequence[int] = 224,
        *,
        spatial_dims: int = 2,
        directions: int = 6,
    ) -> None:
        super().__init__()
        norm_layer = norm_layer.lower()
        if norm_layer not in NORMS:
            raise ValueError(f"norm_layer: expected one of {', '.join(NORMS)}; got {norm_layer!r}")
        if spatial_dims not in {2, 3}:
            raise ValueError(f"spatial_dims: expected 2 or 3; got {spatial_dims}")
        self.norm_layer, self.spatial_dims, self.use_checkpoint = norm_layer, spatial_dims, use_checkpoint
        self.channels_first = is_channels_first(norm_layer)
        self.dims = widths(dims, len(depths))
        self.patch_embed = patch_embedding(
            in_chans, self.dims[0], patch_size, patchembed_version, norm_layer, spatial_dims, norm=patch_norm
        )
        self.pos_embed: nn.Parameter | None = None
        if posembed:
            sides = [imgsize] * spatial_dims if isinstance(imgsize, int) else list(imgsize)
            grid = torch.empty(1, self.dims[0], *(side // patch_size for side in sides))
            self.pos_embed = nn.Parameter(nn.init.trunc_normal_(grid, std=0.02))
        norm = partial(make_norm, norm_layer, spatial_dims=spatial_dims)
        op = partial(
            SS2D,
            d_state=ssm_d_state,
            ssm_ratio=ssm_ratio,
            dt_rank=ssm_dt_rank,
            act_layer=ssm_act_layer,
            d_conv=ssm_conv,
            conv_bias=ssm_conv_bias,
            dropout=ssm_drop_rate,
            initialize=ssm_init,
            forward_type=forward_type,
            channels_first=self.channels_first,
            spatial_dims=spatial_dims,
            routes=CROSS if spatial_dims == 2 else volume_routes(directions),
        )

        def mlp(dim: int) -> MLP:
            hidden = int(mlp_ratio * dim)
            return MLP(dim, hidden, mlp_act_layer, mlp_drop_rate, channels_first=self.channels_first, gated=gmlp)

        rates = iter(linear_rates(drop_path_rate, sum(depths)))
        self.layers = nn.ModuleList()
        for dim, next_dim, depth in zip(self.dims, [*self.dims[1:], 0], depths, strict=True):
            blocks = [
                VSSBlock(dim, norm, op if ssm_ratio > 0 else None, mlp if mlp_ratio > 0 else None, next(rates))
                for _ in range(depth)
            ]
            down = downsampling(dim, next_dim, downsample_version, norm_layer, spatial_dims) if next_dim else None
            self.layers.append(Stage(blocks, down))
        self.classifier: nn.Module | None = Classifier(self.dims[-1], num_classes, norm_layer, spatial_dims)
        self.apply(initialise_linear)
        self.register_load_state_dict_pre_hook(rename_old_keys)  # type: ignore[no-untyped-call]

    def embed(self, image: Tensor) -> Tensor:
        """Map an image to the first stage's map, with the position embedding where there is one."""
        x: Tensor = self.patch_embed(image)
        if self.pos_embed is None:
            return x
        size = x.shape[2:] if self.channels_first else x.shape[1:-1]
        position = resize_positions(self.pos_embed, size)
        return x + (position if self.channels_first else position.movedim(1, -1))

    def stages(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return every stage's map before downsampling, and the trunk's last map."""
        x = self.embed(image)
        maps: list[Tensor] = []
        for layer in self.layers:
            output, x = layer(x, use_checkpoint=self.use_checkpoint)
            maps.append(output)
        return maps, x

    def adapt_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert weights of any release, with or without ``backbone.``, to this network's names and shapes.

        A backbone leaves out the classifier. Weights of something else stay as they are.
        """
        own = self.state_dict()
        renamed = {rename(key, OLD_NAMES): value for key, value in under(state, "backbone.").items()}
        if not any(key in own for key in renamed):
            return dict(state)
        spare = "classifier." if self.classifier is None else "outnorm"
        return {key: _flat(value, own.get(key)) for key, value in renamed.items() if not key.startswith(spare)}

    def forward(self, image: Tensor) -> Any:
        """Map ``(N, C, *spatial)`` to ``(N, classes)``."""
        x = self.stages(image)[1]
        return x if self.classifier is None else self.classifier(x)


class BackboneVSSM(VSSM):
    """VMamba without head: normalised feature maps of the stages in `out_indices`, channels first.

    With no index the trunk's last map alone, as it is. Other arguments as in :class:`VSSM`.
    """

    def __init__(self, out_indices: Sequence[int] = (0, 1, 2, 3), norm_layer: str = "ln", **options: Any) -> None:
        super().__init__(norm_layer=norm_layer, **options)
        self.classifier = None
        self.out_indices = tuple(out_indices)
        if any(not 0 <= index < len(self.dims) for index in self.out_indices):
            raise ValueError(f"out_indices: expected stages from 0 to {len(self.dims) - 1}; got {self.out_indices}")
        for index in self.out_indices:
            self.add_module(f"outnorm{index}", make_norm(self.norm_layer, self.dims[index], self.spatial_dims))

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Map ``(N, C, *spatial)`` to feature maps, finest first."""
        maps, last = self.stages(image)
        if not self.out_indices:
            return last
        features = [self.get_submodule(f"outnorm{index}")(maps[index]) for index in self.out_indices]
        return features if self.channels_first else [feature.movedim(-1, 1) for feature in features]


def _flat(value: Tensor, own: Tensor | None) -> Tensor:
    """Take the kernel of one voxel from a convolution that is a linear layer here."""
    is_kernel = own is not None and value.ndim > own.ndim and set(value.shape[own.ndim :]) == {1}
    return value.flatten(1) if is_kernel and own is not None and own.ndim == 2 else value


def resize_positions(position: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a position embedding ``(1, C, *grid)``: bicubic in 2-D, trilinear in 3-D."""
    if tuple(position.shape[2:]) == tuple(size):
        return position
    mode = "bicubic" if len(size) == 2 else "trilinear"
    return functional.interpolate(position, size=tuple(size), mode=mode, align_corners=False)


def initialise_linear(module: nn.Module) -> None:
    """Start linear layers from a truncated normal distribution with deviation 0.02 and no bias."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def rename_old_keys(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Give the entries of early checkpoints their present names, and resize a position embedding to this network's."""
    for key in [key for key in state_dict if key.startswith(prefix)]:
        state_dict[prefix + rename(key[len(prefix) :], OLD_NAMES)] = state_dict.pop(key)
    own, key = getattr(module, "pos_embed", None), f"{prefix}pos_embed"
    if own is not None and key in state_dict:
        state_dict[key] = resize_positions(state_dict[key], own.shape[2:])
