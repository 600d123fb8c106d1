"""What programs rely on: keys, types and grids of what align, enhance, presegment and
postprocess write."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

import itkit
from itkit.core.errors import CaseError
from itkit.core.geometry import Geometry
from itkit.core.version import VERSION
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.process.aligning import Method, matrix_of, moved_to, register
from itkit.testing import phantoms

GRID = Geometry((10, 14, 12), (2.5, 1.25, 1.0), (3.0, -1.0, 7.0), phantoms.GRIDS["oblique"].direction_xyz)
VOXEL_ML = 2.5 * 1.25 / 1000


def meta_of(folder, name, operation):
    meta = json.loads((folder / name).read_text())
    assert list(meta) == ["itkit", "operation", "params", "cases"]
    assert (meta["itkit"], meta["operation"]) == (VERSION, operation)
    return meta


def ramp_volume(dtype=np.int16):
    array = np.arange(np.prod(GRID.size_zyx)).reshape(GRID.size_zyx) % 301
    return Volume(array.astype(dtype), GRID)


def test_presegment_writes_the_smallest_type_on_the_images_grid_with_both_ends_of_a_threshold(tmp_path):
    volume = ramp_volume()
    write_volume(volume, tmp_path / "raw" / "a.nii.gz")
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out", "target": "threshold", "threshold": (100.0, 200.0)}
    assert itkit.run("itk_presegment", **values).exit_code == 0
    label = read_volume(tmp_path / "out" / "a.mha", "label")
    assert label.dtype == np.uint8
    assert label.geometry.same_grid(read_volume(tmp_path / "raw" / "a.nii.gz").geometry, tol_mm=1e-3)
    inside = (volume.array_zyx >= 100) & (volume.array_zyx <= 200)
    np.testing.assert_array_equal(label.array_zyx == 1, inside)
    case = meta_of(tmp_path / "out", "presegment_meta.json", "itk_presegment")["cases"]["a"]
    assert set(case) == {"volumes_ml", "components", "warnings"}
    assert case["volumes_ml"] == {"1": pytest.approx(inside.sum() * VOXEL_ML, rel=1e-6)}
    assert case["components"] == {"1": ndimage.label(inside, np.ones((3, 3, 3)))[1]}
    assert case["warnings"] == []


def test_presegment_without_its_target_is_a_named_failure_and_no_empty_label(tmp_path):
    write_volume(ramp_volume(), tmp_path / "raw" / "a.mha")
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out", "target": "threshold", "threshold": (900.0, 901.0)}
    result = itkit.run("itk_presegment", **values)
    assert result.exit_code == 1
    assert result.records[0].status == "failed"
    assert result.records[0].message
    assert not list((tmp_path / "out").rglob("a.mha"))


def test_enhance_names_its_steps_in_order_and_gives_float32_unless_told(tmp_path):
    volume = ramp_volume()
    write_volume(volume, tmp_path / "raw" / "a.mha")
    values = {"source": tmp_path / "raw", "steps": ("clip 50 250", "normalize zscore")}
    assert itkit.run("itk_enhance", dest=tmp_path / "out", **values).exit_code == 0
    new = read_volume(tmp_path / "out" / "a.mha")
    clipped = np.clip(volume.array_zyx, 50, 250).astype(float)
    assert new.dtype == np.float32
    assert new.geometry.same_grid(GRID, tol_mm=1e-4)
    np.testing.assert_allclose(new.array_zyx, (clipped - clipped.mean()) / clipped.std(), atol=1e-4)
    clip, zscore = meta_of(tmp_path / "out", "enhance_meta.json", "itk_enhance")["cases"]["a"]["steps"]
    changed = int(((volume.array_zyx < 50) | (volume.array_zyx > 250)).sum())
    assert {key: clip[key] for key in ("name", "lo", "hi", "clamped")} == {
        "name": "clip", "lo": 50, "hi": 250, "clamped": changed,
    }  # fmt: skip
    assert zscore["name"] == "zscore"
    assert (zscore["mean"], zscore["sd"]) == (pytest.approx(clipped.mean()), pytest.approx(clipped.std()))
    np.testing.assert_allclose(new.array_zyx * zscore["sd"] + zscore["mean"], clipped, atol=1e-3)  # undone
    itkit.run("itk_enhance", dest=tmp_path / "bytes", dtype="uint8", source=tmp_path / "raw", steps=("clip -9 400",))
    assert read_volume(tmp_path / "bytes" / "a.mha").dtype == np.uint8


def test_postprocess_counts_every_class_of_every_case(tmp_path):
    array = np.zeros(GRID.size_zyx, np.int16)
    array[2:6, 3:8, 2:7], array[8, 12, 10], array[1, 1, 9:11] = 4, 4, 300
    write_volume(Volume(array, GRID, "label"), tmp_path / "raw" / "a.mha")
    itkit.run("itk_postprocess", source=tmp_path / "raw", dest=tmp_path / "out", largest=("all",))
    meta = meta_of(tmp_path / "out", "postprocess_meta.json", "itk_postprocess")
    keys = ("voxels_before", "voxels_after", "components_before", "components_after")
    assert meta["cases"] == {
        "a": {"4": dict(zip(keys, (101, 100, 2, 1), strict=True)), "300": dict(zip(keys, (2, 2, 1, 1), strict=True))}
    }
    assert read_volume(tmp_path / "out" / "a.mha", "label").dtype == np.int16


def soft(seed=0, size=(20, 28, 26)):
    grid = Geometry(size, (4.0, 3.0, 3.5), (-30.0, 20.0, 5.0))
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), 2.5)
    return Volume(np.rint(noise / noise.std() * 200).astype(np.int16), grid)


@pytest.mark.parametrize("init", ["moments", "geometry", "none"])
def test_each_start_of_align_finds_a_shift(init):
    fixed = soft()
    truth = sitk.TranslationTransform(3, (3.0, -4.0, 5.0))
    found = register(fixed, moved_to(fixed, fixed.geometry, truth), Method("translation", init=init, metric="mse"))
    np.testing.assert_allclose(matrix_of(found.transform)[1], (-3.0, 4.0, -5.0), atol=0.5)


def test_a_registration_that_left_the_image_is_a_named_failure():
    fixed = soft()
    z, y, x = fixed.geometry.size_zyx
    corner = fixed.array_zyx[: z // 2, : y // 2, : x // 2].copy()
    beside = Geometry(corner.shape, fixed.spacing_zyx, fixed.geometry.point_xyz((z - 3, y - 4, x - 4)))
    with pytest.raises(CaseError, match=r"left the image|registration failed|got worse"):
        register(fixed, Volume(corner, beside), Method("translation", init="none", levels=1))


def test_align_names_its_facts(tmp_path):
    fixed = soft()
    write_volume(fixed, tmp_path / "fixed" / "a.mha")
    shift = sitk.TranslationTransform(3, (3.0, -4.0, 5.0))
    write_volume(moved_to(fixed, fixed.geometry, shift), tmp_path / "moving" / "a.mha")
    values = {"moving": tmp_path / "moving", "fixed": tmp_path / "fixed", "transform": "translation", "levels": 2}
    assert itkit.run("itk_align", dest=tmp_path / "out", **values).exit_code == 0
    case = meta_of(tmp_path / "out", "align_meta.json", "itk_align")["cases"]["a"]
    assert {"metric_before", "metric_after", "iterations", "stop", "displacement_mm"} <= set(case)
    assert case["metric_after"] < case["metric_before"]
    assert isinstance(case["stop"], str)
    assert case["displacement_mm"] == pytest.approx(np.sqrt(50), abs=0.5)
    assert isinstance(case["iterations"], int)
