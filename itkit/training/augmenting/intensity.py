"""Changes of the intensities of a patch, on tensors of any device: as nnU-Net and MONAI do them, in fewer passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from itkit.kernels.denoising import gaussian_weights
from itkit.training.augmenting.spatial import balanced

if TYPE_CHECKING:
    import numpy as np

    from itkit.training.augmenting.settings import AugmentSettings


def change_intensities(image_czyx: Tensor, settings: AugmentSettings, rng: np.random.Generator) -> Tensor:
    """Add noise, blur, and change brightness, contrast, resolution and gamma, each with its probability.

    Parameters
    ----------
    image_czyx
        Normalised intensities ``(C, Z, Y, X)``, floating point. They are not changed in place.
    settings
        What is done, how often and how strongly.
    rng
        The generator of this patch; it decides everything, on every device.

    Returns
    -------
    torch.Tensor
        Of the same size, type and device.
    """
    if not settings.enabled:
        return image_czyx
    image = image_czyx
    if rng.random() < settings.noise:
        image = image + noise(image, float(rng.uniform(0, settings.noise_variance)), int(rng.integers(2**62)))
    if rng.random() < settings.blur:
        image = _for_some(image, settings.blur_per_channel, rng, lambda one: blurred(one, rng, settings.blur_voxels))
    if rng.random() < settings.brightness:
        image = image * balanced(rng, settings.brightness_range)
    if rng.random() < settings.contrast:
        image = _for_some(image, 1, rng, lambda one: contrast(one, balanced(rng, settings.contrast_range)))
    if rng.random() < settings.low_resolution:
        share = settings.low_resolution_per_channel
        bounds = settings.low_resolution_range
        image = _for_some(image, share, rng, lambda one: coarser(one, float(rng.uniform(*bounds))))
    for probability, inverted in ((settings.gamma_inverted, True), (settings.gamma, False)):
        if rng.random() < probability:
            image = _for_some(image, 1, rng, lambda one, i=inverted: gamma(one, balanced(rng, settings.gamma_range), i))
    return image


def _for_some(image: Tensor, share: float, rng: np.random.Generator, change: Any) -> Tensor:
    """Change each channel with a probability."""
    channels = [change(channel) if rng.random() < share else channel for channel in image]
    return channels[0][None] if len(channels) == 1 else torch.stack(channels)


def noise(like: Tensor, variance: float, seed: int) -> Tensor:
    """Return Gaussian noise of a tensor's size; a seed gives other numbers on another kind of device."""
    generator = torch.Generator(like.device).manual_seed(seed)
    drawn = torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
    return drawn * math.sqrt(variance)


def blurred(channel_zyx: Tensor, rng: np.random.Generator, bounds: tuple[float, float]) -> Tensor:
    """Blur with a Gaussian whose standard deviation is drawn for each axis; an axis of one voxel is left out.

    The Gaussian is sampled and cut as that of `itkit.kernels.denoising.gaussian`; voxels at an edge are repeated.
    """
    return _along_axes(channel_zyx, lambda length: _blur(length, float(rng.uniform(*bounds))))


def _blur(length: int, sigma: float) -> Tensor:
    """Return the matrix that blurs a line of voxels."""
    weights = gaussian_weights(sigma)
    reach = len(weights) - 1
    taps = torch.tensor([*weights[:0:-1], *weights], dtype=torch.float64)
    places = torch.arange(length)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    for shift, weight in zip(range(-reach, reach + 1), taps, strict=True):
        matrix[places, (places + shift).clamp(0, length - 1)] += weight
    return matrix


def _along_axes(channel_zyx: Tensor, matrix_of: Callable[[int], Tensor]) -> Tensor:
    """Apply a matrix for its length to each line of voxels along Z, then Y, then X; not along Z if that is one voxel.

    For the sides of patches, this is several times as fast on a CPU as a convolution along each axis.
    """
    result = channel_zyx
    for axis, length in enumerate(channel_zyx.shape):
        if axis == 0 and length == 1:
            continue
        matrix = matrix_of(length).to(result.device, result.dtype)
        if axis == 0:
            result = (matrix @ result.flatten(1)).reshape(result.shape)
        else:
            result = matrix @ result if axis == 1 else result @ matrix.T
    return result


def contrast(channel_zyx: Tensor, factor: float) -> Tensor:
    """Multiply the differences from the mean; no intensity leaves the range that there was.

    Equal to MONAI's ``ScaleIntensityFixedMean`` with ``preserve_range``.
    """
    least, most = channel_zyx.aminmax()
    mean = channel_zyx.mean()
    return (channel_zyx * factor).add_(mean * (1 - factor)).clamp_(least, most)


def coarser(channel_zyx: Tensor, part: float) -> Tensor:
    """Take a part of the voxels along each axis (nearest), and interpolate linearly between them.

    Equal to batchgeneratorsv2's ``SimulateLowResolutionTransform``; MONAI's moves the image by half a coarse voxel.
    """
    return _along_axes(channel_zyx, lambda length: _coarser(length, part))


def _coarser(length: int, part: float) -> Tensor:
    """Return the matrix that makes a line of voxels coarse and fine again: what becomes of each voxel alone."""
    alone = torch.eye(length)[None]
    low = functional.interpolate(alone, size=max(1, round(length * part)), mode="nearest-exact")
    return functional.interpolate(low, size=length, mode="linear", align_corners=False)[0].T


def gamma(channel_zyx: Tensor, exponent: float, inverted: bool = False) -> Tensor:
    """Apply a gamma curve to the range of a channel, and restore its mean and standard deviation.

    Equal to MONAI's ``AdjustContrast`` with ``retain_stats``: what restores the two undoes the scaling to the range.
    """
    least, most = channel_zyx.aminmax()
    extent = most - least + 1e-7
    unit = ((most - channel_zyx) if inverted else (channel_zyx - least)).div_(extent)
    curve = unit.log_().mul_(exponent).exp_()  # several times as fast as a power; 0 stays 0
    factor = channel_zyx.std() / (curve.std() + 1e-8) * (-1 if inverted else 1)
    shift = channel_zyx.mean() - curve.mean() * factor
    return curve.mul_(factor).add_(shift)
