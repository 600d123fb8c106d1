"""What vanishes from a label map is named with its case and class, in the summary and the manifest."""

import json

import numpy as np
import pytest

import itkit
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import read_volume, write_volume

GRID = Geometry((30, 30, 30), (1.0, 1.0, 1.0))


def write_case(root, case, label, grid=GRID):
    image = np.random.default_rng(6).normal(0, 300, label.shape).astype(np.int16)
    write_volume(Volume(image, grid), root / "image" / f"{case}.mha")
    write_volume(Volume(label, grid, "label"), root / "label" / f"{case}.mha")


@pytest.fixture
def raw(tmp_path):
    label = np.zeros((30, 30, 30), np.uint8)
    label[3:20, 3:20, 3:20] = 1
    label[24, 24, 24] = 7
    label[27:29, 2:4, 2:4] = 8
    label[5, :, 25] = 9
    write_case(tmp_path / "raw", "small", label)
    write_case(tmp_path / "raw", "empty", np.zeros_like(label))
    write_case(tmp_path / "raw", "full", np.ones_like(label))
    return tmp_path / "raw"


def warnings(result):
    return {record.case_id: list(record.warnings) for record in result.records if record.warnings}


def noted(dest):
    lines = map(json.loads, (dest / ".itkit" / "manifest.jsonl").read_text().splitlines())
    return {line["case"]: line["warnings"] for line in lines if line["warnings"]}


def resample(raw, dest, **values):
    return itkit.run("itk_resample", mode="dataset", source=raw, dest=dest, spacing=(3, 3, 3), **values)


def classes(path):
    return np.unique(read_volume(path, "label").array_zyx).tolist()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_lost_class_is_named_by_default(raw, tmp_path, workers):
    result = resample(raw, tmp_path / "out", workers=workers)
    assert result.exit_code == 0
    (text,) = warnings(result)["small"]
    gone = set(classes(raw / "label" / "small.mha")) - set(classes(tmp_path / "out" / "label" / "small.mha"))
    assert gone
    assert all(f"{value} (" in text for value in gone)
    assert "--on-lost-class keep" in text
    assert warnings(result).keys() == {"small"}
    assert noted(tmp_path / "out") == warnings(result)
    assert result.summary.warned == ("small",)
    assert "1 with warnings (small)" in result.summary.text()
    assert resample(raw, tmp_path / "out").summary.warned == ()  # skipped: the manifest says it


def test_a_lost_class_fails_its_case_where_asked_for(raw, tmp_path):
    result = resample(raw, tmp_path / "out", on_lost_class="fail")
    assert {record.case_id: record.status for record in result.records} == {
        "small": "failed",
        "empty": "done",
        "full": "done",
    }
    assert not (tmp_path / "out" / "image" / "small.mha").exists()


def test_a_lost_class_is_kept_where_asked_for_and_other_cases_stay_as_they_are(raw, tmp_path):
    resample(raw, tmp_path / "plain")
    result = resample(raw, tmp_path / "out", on_lost_class="keep")
    assert classes(tmp_path / "out" / "label" / "small.mha") == [0, 1, 7, 8, 9]
    assert "kept by volume shares" in warnings(result)["small"][0]
    for case in ("empty", "full"):
        ours, plain = (tmp_path / name / "label" / f"{case}.mha" for name in ("out", "plain"))
        assert ours.read_bytes() == plain.read_bytes()
    kept = read_volume(tmp_path / "out" / "label" / "small.mha", "label").array_zyx
    assert kept[8, 8, 8] == 7  # where the voxel lies


