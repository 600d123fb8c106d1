"""SegMamba.

Xing et al., "SegMamba: Long-range Sequential Modeling Mamba For 3D Medical Image Segmentation", MICCAI 2024,
arXiv:2401.13560; parameter names as in github.com/ge-xing/SegMamba.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional

from itkit.models.blocks.recompute import recompute
from itkit.models.segmamba.mamba import TriMamba
from itkit.models.unetr.convs import Convolution, DecoderUp, StemBlock, parse_norm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SLICES = (64, 32, 16, 8)
"""Pieces of the scan across slices at each stage, made for inputs of 128 voxels a side."""
_OUT_WIDTH = 48
"""Width that the authors' output layer reads, whatever feat_size says."""


class GatedSpatialConv(nn.Module):
    """Two convolution branches, added, projected, and added to the input.

    The paper describes a product of the branches; the released code and weights use the sum, and so does this.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(dim, dim, 3, padding=1)
        self.proj2 = nn.Conv3d(dim, dim, 3, padding=1)
        self.proj3 = nn.Conv3d(dim, dim, 1)
        self.proj4 = nn.Conv3d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, C, Z, Y, X)``."""
        local = _norm_relu(self.proj2(_norm_relu(self.proj(x))))
        return x + _norm_relu(self.proj4(local + _norm_relu(self.proj3(x))))


def _norm_relu(x: Tensor) -> Tensor:
    return functional.relu(functional.instance_norm(x))


class MambaLayer(nn.Module):
    """Pre-norm tri-oriented Mamba on the voxels of a map, with a residual path."""

    def __init__(self, dim: int, slices: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mamba = TriMamba(dim, slices)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, C, Z, Y, X)``; tokens run with X fastest."""
        tokens = x.flatten(2).transpose(1, 2)
        return x + self.mamba(self.norm(tokens)).transpose(1, 2).reshape(x.shape)  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Two 1x1x1 convolutions around a GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv3d(dim, hidden, 1)
        self.fc2 = nn.Conv3d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, C, Z, Y, X)``."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class MambaEncoder(nn.Module):
    """Four stages of downsampling, gated convolution and Mamba layers.

    Parameters
    ----------
    in_chans
        Channels of the image.
    depths, dims, slices
        Layers, width and number of slices of each stage.
    use_checkpoint
        Compute the stages again in the backward pass instead of keeping their activations.
    """

    def __init__(
        self, in_chans: int, depths: Sequence[int], dims: Sequence[int], slices: Sequence[int], *, use_checkpoint: bool
    ) -> None:
        super().__init__()
        self.use_checkpoint = use_checkpoint
        self.downsample_layers = nn.ModuleList([nn.Sequential(nn.Conv3d(in_chans, dims[0], 7, 2, 3))])
        for dim, next_dim in itertools.pairwise(dims):
            self.downsample_layers.append(nn.Sequential(nn.InstanceNorm3d(dim), nn.Conv3d(dim, next_dim, 2, 2)))
        self.stages = nn.ModuleList(
            nn.Sequential(*(MambaLayer(dim, pieces) for _ in range(depth)))
            for depth, dim, pieces in zip(depths, dims, slices, strict=True)
        )
        self.gscs = nn.ModuleList(GatedSpatialConv(dim) for dim in dims)
        self.mlps = nn.ModuleList(MLP(dim, 2 * dim) for dim in dims)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map ``(N, C, Z, Y, X)`` to maps at 1/2, 1/4, 1/8 and 1/16 of its sides."""
        features = []
        for down, gsc, stage, mlp in zip(self.downsample_layers, self.gscs, self.stages, self.mlps, strict=True):
            x = down(x)
            x = recompute(gsc, x) if self.use_checkpoint else gsc(x)
            for layer in stage.children():
                x = recompute(layer, x) if self.use_checkpoint else layer(x)
            features.append(mlp(functional.instance_norm(x)))
        return features


