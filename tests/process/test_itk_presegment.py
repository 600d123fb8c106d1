"""Label maps without a network: targets, the fixed steps, what is written and what fails by name."""

import json
import re

import numpy as np
import pytest
from scipy import ndimage

import itkit
from itkit.core.errors import ArgumentError, LabelError, ParamsError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.json_files import write_json
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.process.geometry import orient
from itkit.process.presegmentation import Cleaning, presegment
from itkit.testing import phantoms
from tests.process.ct_phantom import GRID, dice, image, parts

SHAPES = parts()
NOTHING = np.zeros(GRID.size_zyx, bool)
BALL = np.linalg.norm(np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij")) * 0.5, axis=0) <= 1.0
CUBE = Geometry((20, 24, 28), (0.5, 0.5, 0.5))


@pytest.mark.parametrize("code", ["LPS", "RAS", "SAL"])
def test_sides_are_the_patients_whatever_the_storage_order(code):
    found = presegment(orient(image(), code), "lungs")
    labels = orient(found.labels, "LPS").array_zyx
    airways = SHAPES["trachea"] | SHAPES["bronchi"]
    assert dice(labels == 1, SHAPES["right"] & ~airways) > 0.99
    assert dice(labels == 2, SHAPES["left"] & ~airways) > 0.99
    assert found.components == {1: 1, 2: 1}
    assert found.volumes_ml[1] == pytest.approx((labels == 1).sum() * 0.08)
    assert found.labels.geometry.orientation == code


def test_bone_is_dense_inside_the_body_and_no_metal_or_contrast():
    ct = image()
    array = ct.array_zyx.copy()
    array[10, 50, 60] = array[10, 50, 61] = array[10, 51, 60] = 3000  # a clip: 0.24 ml
    array[8:14, 40:46, 66:72] = 320  # a vessel with contrast agent: 17 ml
    found = presegment(Volume(array, GRID), "bone")
    assert dice(found.labels.array_zyx, SHAPES["spine"] & SHAPES["body"]) > 0.999
    assert any(re.match(r"1[67]\.. ml were taken for contrast", text) for text in found.warnings)
    assert any("0.2 ml were taken for metal" in text for text in found.warnings)


def test_a_heart_with_contrast_agent_that_touches_the_spine_is_left_out():
    grid = Geometry((80, 100, 120), (3.0, 3.0, 3.0), (-178.5, -148.5, -118.5))
    p = phantoms.points_xyz(grid)
    body = ((p[..., 0] / 150) ** 2 + (p[..., 1] / 100) ** 2) <= 1
    from_axis = np.hypot(p[..., 0], p[..., 1] - 60)
    heart = np.linalg.norm(p - np.array((20, 10, 0)), axis=-1) <= 29
    values = np.where(body, 30, -1000)
    values[heart] = 420
    values[(abs(p[..., 0] - 8) <= 4) & (abs(p[..., 1] - 39) <= 9) & (abs(p[..., 2]) <= 4)] = (
        400  # a vessel between them
    )
    values[from_axis <= 20] = 280
    values[(from_axis <= 20) & (from_axis >= 14)] = 800
    noisy = values + np.random.default_rng(0).normal(0, 15, values.shape)
    found = presegment(Volume(np.rint(noisy).astype(np.int16), grid), "bone")
    assert dice(found.labels.array_zyx, (from_axis <= 20) & body) > 0.97
    assert any("contrast" in text for text in found.warnings)


def test_the_airway_is_trachea_and_bronchi():
    found = presegment(image(), "airway")
    assert dice(found.labels.array_zyx, SHAPES["trachea"] | SHAPES["bronchi"]) > 0.98


def test_body_says_where_the_field_of_view_cuts_it():
    assert presegment(image(), "body").warnings == ()
    whole = image()
    cut = Volume(whole.array_zyx[:, :, 20:].copy(), whole.geometry.crop((0, 0, 20), (48, 72, 70)))
    assert presegment(cut, "body").warnings == ("the body is cut by the field of view: right side",)
    array = whole.array_zyx.copy()
    _, y, x = np.indices(array.shape)
    array[np.hypot((y - 35.5) * 4, (x - 44.5) * 4) > 130] = -3024
    assert any("round field of view" in text for text in presegment(Volume(array, GRID), "body").warnings)


def test_one_lung_is_told():
    shapes = {**SHAPES, "left": NOTHING, "vessels": NOTHING, "bronchi": NOTHING}
    found = presegment(image(shapes=shapes), "lungs")
    assert found.volumes_ml[2] == 0
    assert "no left lung was found" in found.warnings


@pytest.mark.parametrize("target", ["body", "lungs", "bone", "airway"])
def test_a_target_that_is_missing_is_an_error_with_a_reason(target):
    air = Volume(np.full(GRID.size_zyx, -1000, np.int16), GRID)
    with pytest.raises(LabelError, match=f"{target} was not found"):
        presegment(air, target)
    with pytest.raises(LabelError, match="finite" if target != "body" else "body was not found"):
        presegment(Volume(np.full(GRID.size_zyx, np.nan, np.float32), GRID), target)


def test_a_fine_image_without_lungs_has_none():
    fine = Geometry((12, 40, 40), (1.0, 1.0, 1.0))
    values = np.full(fine.size_zyx, -1000, np.int16)
    values[:, 8:32, 8:32] = 30
    for target in ("lungs", "airway"):
        with pytest.raises(LabelError, match=f"{target} was not found: nothing in the image looks like it"):
            presegment(Volume(values, fine), target)


def test_counts_that_are_not_hounsfield_units_are_told():
    counts = Volume((image().array_zyx.astype(np.int32) + 1024).astype(np.uint16), GRID)
    with pytest.raises(LabelError, match="not those of a CT in HU"):
        presegment(counts, "lungs")
    for target in ("body", "bone"):
        assert any("no value below -200" in text for text in presegment(counts, target).warnings)


def test_nonzero_and_threshold_serve_any_image():
    values = np.zeros((1, 3, 5), np.float32)
    values[0, 1] = [np.nan, -1, 2, 5, 6]
    volume = Volume(values, Geometry((1, 3, 5), (10.0, 1.0, 1.0)))
    assert presegment(volume, "nonzero").labels.array_zyx[0, 1].tolist() == [0, 1, 1, 1, 1]
    found = presegment(volume, "threshold", Cleaning(threshold=(2, 5)))
    assert found.labels.array_zyx[0, 1].tolist() == [0, 0, 1, 1, 0]
    assert found.volumes_ml == {1: 0.02}
    with pytest.raises(LabelError, match="every voxel is 0"):
        presegment(volume.with_array(np.zeros((1, 3, 5))), "nonzero")
    with pytest.raises(ArgumentError, match="threshold"):
        presegment(volume, "threshold")


def test_steps_come_in_their_fixed_order_and_equal_scipys():
    smooth = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=CUBE.size_zyx), 1.2)
    volume = Volume((smooth * 1000).astype(np.int16), CUBE)
    steps = Cleaning((40, 900), 3, fill_holes=True, closing_mm=1.0, opening_mm=1.0, min_volume_ml=0.02)
    mask = (volume.array_zyx >= 40) & (volume.array_zyx <= 900)
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    mask = np.isin(labels, 1 + np.argsort(-sizes, kind="stable")[:3])
    mask = ndimage.binary_fill_holes(mask)
    mask = ndimage.binary_closing(np.pad(mask, 3), BALL)[3:-3, 3:-3, 3:-3]
    mask = ndimage.binary_dilation(ndimage.binary_erosion(mask, BALL, border_value=1), BALL)
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    expected = np.isin(labels, [n for n in range(1, count + 1) if (labels == n).sum() * 0.125 >= 20])
    found = presegment(volume, "threshold", steps)
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(found.labels.array_zyx, expected)


