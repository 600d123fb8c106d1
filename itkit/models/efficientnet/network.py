"""Builders of EfficientNet in its three forms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch import nn

from itkit.core.errors import ModelError
from itkit.models.blocks.by_dims import require_dims
from itkit.models.blocks.released import ReleasedEncoderDecoder
from itkit.models.decoders import UNetDecoder
from itkit.models.efficientnet.classic import EfficientNet
from itkit.models.efficientnet.released import FORMS, require_form
from itkit.models.efficientnet.scaling import variant as look_up
from itkit.models.efficientnet.timm_form import TimmEfficientNet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class EfficientNetUNet(ReleasedEncoderDecoder):
    """Encoder of one of three forms, and decoder."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, form: str) -> None:
        super().__init__(encoder, decoder)
        self.form = form

    def check_form(self, names: Iterable[str], source: str, said: str | None) -> None:
        """Refuse weights that were trained with another padding and epsilon than this form's."""
        require_form(names, source, said, self.form)


def build(
    in_channels: int,
    num_classes: int,
    spatial_dims: int = 2,
    *,
    variant: str = "b0",
    form: str = "efficientnet_pytorch",
    decoder_width: int = 64,
    deep_supervision: bool = False,
    **options: Any,
) -> EfficientNetUNet:
    """Build an EfficientNet encoder with a U-Net decoder.

    Parameters
    ----------
    in_channels, num_classes
        Channels of the image and of the logits.
    spatial_dims
        Must be 2.
    variant
        b0 to b8 or l2.
    form
        Whose weights fit: ``efficientnet_pytorch``, ``timm_tf`` (timm's ``tf_efficientnet_*``) or ``timm`` (timm's
        ``efficientnet_*``, trained in PyTorch, with other padding and epsilon).
    decoder_width
        Channels of the decoder's finest map.
    deep_supervision
        Also return logits of the coarser maps in training.
    **options
        Arguments of :class:`EfficientNet` or :class:`TimmEfficientNet` that replace those of the variant. Padding
        follows the input (``image_size=None``) unless given.
    """
    require_dims("EfficientNet", spatial_dims, 2)
    if form not in FORMS:
        raise ModelError(f"form must be one of {', '.join(FORMS)}; got {form!r}")
    encoder: EfficientNet | TimmEfficientNet
    if form == "efficientnet_pytorch":
        known = {**_classic_options(variant), "image_size": None, "features_only": True}
        encoder = EfficientNet(**{**known, **options, "in_channels": in_channels})
    else:
        encoder = TimmEfficientNet(
            variant, tensorflow=form == "timm_tf", in_chans=in_channels, features_only=True, **options
        )
    decoder = UNetDecoder(
        encoder.channels, num_classes, spatial_dims, width=decoder_width, deep_supervision=deep_supervision
    )
    return EfficientNetUNet(encoder, decoder, form)


def _classic_options(variant: str) -> dict[str, Any]:
    found = look_up(variant)
    return {
        "width_coefficient": found.width,
        "depth_coefficient": found.depth,
        "image_size": found.image_size,
        "dropout_rate": found.dropout,
    }


def from_config(config: Mapping[str, Any], official_class: str) -> nn.Module:
    """Build the form of efficientnet_pytorch, ``EfficientNet.from_name``.

    Parameters
    ----------
    config
        ``model_name`` (``efficientnet-b0``, ...) and arguments of :class:`EfficientNet` that replace those of the name.
    official_class
        The authors' class; there is one.

    Raises
    ------
    TypeError, ValueError
        For an unknown name or argument.
    """
    del official_class
    arguments = dict(config)
    name = arguments.pop("model_name", "efficientnet-b0")
    found = re.fullmatch(r"efficientnet-(b\d|l2)", name)
    if not found:
        raise ModelError(f"model_name must be efficientnet-b0 to efficientnet-b8 or efficientnet-l2; got {name!r}")
    return EfficientNet(**{**_classic_options(found.group(1)), **arguments})


def from_timm_config(config: Mapping[str, Any], official_class: str) -> nn.Module:
    """Build timm's form, ``timm.create_model``.

    Parameters
    ----------
    config
        ``model_name`` (``tf_efficientnet_b0``, ``efficientnet_b0``, ...; a tag behind a dot is ignored) and arguments
        of :class:`TimmEfficientNet`.
    official_class
        The call, which names the model when ``config`` does not.

    Raises
    ------
    TypeError, ValueError
        For an unknown name or argument.
    """
    arguments = dict(config)
    quoted = re.search(r"['\"]([^'\"]+)['\"]", official_class)
    name = arguments.pop("model_name", quoted.group(1) if quoted else "")
    if arguments.pop("pretrained", False):
        raise ModelError("pretrained must be false: weights are loaded with load_pretrained")
    found = re.fullmatch(r"(tf_)?efficientnet_(b[0-8]|l2)(\.\w+)?", name)
    if not found:
        raise ModelError(f"model_name must be (tf_)efficientnet_b0 to b8 or l2; got {name!r}")
    return TimmEfficientNet(found.group(2), tensorflow=found.group(1) is not None, **arguments)
