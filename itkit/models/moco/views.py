"""Random views of images for contrastive learning: what may change without changing what the image shows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from itkit.core.errors import ArgumentError


@dataclass(frozen=True, kw_only=True)
class RandomViews:
    """Draws a view of each image of a batch: crop, turn, contrast, brightness, gamma, blur, noise.

    These are the augmentations of MoCo v2 (Chen et al., arXiv:2003.04297) without its colours, with a rotation, noise
    and gamma in their place, as fits images whose values are measurements. No view is mirrored unless asked for: left
    and right are organs of their own.

    Attributes
    ----------
    size
        Size of a view, voxels along the spatial axes.
    scale
        Least and greatest share of the image's sides that a view shows.
    angle_deg
        Greatest angle of a turn in the plane of the last two axes.
    mirror
        Spatial axes that are mirrored with probability 0.5, counted from 0.
    contrast, brightness
        Greatest change of the values' factor, and of their offset in standard deviations of the batch.
    gamma
        Greatest change of the exponent that bends values between the image's extremes.
    blur
        Greatest standard deviation of a Gaussian, voxels; half of the views are blurred.
    noise
        Greatest standard deviation of added noise, in standard deviations of the batch.

    Examples
    --------
    >>> views = RandomViews(size=(32, 32))
    >>> images = torch.randn(4, 1, 48, 48)
    >>> views(images, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 1, 32, 32])
    """

    size: tuple[int, ...]
    scale: tuple[float, float] = (0.4, 0.9)
    angle_deg: float = 15.0
    mirror: tuple[int, ...] = ()
    contrast: float = 0.4
    brightness: float = 0.4
    gamma: float = 0.3
    blur: float = 1.5
    noise: float = 0.2

    def __post_init__(self) -> None:
        if len(self.size) not in (2, 3):
            raise ArgumentError(f"size: expected 2 or 3 sides; got {self.size}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ArgumentError(f"scale: expected 0 < least <= greatest <= 1; got {self.scale}")

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return one view of each image ``(N, C, *spatial)``; the same generator state gives the same views."""
        if images.ndim != len(self.size) + 2:
            raise ArgumentError(f"images: expected {len(self.size)} spatial axes; got {tuple(images.shape)}")
        draw = _Draws(images, generator)
        spread = images.std()
        places = self._places(draw).to(images.dtype)
        views = functional.grid_sample(images, places, padding_mode="border", align_corners=False)
        views = self._bent(views, draw)
        views = views * (1 + draw.around(self.contrast)) + spread * draw.around(self.brightness)
        views = self._blurred(views, draw)
        return views + spread * draw.upto(self.noise) * draw.normal(views.shape)

    def _places(self, draw: _Draws) -> Tensor:
        """Return where each voxel of the views lies in its image, in the coordinates of ``grid_sample`` (X first)."""
        dims = len(self.size)
        share = torch.stack([draw.between(*self.scale) for _ in range(dims)], -1).flatten(0, -2)
        centre = torch.stack([draw.around(1.0) for _ in range(dims)], -1).flatten(0, -2) * (1 - share)
        for axis in self.mirror:
            share[:, dims - 1 - axis] *= draw.sign().flatten()
        angle = draw.around(math.radians(self.angle_deg)).flatten()
        turn = torch.eye(dims, device=share.device).repeat(len(angle), 1, 1)
        turn[:, 0, 0] = turn[:, 1, 1] = angle.cos()
        turn[:, 0, 1], turn[:, 1, 0] = -angle.sin(), angle.sin()
        matrix = torch.cat([turn * share[:, None, :], centre[:, :, None]], -1)
        return functional.affine_grid(matrix, [len(angle), 1, *self.size], align_corners=False)

    def _bent(self, views: Tensor, draw: _Draws) -> Tensor:
        axes = tuple(range(1, views.ndim))
        low, high = views.amin(axes, keepdim=True), views.amax(axes, keepdim=True)
        extent = (high - low).clamp_min(1e-6)
        return low + extent * ((views - low) / extent).clamp_min(1e-6) ** torch.exp(draw.around(self.gamma))

    def _blurred(self, views: Tensor, draw: _Draws) -> Tensor:
        if not self.blur:
            return views
        sigma = draw.upto(self.blur).clamp_min(1e-3)
        sigma = torch.where(draw.sign() > 0, sigma, 1e-3)
        reach = math.ceil(2 * self.blur)
        offsets = torch.arange(-reach, reach + 1, device=views.device, dtype=views.dtype)
        lines = torch.exp(-offsets.square() / (2 * sigma.flatten()[:, None] ** 2))
        lines = lines / lines.sum(1, keepdim=True)
        count, channels, dims = views.shape[0], views.shape[1], views.ndim - 2
        convolve = functional.conv2d if dims == 2 else functional.conv3d
        for axis in range(dims):
            padding = [0] * (2 * dims)
            padding[2 * (dims - 1 - axis)] = padding[2 * (dims - 1 - axis) + 1] = reach
            shape = [1] * dims
            shape[axis] = len(offsets)
            weight = lines.repeat_interleave(channels, 0).view(count * channels, 1, *shape)
            joined = functional.pad(views, padding, mode="replicate").flatten(0, 1).unsqueeze(0)
            views = convolve(joined, weight, groups=count * channels).squeeze(0).unflatten(0, (count, channels))
        return views


class _Draws:
    """Random numbers, one for each image, in a shape that multiplies images."""

    def __init__(self, images: Tensor, generator: torch.Generator | None) -> None:
        self.shape = (images.shape[0], *[1] * (images.ndim - 1))
        self.like = images
        self.generator = generator

    def between(self, low: float, high: float) -> Tensor:
        device = self.like.device if self.generator is None else self.generator.device
        share = torch.rand(self.shape, generator=self.generator, device=device).to(self.like.device)
        return low + (high - low) * share

    def around(self, greatest: float) -> Tensor:
        return self.between(-greatest, greatest)

    def upto(self, greatest: float) -> Tensor:
        return self.between(0, greatest)

    def sign(self) -> Tensor:
        return torch.where(self.between(0, 1) < 0.5, -1.0, 1.0)

    def normal(self, shape: torch.Size) -> Tensor:
        device = self.like.device if self.generator is None else self.generator.device
        return torch.randn(shape, generator=self.generator, device=device).to(self.like)
