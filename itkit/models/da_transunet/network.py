"""DA-TransUNet: TransUNet with position and channel attention before the transformer and on the skips.

Source: G. Sun et al., "DA-TransUNet: integrating spatial and channel dual attention with transformer U-net for medical
image segmentation", Front. Bioeng. Biotechnol. 12 (2024), arXiv:2310.12570; repository SUN-1024/DA-TransUnet. It stands
on TransUNet (J. Chen et al., arXiv:2102.04306) and DANet (J. Fu et al., arXiv:1809.02983).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.models.blocks.by_dims import require_dims
from itkit.models.blocks.recompute import recompute
from itkit.models.da_transunet.google import from_google, is_google
from itkit.models.da_transunet.hybrid import HybridStem
from itkit.models.da_transunet.layers import NORM_EPS, DualAttentionBlock, TransformerLayer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STRIDE = 16
_INNER_OPTIONS = {
    (): {
        "hidden_size": "hidden_size",
        "decoder_channels": "decoder_channels",
        "skip_channels": "skip_channels",
        "n_skip": "n_skip",
        "n_classes": "num_classes",
    },
    ("transformer",): {
        "mlp_dim": "mlp_dim",
        "num_heads": "num_heads",
        "num_layers": "num_layers",
        "dropout_rate": "dropout_rate",
        "attention_dropout_rate": "attention_dropout_rate",
    },
    ("resnet",): {"num_layers": "resnet_layers", "width_factor": "width_factor"},
    ("patches",): {"grid": "grid"},
}
"""Where the authors' configuration keeps the options of ``DATransUNet``."""
_WITHOUT_EFFECT = frozenset(
    (
        *("num_classes", "zero_head", "vis"),
        *("classifier", "representation_size", "resnet_pretrained_path", "pretrained_path", "patch_size", "size"),
        *("activation", "name"),
    )
)


