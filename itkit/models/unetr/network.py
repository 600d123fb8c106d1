"""UNETR.

Hatamizadeh et al., "UNETR: Transformers for 3D Medical Image Segmentation", WACV 2022 (arXiv:2103.10504); parameter
names as in github.com/Project-MONAI/MONAI.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from itkit.models.blocks.by_dims import CONV, require_dims
from itkit.models.blocks.released import rename
from itkit.models.unetr.convs import Convolution, DecoderUp, ProjectionUp, StemBlock, parse_norm
from itkit.models.unetr.vit import PATCH, ViT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PRETRAINING_NAMES = (
    (r"\b(position_embeddings|patch_embeddings)_3d\b", r"\1"),
    (r"^((?:transformer|vit)\.)patch_embeddings\.", r"\1patch_embedding.patch_embeddings."),
)
LAYOUTS = ("0.6", "1.0", "1.4", "1.6")
"""MONAI releases from which the key names changed; the outputs agree."""


class UNETR(nn.Module):
    """Vision transformer encoder, convolutional decoder; the input size is fixed.

    Parameters
    ----------
    in_channels, out_channels
        Channels of image and logits.
    img_size
        Input size, one side or one per axis, multiples of 16.
    feature_size
        Channels at full resolution.
    hidden_size, mlp_dim, num_heads
        Widths of the transformer's twelve layers.
    proj_type
        ``"conv"`` or ``"perceptron"``: how a patch becomes a token.
    norm_name
        ``"instance"``, ``"batch"`` or ``"group"``, alone or as ``(name, options)``.
    conv_block
        Convolve after each doubling on the skip paths.
    res_block
        Residual convolution blocks.
    dropout_rate
        Dropout in the transformer.
    spatial_dims
        2 or 3.
    qkv_bias
        Bias of the joint attention projection.
    save_attn
        Accepted for compatibility; attention maps aren't kept.
    layout
        One of :data:`LAYOUTS`: which release's key names to use.
    use_checkpoint
        Recompute transformer blocks in the backward pass.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        img_size: int | Sequence[int],
        feature_size: int = 16,
        hidden_size: int = 768,
        mlp_dim: int = 3072,
        num_heads: int = 12,
        proj_type: str = "conv",
        norm_name: str | Sequence[Any] = "instance",
        conv_block: bool = True,
        res_block: bool = True,
        dropout_rate: float = 0.0,
        spatial_dims: int = 3,
        qkv_bias: bool = False,
        save_attn: bool = False,
        *,
        layout: str = "1.6",
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        del save_attn
        size = (img_size,) * spatial_dims if isinstance(img_size, int) else tuple(img_size)
        _check(size, hidden_size, num_heads, proj_type, dropout_rate, spatial_dims, layout)
        norm = parse_norm(norm_name)
        widths = [feature_size * 2**level for level in range(4)]
        self.grid = tuple(side // PATCH for side in size)
        self.vit = ViT(
            in_channels,
            size,
            hidden_size,
            mlp_dim,
            num_heads,
            proj_type=proj_type,
            dropout_rate=dropout_rate,
            qkv_bias=qkv_bias,
            layout=layout,
            use_checkpoint=use_checkpoint,
        )
        self.encoder1 = StemBlock(in_channels, feature_size, spatial_dims, norm, residual=res_block)
        for level in (1, 2, 3):
            skip = ProjectionUp(
                hidden_size,
                widths[level],
                3 - level,
                spatial_dims,
                norm,
                conv_block=conv_block,
                residual=res_block,
                always_project=layout == "0.6",
            )
            setattr(self, f"encoder{level + 1}", skip)
        for level, channels in ((3, hidden_size), (2, widths[3]), (1, widths[2]), (0, widths[1])):
            up = DecoderUp(channels, widths[level], spatial_dims, norm, residual=res_block)
            setattr(self, f"decoder{level + 2}", up)
        self.out = nn.Module()
        self.out.conv = Convolution(CONV[spatial_dims](feature_size, out_channels, 1))

    def _map(self, tokens: Tensor) -> Tensor:
        batch, _, hidden = tokens.shape
        return tokens.transpose(1, 2).reshape(batch, hidden, *self.grid)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, C, *img_size)`` to logits of the same size."""
        tokens, hidden = self.vit(image)
        skips = [self.encoder1(image)]
        skips += [getattr(self, f"encoder{index}")(self._map(hidden[3 * (index - 1)])) for index in (2, 3, 4)]
        x = self._map(tokens)
        for level in (3, 2, 1, 0):
            x = getattr(self, f"decoder{level + 2}")(x, skips[level])
        return self.out.conv(x)  # type: ignore[no-any-return, operator]

    def adapt_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert another release's weights to this network's layout and kind of patch projection.

        Unused tensors that this layout lacks are left out; values are rearranged, never changed. The transformer that
        the authors pre-train on images alone has names of its own, which their ``load_from`` lists.
        """
        state = {rename(key, _PRETRAINING_NAMES): value for key, value in state.items()}
        own = self.state_dict()
        dims = len(self.grid)
        patches = "vit.patch_embedding.patch_embeddings"
        spare = re.compile(r"cross_attn|cls_token|^encoder[23]\.blocks\.\d+\.1\.(conv|norm)3\.")
        known = {key.removeprefix("vit.") for key in own}  # the transformer may come with any prefix, or with none
        converted = {
            key: value
            for key, value in state.items()
            if not spare.search(key) or known & {key, key.removeprefix("vit."), key.partition(".")[2]}
        }
        if f"{patches}.weight" in own and f"{patches}.1.weight" in converted:
            weight = converted.pop(f"{patches}.1.weight")
            weight = weight.reshape(len(weight), *[PATCH] * dims, -1).movedim(-1, 1)
            converted |= {f"{patches}.weight": weight, f"{patches}.bias": converted.pop(f"{patches}.1.bias")}
        elif f"{patches}.1.weight" in own and f"{patches}.weight" in converted:
            weight = converted.pop(f"{patches}.weight").movedim(1, -1).flatten(1)
            converted |= {f"{patches}.1.weight": weight, f"{patches}.1.bias": converted.pop(f"{patches}.bias")}
        return converted