class SegMamba(nn.Module):
    """Mamba encoder with a convolutional decoder in the manner of UNETR.

    Arguments have the authors' names and defaults; `conv_block`, `drop_path_rate` and `layer_scale_init_value` have no
    effect, as there. Image sides must be multiples of 16 whose sixteenths multiply to a multiple of 8.

    Parameters
    ----------
    in_chans, out_chans
        Channels of image and logits.
    depths, feat_size
        Mamba layers and width of each of the four stages.
    hidden_size
        Width of the deepest decoder input.
    norm_name, res_block
        Norm of the convolution blocks, and whether they have a residual path.
    use_checkpoint
        Save memory in training by computing the encoder twice.

    Raises
    ------
    ValueError
        When there are not four stages, or `spatial_dims` is not 3.
    """

    def __init__(
        self,
        in_chans: int = 1,
        out_chans: int = 13,
        depths: Sequence[int] = (2, 2, 2, 2),
        feat_size: Sequence[int] = (48, 96, 192, 384),
        drop_path_rate: float = 0,
        layer_scale_init_value: float = 1e-6,
        hidden_size: int = 768,
        norm_name: str | Sequence[Any] = "instance",
        conv_block: bool = True,
        res_block: bool = True,
        spatial_dims: int = 3,
        *,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        del drop_path_rate, layer_scale_init_value, conv_block
        if spatial_dims != 3:
            raise ValueError(f"spatial_dims: SegMamba is 3-D; got {spatial_dims}")
        for name, given in (("depths", depths), ("feat_size", feat_size)):
            if len(given) != 4:
                raise ValueError(f"{name}: expected 4 numbers, one a stage; got {len(given)}")
        norm = parse_norm(norm_name)
        c0, c1, c2, c3 = feat_size

        def block(channels: int, width: int) -> StemBlock:
            return StemBlock(channels, width, 3, norm, residual=res_block)

        def up(channels: int, width: int) -> DecoderUp:
            return DecoderUp(channels, width, 3, norm, residual=res_block)

        self.vit = MambaEncoder(in_chans, depths, feat_size, SLICES, use_checkpoint=use_checkpoint)
        self.encoder1 = block(in_chans, c0)
        self.encoder2 = block(c0, c1)
        self.encoder3 = block(c1, c2)
        self.encoder4 = block(c2, c3)
        self.encoder5 = block(c3, hidden_size)
        self.decoder5 = up(hidden_size, c3)
        self.decoder4 = up(c3, c2)
        self.decoder3 = up(c2, c1)
        self.decoder2 = up(c1, c0)
        self.decoder1 = block(c0, c0)
        self.out = Convolution(Convolution(nn.Conv3d(c0, out_chans, 1)))

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, C, Z, Y, X)`` to logits ``(N, K, Z, Y, X)``."""
        if any(side % 16 for side in image.shape[2:]):
            raise ValueError(f"image: expected sides that are multiples of 16; got {tuple(image.shape[2:])} ZYX")
        half, quarter, eighth, sixteenth = self.vit(image)
        x = self.encoder5(sixteenth)
        x = self.decoder5(x, self.encoder4(eighth))
        x = self.decoder4(x, self.encoder3(quarter))
        x = self.decoder3(x, self.encoder2(half))
        x = self.decoder2(x, self.encoder1(image))
        out: Tensor = self.out(self.decoder1(x))
        return out


def build(*, in_channels: int, num_classes: int, spatial_dims: int, **options: Any) -> SegMamba:
    """Build SegMamba for segmentation, of any width."""
    return SegMamba(in_channels, num_classes, spatial_dims=spatial_dims, **options)


def from_config(config: Mapping[str, Any], official_class: str) -> SegMamba:
    """Build the authors' class, with its limit to a first width of 48."""
    del official_class
    width = config.get("feat_size", [_OUT_WIDTH])[0]
    if width != _OUT_WIDTH:
        raise ValueError(f"feat_size: the authors' output layer expects a first width of {_OUT_WIDTH}; got {width}")
    return SegMamba(**config)
