"""Real files from real scanners: every voxel keeps its physical point, every reader agrees."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import slicerio

import itkit
from itkit.cli.demo import variants
from itkit.core.errors import ReadError
from itkit.core.files import split_extension
from itkit.io.sitk_toolkit import from_sitk, read_volume, write_volume
from itkit.kernels.components import holes
from itkit.process.presegmentation import presegment
from itkit.report.pictures import class_statistics

CHEST = Path(slicerio.__file__).parent / "data"
FILES = sorted(
    path
    for folder in (Path(nib.__file__).parent, CHEST)
    for path in folder.rglob("*")
    if split_extension(path.name) is not None
)
NO_VOLUME = {"example4d.nii.gz", "example_nifti2.nii.gz", "functional.nii", "row_major.dconn.nii"}  # 4-D and more


def test_there_are_real_files():
    assert len(FILES) >= 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_shipped_file_reads_like_simpleitk_or_is_a_named_error(path):
    if path.name in NO_VOLUME:
        with pytest.raises(ReadError, match=path.name):
            read_volume(path, channels=True)
        return
    ours, theirs = read_volume(path, channels=True), from_sitk(sitk.ReadImage(str(path)))
    np.testing.assert_allclose(
        np.nan_to_num(ours.array_zyx), theirs.array_zyx, rtol=1e-6
    )  # ITK makes nan 0, we keep it
    assert ours.geometry.same_grid(theirs.geometry, tol_mm=1e-3)


def chest(name="chest"):
    image, label = read_volume(CHEST / "CTChest4.nrrd"), read_volume(CHEST / "Segmentation.seg.nrrd", "label")
    change = variants("chest")[name]
    return tuple(change(replace(volume, metadata={})) for volume in (image, label))


VARIANTS = ["chest", "chest_reversed", "chest_oblique"]


def write_chest(root):
    for name in VARIANTS:
        image, label = chest(name)
        write_volume(image, root / "image" / f"{name}.nii.gz")
        write_volume(label, root / "label" / f"{name}.nrrd")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    root = tmp_path_factory.mktemp("chest")
    write_chest(root)
    return root


def pairs(root):
    for path in sorted((root / "image").glob("*.mha")):
        yield path.stem, read_volume(path), read_volume(root / "label" / path.name, "label")


def test_organ_means_survive_orient_exactly(raw, tmp_path):
    itkit.run("itk_orient", source=raw, dest=tmp_path, orient="SRA", workers=2)
    expected = class_statistics(*chest())
    count = 0
    for _, image, label in pairs(tmp_path):
        assert image.geometry.orientation == "SRA"
        new = class_statistics(image, label)
        assert new.keys() == expected.keys()
        for value, (volume_ml, mean) in expected.items():
            assert new[value] == pytest.approx((volume_ml, mean), rel=1e-6)
        count += 1
    assert count == 3


def test_organ_means_survive_resampling(raw, tmp_path):
    itkit.run("itk_resample", mode="dataset", source=raw, dest=tmp_path, spacing=(1.5, 2.5, 2.5), orient="LPS")
    before = class_statistics(*chest())
    for _, image, label in pairs(tmp_path):
        after = class_statistics(image, label)
        for lung in (5, 6):  # large and even: interpolation changes only their rim
            assert after[lung][0] == pytest.approx(before[lung][0], rel=0.03)
            assert after[lung][1] == pytest.approx(before[lung][1], abs=45)
        total = sum(volume for volume, _ in before.values())
        assert sum(volume for volume, _ in after.values()) == pytest.approx(total, rel=0.01)


@pytest.mark.parametrize("case", VARIANTS)
def test_patches_put_every_voxel_where_it_was(raw, tmp_path, case):
    itkit.run(
        "itk_patch",
        source=raw,
        dest=tmp_path,
        patch_size=(20, 24, 22),
        patch_stride=24,
        layout="dataset",
        pad=True,
    )
    image, label = chest(case)
    count = 0
    for path in (tmp_path / "image").glob(f"{case}_z*.mha"):
        patch, part = read_volume(path), read_volume(tmp_path / "label" / path.name, "label")
        for index in ((0, 0, 0), (3, 7, 11), (19, 23, 21)):
            z, y, x = (round(v) for v in image.geometry.index_zyx(patch.geometry.point_xyz(index)))
            assert patch.array_zyx[index] == image.array_zyx[z, y, x]
            assert part.array_zyx[index] == label.array_zyx[z, y, x]
            there = np.array(image.geometry.point_xyz((z, y, x)))
            np.testing.assert_allclose(patch.geometry.point_xyz(index), there, atol=1e-3)
        count += 1
    assert count > 20


def test_extract_keeps_volumes_and_places(raw, tmp_path):
    itkit.run("itk_extract", source=raw / "label", dest=tmp_path, mappings=("5:1", "6:70000"))
    for case in VARIANTS:
        _, label = chest(case)
        new = read_volume(tmp_path / f"{case}.mha", "label")
        assert new.geometry.same_grid(label.geometry, tol_mm=1e-3)
        np.testing.assert_array_equal(new.array_zyx == 1, label.array_zyx == 5)
        np.testing.assert_array_equal(new.array_zyx == 70000, label.array_zyx == 6)


def test_all_variants_are_one_patient(raw, tmp_path):
    """Reversed axes and the plain file hold the same values at the same physical points."""
    itkit.run("itk_resample", mode="image", source=raw / "image", dest=tmp_path, spacing=(4, 4, 4), orient="LPS")
    plain, reverse = (read_volume(tmp_path / f"{name}.mha") for name in ("chest", "chest_reversed"))
    assert plain.geometry.same_grid(reverse.geometry, tol_mm=1e-2)
    assert np.abs(plain.array_zyx.astype(int) - reverse.array_zyx).max() <= 1


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("case", VARIANTS)
def test_body_and_lungs_are_those_that_a_person_marked(case):
    image, label = chest(case)
    tissue = (label.array_zyx != 0) | (holes(label.array_zyx) != 0)
    tissue |= holes(tissue, cut_axis=[*"zyx"].index(axial(label))) != 0
    assert dice(presegment(image, "body").labels.array_zyx == 1, tissue == 1) >= 0.98
    lungs = presegment(image, "lungs").labels.array_zyx
    for side, value in ((1, 5), (2, 6)):
        assert dice(lungs == side, label.array_zyx == value) >= 0.95


def axial(volume):
    """Name of the array axis that runs along the patient."""
    return "xyz"[next(place for place, letter in enumerate(volume.geometry.orientation) if letter in "SI")]


def test_body_and_lung_bases_of_a_torso_beside_bowel_gas():
    folder = Path(itkit.__file__).parent / "data" / "torso"
    image, label = read_volume(folder / "image.nii.gz"), read_volume(folder / "label.nii.gz", "label")
    assert presegment(image, "body").labels.array_zyx[label.array_zyx > 0].all()
    lungs = presegment(image, "lungs").labels.array_zyx
    for side, lobes in ((1, (12, 13, 14)), (2, (10, 11))):
        assert dice(lungs == side, np.isin(label.array_zyx, lobes)) >= 0.95