def test_a_step_that_leaves_nothing_is_named():
    with pytest.raises(LabelError, match="nothing is left after --min-volume-ml 9999"):
        presegment(image(), "airway", Cleaning(min_volume_ml=9999))


def test_filling_and_closing_never_take_the_other_lung():
    found = presegment(image(), "lungs")
    closed = presegment(image(), "lungs", Cleaning(fill_holes=True, closing_mm=30))
    for side in (1, 2):
        assert (closed.labels.array_zyx[found.labels.array_zyx == side] == side).all()
    assert closed.volumes_ml[1] > found.volumes_ml[1]


def write_cts(folder):
    for case, code in (("a", "LPS"), ("b", "RAS")):
        write_volume(orient(image(seed=len(case)), code), folder / f"{case}.nii.gz")
    write_volume(Volume(np.full(GRID.size_zyx, -1000, np.int16), GRID), folder / "empty.nii.gz")


def test_a_flat_folder_gives_a_flat_result_and_a_failure_by_name(tmp_path):
    write_cts(tmp_path / "raw")
    result = itkit.run("itk_presegment", source=tmp_path / "raw", dest=tmp_path / "out", target="lungs")
    assert result.exit_code == 1
    (failed,) = (record for record in result.records if record.status == "failed")
    assert failed.message.startswith("empty: lungs was not found")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.mha")) == ["a.mha", "b.mha"]
    text = (tmp_path / "out" / "presegment_meta.json").read_text()
    meta = json.loads(text)
    assert meta["operation"] == "itk_presegment"
    assert meta["params"]["target"] == "lungs"
    assert meta["cases"].keys() == {"a", "b"}
    label = read_volume(tmp_path / "out" / "b.mha", "label")
    assert label.geometry.orientation == "RAS"
    assert label.dtype == np.uint8
    facts = meta["cases"]["b"]
    assert facts["volumes_ml"]["1"] == pytest.approx((label.array_zyx == 1).sum() * 0.08)
    assert facts["components"] == {"1": 1, "2": 1}
    assert facts["warnings"] == []


