"""Options of the converters: channels, classes, grids, selection, variants."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import convert, release

from itkit.core.errors import LayoutError, ParamsError


def read(path):
    return sitk.ReadImage(str(path))


def counts(path):
    values, found = np.unique(sitk.GetArrayFromImage(read(path)), return_counts=True)
    return {int(value): int(count) for value, count in zip(values, found, strict=True)}


def meta(dest):
    return json.loads((dest / "dataset.json").read_text(encoding="utf-8"))


def test_channels_as_one_vector_file(tmp_path):
    one = release("brats2024")
    result, _ = convert("brats2024", one.source, tmp_path, channels="vector")
    assert result.exit_code == 0
    assert one.problems(tmp_path) == []
    case = one.truth["cases"][0]
    image = read(tmp_path / "image" / f"{case['case']}.mha")
    assert image.GetNumberOfComponentsPerPixel() == 4
    assert meta(tmp_path)["channels"] == ["t1n", "t1c", "t2w", "t2f"]


def test_four_dimensional_files_as_vectors(tmp_path):
    one = release("msd")
    convert("msd", one.source / "Task01_BrainTumour", tmp_path, channels="vector")
    case = next(case for case in one.truth["cases"] if case.get("task") == "Task01_BrainTumour")
    image = read(tmp_path / "image" / f"{case['case']}.mha")
    for probe in case["probes"]:
        assert image[probe["index"]] == pytest.approx(probe["image"], abs=1e-3)


def test_one_task_is_a_dataset_of_its_own(tmp_path):
    convert("msd", release("msd").source / "Task10_Colon", tmp_path)
    assert meta(tmp_path)["labels"] == {"0": "background", "1": "colon cancer primaries"}
    assert not list(tmp_path.glob("Task*"))
    assert (tmp_path / "image").is_dir()


def test_selected_classes_keep_their_official_values(tmp_path):
    one = release("flare22")
    convert("flare22", one.source, tmp_path, labels=("left kidney", "Right_Kidney"))
    case = next(case for case in one.truth["cases"] if case["has_label"])
    truth = case["label_counts"]
    found = counts(tmp_path / "label" / f"{case['case']}.mha")
    assert {value: found[value] for value in (2, 13)} == {2: truth["2"], 13: truth["13"]}
    assert found.keys() == {0, 2, 13}
    assert meta(tmp_path)["labels"] == {"0": "background", "2": "right kidney", "13": "left kidney"}


def test_renumbered_classes_follow_the_given_order(tmp_path):
    one = release("flare22")
    convert("flare22", one.source, tmp_path, labels=("left kidney", "right kidney"), renumber=True)
    case = next(case for case in one.truth["cases"] if case["has_label"])
    found = counts(tmp_path / "label" / f"{case['case']}.mha")
    assert (found[1], found[2]) == (case["label_counts"]["13"], case["label_counts"]["2"])


def test_merged_classes_take_the_lowest_value(tmp_path):
    one = release("flare22")
    convert("flare22", one.source, tmp_path, merge=("kidneys=left kidney,right kidney",))
    case = next(case for case in one.truth["cases"] if case["has_label"])
    truth = case["label_counts"]
    found = counts(tmp_path / "label" / f"{case['case']}.mha")
    assert found[2] == truth["2"] + truth["13"]
    assert found[1] == truth["1"]
    assert 13 not in found
    assert meta(tmp_path)["labels"]["2"] == "kidneys"


def test_classes_of_many_files_can_be_selected_and_merged(tmp_path):
    one = release("totalsegmentator_v2")
    convert("totalsegmentator_v2", one.source, tmp_path, labels=("lung",), renumber=True,
            merge=("lung=lung_upper_lobe_left,lung_lower_lobe_left",))  # fmt: skip
    for case in one.truth["cases"]:
        image = sitk.GetArrayFromImage(read(tmp_path / "label" / f"{case['case']}.mha"))
        parts = [
            sitk.GetArrayFromImage(read(one.source / case["case"] / "segmentations" / f"lung_{side}_lobe_left.nii.gz"))
            for side in ("upper", "lower")
        ]
        np.testing.assert_array_equal(image, (parts[0] | parts[1]) > 0)


def test_classes_of_a_case_are_selected_by_its_own_names(tmp_path):
    one = release("tcga")
    convert("tcga", one.source, tmp_path, labels=("Mass",))
    case = next(case for case in one.truth["cases"] if case.get("annotation") == "SEG")
    assert counts(tmp_path / "label" / f"{case['case']}.mha") == {
        0: case["label_counts"]["0"] + case["label_counts"]["1"],
        2: case["label_counts"]["2"],
    }


def test_an_unknown_class_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ParamsError, match="no class 'spine'; there are: kidney, tumor, cyst"):
        convert("kits23", release("kits23").source, tmp_path / "out", labels=("spine",))
    assert not (tmp_path / "out").exists()


def test_orientation_keeps_every_voxel_at_its_point(tmp_path):
    one = release("kits23")
    convert("kits23", one.source, tmp_path, orient="LPS")
    assert one.problems(tmp_path) == []
    case = one.truth["cases"][0]
    image = read(tmp_path / "image" / f"{case['case']}.mha")
    assert image.GetDirection() == pytest.approx(np.eye(3).ravel())
    assert list(image.GetSize()) == case["oriented"]["LPS"]["size"]


def test_spacing_and_size_keep_the_box(tmp_path):
    one = release("word")
    convert("word", one.source, tmp_path, spacing=(5.0, -1, -1), size=(-1, 16, 8))
    case = one.truth["cases"][0]
    image, label = (read(tmp_path / folder / f"{case['case']}.mha") for folder in ("image", "label"))
    assert image.GetSize()[:2] == (8, 16)
    assert image.GetSpacing()[2] == 5.0
    assert image.GetSpacing()[0] * 8 == pytest.approx(case["spacing"][0] * case["size"][0])
    assert label.GetSize() == image.GetSize()
    assert set(counts(tmp_path / "label" / f"{case['case']}.mha")) <= {int(value) for value in case["label_values"]}


def test_other_formats_and_types(tmp_path):
    one = release("imagetbad")
    convert("imagetbad", one.source, tmp_path, ext=".nii.gz", dtype="float32")
    assert one.problems(tmp_path) == []
    case = one.truth["cases"][0]["case"]
    assert read(tmp_path / "image" / f"{case}.nii.gz").GetPixelIDTypeAsString() == "32-bit float"


def test_float_images_of_whole_numbers_become_integers_where_the_spec_says_so(tmp_path):
    one = release("kits23")
    convert("kits23", one.source, tmp_path)
    image = read(tmp_path / "image" / f"{one.truth['cases'][0]['case']}.mha")
    assert image.GetPixelIDTypeAsString() == "16-bit signed integer"


def test_only_some_cases_then_the_rest(tmp_path):
    one = release("word")
    first = one.truth["cases"][0]["case"]
    result, _ = convert("word", one.source, tmp_path, only=(first,))
    assert [record.case_id for record in result.records] == [first]
    result, _ = convert("word", one.source, tmp_path)
    assert sorted(record.status for record in result.records) == ["done"] * (len(one.truth["cases"]) - 1) + ["skipped"]
    assert one.problems(tmp_path) == []


def test_slices_are_selected_by_name(tmp_path):
    one = release("sa_med2d_20m")
    convert("sa_med2d_20m", one.source, tmp_path, only=("*--ACDC--*",))
    assert {path.name.split("--")[1] for path in (tmp_path / "image").iterdir()} == {"ACDC"}
    assert list(meta(tmp_path)["labels_by_source"]) == ["ACDC"]


def test_cases_without_label_can_be_left_out(tmp_path):
    one = release("flare22")
    _, events = convert("flare22", one.source, tmp_path, require_label=True)
    with_label = {case["case"] for case in one.truth["cases"] if case["has_label"]}
    assert {path.stem for path in (tmp_path / "image").iterdir()} == with_label
    assert any("2 cases without label" in note for note in events[0]["notes"])


@pytest.mark.parametrize("name", ["brats2024_ped", "brats2024_menrt", "totalsegmentator_v1", "totalsegmentator_v2",
                                  "totalsegmentator_mri_v1", "totalsegmentator_mri_v2"])  # fmt: skip
def test_the_release_of_a_family_is_told_from_its_files(name, tmp_path):
    family = "brats2024" if name.startswith("brats") else "totalsegmentator"
    convert(family, release(name).source, tmp_path)
    assert meta(tmp_path)["name"] == name
    assert release(name).problems(tmp_path) == []


def test_two_releases_of_a_family_in_one_folder_are_refused(tmp_path):
    shutil.copytree(release("brats2024").source, tmp_path / "in" / "a")
    shutil.copytree(release("brats2024_ped").source, tmp_path / "in" / "b")
    with pytest.raises(LayoutError, match="brats2024_gli, brats2024_ped; give --variant"):
        convert("brats2024", tmp_path / "in", tmp_path / "out")
    result, _ = convert("brats2024", tmp_path / "in", tmp_path / "out", variant="ped")
    assert all(record.case_id.startswith("BraTS-PED") for record in result.records)


def test_an_unknown_variant_is_refused(tmp_path):
    with pytest.raises(ParamsError, match="expected auto or one of"):
        convert("brats2024", release("brats2024").source, tmp_path / "out", variant="2021")


def test_nnunet_there_and_back(tmp_path):
    one = release("nnunet")
    convert("nnunet", one.source, tmp_path / "converted")
    result, _ = convert("to_nnunet", tmp_path / "converted", tmp_path / "Dataset123_FakeTumor")
    assert result.exit_code == 0
    old = json.loads((one.source / "dataset.json").read_text(encoding="utf-8"))
    new = json.loads((tmp_path / "Dataset123_FakeTumor" / "dataset.json").read_text(encoding="utf-8"))
    for key in ("channel_names", "labels", "regions_class_order", "numTraining", "file_ending"):
        assert new[key] == old[key]
    files = {path.relative_to(one.source) for path in one.source.rglob("*.nii.gz")}
    for path in files:
        a, b = read(one.source / path), read(tmp_path / "Dataset123_FakeTumor" / path)
        np.testing.assert_array_equal(sitk.GetArrayViewFromImage(a), sitk.GetArrayViewFromImage(b))
        assert a.GetOrigin() == pytest.approx(b.GetOrigin(), abs=1e-3)
        assert a.GetDirection() == pytest.approx(b.GetDirection(), abs=1e-5)


def test_nnunet_gets_classes_without_gaps(tmp_path):
    one = release("luna16")
    convert("luna16", one.source, tmp_path / "converted")
    _, events = convert("to_nnunet", tmp_path / "converted", tmp_path / "lungs")
    found = meta(tmp_path / "lungs")
    assert found["labels"] == {"background": 0, "left lung": 1, "right lung": 2, "trachea": 3}
    assert found["original_values"]["trachea"] == 5
    assert any("DatasetNNN_Name" in note for note in events[0]["notes"])
    case = one.truth["cases"][0]
    assert counts(tmp_path / "lungs" / "labelsTr" / f"{case['case']}.nii.gz")[3] == case["label_counts"]["5"]
