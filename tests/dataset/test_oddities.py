"""What real downloads bring along: each oddity converted, or failed by name, and never anything in between."""

import gzip
import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import convert, make_fake, release

from itkit.core.errors import LayoutError, ParamsError

GRID = make_fake.Geo((9, 8, 6), (0.8, 0.7, 2.5), (-30.0, 12.5, 100.0), make_fake.unit_direction("LAS"))


def ramp(dtype="i2"):
    return (np.arange(np.prod(GRID.shape)).reshape(GRID.shape) % 700).astype(dtype)


def labels():
    array = np.zeros(GRID.shape, np.uint8)
    array[1:4, 2:5, 3:7] = 1
    array[2, 3, 4] = 2
    return array


@pytest.fixture
def tbad(tmp_path):
    """A release of one sound case, number 1, to put odd ones beside."""
    source = tmp_path / "in" / "imageTBAD"
    make_fake.write_nifti(source / "1_image.nii.gz", ramp(), GRID)
    make_fake.write_nifti(source / "1_label.nii.gz", labels(), GRID)
    return source


def run(source, tmp_path, name="imagetbad", **values):
    result, events = convert(name, source, tmp_path / "out", **values)
    return {record.case_id: record for record in result.records}, result, events


def written(tmp_path):
    return sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.mha"))


def read(tmp_path, relative):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / relative)))


SOUND = ["image/1.mha", "label/1.mha"]


def test_a_missing_label_leaves_an_image_alone(tbad, tmp_path):
    make_fake.write_nifti(tbad / "2_image.nii.gz", ramp(), GRID)
    _, result, events = run(tbad, tmp_path)
    assert result.exit_code == 0
    assert written(tmp_path) == ["image/1.mha", "image/2.mha", "label/1.mha"]
    assert any("2" in note and "without label" in note for note in events[0]["notes"])


def test_a_label_without_image_is_unpaired(tbad, tmp_path):
    make_fake.write_nifti(tbad / "7_label.nii.gz", labels(), GRID)
    _, result, _ = run(tbad, tmp_path)
    assert result.summary.unpaired == ("7",)
    assert written(tmp_path) == SOUND
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["unpaired"]["7"]["lacks"] == "image"
    with pytest.raises(LayoutError, match="--strict"):
        convert("imagetbad", tbad, tmp_path / "strict", strict=True)


def test_hidden_files_are_no_cases(tbad, tmp_path):
    make_fake.apple_double(tbad / "._3_image.nii.gz")
    shutil.copy(tbad / "1_image.nii.gz", tbad / ".4_image.nii.gz")
    (tbad / ".git").mkdir()
    shutil.copy(tbad / "1_image.nii.gz", tbad / ".git" / "5_image.nii.gz")
    _, result, _ = run(tbad, tmp_path)
    assert result.exit_code == 0
    assert written(tmp_path) == SOUND


def test_extensions_match_in_any_letter_case(tbad, tmp_path):
    (tbad / "1_image.nii.gz").rename(tbad / "1_image.NII.GZ")
    (tbad / "1_label.nii.gz").rename(tbad / "1_label.Nii.gz")
    records, _, _ = run(tbad, tmp_path)
    assert records["1"].status == "done"
    np.testing.assert_array_equal(read(tmp_path, "image/1.mha"), ramp())


