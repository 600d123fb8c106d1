"""One grid for image and label: turned, scaled, sheared, bent and mirrored patches, each voxel sampled once.

On the CPU, the compiled kernels sample image (linear) and label (nearest) in one pass; on another device, torch does.
Both follow the same rule and agree within float error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from itkit.core.boxes import Index, index
from itkit.core.errors import ArgumentError
from itkit.kernels.affine import Bend, affine_linear, affine_pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from itkit.training.augmenting.settings import AugmentSettings

_NODE_VOXELS = 4
"""Distance of the nodes between which a B-spline is interpolated linearly, voxels at most."""


@dataclass(frozen=True, eq=False)
class SpatialMap:
    """Where the voxels of a patch come from.

    Parameters
    ----------
    size_zyx
        Voxels of the patch.
    matrix
        ``(3, 3)``, ZYX: maps the distance of a voxel from the patch's centre to its source's distance from the source's
        centre, both in voxels. ``None``: the patch is cut out and nothing is interpolated.
    bend
        Displacements, voxels of the source, that are added to these distances.
    flips
        Axes (0 Z, 1 Y, 2 X) along which the patch is mirrored at last.
    """

    size_zyx: Index
    matrix: NDArray[np.float64] | None = None
    bend: Bend | None = None
    flips: tuple[int, ...] = ()

    @property
    def source_zyx(self) -> Index:
        """Voxels of the smallest box, with the patch's centre in its middle, in which all voxels of the patch lie.

        Along each axis it is even or odd as the patch is, so that both centres fall on the same place of the grid.
        """
        if self.matrix is None:
            return self.size_zyx
        half = (np.array(self.size_zyx) - 1) / 2
        corners = np.array(list(product(*((-h, h) for h in half))))
        reach = np.abs(corners @ self.matrix.T).max(axis=0)
        if self.bend is not None:
            reach += np.abs(self.bend.nodes).max(axis=(0, 1, 2))
        margins = np.maximum(np.ceil(np.round(reach - half, 9)), 0)
        return index([n + 2 * int(more) for n, more in zip(self.size_zyx, margins, strict=True)])

    def apply(
        self,
        image_czyx: Tensor,
        label_zyx: Tensor | None = None,
        *,
        centre_zyx: Sequence[float] | None = None,
        fill: Sequence[float] | float = 0.0,
        label_fill: int = 0,
    ) -> tuple[Tensor, Tensor | None]:
        """Sample a patch from a part of a volume.

        Parameters
        ----------
        image_czyx
            Voxels ``(C, Z, Y, X)``, float32.
        label_zyx
            Label map ``(Z, Y, X)``, an integer type, of the same size.
        centre_zyx
            Index of the source's centre in these arrays; by default their middle.
        fill
            Value of image voxels from outside, for all channels or for each. What lies less than half a voxel outside
            takes the value at the edge.
        label_fill
            Value of label voxels from outside.

        Returns
        -------
        image, label
            ``(C, *size_zyx)`` and ``size_zyx``, contiguous.

        Raises
        ------
        ArgumentError
            When the arrays differ in size, or nothing is interpolated and the patch reaches beyond them.
        """
        whole = image_czyx.shape[1:]
        if image_czyx.ndim != 4 or (label_zyx is not None and label_zyx.shape != whole):
            raise ArgumentError(
                f"augmentation: expected an image (C, Z, Y, X) and a label (Z, Y, X) of one size; got "
                f"{tuple(image_czyx.shape)} and {None if label_zyx is None else tuple(label_zyx.shape)}"
            )
        centre = np.array([(n - 1) / 2 for n in whole] if centre_zyx is None else centre_zyx, dtype=np.float64)
        fills = [float(fill)] * len(image_czyx) if isinstance(fill, int | float) else [float(value) for value in fill]
        if self.matrix is None:
            image, label = self._cut(image_czyx, label_zyx, centre)
            if self.flips:
                image = image.flip([axis + 1 for axis in self.flips])
                label = None if label is None else label.flip(self.flips)
        else:
            it = self._mirrored()
            assert it.matrix is not None
            offset = centre - it.matrix @ ((np.array(it.size_zyx) - 1) / 2)
            sample = _by_kernels if image_czyx.device.type == "cpu" else _by_torch
            image, label = sample(it, offset, image_czyx, label_zyx, fills, label_fill)
        return image.contiguous(), None if label is None else label.contiguous()

    def _mirrored(self) -> SpatialMap:
        """Return the same map without flips: a mirrored voxel is as far from the centre, on the other side."""
        if not self.flips or self.matrix is None:
            return self
        signs = np.array([-1.0 if axis in self.flips else 1.0 for axis in range(3)])
        bend = None if self.bend is None else Bend(np.flip(self.bend.nodes, self.flips))
        return SpatialMap(self.size_zyx, self.matrix * signs, bend)

    def _cut(self, image: Tensor, label: Tensor | None, centre: NDArray[np.float64]) -> tuple[Tensor, Tensor | None]:
        start = [round(float(c - (n - 1) / 2)) for c, n in zip(centre, self.size_zyx, strict=True)]
        ends = [first + n for first, n in zip(start, self.size_zyx, strict=True)]
        if min(start) < 0 or any(end > n for end, n in zip(ends, image.shape[1:], strict=True)):
            raise ArgumentError(
                f"augmentation: a patch of {self.size_zyx} voxels reaches beyond an array of {tuple(image.shape[1:])}"
            )
        z, y, x = (slice(first, end) for first, end in zip(start, ends, strict=True))
        return image[:, z, y, x], None if label is None else label[z, y, x]


_Sampled = tuple[Tensor, "Tensor | None"]


def _by_kernels(
    it: SpatialMap,
    offset: NDArray[np.float64],
    image: Tensor,
    label: Tensor | None,
    fills: Sequence[float],
    label_fill: int,
) -> _Sampled:
    assert it.matrix is not None
    plan: Any = (it.size_zyx, it.matrix, offset)
    channels = image.detach().numpy()
    result = torch.empty((len(channels), *it.size_zyx), dtype=image.dtype)
    out, found = result.numpy(), None
    for number, (channel, fill) in enumerate(zip(channels, fills, strict=True)):
        if number == 0 and label is not None:
            out[0], found = affine_pair(channel, label.numpy(), *plan, fill=fill, label_fill=label_fill, bend=it.bend)
        else:
            out[number] = affine_linear(channel, *plan, fill=fill, bend=it.bend)
    return result, None if found is None else torch.from_numpy(found)


def _by_torch(
    it: SpatialMap,
    offset: NDArray[np.float64],
    image: Tensor,
    label: Tensor | None,
    fills: Sequence[float],
    label_fill: int,
) -> _Sampled:
    device = image.device
    places = _places(it, offset, device)  # (Z, Y, X, 3), voxels of the source
    shape = torch.tensor(image.shape[1:], dtype=torch.float32, device=device)
    outside = ((places < -0.5) | (places >= shape - 0.5)).any(dim=-1)
    grid = ((2 * places + 1) / shape - 1).flip(-1)[None]  # XYZ, -1 to 1 from face to face
    sampled = functional.grid_sample(image[None], grid, "bilinear", "border", align_corners=False)[0]
    sampled = torch.where(outside, torch.tensor(fills, dtype=image.dtype, device=device)[:, None, None, None], sampled)
    if label is None:
        return sampled, None
    near = torch.floor(places + 0.5).clamp(min=torch.zeros(3, device=device), max=shape - 1).long()
    picked = label[near[..., 0], near[..., 1], near[..., 2]]
    return sampled, torch.where(outside, torch.tensor(label_fill, dtype=label.dtype, device=device), picked)


def _places(it: SpatialMap, offset: NDArray[np.float64], device: torch.device) -> Tensor:
    assert it.matrix is not None
    matrix = torch.tensor(it.matrix, dtype=torch.float32, device=device)
    axes = [torch.arange(n, dtype=torch.float32, device=device) for n in it.size_zyx]
    voxels = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    places = voxels @ matrix.T + torch.tensor(offset, dtype=torch.float32, device=device)
    if it.bend is not None:
        nodes = torch.tensor(np.moveaxis(it.bend.nodes, 3, 0)[None], dtype=torch.float32, device=device)
        bent = functional.interpolate(nodes, size=it.size_zyx, mode="trilinear", align_corners=True)
        places = places + bent[0].movedim(0, -1)
    return places


def draw_map(
    settings: AugmentSettings, rng: np.random.Generator, size_zyx: Sequence[int], spacing_zyx: Sequence[float]
) -> SpatialMap:
    """Draw how a patch is turned, scaled, sheared, bent and mirrored.

    Parameters
    ----------
    settings
        What is drawn, and how often.
    rng
        The generator of this patch.
    size_zyx, spacing_zyx
        Voxels of the patch and their distances, mm: angles and shears hold in space, whatever the spacing.

    Examples
    --------
    >>> from itkit.training.augmenting.settings import AugmentSettings
    >>> turned = AugmentSettings(rotation=1, scale=0, in_plane=True)
    >>> draw_map(turned, np.random.default_rng(0), (8, 8, 8), (3, 1, 1)).source_zyx
    (8, 10, 10)
    """
    size, spacing = index(size_zyx), np.array(spacing_zyx, dtype=np.float64)
    if not settings.enabled:
        return SpatialMap(size)
    flat = settings.in_plane or size[0] == 1
    flips = tuple("ZYX".index(axis) for axis in settings.mirror if rng.random() < 0.5)
    parts = []
    if rng.random() < settings.rotation:
        parts.append(rotation(np.radians(rng.uniform(-1, 1, 3) * settings.rotation_degrees), flat=flat))
    if rng.random() < settings.scale:
        smallest, largest = settings.scale_range
        shown = rng.uniform(1 / largest, 1 / smallest)  # what a patch shows, as a factor; uniform as in nnU-Net
        parts.append(np.diag([1.0 if flat else shown, shown, shown]))
    if rng.random() < settings.shear:
        parts.append(_shear(rng.uniform(-1, 1, (3, 3)) * settings.shear_range, flat=flat))
    bend = _bend(settings, rng, size, spacing, flat=flat) if rng.random() < settings.elastic else None
    if not parts and bend is None:
        return SpatialMap(size, flips=flips)
    in_mm = np.linalg.multi_dot([np.eye(3), *parts, np.eye(3)])
    return SpatialMap(size, in_mm * spacing / spacing[:, None], bend, flips)


def balanced(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    """Draw a factor: where a range has 1 inside, half of the draws lie below 1, half above.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> sum(balanced(rng, (0.9, 3.0)) < 1 for _ in range(1000)) / 1000
    0.487
    """
    low, high = bounds
    if low < 1 < high:
        low, high = (low, 1.0) if rng.random() < 0.5 else (1.0, high)
    return float(rng.uniform(low, high))


def rotation(angles_zyx: Sequence[float] | NDArray[np.float64], *, flat: bool = False) -> NDArray[np.float64]:
    """Return the rotation about Z, then Y, then X, ZYX; with ``flat``, about Z alone.

    Parameters
    ----------
    angles_zyx
        Angles, radians.

    Notes
    -----
    `itkit.process.itk_aug.euler_matrix` turns about physical axes, XYZ, as ITK's Euler transform does; this one turns
    voxel axes, ZYX, about Z first. Recorded draws are replayed by either, so they stay two.

    Examples
    --------
    >>> (rotation((np.pi / 2, 0, 0)) @ [0, 0, 1]).round(9).tolist()  # X turns to Y
    [0.0, 1.0, 0.0]
    """
    result = np.eye(3)
    for angle, (first, second) in zip(angles_zyx, ((2, 1), (0, 2), (1, 0)), strict=True):
        turn = np.eye(3)
        turn[[first, second], [first, second]] = math.cos(angle)
        turn[second, first], turn[first, second] = math.sin(angle), -math.sin(angle)
        result = turn @ result
        if flat:
            break
    return result


def _shear(shifts: NDArray[np.float64], *, flat: bool) -> NDArray[np.float64]:
    matrix = np.where(np.eye(3) == 1, 1.0, shifts)
    if flat:
        matrix[0], matrix[:, 0] = (1, 0, 0), (1, 0, 0)
    return matrix


def _bend(
    settings: AugmentSettings, rng: np.random.Generator, size: Index, spacing: NDArray[np.float64], *, flat: bool
) -> Bend:
    """Draw control points of a uniform cubic B-spline over the patch; return the spline at nodes a few voxels apart."""
    lengths = np.maximum(np.array(size) - 1, 1) * spacing
    cells = np.maximum(np.round(lengths / lengths.max() * settings.elastic_cells), 1).astype(int)
    limits = settings.elastic_strength * lengths / cells
    if flat:
        limits[0] = 0
    points = rng.uniform(-1, 1, (*(cells + 3), 3)) * limits / spacing
    bases = [_basis(max(2, -(-n // _NODE_VOXELS) + 1), count) for n, count in zip(size, cells, strict=True)]
    return Bend(np.einsum("zk,yl,xm,klmc->zyxc", *bases, points, optimize="greedy"))


def _basis(nodes: int, cells: int) -> NDArray[np.float64]:
    """Return the weights of ``cells + 3`` control points of a uniform cubic B-spline at evenly spaced nodes."""
    places = np.linspace(0, cells, nodes)
    cell = np.minimum(places.astype(int), cells - 1)
    t = places - cell
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    result = np.zeros((nodes, cells + 3))
    for tap in range(4):
        result[np.arange(nodes), cell + tap] = weights[:, tap]
    return result