class Embeddings(nn.Module):
    """Stem, patch projection, DA block and position embedding."""

    def __init__(
        self,
        stem: HybridStem,
        stem_channels: int,
        channels: int,
        grid: tuple[int, int],
        patch: tuple[int, int],
        dropout: float,
        reduction: int,
    ) -> None:
        super().__init__()
        self.position_embeddings = nn.Parameter(torch.zeros(1, grid[0] * grid[1], channels))
        self.DAblock1 = DualAttentionBlock(channels, reduction)
        self.hybrid_model = stem
        self.patch_embeddings = nn.Conv2d(stem_channels, channels, patch, patch)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map an image to tokens ``(N, T, C)`` and skips."""
        x, skips = self.hybrid_model(x)
        x = self.DAblock1(self.patch_embeddings(x))
        return self.dropout(x.flatten(2).transpose(1, 2) + self.position_embeddings), skips


class DecoderBlock(nn.Module):
    """Doubling, optional skip through the DA block that fits the width, two convolutions."""

    def __init__(
        self, in_channels: int, skip: int, out_channels: int, attention_channels: Sequence[int], reduction: int
    ) -> None:
        super().__init__()
        self.conv1 = _conv_bn_relu(in_channels + skip, out_channels)
        self.conv2 = _conv_bn_relu(out_channels, out_channels)
        self.da, self.da2, self.da3 = (DualAttentionBlock(channels, reduction) for channels in attention_channels)
        names = dict(zip(attention_channels, ("da", "da2", "da3"), strict=True))
        self.has_skip = skip > 0
        self.attention = names.get(in_channels) if skip else None

    def forward(self, x: Tensor, *skip: Tensor) -> Tensor:
        """Map ``(N, in, Y, X)`` and perhaps a skip ``(N, S, 2 Y, 2 X)`` to ``(N, out, 2 Y, 2 X)``."""
        x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
        refined = [getattr(self, self.attention)(s) if self.attention else s for s in skip]
        out: Tensor = self.conv2(self.conv1(torch.cat([x, *refined], dim=1)))
        return out


def _conv_bn_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()
    )


class Encoder(nn.Module):
    """Transformer layers and the norm after them."""

    def __init__(self, layers: Sequence[TransformerLayer], channels: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layers)
        self.encoder_norm = nn.LayerNorm(channels, eps=NORM_EPS)


class Transformer(nn.Module):
    """Embeddings and encoder."""

    def __init__(self, embeddings: Embeddings, encoder: Encoder) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.encoder = encoder


class Decoder(nn.Module):
    """Convolution after the transformer, and four decoder blocks."""

    def __init__(
        self,
        hidden_size: int,
        head_channels: int,
        skips: Sequence[int],
        widths: Sequence[int],
        attention_channels: Sequence[int],
        reduction: int,
    ) -> None:
        super().__init__()
        self.conv_more = _conv_bn_relu(hidden_size, head_channels)
        self.blocks = nn.ModuleList(
            DecoderBlock(before, skip, after, attention_channels, reduction)
            for before, skip, after in zip([head_channels, *widths[:-1]], skips, widths, strict=True)
        )


class DATransUNet(nn.Module):
    """DA-TransUNet of Sun et al.; the defaults are R50-ViT-B/16.

    Parameters
    ----------
    image_size
        Sides of the only input it takes, one number or (Y, X), multiples of 16.
    num_classes, in_channels
        Channels of output and input. With three input channels, an image with one is repeated.
    hidden_size, mlp_dim, num_heads, num_layers, dropout_rate, attention_dropout_rate
        The transformer.
    resnet_layers, width_factor, norm_groups
        Units of the stem's stages, its width divided by 64, and its group norms' groups.
    decoder_channels, skip_channels, n_skip
        Widths of the decoder's four blocks, channels of the skips, how many skips are used (0 to 3).
    head_channels
        Width between transformer and decoder.
    attention_channels
        Widths of the three DA blocks ``da``, ``da2`` and ``da3`` that every decoder block has. The one whose width is
        that of the block's input refines the skip; the others stay unused, as in the authors' files.
    attention_reduction
        By how much DA blocks reduce their channels.
    grid
        Patches along Y and X; by default ``image_size / 16``.
    use_checkpoint
        Whether transformer layers and decoder blocks recompute their activations in the backward pass.
    """

    def __init__(
        self,
        *,
        image_size: int | Sequence[int] = 224,
        num_classes: int = 2,
        in_channels: int = 3,
        hidden_size: int = 768,
        mlp_dim: int = 3072,
        num_heads: int = 12,
        num_layers: int = 12,
        dropout_rate: float = 0.1,
        attention_dropout_rate: float = 0.0,
        resnet_layers: Sequence[int] = (3, 4, 9),
        width_factor: float = 1,
        norm_groups: int = 32,
        decoder_channels: Sequence[int] = (256, 128, 64, 16),
        skip_channels: Sequence[int] = (512, 256, 64, 16),
        n_skip: int = 3,
        head_channels: int = 512,
        attention_channels: Sequence[int] = (64, 256, 512),
        attention_reduction: int = 16,
        grid: Sequence[int] | None = None,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        if len(sides) != 2 or any(side < STRIDE or side % STRIDE for side in sides):
            raise ValueError(f"image_size: expected two multiples of {STRIDE}; got {image_size}")
        if hidden_size % num_heads:
            raise ValueError(f"hidden_size: expected a multiple of {num_heads} heads; got {hidden_size}")
        if not 0 <= n_skip <= 3:
            raise ValueError(f"n_skip: expected 0 to 3; got {n_skip}")
        if len(decoder_channels) != 4 or len(skip_channels) != 4:
            raise ValueError(
                f"decoder_channels, skip_channels: expected four each; got {decoder_channels}, {skip_channels}"
            )
        patch = _patch(sides, grid)
        self.grid = (sides[0] // STRIDE // patch[0], sides[1] // STRIDE // patch[1])
        self.use_checkpoint = use_checkpoint
        self.repeats = in_channels == 3
        width = int(64 * width_factor)
        stem = HybridStem(in_channels, resnet_layers, width, norm_groups)
        layers = [
            TransformerLayer(hidden_size, mlp_dim, num_heads, dropout_rate, attention_dropout_rate)
            for _ in range(num_layers)
        ]
        self.transformer = Transformer(
            Embeddings(stem, 16 * width, hidden_size, self.grid, patch, dropout_rate, attention_reduction),
            Encoder(layers, hidden_size),
        )
        skips = [channels if level < n_skip else 0 for level, channels in enumerate(skip_channels)]
        self.decoder = Decoder(
            hidden_size, head_channels, skips, decoder_channels, attention_channels, attention_reduction
        )
        self.segmentation_head = nn.Sequential(nn.Conv2d(decoder_channels[-1], num_classes, 3, padding=1))

    def adapt_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert Google's archive ``R50+ViT-B_16.npz`` to this network's names."""
        return from_google(self, state) if is_google(state) else dict(state)

    def forward(self, x: Tensor) -> Tensor:
        """Segment ``(N, C, *image_size)`` to logits ``(N, K, *image_size)``."""
        if self.repeats and x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        call = recompute if self.use_checkpoint else _call
        tokens, skips = self.transformer.embeddings(x)
        for layer in self.transformer.encoder.layer:
            tokens = call(layer, tokens)
        tokens = self.transformer.encoder.encoder_norm(tokens)
        x = self.decoder.conv_more(tokens.transpose(1, 2).reshape(len(x), -1, *self.grid))
        for level, block in enumerate(self.decoder.blocks):
            x = call(block, x, *skips[level : level + 1]) if block.has_skip else call(block, x)
        out: Tensor = self.segmentation_head(x)
        return out

    def freeze_unused(self) -> None:
        """Freeze the parameters that no forward pass uses; they stay loadable."""
        for block in self.decoder.blocks:
            for name in ("da", "da2", "da3"):
                block.get_submodule(name).requires_grad_(requires_grad=name == block.attention)
        for module in self.modules():
            if isinstance(module, DualAttentionBlock):
                module.conv6.requires_grad_(requires_grad=False)
                module.conv7.requires_grad_(requires_grad=False)