@pytest.mark.parametrize("role", ["image", "label"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_file_fails_its_case_and_no_other(damage, role, tbad, tmp_path):
    make_fake.write_nifti(tbad / "2_image.nii.gz", ramp(), GRID)
    make_fake.write_nifti(tbad / "2_label.nii.gz", labels(), GRID)
    path = tbad / f"2_{role}.nii.gz"
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(
        {
            "truncated": data[:half],
            "flipped": data[:-6] + bytes([data[-6] ^ 0xFF]) + data[-5:],  # the checksum
            "empty": b"",
            "text": b"<html>quota exceeded</html>" * 50,
        }[damage]
    )
    records, result, _ = run(tbad, tmp_path)
    assert result.exit_code == 1
    assert records["2"].status == "failed"
    assert path.name in records["2"].message
    assert written(tmp_path) == SOUND
    path.write_bytes(data)
    records, result, _ = run(tbad, tmp_path)
    assert {name: record.status for name, record in records.items()} == {"1": "skipped", "2": "done"}


def test_float_labels_of_whole_numbers_become_integers(tbad, tmp_path):
    make_fake.write_nifti(tbad / "1_label.nii.gz", labels(), GRID, "f4")
    run(tbad, tmp_path)
    found = read(tmp_path, "label/1.mha")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, labels())


def test_scaled_labels_become_integers(tbad, tmp_path):
    make_fake.write_nifti(tbad / "1_label.nii.gz", labels(), GRID, "u1", slope=0.1, inter=-0.2)
    run(tbad, tmp_path)
    np.testing.assert_array_equal(read(tmp_path, "label/1.mha"), labels())


def test_labels_between_numbers_fail(tbad, tmp_path):
    make_fake.write_nifti(tbad / "1_label.nii.gz", labels() * 0.75, GRID, "f4")
    records, _, _ = run(tbad, tmp_path)
    assert records["1"].status == "failed"
    assert "must hold integers" in records["1"].message
    assert written(tmp_path) == []


def test_rounding_of_a_grid_is_no_difference(tbad, tmp_path):
    noisy = GRID.copy(origin=[value + 1e-6 for value in GRID.origin], spacing=[s * (1 + 1e-6) for s in GRID.spacing])
    make_fake.write_nifti(tbad / "1_label.nii.gz", labels(), noisy)
    records, _, _ = run(tbad, tmp_path)
    assert records["1"].status == "done"
    image, label = (sitk.ReadImage(str(tmp_path / "out" / path)) for path in SOUND)
    assert image.GetOrigin() == label.GetOrigin()
    assert image.GetSpacing() == label.GetSpacing()


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        (GRID.copy(origin=(-30.0, 12.5, 100.5)), "differ in origin"),
        (GRID.copy(spacing=(0.8, 0.7, 2.6)), "differ in spacing"),
        (GRID.copy(direction=make_fake.unit_direction("RAS")), "differ in"),
    ],
)
def test_another_grid_fails_and_nothing_is_resampled(grid, said, tbad, tmp_path):
    make_fake.write_nifti(tbad / "1_label.nii.gz", labels(), grid)
    records, _, _ = run(tbad, tmp_path)
    assert records["1"].status == "failed"
    assert said in records["1"].message
    assert written(tmp_path) == []


def test_another_size_fails(tbad, tmp_path):
    make_fake.write_nifti(tbad / "1_label.nii.gz", labels()[:-1], GRID.copy(size=(9, 8, 5)))
    records, _, _ = run(tbad, tmp_path)
    assert "differ in size: (6, 8, 9) and (5, 8, 9)" in records["1"].message


def test_four_dimensions_with_one_volume_are_three(tbad, tmp_path):
    make_fake.write_nifti(tbad / "1_image.nii.gz", ramp(), GRID, extra_dims=(1,))
    make_fake.write_nifti(tbad / "1_label.nii.gz", labels(), GRID, extra_dims=(1, 1))
    run(tbad, tmp_path)
    np.testing.assert_array_equal(read(tmp_path, "image/1.mha"), ramp())
    np.testing.assert_array_equal(read(tmp_path, "label/1.mha"), labels())


def test_several_volumes_where_one_channel_belongs_fail(tbad, tmp_path):
    make_fake.write_nifti(tbad / "1_image.nii.gz", np.stack([ramp(), ramp()]), GRID)
    records, _, _ = run(tbad, tmp_path)
    assert records["1"].status == "failed"
    assert "4-D with 2 volumes" in records["1"].message


def test_values_without_name_are_kept_and_named(tbad, tmp_path):
    strange = np.where(labels() == 2, 300, labels().astype(np.int16))
    make_fake.write_nifti(tbad / "1_label.nii.gz", strange, GRID, "i2")
    records, _, _ = run(tbad, tmp_path)
    assert records["1"].warnings == ("1_label.nii.gz: label values without a name, kept: 300 (1 voxel)",)
    np.testing.assert_array_equal(read(tmp_path, "label/1.mha"), strange)


def test_nearly_rectangular_axes_are_rectified_and_said(tbad, tmp_path):
    for name, array in (("image", ramp()), ("label", labels())):
        make_fake.write_nifti(tbad / f"1_{name}.nii.gz", array, GRID, affine=make_fake.sheared(GRID), qform_code=0)
    records, _, _ = run(tbad, tmp_path)
    assert records["1"].status == "done"
    assert any("not at right angles" in warning for warning in records["1"].warnings)
    image = sitk.ReadImage(str(tmp_path / "out" / "image" / "1.mha"))
    direction = np.array(image.GetDirection()).reshape(3, 3)
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(direction, GRID.direction, atol=2e-3)
    np.testing.assert_array_equal(read(tmp_path, "image/1.mha"), ramp())


