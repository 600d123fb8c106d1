"""Say whether two tools made the same of the same data; fails when what must be equal is not.

Run: python agree.py resample SOURCE OURS THEIRS
     python agree.py aug SOURCE OURS THEIRS
     python agree.py voxels|orient|extract|combine|patch|evaluate OURS THEIRS
"""

import json
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def read(path):
    image = sitk.ReadImage(str(path))
    return image, sitk.GetArrayViewFromImage(image)


def volumes(folder):
    return sorted(path for path in folder.rglob("*.mha") if ".itkit" not in path.parts)


def grid(image):
    return image.GetSize(), *(
        tuple(np.round(v, 4)) for v in (image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    )


def expect(condition, text):
    if not condition:
        sys.exit(f"disagreement: {text}")


def equal_voxels(a, b, where):
    expect(a.shape == b.shape and np.array_equal(a, b), f"{where}: voxels differ")


def by_simpleitk(source, like, interpolator, transform=None, fill=0):
    if interpolator == sitk.sitkLinear:
        source = sitk.Cast(source, sitk.sitkFloat64)
    result = sitk.Resample(
        source, like.GetSize(), transform or sitk.Transform(), interpolator, like.GetOrigin(), like.GetSpacing(),
        like.GetDirection(), fill,
    )  # fmt: skip
    return sitk.GetArrayFromImage(result)


def within(array, limits):
    return array[tuple(slice(low, high) for low, high in limits)]


def inner(source, like):
    """Voxels that lie between the source's outermost centres, where every rule for the edge gives the same."""
    limits = []
    for axis in (2, 1, 0):
        points = [list(like.TransformIndexToPhysicalPoint((0, 0, 0))) for _ in range(like.GetSize()[axis])]
        for index, point in enumerate(points):
            point[axis] = like.GetOrigin()[axis] + index * like.GetSpacing()[axis]
        places = [source.TransformPhysicalPointToContinuousIndex(point)[axis] for point in points]
        good = [i for i, place in enumerate(places) if 0 <= place <= source.GetSize()[axis] - 1]
        limits.append((good[0], good[-1] + 1))
    return limits


def resample(source, ours, theirs):
    same_grid = True
    for name, method in (("image", sitk.sitkLinear), ("label", sitk.sitkNearestNeighbor)):
        for path in sorted((source / name).glob("case_*")):
            before, _ = read(path)
            after, array = read(ours / name / f"{path.name.split('.')[0]}.mha")
            limits = inner(before, after)
            reference = within(np.rint(by_simpleitk(before, after, method)), limits)
            equal_voxels(reference, within(array, limits), f"{name} {path.name} and SimpleITK.Resample")
            peer, _ = read(theirs / name / f"{path.name.split('.')[0]}.mha")
            same_grid &= grid(peer) == grid(after)
    print("equal to SimpleITK.Resample on our grid;", "same grid" if same_grid else "the peer's grid is another one")


def voxels(ours, theirs):
    """Voxels alone: images within 1, labels but for ties between two voxels."""
    for name, most, part in (("image", 1, 0.0), ("label", 0, 1e-3)):
        for path in sorted((ours / name).glob("case_*")):
            (_, array), (_, peer) = pair = [read(folder / name / path.name) for folder in (ours, theirs)]
            expect(array.shape == peer.shape, f"{name} {path.name}: {array.shape} and {peer.shape}")
            wrong = np.abs(array.astype(np.int64) - peer) > most
            expect(wrong.mean() <= part, f"{name} {path.name}: {wrong.sum()} voxels differ")
            del pair  # the arrays are views of its images
    print("images equal within 1, labels but for ties")


def aug(source, ours, theirs):
    facts = json.loads((ours / "image" / "aug_meta.json").read_text())
    expect(len(volumes(ours)) == len(volumes(theirs)), "numbers of files")
    for copy, entry in facts.items():
        transform = sitk.AffineTransform(3)
        transform.SetMatrix(entry["matrix_xyz"])
        transform.SetCenter(entry["center_xyz"])
        image, _ = read(source / "image" / f"{entry['source']}.nii.gz")
        _, made = read(ours / "image" / copy)
        low = float(sitk.GetArrayViewFromImage(image).min())
        wrong = np.abs(by_simpleitk(image, image, sitk.sitkLinear, transform, low) - made) > 1
        expect(wrong.mean() < 1e-5, f"{copy}: image differs from SimpleITK in {wrong.sum()} voxels")
        label, _ = read(source / "label" / f"{entry['source']}.nii.gz")
        _, made = read(ours / "label" / copy)
        wrong = by_simpleitk(label, label, sitk.sitkNearestNeighbor, transform) != made
        expect(wrong.mean() < 1e-5, f"{copy}: label differs from SimpleITK in {wrong.sum()} voxels")
    print("equal to SimpleITK.Resample with the recorded transforms")


def pairwise(ours, theirs):
    names = [path.relative_to(ours) for path in volumes(ours)]
    expect(names == [path.relative_to(theirs) for path in volumes(theirs)], "names of files")
    for name in names:
        (a, a_array), (b, b_array) = read(ours / name), read(theirs / name)
        equal_voxels(a_array, b_array, name)
        expect(grid(a) == grid(b), f"{name}: {grid(a)} and {grid(b)}")
    print(f"{len(names)} files equal, voxels and grids")


def patch(ours, theirs):
    def table(folder):
        found = {}
        for path in volumes(folder):
            image, array = read(path)
            kind = "label" if array.dtype == np.uint8 else "image"
            found[kind, tuple(np.round(image.GetOrigin(), 3)), hash(array.tobytes())] = path.name
        return found

    mine, peers = table(ours), table(theirs)
    places = [{key[:2] for key in found} for found in (mine, peers)]
    voxels = [{(key[0], key[2]) for key in found} for found in (mine, peers)]
    expect(
        voxels[0] == voxels[1],
        f"patches: {len(voxels[0] - voxels[1])} of ours and {len(voxels[1] - voxels[0])} of theirs",
    )
    print(
        f"{len(mine)} patches hold the same voxels;",
        "same places" if places[0] == places[1] else "the peer's lie elsewhere",
    )


def evaluate(ours, theirs):
    mine, peers = (json.loads((folder / "evaluation.json").read_text())["cases"] for folder in (ours, theirs))
    expect(mine.keys() == peers.keys(), "evaluate: other cases")
    worst = 0.0
    for case, labels in peers.items():
        for label, values in labels.items():
            for name, value in values.items():
                difference = abs(mine[case][label][name] - value) / max(abs(value), 1e-3)
                worst = max(worst, difference)
                expect(difference < 1e-4, f"{case}, class {label}, {name}: {mine[case][label][name]} and {value}")
    print(f"every metric of every class agrees within {worst:.0e} of its value (the peer's are in single precision)")


def lungs(ours, theirs):
    """Both lungs together; the script leaves trachea and bronchi in."""
    for path in sorted(ours.glob("case_*")):
        (_, array), (_, peer) = pair = read(path), read(theirs / path.name)
        a, b = array > 0, peer > 0
        dice = 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
        expect(dice > 0.97, f"{path.name}: Dice {dice:.3f}")
        del pair
    print("the lungs overlap, Dice > 0.97; the script leaves the airways in")


def align(ours, theirs):
    """The transforms lay the corners of the moved image onto the same points."""
    worst = 0.0
    for path in sorted((theirs / "transform").glob("*.tfm")):
        image, _ = read(theirs / f"{path.stem}.mha")
        pair = [sitk.ReadTransform(str(folder / "transform" / path.name)) for folder in (ours, theirs)]
        for corner in np.ndindex(2, 2, 2):
            point = image.TransformIndexToPhysicalPoint(
                [int(c * (n - 1)) for c, n in zip(corner, image.GetSize(), strict=True)]
            )
            a, b = (transform.TransformPoint(point) for transform in pair)
            worst = max(worst, float(np.linalg.norm(np.subtract(a, b))))
    expect(worst < 1, f"corners lie {worst:.2f} mm apart")
    print(f"corners of the image lie within {worst:.2f} mm of the peer's")


job, *words = sys.argv[1:]
functions = {
    "resample": resample,
    "voxels": voxels,
    "aug": aug,
    "orient": pairwise,
    "extract": pairwise,
    "combine": pairwise,
    "patch": patch,
    "lungs": lungs,
    "align": align,
    "evaluate": evaluate,
}
functions[job](*(Path(word) for word in words))