def _call(module: nn.Module, *inputs: Tensor) -> Tensor:
    out: Tensor = module(*inputs)
    return out


def _patch(sides: Sequence[int], grid: Sequence[int] | None) -> tuple[int, int]:
    wanted = [side // STRIDE for side in sides] if grid is None else list(grid)
    patch = tuple(side // STRIDE // count for side, count in zip(sides, wanted, strict=True))
    if min(patch) < 1:
        raise ValueError(f"grid: expected at most {[side // STRIDE for side in sides]} patches; got {wanted}")
    return patch[0], patch[1]


def reference(config: Mapping[str, Any], official_class: str) -> DATransUNet:
    """Build ``DATransUNet`` from the authors' arguments ``config`` and ``img_size``.

    Entries without effect on the authors' network (``num_classes``, ``vis``, file names, ...) have none here. Unknown
    ones raise ``TypeError``.
    """
    options: dict[str, Any] = {"image_size": config.get("img_size", 224)}
    unknown = set(config) - {"config", "img_size"} - _WITHOUT_EFFECT
    inner = config.get("config", {})
    for path, names in _INNER_OPTIONS.items():
        section = inner.get(path[0], {}) if path else {k: v for k, v in inner.items() if (k,) not in _INNER_OPTIONS}
        unknown |= set(section) - set(names) - _WITHOUT_EFFECT
        options |= {names[key]: value for key, value in section.items() if key in names}
    if unknown:
        raise TypeError(f"DA_Transformer: unexpected argument {', '.join(sorted(unknown))}")
    return DATransUNet(**options)


def build(*, in_channels: int, num_classes: int, spatial_dims: int = 2, **options: Any) -> DATransUNet:
    """Build a segmentation network whose unused parameters are frozen.

    Parameters
    ----------
    in_channels, num_classes
        Channels of input and output; one input channel is repeated to the three of the pretrained stem.
    spatial_dims
        2; anything else raises ``ValueError``.
    **options
        Those of ``DATransUNet``.
    """
    require_dims("DA-TransUNet", spatial_dims, 2)
    channels = 3 if in_channels == 1 else in_channels
    network = DATransUNet(num_classes=num_classes, in_channels=channels, **options)
    network.freeze_unused()
    return network
