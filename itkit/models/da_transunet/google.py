"""Google's released R50+ViT-B_16 weights as a start for DA-TransUNet.

The archive holds arrays of JAX layers: convolutions ``(Y, X, in, out)``, dense layers ``(in, out)``, attention with an
axis for the heads. Source of the weights: A. Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021,
arXiv:2010.11929; repository google-research/vision_transformer (Apache-2.0).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional

from itkit.models.checkpoints import read_weights

if TYPE_CHECKING:
    from pathlib import Path

    from itkit.models.da_transunet.network import DATransUNet


def is_google(state: Mapping[str, Tensor]) -> bool:
    """Tell whether the names are those of the archive."""
    return "conv_root/kernel" in state


def from_google(network: DATransUNet, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the archive's arrays to the network's names and layout; arrays that it has no use for are left out."""
    return {key: _convert(arrays[name], kind, network.grid) for key, name, kind in _names(network) if name in arrays}


def load_google_weights(network: DATransUNet, path: str | Path) -> list[str]:
    """Load stem, patch projection and transformer in place; decoder and attention blocks keep their values.

    Parameters
    ----------
    network
        A network of the published widths; the transformer may have fewer layers. The position embedding is resized
        linearly to its grid.
    path
        The ``.npz`` archive.

    Returns
    -------
    list of str
        Names of the parameters that were loaded.

    Raises
    ------
    ValueError
        When the archive lacks an array or one has another shape.
    """
    arrays = read_weights(path)
    loaded = from_google(network, arrays)
    own = network.state_dict()
    for key, name, _ in _names(network):
        if name not in arrays:
            raise ValueError(f"{path}: has no array {name!r}")
        if loaded[key].shape != own[key].shape:
            raise ValueError(
                f"{path}: {name} has shape {tuple(arrays[name].shape)}; expected {tuple(own[key].shape)} for {key}"
            )
    network.load_state_dict(loaded, strict=False)
    return list(loaded)


def _names(network: DATransUNet) -> Iterator[tuple[str, str, str]]:
    """Pair our keys with the archive's names and the kind of layer."""
    stem = "transformer.embeddings.hybrid_model"
    yield f"{stem}.root.conv.weight", "conv_root/kernel", "conv"
    yield from _norm(f"{stem}.root.gn", "gn_root")
    for block, units in network.transformer.embeddings.hybrid_model.body.named_children():
        for unit, layer in units.named_children():
            ours, theirs = f"{stem}.body.{block}.{unit}", f"{block}/{unit}"
            for number in (1, 2, 3):
                yield f"{ours}.conv{number}.weight", f"{theirs}/conv{number}/kernel", "conv"
                yield from _norm(f"{ours}.gn{number}", f"{theirs}/gn{number}")
            if "downsample.weight" in layer.state_dict():
                yield f"{ours}.downsample.weight", f"{theirs}/conv_proj/kernel", "conv"
                yield from _norm(f"{ours}.gn_proj", f"{theirs}/gn_proj")
    yield "transformer.embeddings.patch_embeddings.weight", "embedding/kernel", "conv"
    yield "transformer.embeddings.patch_embeddings.bias", "embedding/bias", "vector"
    yield "transformer.embeddings.position_embeddings", "Transformer/posembed_input/pos_embedding", "position"
    for number in range(len(network.transformer.encoder.layer)):
        ours, theirs = f"transformer.encoder.layer.{number}", f"Transformer/encoderblock_{number}"
        yield from _norm(f"{ours}.attention_norm", f"{theirs}/LayerNorm_0")
        yield from _norm(f"{ours}.ffn_norm", f"{theirs}/LayerNorm_2")
        for name in ("query", "key", "value", "out"):
            kind = "join" if name == "out" else "split"
            yield f"{ours}.attn.{name}.weight", f"{theirs}/MultiHeadDotProductAttention_1/{name}/kernel", kind
            yield f"{ours}.attn.{name}.bias", f"{theirs}/MultiHeadDotProductAttention_1/{name}/bias", "vector"
        for index in (0, 1):
            yield f"{ours}.ffn.fc{index + 1}.weight", f"{theirs}/MlpBlock_3/Dense_{index}/kernel", "dense"
            yield f"{ours}.ffn.fc{index + 1}.bias", f"{theirs}/MlpBlock_3/Dense_{index}/bias", "vector"
    yield from _norm("transformer.encoder.encoder_norm", "Transformer/encoder_norm")


def _norm(ours: str, theirs: str) -> Iterator[tuple[str, str, str]]:
    yield f"{ours}.weight", f"{theirs}/scale", "vector"
    yield f"{ours}.bias", f"{theirs}/bias", "vector"


def _convert(array: Tensor, kind: str, grid: tuple[int, int]) -> Tensor:
    value = array.float()
    if kind == "conv":
        return value.permute(3, 2, 0, 1)
    if kind == "dense":
        return value.T
    if kind == "split":  # (in, heads, width)
        return value.flatten(1).T
    if kind == "join":  # (heads, width, out)
        return value.flatten(0, 1).T
    if kind == "position":
        return _position(value, grid)
    return value.flatten()


def _position(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Drop the class token of ``(1, 1 + T, C)`` and resize the square grid, corners aligned."""
    side = math.isqrt(tokens.shape[1] - 1)
    square = tokens[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
    resized = functional.interpolate(square, size=grid, mode="bilinear", align_corners=True)
    return resized.flatten(2).transpose(1, 2)
