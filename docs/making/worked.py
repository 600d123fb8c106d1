"""The worked examples: command lines on the CT in ``raw``, and how their results are drawn."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import itkit
from itkit.core.geometry import Triple
from itkit.core.slices import plane_slice
from itkit.core.volume import Volume
from itkit.report.pictures import Overlay, busiest_point, fused_picture, nearest_voxel
from making.drawing import ACCENT, SOFT_TISSUE, WIDTH, Drawing, Panel, row_of, view, voxels
from making.examples import Example

ORGANS = (1, 2, 3, 5, 6)
"""Spleen, kidneys, liver, stomach: what pictures point at."""
RED = (255, 90, 90)


def image(folder: Path, path: str) -> Volume:
    """Read an image of an example."""
    return itkit.read(folder / path)


def label(folder: Path, path: str) -> Volume:
    """Read a label map of an example."""
    return itkit.read(folder / path, "label")


def raw(folder: Path) -> tuple[Volume, Volume, Triple]:
    """Return the CT, its labels, and the point through which pictures are cut."""
    truth = label(folder, "raw/label/torso.nii.gz")
    return image(folder, "raw/image/torso.nii.gz"), truth, busiest_point(truth, ORGANS)


def resampled(folder: Path) -> str:
    """Draw the torso on voxels of 3 and of 6 mm, with organs."""
    before, truth, at = raw(folder)
    after, new = image(folder, "coarse/image/torso.mha"), label(folder, "coarse/label/torso.mha")
    return row_of(
        [
            view("3 mm", before, [Overlay(truth, classes=ORGANS)], at_xyz=at),
            view("6 mm", after, [Overlay(new, classes=ORGANS)], at_xyz=at),
        ]
    )


def oriented(folder: Path) -> str:
    """Draw the first plane of an array before and after it was turned."""
    before = image(folder, "raw/image/torso_reversed.nii.gz")
    after = image(folder, "turned/image/torso_reversed.mha")
    return row_of(
        [
            voxels(f"{volume.geometry.orientation}: array[{size // 2}]", volume.array_zyx[size // 2])
            for volume in (before, after)
            for size in [volume.geometry.size_zyx[0]]
        ]
    )


def patched(folder: Path) -> str:
    """Draw the places of the patches on a coronal slice."""
    before, truth, at = raw(folder)
    meta = json.loads((folder / "patches" / "crop_meta.json").read_text())
    patches = meta["patch_meta"]["torso"]["patches"]
    grid = before.geometry
    size = meta["patch_size"]
    panel = view("patches of 64 x 64 x 64 voxels", before, [Overlay(truth, classes=ORGANS)], at_xyz=at)
    rows, columns = panel.rgb.shape[:2]
    scale = 0.72 * WIDTH / columns
    drawing = Drawing(50 + rows * scale + 14)
    left = (WIDTH - columns * scale) / 2
    drawing.text(panel.caption, left, 32)
    drawing.image(panel.rgb, left, 50, columns * scale)
    down, right = _axes_of(before)
    at_zyx = nearest_voxel(grid, at)
    for number, patch in enumerate(sorted(patches, key=lambda one: one["start"])):
        start = patch["start"]
        if not start[1] <= at_zyx[1] < start[1] + size[1]:
            continue
        top = _along(start[0], size[0], grid.size_zyx[0], reverse=down) * rows * scale
        side = _along(start[2], size[2], grid.size_zyx[2], reverse=right) * columns * scale
        inset = 2 * (number % 4)
        drawing.box(
            left + side + inset,
            50 + top + inset,
            size[2] / grid.size_zyx[2] * columns * scale - 2 * inset,
            size[0] / grid.size_zyx[0] * rows * scale - 2 * inset,
        )
    return drawing.svg()


def _axes_of(volume: Volume) -> tuple[bool, bool]:
    """Return whether Z runs up and X runs left in the coronal picture of a volume."""
    z, y, x = np.indices(volume.geometry.size_zyx)
    middle = tuple(size // 2 for size in volume.geometry.size_zyx)
    rows = plane_slice(z, volume.geometry, "coronal", (middle[0], middle[1], middle[2])).values
    columns = plane_slice(x, volume.geometry, "coronal", (middle[0], middle[1], middle[2])).values
    del y
    return bool(rows[0, 0] > rows[-1, 0]), bool(columns[0, 0] > columns[0, -1])


def _along(start: int, size: int, whole: int, *, reverse: bool) -> float:
    """Return where a box begins along an axis of a picture, as a share of it."""
    return (whole - start - size if reverse else start) / whole


def augmented(folder: Path) -> str:
    """Draw the torso and two copies."""
    before, truth, at = raw(folder)
    copies = [
        view(
            f"copy {number}",
            image(folder, f"more/image/torso_{number}.mha"),
            [Overlay(label(folder, f"more/label/torso_{number}.mha"), classes=ORGANS)],
            at_xyz=at,
        )
        for number in (0, 1)
    ]
    return row_of([view("the CT", before, [Overlay(truth, classes=ORGANS)], at_xyz=at), *copies])


def extracted(folder: Path) -> str:
    """Draw all classes, and the three that were picked."""
    before, truth, at = raw(folder)
    picked = label(folder, "organs/torso.mha")
    return row_of(
        [
            view("61 classes", before, [Overlay(truth)], at_xyz=at),
            view("liver 1, kidneys 2", before, [Overlay(picked)], at_xyz=at),
        ]
    )


def enhanced(folder: Path) -> str:
    """Draw the CT with its full range, and clipped."""
    before, _, at = raw(folder)
    after = image(folder, "enhanced/image/torso.mha")
    low, high = float(before.array_zyx.min()), float(before.array_zyx.max())
    wide = type(SOFT_TISSUE)(low, high, "all")
    return row_of(
        [
            view(f"{low:g} to {high:g} HU", before, at_xyz=at, window=wide),
            view("clipped, normalized", after, at_xyz=at, window=type(SOFT_TISSUE)(*_range(after), "all")),
        ]
    )


def _range(volume: Volume) -> tuple[float, float]:
    return float(volume.array_zyx.min()), float(volume.array_zyx.max())


def aligned(folder: Path) -> str:
    """Draw both images over each other, before and after."""
    fixed, _, at = raw(folder)
    moved = image(folder, "follow_up/image/torso.mha")
    after = image(folder, "aligned/image/torso.mha")
    panels = []
    for caption, volume in (("before", itkit.resample(moved, fixed.geometry)), ("after", after)):
        drawn = fused_picture((fixed, volume), (SOFT_TISSUE, SOFT_TISSUE), "coronal", at)
        panels.append(Panel(caption, drawn.rgb, drawn.letters))
    return row_of(panels)


def combined(folder: Path) -> str:
    """Draw the sources and what they became."""
    before, _, at = raw(folder)
    return row_of(
        [
            view("organs", before, [Overlay(label(folder, "organs/torso.mha"))], at_xyz=at),
            view("bones", before, [Overlay(label(folder, "bones/label/torso.mha"))], at_xyz=at),
            view("merged", before, [Overlay(label(folder, "merged/torso.mha"))], at_xyz=at),
        ]
    )


def presegmented(folder: Path) -> str:
    """Draw the body and the bones that were found without a network."""
    before, _, at = raw(folder)
    return row_of(
        [
            view("--target body", before, [Overlay(label(folder, "body/label/torso.mha"))], at_xyz=at),
            view("--target bone", before, [Overlay(label(folder, "bones/label/torso.mha"))], at_xyz=at),
        ]
    )


def cropped(folder: Path) -> str:
    """Draw the box in the whole volume, and what is left."""
    before, truth, at = raw(folder)
    classes = {"liver": 5, "stomach": 6}
    at = busiest_point(truth, [*classes.values()])
    after = image(folder, "cropped/image/torso.mha")
    kept = label(folder, "cropped/label/torso.mha")
    whole = view("the CT", before, [Overlay(truth, classes=[*classes.values()])], at_xyz=at)
    part = view("cut to the liver", after, [Overlay(kept, classes=[*classes.values()])], at_xyz=at)
    return row_of([whole, part])


def cleaned(folder: Path) -> str:
    """Draw a rough label map, and what is left of it."""
    before, _, at = raw(folder)
    return row_of(
        [
            view("as it was", before, [Overlay(label(folder, "draft/label/torso.mha"), colour=RED)], at_xyz=at),
            view("cleaned", before, [Overlay(label(folder, "cleaned/label/torso.mha"), colour=RED)], at_xyz=at),
        ]
    )


def evaluated(folder: Path) -> str:
    """Draw the reference and the prediction, and the Dice of each case."""
    before, _, at = raw(folder)
    with (folder / "evaluation" / "per_case.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("case") == "torso"]
    dice = float(rows[0]["dice"])
    return row_of(
        [
            view("reference", before, [Overlay(label(folder, "bones/torso.mha"))], at_xyz=at),
            view(
                f"prediction: Dice {dice:.2f}",
                before,
                [Overlay(label(folder, "found/label/torso.mha"), colour=RED)],
                at_xyz=at,
            ),
        ]
    )


def measured(folder: Path) -> str:
    """Draw the sizes of the largest organs as bars, from the table that the command wrote."""
    stats = json.loads((folder / "stats" / "stats.json").read_text())
    classes = sorted(stats["cases"]["torso"]["labels"].values(), key=lambda one: -one["ml"])[:8]
    drawing = Drawing(52 + 34 * len(classes) + 10)
    drawing.text("volume of the largest classes, ml", 20, 32)
    for number, one in enumerate(classes):
        y = 52 + 34 * number
        width = 330 * one["ml"] / classes[0]["ml"]
        drawing.text(one["name"].replace("_", " "), 210, y + 20, anchor="end", size=17)
        drawing.box(220, y, width, 26, fill=ACCENT, line=0)
        drawing.text(f"{one['ml']:.0f}", 228 + width, y + 20, size=17)
    return drawing.svg()


BONES = "25:1 26:1 27:1 28:1 29:1 30:1 31:1 32:1 33:1 75:1 76:1 77:1 78:1 98:1 99:1 100:1 101:1 102:1 103:1 110:1 111:1 112:1 113:1 114:1 115:1"
SHIFT = """python - <<'END'
from dataclasses import replace
import itkit
for part in ("image", "label"):
    volume = itkit.read(f"raw/{part}/torso.nii.gz", part)
    x, y, z = volume.geometry.origin_xyz
    moved = replace(volume.geometry, origin_xyz=(x + 24, y - 12, z + 18))
    itkit.write(volume.with_array(volume.array_zyx, moved), f"follow_up/{part}/torso.mha")
