"""Changes of the intensities of a patch: MONAI's transforms where it has them, on tensors of any device."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from itkit.core.extras import require
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
    return torch.stack([change(channel) if rng.random() < share else channel for channel in image])


def noise(like: Tensor, variance: float, seed: int) -> Tensor:
    """Return Gaussian noise of a tensor's size; a seed gives other numbers on another kind of device."""
    generator = torch.Generator(like.device).manual_seed(seed)
    drawn = torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
    return drawn * math.sqrt(variance)


def blurred(channel_zyx: Tensor, rng: np.random.Generator, bounds: tuple[float, float]) -> Tensor:
    """Blur with a Gaussian whose standard deviation is drawn for each axis; an axis of one voxel is left out."""
    flat = channel_zyx.shape[0] == 1
    layers = require("monai.networks.layers", extra="train", why="augmentation")
    image = channel_zyx[None] if flat else channel_zyx[None, None]
    sigmas = torch.tensor([rng.uniform(*bounds) for _ in image.shape[2:]], device=image.device)
    kernels = [layers.gaussian_1d(sigma, approx="sampled", normalize=True) for sigma in sigmas]
    result: Tensor = layers.separable_filtering(image, kernels, mode="replicate")
    return result.reshape(channel_zyx.shape)


def contrast(channel_zyx: Tensor, factor: float) -> Tensor:
    """Multiply the differences from the mean; no intensity leaves the range that there was."""
    scale = _monai().ScaleIntensityFixedMean(factor=factor - 1, preserve_range=True, fixed_mean=True)
    result: Tensor = scale(channel_zyx[None])[0]
    return result


def coarser(channel_zyx: Tensor, part: float) -> Tensor:
    """Take a part of the voxels along each axis (nearest), and interpolate linearly between them."""
    flat = channel_zyx.shape[0] == 1
    image = channel_zyx[None] if flat else channel_zyx[None, None]
    size = image.shape[2:]
    low = functional.interpolate(image, size=[max(1, round(n * part)) for n in size], mode="nearest-exact")
    mode = "bilinear" if flat else "trilinear"
    return functional.interpolate(low, size=size, mode=mode, align_corners=False).reshape(channel_zyx.shape)


def gamma(channel_zyx: Tensor, exponent: float, inverted: bool = False) -> Tensor:
    """Apply a gamma curve to the range of a channel, and restore its mean and standard deviation."""
    curve = _monai().AdjustContrast(exponent, invert_image=inverted, retain_stats=True)
    result: Tensor = curve(channel_zyx[None])[0]
    return result


def _monai() -> Any:
    return require("monai.transforms", extra="train", why="augmentation")