def test_a_sheared_grid_fails(tbad, tmp_path):
    affine = make_fake.sheared(GRID, amount=0.2)
    make_fake.write_nifti(tbad / "1_image.nii.gz", ramp(), GRID, affine=affine, qform_code=0)
    records, _, _ = run(tbad, tmp_path)
    assert records["1"].status == "failed"
    assert "sheared" in records["1"].message


def test_a_label_of_nearly_the_image_s_name_is_named(tbad, tmp_path):
    raw = tmp_path / "Dataset001_X"
    shutil.copytree(release("nnunet").source, raw)
    label = sorted((raw / "labelsTr").glob("*.nii.gz"))[0]
    case = label.name.removesuffix(".nii.gz")
    label.rename(label.with_name(f"{case}_seg.nii.gz"))
    _, _, events = run(raw, tmp_path, "nnunet")
    assert any(f"({case} and {case}_seg); an image and its label are a pair" in note for note in events[0]["notes"])


def test_a_description_that_names_no_class_or_counts_other_cases_is_told(tmp_path):
    raw = tmp_path / "Dataset001_X"
    shutil.copytree(release("nnunet").source, raw)
    values = json.loads((raw / "dataset.json").read_text())
    (raw / "dataset.json").write_text(json.dumps({**values, "labels": {}, "numTraining": values["numTraining"] + 3}))
    _, _, events = run(raw, tmp_path, "nnunet")
    told = "\n".join(events[0]["notes"])
    assert "names no class" in told
    assert f"counts {values['numTraining'] + 3} training cases; {values['numTraining']} with" in told
    _, events = convert("nnunet", release("nnunet").source, tmp_path / "sound")
    assert not any("counts" in note or "names no class" in note for note in events[0]["notes"])


def test_an_identical_second_copy_is_used_once_and_named(tbad, tmp_path):
    (tbad / "copy").mkdir()
    shutil.copy(tbad / "1_image.nii.gz", tbad / "copy")
    with gzip.open(tbad / "1_label.nii.gz") as file:
        (tbad / "copy" / "1_label.nii.gz").write_bytes(gzip.compress(file.read(), 1))
    _, result, events = run(tbad, tmp_path)
    assert result.exit_code == 0
    assert written(tmp_path) == SOUND
    assert any("used once: 2 files" in note and "copy/1_image.nii.gz of 1" in note for note in events[0]["notes"])


def test_two_different_copies_fail_their_case_alone(tbad, tmp_path):
    for folder, shift in (("a", 0), ("b", 1)):
        make_fake.write_nifti(tbad / folder / "2_image.nii.gz", ramp() + shift, GRID)
        make_fake.write_nifti(tbad / folder / "2_label.nii.gz", labels(), GRID)
    records, result, _ = run(tbad, tmp_path)
    assert result.exit_code == 1
    assert records["2"].status == "failed"
    assert "there twice, and the two differ" in records["2"].message
    assert "keep one of them" in records["2"].message
    assert records["1"].status == "done"
    assert written(tmp_path) == SOUND


def test_copies_of_a_browser_are_named_and_left_out(tbad, tmp_path):
    for name in ("1_image (1).nii.gz", "1_label - Copy.nii.gz"):
        make_fake.write_nifti(tbad / name, ramp(), GRID)
    _, result, events = run(tbad, tmp_path)
    assert result.exit_code == 0
    assert written(tmp_path) == SOUND
    (note,) = [note for note in events[0]["notes"] if "browser" in note]
    assert "2 files" in note
    assert "1_image (1).nii.gz" in note


def test_volumes_that_are_no_part_of_the_release_are_named(tbad, tmp_path):
    make_fake.write_nifti(tbad / "extra.nii.gz", ramp(), GRID)
    _, _, events = run(tbad, tmp_path)
    assert any("1 volume: extra.nii.gz" in note for note in events[0]["notes"])


def test_a_folder_without_the_release_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("nothing")
    with pytest.raises(LayoutError, match=r"no case of ImageTBAD.*looked for image .*_image\.nii\.gz"):
        run(tmp_path / "in", tmp_path)
    with pytest.raises(LayoutError, match=r"no known release has these files \(looked for"):
        run(tmp_path / "in", tmp_path, name="brats2024")
    with pytest.raises(LayoutError, match="does not exist"):
        run(tmp_path / "nowhere", tmp_path)