END"""

WORKED: Mapping[str, Example] = {
    "itk_check": Example(
        "One case has another spacing, one file is cut short, and one label has no image. All are named, each with its "
        "reason; nothing is changed.",
        (
            "itk_resample dataset raw mixed --spacing 3 3 3 --ext .nii.gz",
            "itk_resample image raw/image odd --spacing 6 3 3 --ext .nii.gz && cp odd/torso_oblique.nii.gz mixed/image/",
            "head -c 2000 raw/image/torso_reversed.nii.gz > mixed/image/torso_reversed.nii.gz",
            "cp raw/label/torso.nii.gz mixed/label/no_image.nii.gz",
            "itk_check check mixed --deep --max-spacing 4 -1 -1",
        ),
        codes=(0, 1),
    ),
    "itk_resample": Example(
        "Images are interpolated, labels take the nearest voxel; both end on one grid, which covers the same box.",
        ("itk_resample dataset raw coarse --spacing 6 6 6",),
        "A coronal slice through liver and kidneys: the organs stay where they were, on voxels eight times as large.",
        resampled,
    ),
    "itk_orient": Example(
        "The axes of `torso_reversed` point to S, A and R. After the command, those of all cases point to L, P and I.",
        ("itk_orient raw turned LPI",),
        "The middle plane of the array in memory, before and after, first row on top. The patient has not moved.",
        oriented,
    ),
    "itk_patch": Example(
        "Patches overlap by a quarter; those with less than a tenth of labelled voxels are left out.",
        ("itk_patch raw patches --patch-size 64 64 64 --patch-stride 48 48 48 --minimum-foreground-ratio 0.1",),
        "A coronal slice with the patches that it passes through.",
        patched,
    ),
    "itk_aug": Example(
        "Two copies of each case, turned by up to 5, 10 and 10 degrees about Z, Y and X, and scaled by up to a tenth.",
        (
            "itk_aug raw/image raw/label -oimg more/image -olbl more/label -n 2 "
            "--random-rot 5 10 10 --random-scale 0.1 0.1 0.1 --seed 1",
        ),
        "The same coronal plane of the CT and of two copies: image and label move together.",
        augmented,
    ),
    "itk_extract": Example(
        "The liver becomes class 1, both kidneys class 2, all else background. The command names what it leaves out.",
        ("itk_extract raw/label organs 5:1 2:2 3:2 --merge",),
        "A coronal slice with all 61 classes, and with those that were picked.",
        extracted,
    ),
    "itk_stats": Example(
        "Grids, intensities and the volume of each class, and the cases that do not fit the others.",
        ("itk_stats raw stats",),
        "The largest classes of the first case, drawn from `stats.json`. The command itself writes a page, `stats.html`.",
        measured,
    ),
    "itk_convert": Example(
        "To the layout of nnU-Net, which wants classes without gaps; the command says which number became which.",
        (
            "itk_extract raw/label organs/label 5:1 2:2 3:3 && cp -r raw/image organs/",
            "itk_describe organs --labels 1=liver 2=kidney_right 3=kidney_left --modality CT --existing redo",
            "itk_convert nnunet organs nnUNet_raw/Dataset001_Torso",
            "ls nnUNet_raw/Dataset001_Torso nnUNet_raw/Dataset001_Torso/labelsTr",
        ),
    ),
    "itk_evaluate": Example(
        "Bones that were found by a threshold, compared with labelled ones.",
        (
            f"itk_extract raw/label bones {BONES} --merge",
            "itk_presegment raw found --target bone --closing-mm 8 --fill-holes",
            "itk_evaluate bones found evaluation",
        ),
        "The reference, and what was found: ribs and spine are met; what counts against it is cartilage and contrast agent.",
        evaluated,
    ),
    "itk_collect": Example(
        "A folder as it may arrive, each patient with files of other names. Patterns say which file is what.",
        (
            "mkdir -p inbox/p1 inbox/p2 && cp raw/image/torso.nii.gz inbox/p1/ct.nii.gz",
            "cp raw/label/torso.nii.gz inbox/p1/seg.nii.gz && cp raw/image/torso_oblique.nii.gz inbox/p2/ct.nii.gz",
            "cp raw/label/torso_oblique.nii.gz inbox/p2/seg.nii.gz && echo 'call me back' > inbox/notes.txt",
            "itk_collect inbox --guess",
            "itk_collect inbox dataset --image '{case}/ct.nii.gz' --label '{case}/seg.nii.gz' --modality CT",
        ),
    ),
    "itk_describe": Example(
        "A dataset without `dataset.json` gets one: the names of its classes and what its images are.",
        (
            "itk_extract raw/label plain/label 5:1 2:2 3:3 && cp -r raw/image plain/",
            "itk_describe plain --labels 1=liver 2=kidney_right 3=kidney_left --modality CT",
        ),
    ),
    "itk_enhance": Example(
        "Clipped to soft tissue, then brought to mean 0 and standard deviation 1 within the labelled voxels.",
        ("itk_enhance raw enhanced --clip -160 240 --normalize zscore --within label",),
        "The same slice: left with all its values, right after the two steps.",
        enhanced,
    ),
    "itk_align": Example(
        "A second scan of the patient, which lies 24 mm to the left, 12 mm to the front and 18 mm higher.",
        (SHIFT, "itk_align follow_up raw aligned --transform translation --levels 1 --sampling 0.05"),
        "Both scans over each other: the first in magenta, the second in green, grey where they agree.",
        aligned,
        codes=(0,),
    ),
    "itk_combine": Example(
        "Organs that somebody labelled, and bones that were found by a threshold, in one label map.",
        (
            "itk_extract raw/label organs 5:1 2:2 3:2 --merge",
            "itk_presegment raw bones --target bone --closing-mm 8",
            "itk_combine -i organs=organs -i bones=bones/label -o merged --map 'organs:1->1' 'organs:2->2' 'bones:1->3'",
        ),
        "Two sources and the result; where both claim a voxel, the first rule wins.",
        combined,
    ),
    "itk_split": Example(
        "Three folds, each with one case to validate; with more cases, `--stratify` and `--group-by` matter.",
        ("itk_split raw --folds 3 --seed 7",),
    ),
    "itk_presegment": Example(
        "Two label maps without any network: the patient, and the bones.",
        ("itk_presegment raw body --target body", "itk_presegment raw bones --target bone --closing-mm 8 --fill-holes"),
        "What was found, over the CT.",
        presegmented,
    ),
    "itk_crop": Example(
        "To the liver and the stomach, with 10 mm around them. `crop_boxes.json` puts results back later.",
        ("itk_crop raw cropped --to label --labels liver stomach --margin-mm 10 10 10",),
        "A coronal slice before and after. Every voxel keeps its physical point.",
        cropped,
    ),
    "itk_postprocess": Example(
        "Everything above 200 HU: bones, but also vessels with contrast agent, and specks. The largest part is kept, "
        "and gaps are closed.",
        (
            "itk_presegment raw draft --target threshold --threshold 200 3000",
            "itk_postprocess draft cleaned --largest --closing-mm 6 --fill-holes",
        ),
        "Before and after.",
        cleaned,
    ),
}