def test_keep_falls_back_on_nearest_where_axes_are_not_parallel(raw, tmp_path):
    turned = Geometry((10, 10, 10), (3.0, 3.0, 3.0), (1.0, 1.0, 1.0), (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0))
    for case in ("small", "full", "empty"):
        write_volume(Volume(np.zeros((10, 10, 10), np.int16), turned), tmp_path / "ref" / f"{case}.mha")
    common = {"mode": "label", "source": raw / "label", "target_folder": tmp_path / "ref"}
    plain = itkit.run("itk_resample", **common, dest=tmp_path / "plain")
    kept = itkit.run("itk_resample", **common, dest=tmp_path / "kept", on_lost_class="keep")
    assert "parallel axes" in warnings(kept)["small"][0]
    assert warnings(plain).keys() == warnings(kept).keys()
    assert (tmp_path / "plain" / "small.mha").read_bytes() == (tmp_path / "kept" / "small.mha").read_bytes()


@pytest.mark.parametrize("how", ["warn", "keep"])
def test_a_reference_that_shares_no_volume_is_named(raw, tmp_path, how):
    far = Geometry((10, 10, 10), (3.0, 3.0, 3.0), (500.0, 0.0, 0.0))
    write_volume(Volume(np.zeros((10, 10, 10), np.int16), far), tmp_path / "ref" / "small.mha")
    common = {"target_folder": tmp_path / "ref", "on_lost_class": how}
    result = itkit.run("itk_resample", mode="label", source=raw / "label", dest=tmp_path / "out", **common)
    assert "shares no volume with its reference" in warnings(result)["small"][0]
    assert "1 (4913 voxels)" in warnings(result)["small"][0]
    result = itkit.run("itk_resample", mode="image", source=raw / "image", dest=tmp_path / "img", **common)
    assert "shares no volume with its reference" in warnings(result)["small"][0]


def test_the_option_makes_no_older_destination_anew(raw, tmp_path):
    from itkit.process.itk_resample import ResampleParams

    params = ResampleParams(mode="dataset", source=raw, dest=tmp_path, spacing=(3, 3, 3))
    assert params.content_key() != params.model_copy(update={"on_lost_class": "keep"}).content_key()
    assert "on_lost_class" in ResampleParams.model_fields
    from itkit.core.fields import Later, marker

    assert marker(ResampleParams.model_fields["on_lost_class"], Later) is not None


def test_patches_name_lost_classes_and_cases_without_a_patch(raw, tmp_path):
    common = {"source": raw, "patch_size": 10, "patch_stride": 10}
    result = itkit.run("itk_patch", **common, dest=tmp_path / "a", keep_empty_label_prob=0.0)
    assert "no patch was kept" in warnings(result)["empty"][0]
    assert "small" not in warnings(result)
    result = itkit.run("itk_patch", **common, dest=tmp_path / "b", minimum_foreground_ratio=0.5)
    (text,) = warnings(result)["small"]
    assert "7 (1 voxel)" in text
    assert "9 (30 voxels)" in text
    assert noted(tmp_path / "b") == warnings(result)


def test_an_extraction_that_empties_a_label_is_named(raw, tmp_path):
    result = itkit.run("itk_extract", source=raw / "label", dest=tmp_path / "out", mappings=("7:1",))
    assert warnings(result) == {"full": ["label is empty now: it had 1, of which no class was picked"]}
    assert "note: without a mapping, these classes are background now: 1, 8, 9" in result.summary.lines


def test_a_copy_that_turns_a_class_out_is_named(tmp_path):
    label = np.zeros((9, 20, 20), np.uint8)
    label[4, 0, 0] = 3
    label[3:6, 8:12, 8:12] = 1
    write_case(tmp_path / "raw", "corner", label, Geometry((9, 20, 20), (1.0, 1.0, 1.0)))
    folders = {"source": tmp_path / "raw" / "image", "label_source": tmp_path / "raw" / "label"}
    result = itkit.run("itk_aug", **folders, label_dest=tmp_path / "out", number=4, random_rot=(45, 0, 0))
    lost = [name for name in range(4) if 3 not in classes(tmp_path / "out" / f"corner_{name}.mha")]
    assert lost
    assert warnings(result)["corner"] == [f"label: class 3 (1 voxel) lost in corner_{copy}" for copy in lost]
