"""The section ``[augment]`` of a plan: which augmentations there are, how often, and how strong."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from itkit.process.elastic import LARGEST_FRACTION

Probability = Annotated[float, Field(ge=0, le=1)]


def _rising(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"expected a range from low to high; got {bounds[0]:g} to {bounds[1]:g}")
    return bounds


def _axes(text: str) -> str:
    if len(set(text)) != len(text) or not set(text) <= set("ZYX"):
        raise ValueError(f"expected some of the axes ZYX, each once; got {text!r}")
    return text


Positive = Annotated[float, Field(gt=0)]
Range = Annotated[tuple[float, float], AfterValidator(_rising)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_rising)]


class AugmentSettings(BaseModel):
    """Augmentations by name, with the probability that a patch (``…_per_channel``: a channel of it) gets each.

    The defaults are those of nnU-Net v2 [1]_, which has no shear and no elastic deformation. What it calls the variance
    of the noise, up to 0.1, it takes as the standard deviation.

    References
    ----------
    .. [1] Isensee F. et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image
       segmentation", Nature Methods 18 (2021), doi:10.1038/s41592-020-01008-z; its version 2,
       ``nnUNetTrainer.get_training_transforms``, https://github.com/MIC-DKFZ/nnUNet
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    enabled: bool = True
    """false switches off all augmentation"""
    on: Literal["worker", "device"] = "worker"
    """where it is computed: in the loader's workers, or on the device that trains"""
    in_plane: bool = False
    """turn, scale, shear and bend within the planes Y-X alone: for thick slices, which are never interpolated"""
    mirror: Annotated[str, AfterValidator(_axes)] = "ZYX"
    """axes along which a patch is mirrored, each in half of the patches; empty for none"""
    rotation: Probability = 0.2
    """probability of a rotation"""
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 30.0
    """largest angle about each of the axes Z, Y, X, degrees"""
    scale: Probability = 0.2
    """probability of another size, the same along all axes; what a patch shows is uniform between its bounds"""
    scale_range: PositiveRange = (0.7, 1.4)
    """smallest and largest size as a factor of the size before"""
    shear: Probability = 0.0
    """probability of a shear"""
    shear_range: Annotated[float, Field(ge=0, le=1)] = 0.1
    """largest shift along an axis per mm along another one, mm"""
    elastic: Probability = 0.0
    """probability of an elastic deformation by cubic B-splines"""
    elastic_cells: Annotated[int, Field(ge=1, le=32)] = 4
    """cells of its coarse grid along the longest side of a patch"""
    elastic_strength: Annotated[float, Field(ge=0, le=LARGEST_FRACTION)] = 0.2
    """largest displacement of a control point as a part of a cell; up to 0.4 nothing folds"""
    noise: Probability = 0.1
    """probability of Gaussian noise"""
    noise_variance: Annotated[float, Field(ge=0)] = 0.01
    """largest variance of the noise, squared units of the normalised intensities"""
    blur: Probability = 0.2
    """probability of a Gaussian blur"""
    blur_per_channel: Probability = 0.5
    """probability of the blur for each channel, if a patch is blurred"""
    blur_voxels: PositiveRange = (0.5, 1.0)
    """standard deviation of the blur, voxels"""
    brightness: Probability = 0.15
    """probability of a factor on all intensities"""
    brightness_range: PositiveRange = (0.75, 1.25)
    """smallest and largest factor"""
    contrast: Probability = 0.15
    """probability of a factor on the differences from the mean; no intensity leaves the range it had"""
    contrast_range: PositiveRange = (0.75, 1.25)
    """smallest and largest factor"""
    low_resolution: Probability = 0.25
    """probability of a lower resolution"""
    low_resolution_per_channel: Probability = 0.5
    """probability of the lower resolution for each channel, if a patch gets one"""
    low_resolution_range: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]], AfterValidator(_rising)
    ] = (0.5, 1.0)
    """coarsest and finest resolution as a part of the patch's"""
    gamma: Probability = 0.3
    """probability of a gamma curve; mean and standard deviation stay"""
    gamma_inverted: Probability = 0.1
    """probability of a gamma curve of the inverted intensities; mean and standard deviation stay"""
    gamma_range: PositiveRange = (0.7, 1.5)
    """smallest and largest exponent; half of them below 1"""