def test_of_a_dataset_the_images_are_taken_and_the_classes_named(tmp_path):
    write_cts(tmp_path / "raw" / "image")
    about = {"name": "n", "labels": {"0": "background", "9": "old"}, "cases": {"a": {"classes": [9], "patient": "p"}}}
    write_json(tmp_path / "raw" / "dataset.json", about)
    itkit.run("itk_presegment", source=tmp_path / "raw", dest=tmp_path / "out", target="body", largest=1)
    assert sorted(path.name for path in (tmp_path / "out" / "label").glob("*.mha")) == ["a.mha", "b.mha"]
    after = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert after["labels"] == {"0": "background", "1": "body"}
    assert after["cases"]["a"] == {"patient": "p"}
    assert after["history"][0]["operation"] == "itk_presegment"


def test_nonzero_is_the_union_of_the_channels(tmp_path):
    phantoms.write_channels(tmp_path / "raw", 1)
    first, second = (read_volume(path) for path in sorted((tmp_path / "raw" / "image").glob("*.mha")))
    halves = np.zeros(first.shape, bool)
    halves[:, :5] = True
    for name, volume, where in (("t1", first, halves), ("t2", second, ~halves)):
        write_volume(
            volume.with_array((where * 7).astype(np.int16)), tmp_path / "raw" / "image" / f"case_00_{name}.mha"
        )
    itkit.run("itk_presegment", source=tmp_path / "raw", dest=tmp_path / "out", target="nonzero")
    assert read_volume(tmp_path / "out" / "label" / "case_00.mha", "label").array_zyx.all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target": "threshold"}, "needs --threshold"),
        ({"target": "body", "threshold": (3, 1)}, "above"),
        ({"target": "body", "largest": 0}, "--largest"),
        ({"target": "body", "closing_mm": -1.0}, "--closing-mm"),
        ({"target": "liver"}, "target"),
    ],
)
def test_wrong_parameters_are_refused(tmp_path, values, message):
    (tmp_path / "raw").mkdir()
    with pytest.raises(ParamsError, match=message):
        itkit.run("itk_presegment", source=tmp_path / "raw", dest=tmp_path / "out", **values)