def test_a_destination_in_the_source_is_refused(tbad):
    with pytest.raises(LayoutError, match="inside the source"):
        convert("imagetbad", tbad, tbad / "out")


def test_contradictory_options_are_refused(tbad, tmp_path):
    with pytest.raises(ParamsError, match="both set axis Z"):
        run(tbad, tmp_path, spacing=(1, -1, -1), size=(4, -1, -1))
    with pytest.raises(ParamsError, match="NAME=a,b"):
        run(tbad, tmp_path, merge=("lumen",))


def test_a_case_that_lacks_a_channel_fails_by_name(tmp_path):
    shutil.copytree(release("brats2024").source, tmp_path / "in")
    lost = next((tmp_path / "in").rglob("*-t2f.nii.gz"))
    lost.unlink()
    records, result, _ = run(tmp_path / "in", tmp_path, "brats2024")
    assert result.exit_code == 1
    assert "1 channel missing: no t2f beside" in records[lost.parent.name].message
    assert {record.status for case, record in records.items() if case != lost.parent.name} == {"done"}
    assert not [path for path in written(tmp_path) if lost.parent.name in path]


def test_a_missing_class_file_shifts_no_value(tmp_path):
    one = release("totalsegmentator_v2")
    shutil.copytree(one.source, tmp_path / "in")
    case = one.truth["cases"][0]["case"]
    (tmp_path / "in" / case / "segmentations" / "kidney_right.nii.gz").unlink()
    records, _, _ = run(tmp_path / "in", tmp_path, "totalsegmentator", variant="v2")
    assert any("kidney_right" in warning for warning in records[case].warnings)
    label = read(tmp_path, f"label/{case}.mha")
    brain = sitk.GetArrayFromImage(sitk.ReadImage(str(one.source / case / "segmentations" / "brain.nii.gz")))
    skull = sitk.GetArrayFromImage(
        sitk.ReadImage(str(one.source / case / "segmentations" / "costal_cartilages.nii.gz"))
    )
    assert 2 not in label
    np.testing.assert_array_equal(label == 117, skull > 0)  # the last one: nothing covers it
    assert not ((label == 90) & (brain == 0)).any()


def test_an_unknown_class_file_is_named(tmp_path):
    one = release("totalsegmentator_v1")
    shutil.copytree(one.source, tmp_path / "in")
    case = one.truth["cases"][0]["case"]
    folder = tmp_path / "in" / case / "segmentations"
    shutil.copy(folder / "spleen.nii.gz", folder / "third_kidney.nii.gz")
    with pytest.raises(LayoutError, match="give --variant"):
        run(tmp_path / "in", tmp_path, "totalsegmentator")
    records, _, _ = run(tmp_path / "in", tmp_path, "totalsegmentator", variant="v1")
    assert any("third_kidney" in warning for warning in records[case].warnings)
    assert one.problems(tmp_path / "out") == []


def test_a_changed_class_file_is_converted_anew(tmp_path):
    one = release("totalsegmentator_v1")
    shutil.copytree(one.source, tmp_path / "in")
    cases = [case["case"] for case in one.truth["cases"]]
    run(tmp_path / "in", tmp_path, "totalsegmentator")
    path = tmp_path / "in" / cases[0] / "segmentations" / "liver.nii.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:352] + bytes(40000)))
    records, _, _ = run(tmp_path / "in", tmp_path, "totalsegmentator")
    assert records[cases[0]].status == "done"
    assert records[cases[1]].status == "skipped"
    assert 5 not in read(tmp_path, f"label/{cases[0]}.mha")


def test_a_corrected_label_replaces_the_first(tmp_path):
    one = release("ctspine1k")
    shutil.copytree(one.source, tmp_path / "in")
    first = next((tmp_path / "in" / "label").rglob("liver_*_seg.nii.gz"))
    new = tmp_path / "in" / "label_new" / "trainset" / "gt" / first.name
    new.parent.mkdir(parents=True)
    image = sitk.ReadImage(str(first)) * 0 + 7
    sitk.WriteImage(image, str(new))
    case = first.name.removesuffix("_seg.nii.gz")
    _, _, events = run(tmp_path / "in", tmp_path, "ctspine1k")
    assert np.unique(read(tmp_path, f"label/{case}.mha")).tolist() == [7]
    assert any(case in note and "replaced" in note for note in events[0]["notes"])


