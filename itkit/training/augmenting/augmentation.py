"""Augmentation of one training patch: first its place in space, then its intensities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from itkit.training.augmenting.intensity import change_intensities
from itkit.training.augmenting.settings import AugmentSettings
from itkit.training.augmenting.spatial import SpatialMap, draw_map

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Draws and applies the augmentation of patches; nothing but settings and generator decides what happens.

    A loader that can cut any box out of a volume calls `draw_map`, cuts out `SpatialMap.source_zyx` voxels, applies the
    map, and then `intensities`, so that nothing is missing at the patch's edges. Where only the patch is at hand, call
    the augmentation itself.

    Parameters
    ----------
    settings
        Which augmentations there are, how often, how strong.

    Examples
    --------
    >>> import numpy as np, torch
    >>> image, label = torch.zeros(1, 16, 16, 16), torch.zeros(16, 16, 16, dtype=torch.uint8)
    >>> image, label = Augmentation()(image, label, np.random.default_rng(0))
    >>> tuple(image.shape), tuple(label.shape)
    ((1, 16, 16, 16), (16, 16, 16))
    """

    settings: AugmentSettings = field(default_factory=AugmentSettings)

    def draw_map(
        self, rng: np.random.Generator, size_zyx: Sequence[int], spacing_zyx: Sequence[float] = (1.0, 1.0, 1.0)
    ) -> SpatialMap:
        """Draw where the voxels of a patch come from; see `itkit.training.augmenting.draw_map`."""
        return draw_map(self.settings, rng, size_zyx, spacing_zyx)

    def intensities(self, image_czyx: Tensor, rng: np.random.Generator) -> Tensor:
        """Change the intensities of a patch."""
        return change_intensities(image_czyx, self.settings, rng)

    def __call__(
        self,
        image_czyx: Tensor,
        label_zyx: Tensor | None,
        rng: np.random.Generator,
        spacing_zyx: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> tuple[Tensor, Tensor | None]:
        """Augment a patch; what comes from beyond its edges has intensity 0 and class 0.

        Parameters
        ----------
        image_czyx, label_zyx
            ``(C, Z, Y, X)``, float32, and ``(Z, Y, X)``, an integer type, on one device.
        rng
            The generator of this patch.
        spacing_zyx
            Distances of voxels, mm.
        """
        spatial = self.draw_map(rng, image_czyx.shape[1:], spacing_zyx)
        image, label = spatial.apply(image_czyx, label_zyx)
        return self.intensities(image, rng), label