def _check(
    size: Sequence[int],
    hidden_size: int,
    num_heads: int,
    proj_type: str,
    dropout_rate: float,
    spatial_dims: int,
    layout: str,
) -> None:
    require_dims("UNETR", spatial_dims, 2, 3)
    if len(size) != spatial_dims or any(side < PATCH or side % PATCH for side in size):
        raise ValueError(f"img_size: expected {spatial_dims} multiples of {PATCH}; got {tuple(size)}")
    if hidden_size % num_heads:
        raise ValueError(f"hidden_size must be a multiple of num_heads; got {hidden_size} and {num_heads}")
    if proj_type not in {"conv", "perceptron"}:
        raise ValueError(f"proj_type must be 'conv' or 'perceptron'; got {proj_type!r}")
    if not 0 <= dropout_rate <= 1:
        raise ValueError(f"dropout_rate must lie between 0 and 1; got {dropout_rate}")
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}; got {layout!r}")


def build(
    *,
    in_channels: int,
    num_classes: int,
    spatial_dims: int,
    image_size: int | Sequence[int] = 96,
    layout: str = "1.0",
    **options: Any,
) -> UNETR:
    """Build UNETR for one image size; by default in the layout without unused parameters."""
    return UNETR(in_channels, num_classes, image_size, spatial_dims=spatial_dims, layout=layout, **options)


def layout_of(release: str) -> str:
    """Find the key layout of a MONAI release, e.g. ``"monai==1.5.2"``; the newest for a text without a release.

    Examples
    --------
    >>> layout_of("monai==1.5.2")
    '1.4'
    """
    found = re.search(r"monai\s*==\s*v?(\d+)\.(\d+)", release, re.IGNORECASE)
    if not found:
        return LAYOUTS[-1]
    version = (int(found[1]), int(found[2]))
    firsts = [tuple(map(int, layout.split("."))) for layout in LAYOUTS]
    return LAYOUTS[max(0, sum(first <= version for first in firsts) - 1)]


def from_config(config: Mapping[str, Any], official_class: str, commit: str | None = None) -> UNETR:
    """Build MONAI's class from its own arguments; ``commit`` names the release, for its key layout and defaults."""
    del official_class
    arguments = dict(config)
    layout = arguments.setdefault("layout", layout_of(commit or ""))
    if "pos_embed" in arguments:
        arguments.setdefault("proj_type", arguments.pop("pos_embed"))
    if layout == "0.6":
        arguments = {"conv_block": False, "res_block": False, **arguments}
    return UNETR(**arguments)