def test_slices_that_fail_are_left_out_by_name(tmp_path):
    one = release("sa_med2d_20m")
    shutil.copytree(one.source, tmp_path / "in")
    bad_mask, lost, broken = (case["case"] for case in one.truth["cases"][:3])
    sitk.WriteImage(sitk.Image(5, 5, sitk.sitkUInt8), str(next((tmp_path / "in" / "masks").glob(f"{bad_mask}--*"))))
    next((tmp_path / "in" / "masks").glob(f"{lost}--*")).unlink()
    (tmp_path / "in" / "images" / f"{broken}.png").write_bytes(b"\x89PNG")
    _, result, _ = run(tmp_path / "in", tmp_path, "sa_med2d_20m")
    assert result.exit_code == 1
    found = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert found["failed"].keys() == {bad_mask, lost, broken}
    assert "5" in found["failed"][bad_mask]
    others = {case["case"] for case in one.truth["cases"][3:]}
    assert {path.stem for path in (tmp_path / "out" / "image").iterdir()} == others
    assert {path.stem for path in (tmp_path / "out" / "label").iterdir()} == others


def test_a_broken_index_is_refused(tmp_path):
    shutil.copytree(release("sa_med2d_20m").source, tmp_path / "in")
    index = tmp_path / "in" / "SAMed2D_v1.json"
    index.write_bytes(index.read_bytes()[:-40])
    with pytest.raises(LayoutError, match=r"SAMed2D_v1\.json"):
        run(tmp_path / "in", tmp_path, "sa_med2d_20m")
    index.unlink()
    with pytest.raises(LayoutError, match=r"no SAMed2D_v1\.json"):
        run(tmp_path / "in", tmp_path, "sa_med2d_20m")


def test_a_broken_description_is_refused(tmp_path):
    shutil.copytree(release("nnunet").source, tmp_path / "in")
    (tmp_path / "in" / "dataset.json").write_text('{"labels": {"background": 0}}')
    with pytest.raises(LayoutError, match="channel_names"):
        run(tmp_path / "in", tmp_path, "nnunet")


def test_listed_files_that_are_missing_are_named(tmp_path):
    shutil.copytree(release("msd").source / "Task09_Spleen", tmp_path / "in")
    lost = next((tmp_path / "in" / "imagesTr").glob("spleen*"))
    lost.unlink()
    _, result, events = run(tmp_path / "in", tmp_path, "msd")
    assert any(f"imagesTr/{lost.name}" in note for note in events[0]["notes"])
    assert result.summary.unpaired == (lost.name.removesuffix(".nii.gz"),)


def test_a_series_with_a_gap_fails_by_name(tmp_path):
    one = release("tcga")
    shutil.copytree(one.source, tmp_path / "in")
    case = one.truth["cases"][-1]
    series = tmp_path / "in" / case["image_sources"][0]
    sorted(series.iterdir())[5].unlink()
    records, result, _ = run(tmp_path / "in", tmp_path, "tcga")
    assert result.exit_code == 1
    assert records[case["case"]].status == "failed"
    assert "missing" in records[case["case"]].message
    run(tmp_path / "in", tmp_path, "tcga", on_irregular="largest")
    assert f"image/{case['case']}.mha" in written(tmp_path)


def test_an_incomplete_download_is_said(tmp_path):
    one = release("tcga")
    shutil.copytree(one.source, tmp_path / "in")
    case = one.truth["cases"][-1]
    series = tmp_path / "in" / case["image_sources"][0]
    sorted(series.iterdir())[-1].write_bytes(b"")  # at the end: the rest is a regular volume
    records, _, _ = run(tmp_path / "in", tmp_path, "tcga")
    assert any("is the download complete?" in warning for warning in records[case["case"]].warnings)


def test_an_image_that_the_index_does_not_list_is_named(tmp_path):
    shutil.copytree(release("sa_med2d_20m").source, tmp_path / "in")
    images = next((tmp_path / "in").rglob("images"))
    some_image = sorted(images.glob("*.png"))[0]
    shutil.copy(some_image, images / "ct_00--New--0001--x_0000.png")
    _, _, events = run(tmp_path / "in", tmp_path, "sa_med2d_20m")
    assert any("does not list 1 image, left out: images/ct_00--New--0001--x_0000.png" in n for n in events[0]["notes"])
    _, events = convert("sa_med2d_20m", release("sa_med2d_20m").source, tmp_path / "sound")
    assert not any("does not list" in note for note in events[0]["notes"])
