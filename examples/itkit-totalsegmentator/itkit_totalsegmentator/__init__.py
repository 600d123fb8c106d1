"""``itk_totalsegmentator``: labels of anatomy by the package TotalSegmentator, which is imported when a case runs."""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from itkit.core.errors import CaseError, GeometryMismatchError, MissingExtraError
from itkit.core.fields import Positional
from itkit.core.operation import Collected, Context, InputFile, Job, Operation, Outcome, Plan, Report, Target
from itkit.core.params import Params, VolumeExtension
from itkit.core.volume import Case, Volume
from itkit.io.layouts import find_volumes, require_destination, require_folder
from itkit.io.nii_toolkit import affine_ras

TOLERANCE_MM = 1e-3
"""How far the grids of image and result may lie apart."""


class TotalSegmentatorParams(Params):
    """Label anatomy in CT or MR images with TotalSegmentator."""

    source: Annotated[Path, Positional("source")]
    """Folder of images, or a dataset, whose image/ is then read."""
    dest: Annotated[Path, Positional("dest")]
    """Folder to write label volumes to."""
    task: str = "total"
    """Task of TotalSegmentator, e.g. total, total_mr, body, lung_vessels."""
    fast: bool = False
    """Work on voxels of 3 mm: quicker and coarser."""
    classes: tuple[str, ...] = ()
    """Only these classes, by TotalSegmentator's names; tasks total and total_mr alone can do that."""
    device: str = "gpu"
    """Where the network runs: gpu, gpu:1, cpu, mps."""
    ext: VolumeExtension = ".mha"
    """Format of the output files."""


def totalsegmentator(module: str) -> Any:
    """Import a module of TotalSegmentator.

    Raises
    ------
    MissingExtraError
        When it is not installed.
    """
    try:
        return import_module(f"totalsegmentator.{module}")
    except ImportError as error:
        message = f"the package TotalSegmentator can't be imported ({error}); pip install TotalSegmentator"
        raise MissingExtraError(message) from error


def plan(params: TotalSegmentatorParams) -> Plan:
    """List the images.

    Raises
    ------
    MissingExtraError
        When TotalSegmentator is not installed: before anything is written.
    """
    totalsegmentator("map_to_binary")
    source = require_folder(params.source)
    require_destination(params.dest, source)
    images = find_volumes(source / "image" if (source / "image").is_dir() else source)
    jobs = [
        Job(case_id, {"image": InputFile(path, "image")}, {"label": Target(params.dest, params.ext, "label")})
        for case_id, path in images.items()
    ]
    return Plan(tuple(jobs), (), params.dest)


def segment(volume: Volume, segmenter: Callable[..., Any], **options: Any) -> Volume:
    """Let a segmenter of nibabel images label a volume.

    Parameters
    ----------
    volume
        The image.
    segmenter
        ``totalsegmentator.python_api.totalsegmentator``, or what is called alike.
    **options
        Its options.

    Raises
    ------
    CaseError
        When the segmenter fails, or asks for a licence by ending the process.
    GeometryMismatchError
        When the result lies on another grid than the image.
    """
    import nibabel

    affine = np.array(affine_ras(volume.geometry))
    image = nibabel.Nifti1Image(np.ascontiguousarray(volume.array_zyx.transpose(2, 1, 0)), affine)
    try:
        with redirect_stdout(sys.stderr):  # stdout belongs to events and summary
            result = segmenter(image, None, ml=True, quiet=True, **options)
    except (Exception, SystemExit) as error:  # it leaves the process where a licence is missing
        raise CaseError(f"TotalSegmentator fails ({type(error).__name__}: {error})") from error
    apart = float(np.abs(result.affine - affine).max())
    if result.shape != image.shape or apart > TOLERANCE_MM:
        raise GeometryMismatchError(
            "TotalSegmentator's result is on another grid than the image: "
            f"{result.shape[::-1]} and {image.shape[::-1]} voxels ZYX, affines {apart:.3g} apart"
        )
    labels = np.asarray(result.dataobj).transpose(2, 1, 0)
    smallest = np.uint8 if labels.max(initial=0) < 256 else np.uint16
    return Volume(np.ascontiguousarray(labels.astype(smallest)), volume.geometry, "label")


def segment_case(case: Case, params: TotalSegmentatorParams, context: Context) -> Outcome:
    """Label one image; classes that were found are in the facts."""
    label = segment(
        case.volumes["image"],
        totalsegmentator("python_api").totalsegmentator,
        task=params.task,
        fast=params.fast,
        roi_subset=list(params.classes) or None,
        device=params.device,
        nr_thr_resamp=context.threads,
    )
    values, counts = np.unique(label.array_zyx, return_counts=True)
    voxels = {str(value): int(count) for value, count in zip(values, counts, strict=True) if value}
    warnings = () if voxels else ("TotalSegmentator found nothing",)
    return Outcome((Case(case.id, {"label": label}),), {"voxels": voxels}, warnings)


def collect(params: TotalSegmentatorParams, run: Collected) -> Report:
    """Write ``totalsegmentator_meta.json``: names of the values, voxels of each in every case."""
    names = totalsegmentator("map_to_binary").class_map.get(params.task, {})
    cases = {case_id: record.facts for case_id, record in sorted(run.all_records.items())}
    value = {"task": params.task, "labels": {str(key): name for key, name in names.items()}, "cases": cases}
    return Report(files={Path("totalsegmentator_meta.json"): value})


OPERATION = Operation(
    "itk_totalsegmentator",
    TotalSegmentatorParams,
    plan,
    segment_case,
    collect,
    example="itk_totalsegmentator raw labels --task total --fast",
)
