"""Register an image to another with SimpleITK's framework, and move volumes by what was found."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from itkit.core.arguments import expect, expect_choice
from itkit.core.axes import to_xyz
from itkit.core.errors import CaseError
from itkit.core.geometry import Geometry
from itkit.core.text import counted, last_line
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import itk_threads, to_sitk
from itkit.kernels.affine import affine_linear, affine_nearest
from itkit.kernels.sampling import index_affine
from itkit.kernels.statistics import finite_summary
from itkit.process.body import body_mask
from itkit.process.by_itk import default_fill, resample_by_itk
from itkit.process.splines import mesh_of, refined

if TYPE_CHECKING:
    from numpy.typing import NDArray

TransformKind = Literal["translation", "rigid", "affine", "bspline"]
Metric = Literal["mattes", "correlation", "mse"]
Init = Literal["moments", "geometry", "none"]

WORKING_VOXELS = 1_500_000
"""Number of voxels to which images are shrunk before they are registered, about."""
_LEAST_SAMPLES = 30_000
_BODY_VOXELS = 60_000
_LEAST_OVERLAP = 0.25
_LAST_STEP = 1e-2
_RELAXATION = 0.7
_TOLERANCE = 1e-6
_CORRECTIONS = 6
_EVALUATIONS = 10
_FACTOR = 1e6
_FACTOR_OF_SPLINES = 1e12
"""Units of rounding by which L-BFGS-B must get better, relatively: 2e-10, and 2e-4 with splines."""
_SAMPLES = 10
"""Voxels that are looked at for each parameter of a spline. ITK goes through all parameters for each of them, so that
the time rises with both numbers; the torso CT of the package takes a minute with it, and hours with a fifth of its
voxels."""
_UNFINISHED = ("User requested", "umber of iterations", "umber of evaluations")
"""Words in the reasons with which L-BFGS-B stops before it has converged."""
_WORSE = 1e-3
_REACH = 2
"""Voxels around padding that are not compared: interpolation mixes it with what lies beside it."""
_LEAST_FILLED = 1e-3
_COMMON = 5e-3


@dataclass(frozen=True)
class Method:
    """How to register.

    Parameters
    ----------
    transform
        Kind of the transform; ``bspline`` begins with a rigid one.
    metric
        ``mattes``: mutual information; ``correlation``: normalized correlation; ``mse``: mean squared difference.
    init
        What is laid on each other first: centres of mass (``moments``), of the grids (``geometry``), or nothing.
    levels
        Number of resolutions, each twice as fine as the one before.
    bins
        Histogram bins of ``mattes``.
    sampling
        Fraction of the voxels that are looked at in the finest resolution; coarser ones look at more. Splines look at
        no more than 10 voxels for each of their parameters, or 30,000.
    iterations
        Greatest number of iterations in each resolution.
    grid_mm
        Distance between the control points of ``bspline``, mm.
    seed
        Seed of the choice of voxels.
    """

    transform: TransformKind = "rigid"
    metric: Metric = "mattes"
    init: Init = "moments"
    levels: int = 3
    bins: int = 50
    sampling: float = 0.2
    iterations: int = 300
    grid_mm: float = 50.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Alignment:
    """A transform that was found.

    Parameters
    ----------
    transform
        ``SimpleITK.Transform`` from points of the fixed image to points of the moving image.
    metric_before, metric_after
        The metric (less is better) without a transform and with it; ``None`` where the images do not overlap.
    iterations
        Number of iterations in all resolutions.
    stop
        Why the last resolution ended.
    displacement_mm
        Mean distance by which the transform moves points of the patient in the fixed image.
    overlap
        Share of these points that lie in the moving image.
    """

    transform: Any
    metric_before: float | None
    metric_after: float | None
    iterations: int
    stop: str
    displacement_mm: float
    overlap: float


def register(fixed: Volume, moving: Volume, method: Method | None = None, *, mask: Volume | None = None) -> Alignment:
    """Find the transform that lays a moving image onto a fixed one.

    Parameters
    ----------
    fixed, moving
        3-D images.
    method
        How; by default rigid, by Mattes' mutual information.
    mask
        Label map on the fixed image's grid; only voxels above 0 are compared.

    Returns
    -------
    Alignment
        The transform from points of the fixed to points of the moving image, as ITK has it.

    Raises
    ------
    CaseError
        When an image is constant or holds nan, or when the registration failed: it left the image, did not converge,
        or fits worse than before.

    Notes
    -----
    Both images are shrunk by whole factors to about 1.5 million voxels, and for each resolution once more, along fine
    axes first. The parameters are found by regular-step gradient descent, in the finest resolution then by L-BFGS-B.
    Random points between voxel centres are compared, where both images are interpolated. SimpleITK uses one thread, and
    the points depend on the seed alone, so that the result is the same on every number of workers.

    Splines begin on images half as fine, with control points twice as far apart.

    An image that was resampled is often filled up with one value where it left its grid. In the finest resolution, what
    lies in or at such padding of one image is not compared: it would pull the images apart by a part of a voxel.
    """
    method = Method() if method is None else method
    for name, volume in (("fixed", fixed), ("moving", moving)):
        expect(volume, Volume, f"register: {name}", "an itkit.Volume")
        _require_contrast(volume, name)
    expect_choice(method.transform, get_args(TransformKind), "register: transform")
    with itk_threads(1) as sitk:
        return _Registration(sitk, fixed, moving, method, mask).run()


def _require_contrast(volume: Volume, name: str) -> None:
    found = finite_summary(volume.array_zyx)
    if found.n_nan or found.n_inf:
        raise CaseError(
            f"{name}: {counted(found.n_nan + found.n_inf, 'voxel')} nan or infinite; nothing can be compared"
        )
    if found.minimum == found.maximum:
        raise CaseError(f"{name}: all voxels are {found.minimum:g}; a constant image can't be aligned")


class _Registration:
    """One registration: the shrunk images, the points of the patient, and the attempts."""

    def __init__(self, sitk: Any, fixed: Volume, moving: Volume, method: Method, mask: Volume | None) -> None:
        self.sitk, self.method = sitk, method
        self.fixed, self.moving = self._working(fixed), self._working(moving)
        self.mask = None
        if mask is not None:
            if not (mask.array_zyx > 0).any():
                raise CaseError("mask: it is empty; nothing can be compared")
            whole = to_sitk(mask.with_array((mask.array_zyx > 0).astype(np.uint8)))
            self.mask = sitk.Resample(whole, self.fixed, sitk.Transform(), sitk.sitkNearestNeighbor)
        self.points = _patient_points(fixed, mask)
        self.grid = moving.geometry
        self.filled = tuple((volume.geometry, _filled(volume.array_zyx)) for volume in (fixed, moving))
        self.iterations = 0

    def _working(self, volume: Volume) -> Any:
        """Return a float image of about `WORKING_VOXELS` voxels: bins of voxels are averaged along fine axes."""
        grid = volume.geometry
        wanted = max(min(grid.spacing_zyx), (math.prod(grid.extent_zyx) / WORKING_VOXELS) ** (1 / 3))
        factors = [
            max(1, min(size, int(wanted / step + 0.5)))
            for size, step in zip(grid.size_zyx, grid.spacing_zyx, strict=True)
        ]
        image = self.sitk.Cast(to_sitk(replace(volume, metadata={})), self.sitk.sitkFloat32)
        return image if max(factors) == 1 else self.sitk.BinShrink(image, to_xyz(factors))

    def run(self) -> Alignment:
        """Register, and judge the result."""
        sitk, method = self.sitk, self.method
        before = self.metric(sitk.Transform(3, sitk.sitkIdentity))
        transform, stop, problem = self.judged(before)
        if problem:
            if before is None or not self.is_best_where_it_is(before):
                raise CaseError(problem)
            transform, stop = self.identity(), "it was aligned before: every shift by a voxel is worse"
        overlap, after = self.overlap(transform), self.metric(transform)
        if any(words in stop for words in _UNFINISHED) and method.transform != "bspline":  # splines may always go on
            raise CaseError(f"the registration did not converge in {method.iterations} iterations (--iterations)")
        moved = self.moved(transform) - self.points
        distance = float(np.linalg.norm(moved, axis=1).mean())
        return Alignment(transform, before, after, self.iterations, stop, distance, overlap)

    def judged(self, before: float | None) -> tuple[Any, str, str]:
        """Return the transform that was found, why the last resolution ended, and what is wrong with it."""
        try:
            transform, stop = self.attempt()
        except RuntimeError as error:
            return None, "", f"the registration failed: {last_line(error)}"
        overlap = self.overlap(transform)
        if overlap < _LEAST_OVERLAP:
            share = f"{100 * overlap:.0f} % of the patient lie in the moving image"
            return transform, stop, f"the registration left the image: {share}; try another --init"
        after = self.metric(transform)
        if before is not None and (after is None or after > before + _WORSE * abs(before)):
            shown = "none" if after is None else f"{after:.6g}"
            name = self.method.metric
            return transform, stop, f"the registration got worse: {name} {before:.6g} before, {shown} after"
        return transform, stop, ""

    def attempt(self) -> tuple[Any, str]:
        """Return the transform that was found, and why the last resolution ended."""
        sitk = self.sitk
        if self.method.transform != "bspline":
            return self.optimized(self.started(self.method.transform), self.method.levels)
        rigid, _ = self.optimized(self.started("rigid"), self.method.levels)
        extent = [size * step for size, step in zip(self.fixed.GetSize(), self.fixed.GetSpacing(), strict=True)]
        factor = 2 if self.method.levels > 1 else 1
        mesh = mesh_of(extent, factor * self.method.grid_mm)
        spline = sitk.BSplineTransformInitializer(self.fixed, mesh, 3)
        stop = self.in_one_resolution(spline, factor, rigid, is_last=True)
        if factor == 2:
            spline = refined(sitk, spline)
            stop = self.in_one_resolution(spline, 1, rigid, is_last=True)
        return sitk.CompositeTransform([rigid, spline]), stop

    def started(self, kind: str) -> Any:
        """Return the transform to begin with."""
        sitk, init = self.sitk, self.method.init
        empty = {
            "translation": sitk.Euler3DTransform,
            "rigid": sitk.Euler3DTransform,
            "affine": lambda: sitk.AffineTransform(3),
        }[kind]()
        if init == "none":
            empty.SetCenter(
                self.fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in self.fixed.GetSize()])
            )
        else:
            way = sitk.CenteredTransformInitializerFilter
            images = (self.fixed, self.moving)
            if init == "moments":  # of what lies above the least value, or air would weigh less than nothing
                images = tuple(
                    sitk.Cast(sitk.ShiftScale(image, -_least(sitk, image), 1.0), sitk.sitkFloat32) for image in images
                )
            mode = way.MOMENTS if init == "moments" else way.GEOMETRY
            empty = type(empty)(sitk.CenteredTransformInitializer(*images, empty, mode))
        return sitk.TranslationTransform(3, empty.GetTranslation()) if kind == "translation" else empty

    def optimized(self, start: Any, levels: int) -> tuple[Any, str]:
        """Return a transform that SimpleITK found from a start, and why the finest resolution ended."""
        for factor in (2**level for level in reversed(range(1, levels))):
            self.in_one_resolution(start, factor, None, is_last=False)
        whole = self.mask
        if levels > 1:  # else nobody knows yet where padding of one image lies in the other
            self.mask = self.without_padding(start)
        try:
            self.in_one_resolution(start, 1, None, is_last=False)
            return start, self.in_one_resolution(start, 1, None, is_last=True)
        finally:
            self.mask = whole

    def without_padding(self, transform: Any) -> Any:
        """Return the mask without what lies in or near padding of one image alone, on the fixed image's grid.

        Padding has the least value of an image. Of what lies beyond the fixed image, nobody knows; there, the moving
        image's least value counts as padding.
        """
        sitk = self.sitk
        shares = [float(filled.mean()) for _, filled in self.filled]
        if max(shares) < _LEAST_FILLED:
            return self.mask
        size = [n + 2 * _REACH for n in self.fixed.GetSize()]
        corner = self.fixed.TransformContinuousIndexToPhysicalPoint([-float(_REACH)] * 3)
        grown = (corner, self.fixed.GetSpacing(), self.fixed.GetDirection())
        fixed, moving = (
            sitk.Resample(to_sitk(Volume(filled, grid)), size, way, sitk.sitkNearestNeighbor, *grown)
            for (grid, filled), way in zip(self.filled, (sitk.Transform(), transform), strict=True)
        )
        apart = fixed != moving
        if min(shares) > _COMMON:  # the edges of air that both images fill are no padding
            apart = sitk.BinaryMorphologicalOpening(apart, [1, 1, 1])
        inner = slice(_REACH, -_REACH)
        shown = (sitk.BinaryDilate(apart, [_REACH] * 3) == 0)[inner, inner, inner]
        if self.mask is not None:
            shown = sitk.Cast(self.mask, sitk.sitkUInt8) & shown
        return shown if sitk.GetArrayViewFromImage(shown).any() else self.mask

    def in_one_resolution(self, start: Any, factor: int, before: Any, *, is_last: bool) -> str:
        """Change a transform so that coarse images fit; return why the search ended.

        Steps along the gradient don't leave the basin in which they begin, as larger ones of L-BFGS-B may. In the
        finest resolution, L-BFGS-B ends the search also where gradients are flat, e.g. around a round body's axis; on
        its own it may stop too early, because the gradient that ITK computes is not quite that of the metric.
        """
        iterations = self.method.iterations
        found = self.framework()
        fixed, moving = (self.coarse(image, factor) for image in (self.fixed, self.moving))
        if before is not None:
            found.SetMovingInitialTransform(before)
        if is_last:
            least = _FACTOR if before is None else _FACTOR_OF_SPLINES
            found.SetOptimizerAsLBFGSB(_TOLERANCE, iterations, _CORRECTIONS, _EVALUATIONS * iterations, least)
        else:
            step = min(fixed.GetSpacing())
            found.SetOptimizerAsRegularStepGradientDescent(step, _LAST_STEP * step, iterations, _RELAXATION, 1e-8)
            found.SetOptimizerScalesFromPhysicalShift()
        most = None if before is None else max(_LEAST_SAMPLES, _SAMPLES * start.GetNumberOfParameters())
        self.sample(found, math.prod(fixed.GetSize()), most)
        found.SetInitialTransform(start, True)
        found.Execute(fixed, moving)
        self.iterations += int(found.GetOptimizerIteration())
        stop = str(found.GetOptimizerStopConditionDescription())
        return stop.partition(": ")[2] or stop

    def coarse(self, image: Any, factor: int) -> Any:
        """Return an image whose voxels are as wide as some voxels of its finest axis; finer axes are averaged."""
        wanted = factor * min(image.GetSpacing())
        factors = [
            max(1, min(size // 4, int(wanted / step + 0.5)))
            for size, step in zip(image.GetSize(), image.GetSpacing(), strict=True)
        ]
        return image if max(factors) == 1 else self.sitk.BinShrink(image, factors)

    def framework(self) -> Any:
        """Return SimpleITK's registration with the metric and what is compared."""
        found = self.sitk.ImageRegistrationMethod()
        if self.method.metric == "mattes":
            found.SetMetricAsMattesMutualInformation(self.method.bins)
        elif self.method.metric == "correlation":
            found.SetMetricAsCorrelation()
        else:
            found.SetMetricAsMeanSquares()
        found.SetInterpolator(self.sitk.sitkLinear)
        if self.mask is not None:
            found.SetMetricFixedMask(self.mask)
        return found

    def sample(self, found: Any, voxels: int, most: int | None = None) -> None:
        """Choose the voxels that are looked at."""
        share = min(1.0, max(self.method.sampling, _LEAST_SAMPLES / voxels))
        share = share if most is None else min(share, most / voxels)
        found.SetMetricSamplingStrategy(found.RANDOM)  # of points beside voxel centres: both are interpolated
        found.SetMetricSamplingPercentage(share, self.method.seed % 2**31 + 1)

    def metric(self, transform: Any) -> float | None:
        """Return the metric of a transform in the finest resolution; ``None`` if the images do not overlap."""
        found = self.framework()
        self.sample(found, math.prod(self.fixed.GetSize()))
        found.SetInitialTransform(transform)
        try:
            value = float(found.MetricEvaluate(self.fixed, self.moving))
        except RuntimeError:
            return None
        return value if math.isfinite(value) else None

    def identity(self) -> Any:
        """Return a transform of the wanted kind that moves nothing."""
        sitk = self.sitk
        kinds = {"translation": lambda: sitk.TranslationTransform(3), "affine": lambda: sitk.AffineTransform(3)}
        return kinds.get(self.method.transform, sitk.Euler3DTransform)()

    def is_best_where_it_is(self, before: float) -> bool:
        """Whether the images fit better as they are than shifted by a voxel along any axis."""
        for axis, step in enumerate(self.fixed.GetSpacing()):
            for sign in (-1.0, 1.0):
                shift = [sign * step if place == axis else 0.0 for place in range(3)]
                value = self.metric(self.sitk.TranslationTransform(3, shift))
                if value is not None and value <= before:
                    return False
        return True

    def moved(self, transform: Any) -> NDArray[np.float64]:
        """Return where a transform takes the points of the patient."""
        return np.array([transform.TransformPoint(point) for point in self.points.tolist()])

    def overlap(self, transform: Any) -> float:
        """Return the share of the patient's points that lie in the moving image."""
        matrix, offset = index_affine(self.grid, Geometry(self.grid.size_zyx, (1.0, 1.0, 1.0)))
        index = self.moved(transform)[:, [2, 1, 0]] @ matrix.T + offset
        return float(((index > -0.5) & (index < np.array(self.grid.size_zyx) - 0.5)).all(axis=1).mean())


