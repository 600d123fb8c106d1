"""Other names under which SegFormer's weights circulate: those of the transformers library, and of mmsegmentation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

from itkit.models.blocks.released import rename

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def _next(match: re.Match[str]) -> int:
    return int(match[1]) + 1


_BLOCK_RULES = (
    (r"\.(?:layer_norm_1|layernorm_before)\.", ".norm1."),
    (r"\.(?:layer_norm_2|layernorm_after)\.", ".norm2."),
    (r"\.attention\.(?:self\.query|q_proj)\.", ".attn.q."),
    (r"\.attention\.(?:self\.key|k_proj)\.", ".attn.key."),
    (r"\.attention\.(?:self\.value|v_proj)\.", ".attn.value."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.attention\.(?:self\.sr|sequence_reduction\.sequence_reduction)\.", ".attn.sr."),
    (r"\.attention\.(?:self|sequence_reduction)\.layer_norm\.", ".attn.norm."),
    (r"\.mlp\.dense([12])\.", r".mlp.fc\1."),
)
_HEAD_RULES = (
    (r"^decode_head\.linear_fuse\.(?=weight)", "decode_head.linear_fuse.conv."),
    (r"^decode_head\.batch_norm\.", "decode_head.linear_fuse.bn."),
    (r"^decode_head\.classifier\.", "decode_head.linear_pred."),
)


_MMSEG_RULES = (
    (r"^layers\.(\d)\.0\.projection\.", r"patch_embed\1.proj."),
    (r"^layers\.(\d)\.0\.norm\.", r"patch_embed\1.norm."),
    (r"^layers\.(\d)\.1\.", r"block\1."),
    (r"^layers\.(\d)\.2\.", r"norm\1."),
    (r"\.attn\.attn\.out_proj\.", ".attn.proj."),
    (r"\.ffn\.layers\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.dwconv.dwconv."),
    (r"\.ffn\.layers\.4\.", ".mlp.fc2."),
)


def is_mmseg(state: Mapping[str, Tensor]) -> bool:
    """Tell whether the names are those of mmsegmentation's ``MixVisionTransformer``, with or without ``backbone.``."""
    return any(re.match(r"(?:backbone\.)?layers\.\d\.0\.projection\.", key) for key in state)


def from_mmseg(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert mmsegmentation's encoder to the authors' names, with the prefix ``backbone.``.

    Its layers stand as in ``tools/model_converters/mit2mmseg.py`` of github.com/open-mmlab/mmsegmentation. Its head is
    another one, of convolutions with batch norms, and keeps its names.
    """
    converted: dict[str, Tensor] = {}
    for key, value in state.items():
        inner = key.removeprefix("backbone.")
        if not inner.startswith("layers."):
            converted[key] = value
            continue
        name = re.sub(r"^layers\.(\d)", lambda match: f"layers.{_next(match)}", inner)
        name = "backbone." + rename(name, _MMSEG_RULES)
        if ".attn.attn.in_proj_" in name:
            query, key_and_value = value.tensor_split([len(value) // 3])
            converted[name.replace(".attn.attn.in_proj_", ".attn.q.")] = query
            converted[name.replace(".attn.attn.in_proj_", ".attn.kv.")] = key_and_value
        else:
            is_linear = name.endswith(("mlp.fc1.weight", "mlp.fc2.weight"))
            converted[name] = value.flatten(1) if is_linear else value
    return converted


def is_transformers(state: Mapping[str, Tensor]) -> bool:
    """Tell whether the names are those of the transformers library."""
    return any(re.search(r"(?:^|\.)(?:block\.\d|stages\.\d\.blocks)\.\d+\.", key) for key in state)


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert to the authors' names, with prefixes ``backbone.`` and ``decode_head.``.

    The authors' ``conv_seg``, which no forward pass uses, does not exist there. A classifier's last layer is left out.
    """
    renamed = {_name(key): value for key, value in state.items() if not key.startswith("classifier.")}
    converted: dict[str, Tensor] = {}
    for key, value in renamed.items():
        if ".attn.key." in key:
            pair = (value, renamed[key.replace(".attn.key.", ".attn.value.")])
            converted[key.replace(".attn.key.", ".attn.kv.")] = torch.cat(pair)
        elif ".attn.value." not in key:
            converted[key] = value
    return converted


def to_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights of any library the authors' names."""
    if is_transformers(state):
        return from_transformers(state)
    return from_mmseg(state) if is_mmseg(state) else dict(state)


def _name(key: str) -> str:
    if key.startswith("decode_head."):
        numbered = r"^decode_head\.(?:linear_c|linear_projections)\.(\d)\."
        key = re.sub(numbered, lambda match: f"decode_head.linear_c{_next(match)}.", key)
        return rename(key, _HEAD_RULES)
    key = re.sub(r"^(?:segformer\.)?(?:encoder\.)?", "", key, count=1)
    key = re.sub(r"^stages\.(\d)\.patch_embeddings\.", r"patch_embeddings.\1.", key)
    key = re.sub(r"^stages\.(\d)\.blocks\.", r"block.\1.", key)
    key = re.sub(r"^stages\.(\d)\.layer_norm\.", r"layer_norm.\1.", key)
    key = re.sub(r"^patch_embeddings\.(\d)\.layer_norm\.", r"patch_embeddings.\1.norm.", key)
    key = re.sub(r"^patch_embeddings\.(\d)\.", lambda match: f"patch_embed{_next(match)}.", key)
    key = re.sub(r"^block\.(\d)\.", lambda match: f"block{_next(match)}.", key)
    key = re.sub(r"^layer_norm\.(\d)\.", lambda match: f"norm{_next(match)}.", key)
    return "backbone." + rename(key, _BLOCK_RULES)
