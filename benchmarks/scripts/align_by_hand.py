"""Rigid registration as a user writes it with SimpleITK, with the settings of `itk_align`.

Run: python align_by_hand.py MOVING FIXED DEST
Three resolutions by regular-step gradient descent, the finest then by L-BFGS-B, a fifth of the voxels, one thread.
"""

import math
import sys
from pathlib import Path

import SimpleITK as sitk

WORKING_VOXELS = 1_500_000


def shrunk(image, wanted):
    factors = [
        max(1, min(n // 4, int(wanted / step + 0.5)))
        for n, step in zip(image.GetSize(), image.GetSpacing(), strict=True)
    ]
    return image if max(factors) == 1 else sitk.BinShrink(image, factors)


def working(path):
    image = sitk.Cast(sitk.ReadImage(str(path)), sitk.sitkFloat32)
    extent = [n * step for n, step in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    return shrunk(image, max(min(image.GetSpacing()), (math.prod(extent) / WORKING_VOXELS) ** (1 / 3)))


def above_least(image):
    extremes = sitk.MinimumMaximumImageFilter()
    extremes.Execute(image)
    return sitk.Cast(sitk.ShiftScale(image, -extremes.GetMinimum(), 1.0), sitk.sitkFloat32)


def registered(fixed, moving):
    way = sitk.CenteredTransformInitializerFilter
    start = sitk.CenteredTransformInitializer(
        above_least(fixed), above_least(moving), sitk.Euler3DTransform(), way.MOMENTS
    )
    transform = sitk.Euler3DTransform(start)
    for factor, is_last in ((4, False), (2, False), (1, False), (1, True)):
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(50)
        method.SetInterpolator(sitk.sitkLinear)
        coarse = [shrunk(image, factor * min(image.GetSpacing())) for image in (fixed, moving)]
        if is_last:
            method.SetOptimizerAsLBFGSB(1e-6, 300, 6, 3000, 1e6)
        else:
            step = min(coarse[0].GetSpacing())
            method.SetOptimizerAsRegularStepGradientDescent(step, 1e-2 * step, 300, 0.7, 1e-8)
            method.SetOptimizerScalesFromPhysicalShift()
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(min(1.0, max(0.2, 30_000 / math.prod(coarse[0].GetSize()))), 1)
        method.SetInitialTransform(transform, True)
        method.Execute(*coarse)
    return transform


def main():
    moving_folder, fixed_folder, dest = (Path(word) for word in sys.argv[1:])
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    (dest / "transform").mkdir(parents=True)
    for path in sorted(moving_folder.glob("case_*")):
        name = path.name.split(".")[0]
        transform = registered(working(fixed_folder / path.name), working(path))
        sitk.WriteTransform(transform, str(dest / "transform" / f"{name}.tfm"))
        image, like = sitk.ReadImage(str(path)), sitk.ReadImage(str(fixed_folder / path.name))
        moved = sitk.Resample(image, like, transform, sitk.sitkLinear, -1024)
        sitk.WriteImage(moved, str(dest / f"{name}.mha"), useCompression=True)


main()
