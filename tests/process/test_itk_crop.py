"""Cropping: the box in closed form, physical points, several channels, padding, and the way back."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

import itkit
from itkit.core.errors import LabelError, LayoutError, ParamsError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.json_files import write_json
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.process.crops import CropBox, crop_box, cut_out, left_outside, paste_back
from itkit.process.geometry import orient
from itkit.testing import phantoms
from tests.process.ct_phantom import GRID, image, parts

OBLIQUE = phantoms.GRIDS["oblique"]


def mask_of(shape, start, stop):
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = 3
    return mask


def box_along(axis_length, first, stop, spacing, margin, least, step):
    """The rule in words, along one axis: margin, least size, multiple; grown inside, then padded."""
    voxels = int(np.floor(margin / spacing + 0.5))
    low, high = max(0, first - voxels), min(axis_length, stop + voxels)
    wanted = max(high - low, least)
    while wanted % step:
        wanted += 1
    inside = min(wanted, axis_length)
    return low, high, inside, wanted - inside


axis = st.integers(1, 30).flatmap(
    lambda size: st.integers(0, size - 1).flatmap(
        lambda first: st.tuples(
            st.just(size), st.just(first), st.integers(first + 1, size), st.floats(0.3, 4), st.floats(0, 9)
        )
    )
)


@settings(max_examples=150, deadline=None)
@given(st.tuples(axis, axis, axis), st.tuples(*[st.integers(1, 40)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
def test_the_box_holds_the_mask_and_is_no_larger_than_needed(axes, least, step):
    shape, first, stop, spacing, margin = zip(*axes, strict=True)
    box = crop_box(mask_of(shape, first, stop), spacing, margin_mm=margin, multiple_of=step, min_size=least)
    assert box.source_zyx == shape
    for i in range(3):
        low, high, inside, added = box_along(*axes[i], least[i], step[i])
        start, size = box.start_zyx[i], box.size_zyx[i]
        assert (size, box.padded_zyx[i]) == (inside, added)
        assert 0 <= start <= low
        assert high <= start + size <= shape[i]
        before, after = low - start, start + size - high
        if start > 0 and start + size < shape[i]:
            assert after - before in (0, 1)  # grown evenly, the smaller half in front
    assert CropBox.from_facts(json.loads(json.dumps(box.as_facts()))) == box


@settings(max_examples=60, deadline=None)
@given(st.tuples(axis, axis, axis), st.tuples(*[st.integers(1, 40)] * 3), st.sampled_from([None, -7.0]))
def test_voxels_keep_their_points_and_come_back(axes, least, fill):
    shape, first, stop, spacing, margin = zip(*axes, strict=True)
    grid = Geometry(shape, spacing, OBLIQUE.origin_xyz, OBLIQUE.direction_xyz)
    volume = phantoms.noise(grid)
    box = crop_box(mask_of(shape, first, stop), spacing, margin_mm=margin, min_size=least)
    cut = cut_out(volume, box, fill=fill)
    assert cut.geometry.size_zyx == box.whole_zyx
    front = np.array(box.front_zyx)
    here = tuple((front + np.array(box.size_zyx) - 1).tolist())
    there = tuple((np.array(box.start_zyx) + np.array(box.size_zyx) - 1).tolist())
    assert cut.array_zyx[here] == volume.array_zyx[there]
    np.testing.assert_allclose(cut.geometry.point_xyz(here), grid.point_xyz(there), atol=1e-9)
    inside = np.zeros(cut.shape, bool)
    inside[tuple(slice(f, f + n) for f, n in zip(front, box.size_zyx, strict=True))] = True
    assert (cut.array_zyx[~inside] == (volume.array_zyx.min() if fill is None else fill)).all()
    back = paste_back(cut, box, fill=fill)
    assert back.geometry.same_grid(grid, tol_mm=1e-9)
    there = tuple(slice(s, s + n) for s, n in zip(box.start_zyx, box.size_zyx, strict=True))
    np.testing.assert_array_equal(back.array_zyx[there], volume.array_zyx[there])
    rest = np.ones(shape, bool)
    rest[there] = False
    outside = fill if fill is not None else volume.array_zyx[there].min()
    assert (back.array_zyx[rest] == outside).all()


def test_an_empty_mask_and_a_wrong_volume_are_errors():
    with pytest.raises(LabelError, match="empty"):
        crop_box(np.zeros((2, 2, 2)), (1, 1, 1))
    with pytest.raises(LabelError, match="not the volume that was cut out"):
        paste_back(phantoms.noise(OBLIQUE), CropBox((0, 0, 0), (1, 1, 1), (9, 14, 11)))


@pytest.mark.parametrize(
    "facts",
    [
        None,
        {},
        {"start": [0, 0, 0], "size": [1, 1], "source_size": [2, 2, 2], "padded": [0, 0, 0]},
        {"start": [1, 0, 0], "size": [2, 2, 2], "source_size": [2, 2, 2], "padded": [0, 0, 0]},
        {"start": [0, 0, 0], "size": [0, 2, 2], "source_size": [2, 2, 2], "padded": [0, 0, 0]},
        {"start": [0, 0, -1], "size": [1, 2, 2], "source_size": [2, 2, 2], "padded": [0, 0, 0]},
        {"start": [0, 0, 0], "size": [2, 2, 2], "source_size": [2, 2, 2], "padded": [10**12, 0, 0]},
        {"start": [0, 0, 0.5], "size": [2, 2, 2], "source_size": [2, 2, 2], "padded": [0, 0, 0]},
    ],
)
def test_a_box_that_is_none_is_refused(facts):
    with pytest.raises(ValueError, match=r"expected|outside"):
        CropBox.from_facts(facts)


def test_what_lies_outside_a_box_is_counted_on_every_side():
    array = np.random.default_rng(3).integers(0, 4, (5, 6, 7)).astype(np.uint8)
    outside = np.ones(array.shape, bool)
    outside[1:3, 2:6, 0:4] = False
    expected = {value: int((outside & (array == value)).sum()) for value in (1, 2, 3)}
    assert left_outside(array, CropBox((1, 2, 0), (2, 4, 4), (5, 6, 7))) == expected
    assert left_outside(array, CropBox((0, 0, 0), (5, 6, 7), (5, 6, 7))) == {}


def boxes(folder):
    return json.loads((folder / "crop_boxes.json").read_text())


def test_image_and_label_share_the_box_of_the_foreground(tmp_path):
    ids = phantoms.write_dataset(tmp_path / "raw", 3)
    values = {"margin_mm": (3.0, 1.0, 0.0), "to": "foreground"}
    assert itkit.run("itk_crop", source=tmp_path / "raw", dest=tmp_path / "out", workers=2, **values).exit_code == 0
    for case in ids:
        before, label = (
            read_volume(tmp_path / "raw" / n / f"{case}.nii.gz", k) for n, k in (("image", "image"), ("label", "label"))
        )
        after = read_volume(tmp_path / "out" / "image" / f"{case}.mha")
        mask = sitk.LabelShapeStatisticsImageFilter()
        mask.Execute(sitk.GetImageFromArray((label.array_zyx > 0).astype(np.uint8)))
        x, y, z, nx, ny, nz = mask.GetBoundingBox(1)
        low = [max(0, z - 1), max(0, y - 1), x]  # 3 / 2.5 and 1 / 0.8 mm round to one voxel
        high = [min(9, z + nz + 1), min(14, y + ny + 1), x + nx]
        box = boxes(tmp_path / "out")[case]
        assert box["start"] == low
        assert box["size"] == [b - a for a, b in zip(low, high, strict=True)]
        assert (box["source_size"], box["padded"]) == ([9, 14, 11], [0, 0, 0])
        assert after.geometry.size_zyx == tuple(box["size"])
        np.testing.assert_allclose(after.geometry.origin_xyz, before.geometry.point_xyz(tuple(low)), atol=1e-4)
        cut = read_volume(tmp_path / "out" / "label" / f"{case}.mha", "label")
        assert cut.geometry.same_grid(after.geometry)
        assert np.count_nonzero(cut.array_zyx) == np.count_nonzero(label.array_zyx)


def test_to_a_class_by_name_says_what_is_cut_away(tmp_path):
    phantoms.write_channels(tmp_path / "raw", 2)
    result = itkit.run("itk_crop", source=tmp_path / "raw", dest=tmp_path / "out", to="label", labels=("Foot",))
    assert result.exit_code == 0
    assert all("left outside the box" in record.warnings[0] for record in result.records)
    for path in sorted((tmp_path / "raw" / "label").glob("*.mha")):
        foot = read_volume(path, "label").array_zyx == 3
        sides = [np.flatnonzero(foot.any(axis=tuple({0, 1, 2} - {i}))) for i in range(3)]
        box = boxes(tmp_path / "out")[path.stem]
        assert box["start"] == [side[0] for side in sides]
        assert box["size"] == [side[-1] - side[0] + 1 for side in sides]
    assert sorted(path.name for path in (tmp_path / "out" / "image").glob("*.mha"))[:2] == [
        "case_00_t1.mha",
        "case_00_t2.mha",
    ]
    with pytest.raises(ParamsError, match="no class 'hand'"):
        itkit.run("itk_crop", source=tmp_path / "raw", dest=tmp_path / "o", to="label", labels=("hand",))


def test_an_empty_label_fails_by_name_and_the_others_go_on(tmp_path):
    ids = phantoms.write_dataset(tmp_path / "raw", 3)
    path = tmp_path / "raw" / "label" / f"{ids[1]}.nii.gz"
    label = read_volume(path, "label")
    write_volume(label.with_array(np.zeros_like(label.array_zyx)), path)
    result = itkit.run("itk_crop", source=tmp_path / "raw", dest=tmp_path / "out", to="foreground")
    (failed,) = (record for record in result.records if record.status == "failed")
    assert failed.message == f"{ids[1]}: nothing to crop to: the label is empty"
    assert boxes(tmp_path / "out").keys() == {ids[0], ids[2]}


def test_the_body_of_a_flat_folder_in_any_orientation(tmp_path):
    for code in ("LPS", "SAR"):
        write_volume(orient(image(), code), tmp_path / "raw" / f"{code}.nii.gz")
    assert itkit.run("itk_crop", source=tmp_path / "raw", dest=tmp_path / "out", to="body").exit_code == 0
    body = parts()["body"]
    sides = [np.flatnonzero(body.any(axis=tuple({0, 1, 2} - {i}))) for i in range(3)]
    plain, turned = (read_volume(tmp_path / "out" / f"{code}.mha") for code in ("LPS", "SAR"))
    assert boxes(tmp_path / "out")["LPS"]["start"] == [side[0] for side in sides]
    assert plain.geometry.size_zyx == tuple(side[-1] - side[0] + 1 for side in sides)
    assert orient(turned, "LPS").geometry.same_grid(plain.geometry, tol_mm=1e-3)


def test_nonzero_looks_at_every_channel_and_not_at_nan(tmp_path):
    phantoms.write_channels(tmp_path / "raw", 1)
    values = np.zeros(OBLIQUE.size_zyx, np.float32)
    values[0, 0, 0] = np.nan
    for name, place in (("t1", (2, 3, 4)), ("t2", (5, 6, 7))):
        channel = values.copy()
        channel[place] = 1
        write_volume(Volume(channel, OBLIQUE), tmp_path / "raw" / "image" / f"case_00_{name}.mha")
    itkit.run("itk_crop", source=tmp_path / "raw", dest=tmp_path / "out", to="nonzero")
    assert boxes(tmp_path / "out")["case_00"] == {
        "start": [2, 3, 4], "size": [4, 4, 4], "source_size": [9, 14, 11], "padded": [0, 0, 0]
    }  # fmt: skip


def test_a_flat_folder_of_labels_is_cropped_to_itself(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    itkit.run(
        "itk_crop", source=tmp_path / "raw" / "label", dest=tmp_path / "out", to="label", labels=("2",), min_size=20
    )
    label = read_volume(tmp_path / "out" / "case_00.mha", "label")
    assert label.geometry.size_zyx == (20, 20, 20)
    assert boxes(tmp_path / "out")["case_00"]["padded"] == [11, 6, 9]
    assert label.array_zyx[0, 0, 0] == 0


def test_an_image_taken_for_a_label_is_told(tmp_path):
    noise = np.random.default_rng(5).integers(-1000, 1000, OBLIQUE.size_zyx).astype(np.int16)
    write_volume(Volume(noise, OBLIQUE), tmp_path / "ct" / "a.mha")
    result = itkit.run("itk_crop", source=tmp_path / "ct", dest=tmp_path / "out", to="foreground")
    assert "looks like an image" in result.records[0].warnings[0]


def test_masks_and_earlier_boxes_give_the_box(tmp_path):
    ids = phantoms.write_dataset(tmp_path / "raw", 3)
    for case in ids[:2]:
        volume = read_volume(tmp_path / "raw" / "label" / f"{case}.nii.gz", "label")
        mask = mask_of(volume.shape, (1, 2, 3), (4, 6, 9))
        write_volume(replace(volume, array_zyx=mask, classes=None), tmp_path / "masks" / f"{case}.mha")
    result = itkit.run("itk_crop", source=tmp_path / "raw", dest=tmp_path / "out", box_from=tmp_path / "masks")
    assert list(result.summary.unpaired) == [ids[2]]
    assert boxes(tmp_path / "out")[ids[0]]["start"] == [1, 2, 3]
    assert boxes(tmp_path / "out")[ids[0]]["size"] == [3, 4, 6]
    again = itkit.run("itk_crop", source=tmp_path / "raw" / "image", dest=tmp_path / "two", box_from=tmp_path / "out")
    assert {record.case_id for record in again.records if record.status == "failed"} == {ids[2]}
    assert (tmp_path / "two" / f"{ids[0]}.mha").read_bytes() == (
        tmp_path / "out" / "image" / f"{ids[0]}.mha"
    ).read_bytes()
    with pytest.raises(ParamsError, match="as they are"):
        itkit.run("itk_crop", source=tmp_path / "raw", dest=tmp_path / "o", box_from=tmp_path / "out", min_size=5)
    other = read_volume(tmp_path / "masks" / f"{ids[1]}.mha", "label")
    moved = replace(other, geometry=other.geometry.crop((1, 0, 0), other.geometry.size_zyx))
    write_volume(moved, tmp_path / "masks" / f"{ids[1]}.mha")
    failed = itkit.run("itk_crop", source=tmp_path / "raw", dest=tmp_path / "out", box_from=tmp_path / "masks")
    assert any("image and mask differ in origin" in record.message for record in failed.records)


def test_paste_back_puts_images_and_predictions_on_the_original_grid(tmp_path):
    ids = phantoms.write_dataset(tmp_path / "raw", 2)
    itkit.run("itk_crop", source=tmp_path / "raw", dest=tmp_path / "cut", to="foreground", multiple_of=4, fill=-5)
    itkit.run(
        "itk_crop", source=tmp_path / "cut", dest=tmp_path / "back", paste_back=tmp_path / "cut" / "crop_boxes.json"
    )
    predictions = tmp_path / "cut" / "label"
    itkit.run("itk_crop", source=predictions, dest=tmp_path / "flat", paste_back=tmp_path / "cut" / "crop_boxes.json")
    assert not (tmp_path / "back" / "crop_boxes.json").exists()
    for case in ids:
        label = read_volume(tmp_path / "raw" / "label" / f"{case}.nii.gz", "label")
        for path in (tmp_path / "back" / "label" / f"{case}.mha", tmp_path / "flat" / f"{case}.mha"):
            back = read_volume(path, "label")
            assert back.geometry.same_grid(label.geometry)
            np.testing.assert_array_equal(back.array_zyx, label.array_zyx)
        box = boxes(tmp_path / "cut")[case]
        inside = tuple(slice(a, a + n) for a, n in zip(box["start"], box["size"], strict=True))
        one, two = (
            read_volume(p)
            for p in (tmp_path / "raw" / "image" / f"{case}.nii.gz", tmp_path / "back" / "image" / f"{case}.mha")
        )
        np.testing.assert_array_equal(one.array_zyx[inside], two.array_zyx[inside])


def test_boxes_that_do_not_fit_fail_by_name(tmp_path):
    ids = phantoms.write_dataset(tmp_path / "raw", 2)
    whole = {"start": [0, 0, 0], "size": [9, 14, 11], "source_size": [9, 14, 11], "padded": [0, 0, 0]}
    write_json(tmp_path / "boxes.json", {ids[0]: whole, ids[1]: {"start": "?"}})
    result = itkit.run("itk_crop", source=tmp_path / "raw", dest=tmp_path / "out", paste_back=tmp_path / "boxes.json")
    assert [record.status for record in result.records] == ["done", "failed"]
    assert f"{ids[1]}: crop_boxes.json: start" in result.records[1].message
    (tmp_path / "boxes.json").write_text("[")
    with pytest.raises(ParamsError, match="can't be read"):
        itkit.run("itk_crop", source=tmp_path / "raw", dest=tmp_path / "o", paste_back=tmp_path / "boxes.json")


def test_another_class_or_mask_is_another_result(tmp_path):
    phantoms.write_channels(tmp_path / "raw", 1)
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out", "to": "label"}
    for labels, status in ((("arm",), "done"), (("1",), "done"), (("1",), "skipped"), (("2",), "done")):
        (record,) = itkit.run("itk_crop", labels=labels, **values).records
        assert record.status == status, labels


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "give one of"),
        ({"to": "body", "box_from": "x"}, "--to and --box-from"),
        ({"to": "body", "labels": ("1",)}, "--labels only matters"),
        ({"paste_back": "x", "margin_mm": (1, 1, 1)}, "--paste-back takes the boxes"),
        ({"to": "body", "margin_mm": (-1, 0, 0)}, "--margin-mm: Z"),
        ({"to": "body", "multiple_of": (0, 1, 1)}, "--multiple-of: Z"),
    ],
)
def test_wrong_parameters_are_refused(tmp_path, values, message):
    (tmp_path / "raw").mkdir()
    with pytest.raises(ParamsError, match=message):
        itkit.run("itk_crop", source=tmp_path / "raw", dest=tmp_path / "out", **values)


def test_images_without_labels_have_no_foreground(tmp_path):
    write_volume(image(), tmp_path / "raw" / "image" / "a.mha")
    with pytest.raises(LayoutError, match="has no folder label"):
        itkit.run("itk_crop", source=tmp_path / "raw", dest=tmp_path / "out", to="foreground")
    assert GRID.size_zyx == (48, 72, 90)
