"""Other layouts in which EfficientFormer's weights circulate: the authors' segmentation networks, and timm's names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from itkit.models.blocks.released import rename, under

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_SPARE = re.compile(r"^(?:head|dist_head|norm[0246]?)\.")
_INDEX_TABLE = re.compile(r"\.attention_bias_idxs(?:_seg)?$")

_COMMON_RULES = (
    (r"^head_dist\.", "dist_head."),
    (r"\.ls([12])\.gamma$", r".layer_scale_\1"),
)
_V1_RULES = (
    (r"^stem\.conv1\.", "patch_embed.0."),
    (r"^stem\.norm1\.", "patch_embed.1."),
    (r"^stem\.conv2\.", "patch_embed.3."),
    (r"^stem\.norm2\.", "patch_embed.4."),
    (r"\.downsample\.conv\.", ".downsample.proj."),
)
_V2_RULES = (
    (r"^stem\.conv1\.conv\.", "patch_embed.0."),
    (r"^stem\.conv1\.bn\.", "patch_embed.1."),
    (r"^stem\.conv2\.conv\.", "patch_embed.3."),
    (r"^stem\.conv2\.bn\.", "patch_embed.4."),
    (r"\.downsample\.conv\.conv\.", ".downsample.proj."),
    (r"\.downsample\.conv\.bn\.", ".downsample.norm."),
    (r"\.mlp\.(fc1|mid|fc2)\.conv\.", r".mlp.\1."),
    (r"\.mlp\.fc1\.bn\.", ".mlp.norm1."),
    (r"\.mlp\.mid\.bn\.", ".mlp.mid_norm."),
    (r"\.mlp\.fc2\.bn\.", ".mlp.norm2."),
    (r"\.q\.local\.(?=weight|bias)", ".q.local.0."),
    (r"\.(q|k|v|v_local|stride_conv|q\.proj)\.conv\.", r".\1.0."),
    (r"\.(q|k|v|v_local|stride_conv|q\.proj)\.bn\.", r".\1.1."),
    (r"\.proj\.conv\.", ".proj.1."),
    (r"\.proj\.bn\.", ".proj.2."),
)


def adapted(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert weights to the names of a network.

    Parameters
    ----------
    state
        Weights under the authors' names, with or without ``backbone.``, or under timm's.
    own
        The network's state. Its index tables stand in for those that a file lacks.

    Returns
    -------
    dict of str to Tensor
        The converted weights, or the given ones where no name is known.
    """
    converted = under(state, "backbone.")
    if any(key.startswith("stem.") for key in converted):
        second = any(key.startswith("stem.conv1.conv.") for key in converted)
        converted = {_from_timm(key, second=second): value for key, value in converted.items()}
    if not any(key in own for key in converted):
        return dict(state)
    tables = {key: value for key, value in own.items() if _INDEX_TABLE.search(key)}
    kept = {key: value for key, value in converted.items() if key in own or not _SPARE.match(key)}
    return tables | {key: _shaped(key, value, own) for key, value in kept.items()}


def _shaped(key: str, value: Tensor, own: Mapping[str, Tensor]) -> Tensor:
    """Give a factor a channel, flat in timm's files, the authors' number of axes."""
    fits = ".layer_scale_" in key and key in own and own[key].numel() == value.numel()
    return value.reshape(own[key].shape) if fits else value


def _from_timm(key: str, *, second: bool) -> str:
    key = rename(key, (*_COMMON_RULES, *(_V2_RULES if second else _V1_RULES)))
    attention = second and key.startswith("stages.3.downsample.")
    if attention:
        key = re.sub(r"\.downsample\.proj\.", ".downsample.conv.", key)
        key = re.sub(r"\.downsample\.norm\.", ".downsample.bn.", key)
    key = re.sub(r"^stages\.(\d)\.blocks\.", lambda match: f"network.{2 * int(match[1])}.", key)
    return re.sub(r"^stages\.(\d)\.downsample\.", lambda match: f"network.{2 * int(match[1]) - 1}.", key)
