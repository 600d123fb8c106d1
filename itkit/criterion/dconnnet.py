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

from itkit.core.errors import ArgumentError
from itkit.criterion.targets import Pair, pair, widened
from itkit.criterion.voxelwise import cross_entropy
from itkit.models.dconnnet.connectivity import bilateral_voting, connectivity_matrix, split_directions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


def _link_terms(data: Pair, links: Tensor, votes: Tensor, bicon_weight: float, bicon: Tensor) -> Tensor:
    """Sum the terms of links: their cross entropy, the weakest votes at edges, and the cross entropy of votes."""
    truth = connectivity_matrix(data.truth())
    loss = functional.binary_cross_entropy(links, truth) + edge_loss(votes, edge_map(truth))
    return loss + bicon_weight * functional.binary_cross_entropy(bicon, truth) if bicon_weight else loss


def _overlaps(data: Pair, shares: Tensor, density: SizeDensity | None) -> Tensor:
    """Sum the Dice losses of the classes, the background left out when there are several."""
    first = min(1, data.classes - 1)
    masks = data.truth()[:, first:]
    losses = []
    for row, (share, mask) in enumerate(zip(shares[:, first:].unbind(1), masks.unbind(1), strict=True)):
        weight = 1.0 if density is None else density.weight(row, mask.sum((1, 2)))
        losses.append(dice_loss(share, mask, weight=weight))
    return torch.stack(losses).sum()


def _linkable(data: Pair) -> Tensor | float:
    """Mark links both ends of which count, ``(N, 1, 8, Y, X)``; 1 when all do."""
    if data.valid is None:
        return 1.0
    return split_directions(connectivity_matrix(data.valid.unsqueeze(1).to(data.logits.dtype)))


def connectivity_loss(
    logits: Tensor,
    target: Tensor,
    *,
    bicon_weight: float = BICON_WEIGHT,
    density: SizeDensity | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    """Sum the terms of DconnNet's loss for one connectivity map; half precision is computed in float32.

    Parameters
    ----------
    logits
        Connectivity logits ``(N, 8 C, Y, X)``.
    target
        As in :func:`itkit.criterion.targets.pair` for C classes; with one class a mask.
    bicon_weight
        Weight of the cross entropy of the votes; the authors use 0 for CHASE.
    density
        Weighs the Dice of each image by how rare its size is.
    ignore_index
        Class number of pixels that count nowhere; their links are taken as absent, rightly.

    Raises
    ------
    ArgumentError
        When the target does not fit.
    """
    with torch.autocast(target.device.type, enabled=False):
        maps = split_directions(widened(logits))
        data = pair(maps[:, :, 0], target, ignore_index=ignore_index)
        linkable = _linkable(data)
        maps, probabilities = maps * linkable, torch.sigmoid(maps) * linkable
        if data.classes == 1:
            score, votes = bilateral_voting(probabilities)
            loss = functional.binary_cross_entropy(score, data.truth())
            shares, bilateral = score, votes
        else:
            score, votes = bilateral_voting(maps)
            loss = cross_entropy(score, target, ignore_index=ignore_index)
            shares, votes = data.masked(score.softmax(1)), torch.sigmoid(votes)
            bilateral = bilateral_voting(probabilities)[1] if bicon_weight else votes
        loss = loss + _link_terms(data, probabilities.flatten(1, 2), votes, bicon_weight, bilateral.flatten(1, 2))
        return loss + _overlaps(data, shares, density)


def class_connectivity_loss(
    logits: Tensor,
    target: Tensor,
    *,
    bicon_weight: float = BICON_WEIGHT,
    density: SizeDensity | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    """Compute the terms of :func:`connectivity_loss` for the class logits ``(N, C, Y, X)`` of any network.

    Without connectivity logits a link's probability is the product of those of its ends, and both ends always agree.
    The other parameters and errors are the same.
    """
    with torch.autocast(target.device.type, enabled=False):
        data = pair(logits, target, ignore_index=ignore_index)
        shares = data.masked(data.probabilities())
        loss = cross_entropy(logits, target, ignore_index=ignore_index)
        links = connectivity_matrix(shares)
        votes = bilateral_voting(split_directions(links))[1]
        loss = loss + _link_terms(data, links, votes, bicon_weight, votes.flatten(1, 2))
        return loss + _overlaps(data, shares, density)


class DconnLoss(nn.Module):
    """DconnNet's loss of its fine map plus, weighted, of its coarse map.

    It takes one map or a pair (fine, coarse), each of connectivity logits ``(N, 8 C, Y, X)``, on which the authors
    train, or of class logits ``(N, C, Y, X)``. ``create_model("dconnnet", links=True)`` returns the former in training
    mode, ``create_model("dconnnet")`` and all other networks the latter (:func:`class_connectivity_loss`).

    Parameters
    ----------
    coarse_weight
        Weight of the coarse map.
    bicon_weight, density, ignore_index
        As in :func:`connectivity_loss`.
    num_classes
        Number of classes, 1 for a binary mask, which tells the two kinds apart. Without it maps whose number of
        channels is a multiple of 8 are taken as connectivity logits.
    """

    def __init__(
        self,
        *,
        coarse_weight: float = COARSE_WEIGHT,
        bicon_weight: float = BICON_WEIGHT,
        density: SizeDensity | None = None,
        num_classes: int | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        self.coarse_weight = coarse_weight
        self.options = {"bicon_weight": bicon_weight, "density": density, "ignore_index": ignore_index}
        self.num_classes = num_classes

    def forward(self, output: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Return the loss, a scalar, of one map or of the pair (fine, coarse).

        Raises
        ------
        ArgumentError
            When the target or the number of maps or channels does not fit.
        """
        maps = [output] if isinstance(output, Tensor) else list(output)
        if len(maps) not in (1, 2):
            raise ArgumentError(f"output: expected one map, or a fine and a coarse one; got {len(maps)}")
        losses = [
            weight * self._loss_of(map_)(map_, target, **self.options)
            for map_, weight in zip(maps, (1.0, self.coarse_weight), strict=False)
        ]
        return torch.stack(losses).sum()

    def _loss_of(self, map_: Tensor) -> Callable[..., Tensor]:
        channels, classes = map_.shape[1], self.num_classes
        if classes is not None and channels not in (classes, 8 * classes):
            raise ArgumentError(f"output: expected {8 * classes} or {classes} channels; got {tuple(map_.shape)}")
        is_links = channels % 8 == 0 if classes is None else channels == 8 * classes
        return connectivity_loss if is_links else class_connectivity_loss


ConnectivityLoss = DconnLoss
"""The former name."""