def _filled(array_zyx: NDArray[Any]) -> NDArray[np.uint8]:
    """Return where an image holds its least value, as 0 and 1."""
    return np.asarray(array_zyx == array_zyx.min(), np.uint8)


def _least(sitk: Any, image: Any) -> float:
    extremes = sitk.MinimumMaximumImageFilter()
    extremes.Execute(image)
    return float(extremes.GetMinimum())


def _patient_points(fixed: Volume, mask: Volume | None) -> NDArray[np.float64]:
    """Return points of the patient (or of a mask) in an image, ``(N, 3)``, XYZ, mm; a few thousand are enough."""
    grid = fixed.geometry
    stride = max(1, math.ceil((math.prod(grid.size_zyx) / _BODY_VOXELS) ** (1 / 3)))
    thin = tuple(slice(min(stride // 2, size - 1), None, stride) for size in grid.size_zyx)
    if mask is not None:
        inside = mask.array_zyx[thin] > 0
    else:
        array = np.ascontiguousarray(fixed.array_zyx[thin])
        start = tuple(part.start for part in thin)
        coarse = replace(
            grid.crop((start[0], start[1], start[2]), (array.shape[0], array.shape[1], array.shape[2])),
            spacing_zyx=tuple(stride * step for step in grid.spacing_zyx),
        )
        inside = body_mask(Volume(array, coarse)).array_zyx > 0
    if not inside.any():
        inside = np.ones(inside.shape, bool)
    index = np.argwhere(inside) * stride + np.array([part.start for part in thin])
    steps = index[:, [2, 1, 0]] * np.array(to_xyz(grid.spacing_zyx))
    return np.asarray(steps @ np.array(grid.direction_xyz).reshape(3, 3).T + np.array(grid.origin_xyz))


def moved_to(volume: Volume, grid: Geometry, transform: Any, *, fill: float | None = None, threads: int = 1) -> Volume:
    """Return a volume on another grid, moved by a transform; images are interpolated linearly, label maps nearest.

    Parameters
    ----------
    volume
        3-D image or label map.
    grid
        Grid of the result.
    transform
        ``SimpleITK.Transform`` from points of the result to points of the volume.
    fill
        Value outside the volume; by default an image's minimum, and 0 for labels.
    threads
        Threads to use; the result does not depend on it.
    """
    is_label = volume.kind == "label"
    value = default_fill(volume) if fill is None or is_label else fill
    parts = matrix_of(transform)
    if parts is None:
        return resample_by_itk(
            volume, grid, "nearest" if is_label else "linear", fill=value, threads=threads, transform=transform
        )
    matrix, offset = index_affine(volume.geometry, grid, parts[0].ravel().tolist(), (0, 0, 0), parts[1].tolist())
    sample = affine_nearest if is_label else affine_linear
    array = sample(volume.array_zyx, grid.size_zyx, matrix, offset, fill=value, threads=threads)
    return volume.with_array(array, grid)


def matrix_of(transform: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return matrix (3x3, XYZ) and offset of a linear transform; ``None`` for others."""
    if not transform.IsLinear():
        return None
    offset = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(transform.TransformPoint(unit)) - offset for unit in np.eye(3).tolist()]
    return np.column_stack(columns), offset


def moved_grid(grid: Geometry, transform: Any) -> Geometry:
    """Return a grid moved by the inverse of a rigid transform: where the moving image lies in the fixed image's space.

    Raises
    ------
    CaseError
        When the transform is not rigid.
    """
    parts = matrix_of(transform)
    if parts is None or not np.allclose(parts[0] @ parts[0].T, np.eye(3), atol=1e-6):
        raise CaseError("only a rigid transform moves a grid without interpolation")
    inverse = np.linalg.inv(parts[0])
    x, y, z = (inverse @ (np.array(grid.origin_xyz) - parts[1])).tolist()
    direction = (inverse @ np.array(grid.direction_xyz).reshape(3, 3)).ravel().tolist()
    return replace(grid, origin_xyz=(x, y, z), direction_xyz=tuple(direction))
