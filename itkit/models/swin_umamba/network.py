"""Swin-UMamba with a convolutional decoder.

Liu et al., "Swin-UMamba: Mamba-based UNet with ImageNet-based pretraining", MICCAI 2024, arXiv:2402.03302; parameter
names as in github.com/JiarunLiu/Swin-UMamba.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from itkit.models.blocks.by_dims import require_dims, resize
from itkit.models.swin_umamba.encoder import VSSMEncoder, with_encoder
from itkit.models.unetr.convs import Convolution, DecoderUp, StemBlock, parse_norm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENCODER_WIDTHS = (96, 192, 384, 768)
"""Widths of the authors' encoder, which is fixed."""
_DROP_PATH = 0.2


class SwinUMamba(nn.Module):
    """VMamba encoder behind a strided stem, residual convolution blocks on every scale.

    Arguments have the authors' names and defaults; `drop_path_rate` and `layer_scale_init_value` have no effect, as
    there. Image sides must be multiples of 32.

    Parameters
    ----------
    in_chans, out_chans
        Channels of image and logits.
    feat_size
        Width of the full resolution, then of the encoder's four stages, which double.
    hidden_size
        Width of the encoder's last stage once more.
    norm_name, res_block
        Norm of the convolution blocks, and whether they have a residual path.
    deep_supervision
        Return a list of logits at 1, 1/2, 1/4 and 1/8 of the image's sides, in evaluation too.
    depths, use_checkpoint
        Blocks of the encoder's stages; compute them again in the backward pass.

    Raises
    ------
    ValueError
        When widths do not fit the encoder, or `spatial_dims` is not 2.
    """

    def __init__(
        self,
        in_chans: int = 1,
        out_chans: int = 13,
        feat_size: Sequence[int] = (48, 96, 192, 384, 768),
        drop_path_rate: float = 0,
        layer_scale_init_value: float = 1e-6,
        hidden_size: int = 768,
        norm_name: str | Sequence[Any] = "instance",
        res_block: bool = True,
        spatial_dims: int = 2,
        deep_supervision: bool = False,
        *,
        depths: Sequence[int] = (2, 2, 9, 2),
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        del drop_path_rate, layer_scale_init_value
        require_dims("Swin-UMamba", spatial_dims, 2)
        if len(feat_size) != 5:
            raise ValueError(f"feat_size: expected 5 widths; got {len(feat_size)}")
        if hidden_size != feat_size[4]:
            raise ValueError(f"hidden_size: expected the last width of feat_size, {feat_size[4]}; got {hidden_size}")
        norm = parse_norm(norm_name)
        f0, f1, f2, f3, f4 = feat_size

        def block(channels: int, width: int) -> StemBlock:
            return StemBlock(channels, width, 2, norm, residual=res_block)

        def up(channels: int, width: int) -> DecoderUp:
            return DecoderUp(channels, width, 2, norm, residual=res_block)

        self.deep_supervision = deep_supervision
        self.stem = nn.Sequential(nn.Conv2d(in_chans, f0, 7, 2, 3), nn.InstanceNorm2d(f0, affine=True))
        self.vssm_encoder = VSSMEncoder(
            2, f0, depths, feat_size[1:], drop_path_rate=_DROP_PATH, use_checkpoint=use_checkpoint
        )
        self.encoder1 = block(in_chans, f0)
        self.encoder2 = block(f0, f1)
        self.encoder3 = block(f1, f2)
        self.encoder4 = block(f2, f3)
        self.encoder5 = block(f3, f4)
        self.decoder6 = up(hidden_size, f4)
        self.decoder5 = up(hidden_size, f3)
        self.decoder4 = up(f3, f2)
        self.decoder3 = up(f2, f1)
        self.decoder2 = up(f1, f0)
        self.decoder1 = block(f0, f0)
        self.out_layers = nn.ModuleList(
            Convolution(Convolution(nn.Conv2d(width, out_chans, 1))) for width in feat_size[:4]
        )

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Map ``(N, C, Y, X)`` to logits ``(N, K, Y, X)``, or to the list of deep supervision."""
        if any(side % 32 for side in image.shape[2:]):
            raise ValueError(f"image: expected sides that are multiples of 32; got {tuple(image.shape[2:])} YX")
        half, quarter, eighth, sixteenth, deepest = self.vssm_encoder(self.stem(image))
        x = self.decoder6(deepest, self.encoder5(sixteenth))
        at_eighth = self.decoder5(x, self.encoder4(eighth))
        at_quarter = self.decoder4(at_eighth, self.encoder3(quarter))
        at_half = self.decoder3(at_quarter, self.encoder2(half))
        full = self.decoder1(self.decoder2(at_half, self.encoder1(image)))
        if not self.deep_supervision:
            logits: Tensor = self.out_layers[0](full)
            return logits
        maps = (full, at_half, at_quarter, at_eighth)
        return [layer(x) for layer, x in zip(self.out_layers, maps, strict=True)]

    def adapt_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert the file that the authors start the encoder from to this network's names."""
        return with_encoder(self, state)

    def to_logits(self, output: Tensor | list[Tensor], size: Sequence[int]) -> list[Tensor]:
        """Resize all outputs to ``size``."""
        outputs = [output] if isinstance(output, Tensor) else output
        return [resize(logits, size) for logits in outputs]


def build(
    *, in_channels: int, num_classes: int, spatial_dims: int, deep_supervision: bool = False, **options: Any
) -> SwinUMamba:
    """Build Swin-UMamba for segmentation, of any width; heads that go unused are frozen."""
    feat_size = options.pop("feat_size", (48, *ENCODER_WIDTHS))
    network = SwinUMamba(
        in_channels,
        num_classes,
        feat_size,
        hidden_size=options.pop("hidden_size", feat_size[-1]),
        spatial_dims=spatial_dims,
        deep_supervision=deep_supervision,
        **options,
    )
    for head in network.out_layers[1:]:
        head.requires_grad_(deep_supervision)
    return network


def from_config(config: Mapping[str, Any], official_class: str) -> SwinUMamba:
    """Build the authors' class, with its fixed encoder."""
    del official_class
    given = tuple(config.get("feat_size", (48, *ENCODER_WIDTHS))[1:])
    if given != ENCODER_WIDTHS:
        raise ValueError(f"feat_size: the authors' encoder has the widths {ENCODER_WIDTHS}; got {given}")
    return SwinUMamba(**config)
