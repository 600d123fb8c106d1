"""Losses of DconnNet on connectivity logits, and the size densities that can weigh its Dice term.

Source: Z. Yang, S. Farsiu, "Directional connectivity-based segmentation of medical images", CVPR 2023,
arXiv:2304.00145; repository Zyun-Y/DconnNet. The functions between masks and links are in
``itkit.models.dconnnet.connectivity``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.models.dconnnet.connectivity import bilateral_voting, connectivity_matrix, split_directions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

BICON_WEIGHT = 0.2
COARSE_WEIGHT = 0.3
DICE_SMOOTH = 1e-4


@dataclass(frozen=True)
class SizeDensity:
    """How frequent each size of a class is in the training set.

    Attributes
    ----------
    density
        Share of the images in each bin, one row for each class but the background: ``(classes, bins)``.
    bin_width
        Width of a bin in pixels, one for each row.
    """

    density: Tensor
    bin_width: Tensor

    @classmethod
    def from_counts(cls, counts: ArrayLike, bins: int = 50) -> SizeDensity:
        """Measure densities from pixel counts ``(classes, images)``; images without the class do not count.

        The greatest size lies 50 pixels below the end of the last bin. A class that never occurs has density 0.
        """
        rows: list[NDArray[np.float64]] = []
        widths: list[float] = []
        for row in np.atleast_2d(np.asarray(counts, dtype=np.float64)):
            present = row[row > 0]
            width = (present.max(initial=0.0) + 50) / bins
            edges = np.arange(bins + 1) * width
            found = np.searchsorted(edges, present, side="right") - 1
            rows.append(np.bincount(found, minlength=bins)[:bins] / max(1, present.size))
            widths.append(width)
        return cls(torch.tensor(np.stack(rows), dtype=torch.float32), torch.tensor(widths, dtype=torch.float32))

    def weight(self, row: int, pixels: Tensor) -> Tensor:
        """Return the weights ``log(1 / (density + 1e-4))`` of images with ``pixels`` pixels of a row's class.

        Sizes beyond the last bin count as in it.
        """
        density = self.density[row].to(pixels.device)
        index = (pixels / self.bin_width[row].to(pixels.device)).floor().long().clamp(max=density.numel() - 1)
        return torch.log(1 / (density[index] + 1e-4))


def dice_loss(prediction: Tensor, target: Tensor, *, weight: Tensor | float = 1.0) -> Tensor:
    """Average one minus the Dice overlap of the images' maps ``(N, Y, X)``, each weighted."""
    p, t = prediction.flatten(1), target.flatten(1)
    overlap = (2 * (p * t).sum(1) + DICE_SMOOTH) / (t.sum(1) + p.sum(1) + DICE_SMOOTH)
    return ((1 - overlap) * weight).mean()


def edge_map(links: Tensor) -> Tensor:
    """Mark pixels ``(N, C, Y, X)`` with some, but not all, of their eight links ``(N, 8 C, Y, X)``."""
    count = split_directions(links).sum(2)
    return ((count > 0) & (count < 8)).to(links.dtype)


def edge_loss(votes: Tensor, edges: Tensor) -> Tensor:
    """Push the weakest vote at edges to 0.

    Parameters
    ----------
    votes
        Probabilities ``(N, C, 8, Y, X)``.
    edges
        ``edge_map`` of the target ``(N, C, Y, X)``.

    Returns
    -------
    Tensor
        Cross entropy divided by the sum of the weakest votes; 0 without edges.
    """
    weakest = votes.min(dim=2).values * edges
    cost = functional.binary_cross_entropy(weakest, torch.zeros_like(weakest), reduction="sum")
    return cost / weakest.sum().clamp_min(torch.finfo(weakest.dtype).tiny)


def _single_class(logits: Tensor, target: Tensor, bicon_weight: float, density: SizeDensity | None) -> Tensor:
    mask = target.to(logits.dtype)
    links = connectivity_matrix(mask)
    probabilities = torch.sigmoid(logits)
    score, votes = bilateral_voting(split_directions(probabilities))
    loss = functional.binary_cross_entropy(score, mask) + functional.binary_cross_entropy(probabilities, links)
    loss = loss + edge_loss(votes, edge_map(links))
    if bicon_weight:
        loss = loss + bicon_weight * functional.binary_cross_entropy(votes.flatten(1, 2), links)
    weight = 1.0 if density is None else density.weight(0, mask[:, 0].sum((1, 2)))
    return loss + dice_loss(score[:, 0], mask[:, 0], weight=weight)


def _multi_class(logits: Tensor, target: Tensor, bicon_weight: float, density: SizeDensity | None) -> Tensor:
    maps = split_directions(logits)
    classes = maps.shape[1]
    masks = functional.one_hot(target, classes).movedim(-1, 1).to(logits.dtype)
    links = connectivity_matrix(masks)
    probabilities = torch.sigmoid(logits)
    score, votes = bilateral_voting(maps)
    loss = functional.cross_entropy(score, target) + functional.binary_cross_entropy(probabilities, links)
    loss = loss + edge_loss(torch.sigmoid(votes), edge_map(links))
    if bicon_weight:
        bilateral = bilateral_voting(split_directions(probabilities))[1].flatten(1, 2)
        loss = loss + bicon_weight * functional.binary_cross_entropy(bilateral, links)
    shares = score.softmax(1)
    for label in range(1, classes):
        weight = 1.0 if density is None else density.weight(label - 1, masks[:, label].sum((1, 2)))
        loss = loss + dice_loss(shares[:, label], masks[:, label], weight=weight)
    return loss


def connectivity_loss(
    logits: Tensor, target: Tensor, *, bicon_weight: float = BICON_WEIGHT, density: SizeDensity | None = None
) -> Tensor:
    """Sum the terms of DconnNet's loss for one connectivity map.

    Parameters
    ----------
    logits
        Connectivity logits ``(N, 8 C, Y, X)``.
    target
        For one class the mask ``(N, 1, Y, X)`` or ``(N, Y, X)``; for several the class numbers, int64, in the same
        shapes.
    bicon_weight
        Weight of the cross entropy of the votes; the authors use 0 for CHASE.
    density
        Weighs the Dice of each image by how rare its size is.

    Raises
    ------
    ValueError
        When shapes do not fit.
    """
    classes = split_directions(logits).shape[1]
    labels = target[:, 0] if target.ndim == 4 and target.shape[1] == 1 else target
    if labels.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(f"target: expected (N, Y, X) as in logits {tuple(logits.shape)}; got {tuple(target.shape)}")
    if classes == 1:
        return _single_class(logits, labels[:, None], bicon_weight, density)
    return _multi_class(logits, labels, bicon_weight, density)


class ConnectivityLoss(nn.Module):
    """``connectivity_loss`` of DconnNet's fine map plus, weighted, of its coarse map; options as in the function."""

    def __init__(
        self,
        *,
        coarse_weight: float = COARSE_WEIGHT,
        bicon_weight: float = BICON_WEIGHT,
        density: SizeDensity | None = None,
    ) -> None:
        super().__init__()
        self.coarse_weight = coarse_weight
        self.bicon_weight = bicon_weight
        self.density = density

    def forward(self, output: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Return the loss of one map ``(N, 8 C, Y, X)`` or of the pair (fine, coarse)."""
        maps = [output] if isinstance(output, Tensor) else list(output)
        weights = (1.0, self.coarse_weight)
        losses = [
            weight * connectivity_loss(links, target, bicon_weight=self.bicon_weight, density=self.density)
            for links, weight in zip(maps, weights, strict=False)
        ]
        return torch.stack(losses).sum()
