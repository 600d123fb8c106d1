"""Losses of UNet 3+ on probabilities: IoU, SSIM, multi-scale SSIM and their sum with a focal loss.

Huang et al., "UNet 3+", ICASSP 2020 (arXiv:2004.08790), section 2.2; numbers agree with ``loss/*.py`` of
github.com/ZJUGiveLab/UNet-Version. Shapes: prediction and target ``(N, C, *spatial)``, 2-D or 3-D, values in [0, 1].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.core.errors import ArgumentError
from itkit.criterion.targets import Pair, pair

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LEVEL_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
FOCAL_GAMMA = 2.0
_SIGMA = 1.5
_CONV: dict[int, Callable[..., Tensor]] = {2: functional.conv2d, 3: functional.conv3d}
_POOL: dict[int, Callable[..., Tensor]] = {2: functional.avg_pool2d, 3: functional.avg_pool3d}


def binary_cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """Average the binary cross entropy over everything."""
    return functional.binary_cross_entropy(prediction, target)


def iou_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """One minus the soft IoU of each image over channels and pixels, averaged over the batch.

    There is no smoothing, as in the authors' code, but an empty target with a prediction of zeros, which gives nan
    there, costs nothing here.
    """
    both = (prediction * target).flatten(1).sum(1)
    either = target.flatten(1).sum(1) + prediction.flatten(1).sum(1) - both
    return ((either - both) / either.clamp_min(torch.finfo(either.dtype).tiny)).mean()


def gaussian_window(side: int, spatial_dims: int, *, sigma: float = _SIGMA) -> Tensor:
    """Make a normalised Gaussian window ``(1, 1, *sides)`` about index ``side // 2`` (off-centre for even sides)."""
    offsets = torch.arange(side, dtype=torch.float32) - side // 2
    line = torch.exp(-offsets.square() / (2 * sigma**2))
    line = line / line.sum()
    window = line
    for _ in range(spatial_dims - 1):
        window = window.unsqueeze(-1) * line
    return window[None, None]


def ssim(
    prediction: Tensor, target: Tensor, *, window_size: int = 11, size_average: bool = True
) -> tuple[Tensor, Tensor]:
    """Structural similarity (Wang et al., 2004) and its contrast term.

    The window shrinks to the smallest side. The value range is 1, or as the prediction's values suggest 255 (a value
    above 128) or one more (a value below -0.5).

    Returns
    -------
    similarity
        A scalar, or with ``size_average=False`` one value an image.
    contrast
        A scalar.
    """
    dims = prediction.ndim - 2
    channels = prediction.shape[1]
    side = min(window_size, *prediction.shape[2:])
    window = gaussian_window(side, dims).to(prediction).expand(channels, 1, *[side] * dims)

    def smooth(x: Tensor) -> Tensor:
        return _CONV[dims](x, window, groups=channels)

    high = torch.where(prediction.detach().amax() > 128, 255.0, 1.0)
    low = torch.where(prediction.detach().amin() < -0.5, -1.0, 0.0)
    c1, c2 = (0.01 * (high - low)) ** 2, (0.03 * (high - low)) ** 2
    mean_p, mean_t = smooth(prediction), smooth(target)
    variance_p = smooth(prediction.square()) - mean_p.square()
    variance_t = smooth(target.square()) - mean_t.square()
    covariance = smooth(prediction * target) - mean_p * mean_t
    upper, lower = 2 * covariance + c2, variance_p + variance_t + c2
    contrast = (upper / lower).mean()
    similarity = (2 * mean_p * mean_t + c1) * upper / ((mean_p.square() + mean_t.square() + c1) * lower)
    return (similarity.mean() if size_average else similarity.flatten(1).mean(1)), contrast


def ms_ssim(prediction: Tensor, target: Tensor, *, window_size: int = 11, normalize: bool = True) -> Tensor:
    """Multi-scale structural similarity over five scales; 1 for equal images.

    The fifth similarity enters with four times its weight, as in the authors' code.

    Parameters
    ----------
    normalize
        Map similarities from [-1, 1] to [0, 1] before the powers; without it negative contrast gives nan.

    Raises
    ------
    ArgumentError
        When a side is below 32 pixels.
    """
    if min(prediction.shape[2:]) < 32:
        raise ArgumentError(f"ms_ssim: each side must be at least 32; got {tuple(prediction.shape[2:])}")
    pool = _POOL[prediction.ndim - 2]
    similarities, contrasts = [], []
    for _ in LEVEL_WEIGHTS:
        similarity, contrast = ssim(prediction, target, window_size=window_size)
        similarities.append(similarity)
        contrasts.append(contrast)
        prediction, target = pool(prediction, 2), pool(target, 2)
    last, others = similarities[-1], torch.stack(contrasts[:-1])
    if normalize:
        last, others = (last + 1) / 2, (others + 1) / 2
    weights = torch.tensor(LEVEL_WEIGHTS).to(others)
    return (others ** weights[:-1] * last ** weights[-1]).prod()


def focal_loss(prediction: Tensor, target: Tensor, *, gamma: float = FOCAL_GAMMA, alpha: float | None = None) -> Tensor:
    """Focal loss of probabilities, averaged over everything (Lin et al., arXiv:1708.02002); alpha weighs ones."""
    eps = torch.finfo(prediction.dtype).eps
    correct = torch.where(target > 0.5, prediction, 1 - prediction).clamp(eps, 1)
    loss = -((1 - correct) ** gamma) * correct.log()
    return (loss if alpha is None else loss * torch.where(target > 0.5, alpha, 1 - alpha)).mean()


class UNet3PlusLoss(nn.Module):
    """Focal loss plus one minus MS-SSIM plus IoU loss, summed over the outputs of a network that returns logits.

    It takes what ``create_model("unet3plus")`` returns, with deep supervision too. The paper names the three terms and
    weighs them alike; it states no constants for the focal loss, so the usual gamma of 2 without alpha stands here.
    Targets are as in :func:`itkit.criterion.targets.pair`; each class is a yes-or-no question (sigmoid), with one logit
    the foreground's alone. Half precision is computed in float32.

    Parameters
    ----------
    weights
        Weights of focal, MS-SSIM and IoU term.
    gamma
        Exponent of the focal term.
    ignore_index
        Class number of voxels where prediction and truth are taken as 0, in all terms.
    """

    def __init__(
        self,
        weights: Sequence[float] = (1.0, 1.0, 1.0),
        gamma: float = FOCAL_GAMMA,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        if len(weights) != 3:
            raise ArgumentError(f"weights: expected 3 (focal, MS-SSIM, IoU); got {len(weights)}")
        self.weights = tuple(weights)
        self.gamma = gamma
        self.ignore_index = ignore_index

    def forward(self, outputs: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Return the sum over outputs, a scalar; sides must be at least 32.

        Raises
        ------
        ArgumentError
            When the target does not fit, or a side is smaller.
        """
        maps = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        with torch.autocast(target.device.type, enabled=False):
            pairs = [pair(logits, target, sigmoid=True, ignore_index=self.ignore_index) for logits in maps]
            return torch.stack([self._one(data) for data in pairs]).sum()

    def _one(self, data: Pair) -> Tensor:
        prediction, truth = data.masked(data.probabilities()), data.truth()
        terms = (
            focal_loss(prediction, truth, gamma=self.gamma) * (prediction.numel() / (data.count() * data.classes)),
            1 - ms_ssim(prediction, truth),
            iou_loss(prediction, truth),
        )
        return torch.stack([weight * term for weight, term in zip(self.weights, terms, strict=True)]).sum()
