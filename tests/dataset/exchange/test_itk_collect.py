"""`itk_collect`: any folder becomes a dataset, by patterns of paths."""

import json
import shlex
import shutil

import numpy as np
import pytest

import itkit
from itkit.catalogue import load
from itkit.core.errors import LayoutError, ParamsError
from itkit.core.volume import Volume
from itkit.dataset.exchange.guess import guess
from itkit.dataset.exchange.patterns import PathPattern, sort_paths
from itkit.io.dcm_toolkit import find_series, read_series, series_geometry, write_series
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.process.geometry import orient
from itkit.testing import phantoms
from itkit.testing.contracts import OperationContract

GRID = phantoms.GRIDS["oblique"]


def collect(source, dest, image, **more):
    return itkit.run("itk_collect", source=source, dest=dest, image=image, **more)


def described(root):
    return json.loads((root / "dataset.json").read_text())


class TestContract(OperationContract):
    operation = load("itk_collect")
    changed = {"spacing": (2.0, 2.0, 2.0)}

    def values(self, source, dest):
        channel = "_{channel}" if list((source / "image").glob("*_t1.mha")) else ""
        ending = ".mha" if list((source / "image").glob("*.mha")) else ".nii.gz"
        patterns = {"image": f"image/{{case}}{channel}{ending}", "label": f"label/{{case}}{ending}"}
        return {"source": source, "dest": dest, **patterns}

    def test_several_channels_are_one_case(self, tmp_path):
        ids = phantoms.write_channels(tmp_path / "raw", 2, channels=("t1", "t1c", "flair"))
        assert self.run(tmp_path / "raw", tmp_path / "out", orient="LPS", dtype="float32").exit_code == 0
        for case in ids:
            for channel in ("t1", "t1c", "flair"):
                before = orient(read_volume(tmp_path / f"raw/image/{case}_{channel}.mha"), "LPS")
                after = read_volume(tmp_path / f"out/image/{case}_{channel}.mha")
                assert after.dtype == np.float32
                np.testing.assert_array_equal(after.array_zyx, before.array_zyx)
                assert after.geometry.grid_distance_mm(before.geometry) < 1e-4

    def test_a_vector_file_is_its_channels(self, tmp_path):
        """Only a description says that a vector is channels, and here there is none: it fails by name."""
        ids = phantoms.write_channels(tmp_path / "raw", 2, layout="vector")
        result = self.run(tmp_path / "raw", tmp_path / "out")
        assert [record.case_id for record in result.records if record.status == "failed"] == ids

    def test_a_missing_channel_or_another_grid_fails_that_case_by_name(self, tmp_path):
        ids = phantoms.write_channels(tmp_path / "raw", 3)
        (tmp_path / "raw/image" / f"{ids[0]}_t2.mha").unlink()
        crooked = tmp_path / "raw/image" / f"{ids[1]}_t2.mha"
        volume = read_volume(crooked)
        write_volume(volume.with_array(volume.array_zyx[:-1], volume.geometry.crop((0, 0, 0), (8, 14, 11))), crooked)
        result = self.run(tmp_path / "raw", tmp_path / "out")
        said = {record.case_id: record.message for record in result.records if record.status == "failed"}
        assert said.keys() == {ids[0], ids[1]}
        assert "1 channel missing: t2" in said[ids[0]]
        assert "differ in size" in said[ids[1]]
        assert all(ids[2] in name for name in self.volumes(tmp_path / "out"))

    def test_the_description_goes_on_and_says_what_was_done(self, tmp_path):
        phantoms.write_channels(tmp_path / "raw", 3)
        self.run(tmp_path / "raw", tmp_path / "out", labels=("1=arm", "2=leg", "3=foot"), modality=("MR",))
        text = (tmp_path / "out/dataset.json").read_text()
        meta = json.loads(text)
        assert meta["labels"] == {"0": "background", "1": "arm", "2": "leg", "3": "foot"}
        assert (meta["name"], meta["channels"], meta["modality"]) == ("raw", ["t1", "t2"], ["MR"])
        assert [entry["operation"] for entry in meta["history"]] == ["itk_collect"]
        for shard in ("1/2", "2/2"):
            self.run(
                tmp_path / "raw", tmp_path / "out", labels=("1=arm", "2=leg", "3=foot"), modality=("MR",),
                options={"shard": shard, "existing": "redo"},
            )  # fmt: skip
        assert (tmp_path / "out/dataset.json").read_text() == text


@pytest.mark.parametrize(
    ("pattern", "path", "values"),
    [
        ("{case}_{channel}.nii.gz", "a_b_t1.nii.gz", {"case": "a_b", "channel": "t1"}),
        ("{channel}_{case}.nii", "t1_a_b.NII", {"case": "a_b", "channel": "t1"}),
        ("{case}/{case}_ct.mha", "p1/p1_ct.mha", {"case": "p1"}),
        ("{case}/{case}_ct.mha", "p1/p2_ct.mha", None),
        ("*/{case}.mha", "any/p.mha", {"case": "p"}),
        ("*/{case}.mha", "a/b/p.mha", None),
        ("**/{case}.mha", "a/b/p.mha", {"case": "p"}),
        ("images{split}/{patient}/{case}.mha", "imagesTr/7/x.mha", {"split": "Tr", "patient": "7", "case": "x"}),
        ("image/{case}.*", "image/a.b.NII.gz", {"case": "a.b"}),
        ("image/{case}.*", "image/a.txt", None),
        ("{case}.v1 (x).mha", "p.v1 (x).mha", {"case": "p"}),
    ],
)
def test_patterns_mean_what_they_say(pattern, path, values):
    match = PathPattern.parse(pattern, "image").regex.fullmatch(path)
    assert values == (match and match.groupdict())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"image": "{cas}.mha"}, "got '{cas}'"),
        ({"image": "{case.mha"}, "expected"),
        ({"image": "scan.mha"}, "{case} must say"),
        ({}, "--image: give the pattern"),
        ({"image": "{case}.mha", "label": "{case}/{channel}.mha"}, "no {channel}"),
        ({"image": "{case}/{part}.mha"}, "stands in patterns of labels"),
        ({"image": "{case}.mha", "label": "{case}/seg"}, "name volume files"),
        ({"image": "{case}.mha", "label": "{case}_l.mha", "part": ("a={case}_a.mha",)}, "both make the label"),
        ({"image": "{case}.mha", "labels": ("1=a", "1=b")}, "may be given once"),
        ({"image": "{case}.mha", "link": True, "spacing": (1, 1, 1)}, "--link leaves files as they are"),
        ({"guess": True, "image": "{case}.mha"}, "--guess finds patterns by itself"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path, values, said):
    with pytest.raises(ParamsError) as error:
        itkit.run("itk_collect", source=tmp_path, dest=tmp_path / "out", **values)
    assert said in str(error.value)


def test_the_pattern_with_more_letters_decides_and_equal_ones_are_refused(tmp_path):
    phantoms.write_dataset(tmp_path / "in", 2)
    for case in ("case_00", "case_01"):
        shutil.move(tmp_path / f"in/label/{case}.nii.gz", tmp_path / f"in/image/{case}_seg.nii.gz")
    (tmp_path / "in/image/notes.txt").write_text("hello")
    events = []
    result = collect(
        tmp_path / "in/image", tmp_path / "out", "{case}.nii.gz", label="{case}_seg.nii.gz", on_event=events.append
    )
    assert result.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out/image").iterdir()) == ["case_00.mha", "case_01.mha"]
    assert "1 file fits no pattern: notes.txt" in events[0]["notes"]
    with pytest.raises(ParamsError, match="equally well"):
        collect(tmp_path / "in/image", tmp_path / "out2", "{case}.nii.gz", label="*{case}.nii.gz")


def test_two_files_for_one_role_fail_their_case_by_name(tmp_path):
    phantoms.write_dataset(tmp_path / "in/a", 2)
    shutil.copytree(tmp_path / "in/a/image", tmp_path / "in/b/image")
    (tmp_path / "in/b/image/case_01.nii.gz").unlink()
    result = collect(tmp_path / "in", tmp_path / "out", "*/image/{case}.nii.gz", label="*/label/{case}.nii.gz")
    said = {record.case_id: record.message for record in result.records if record.status == "failed"}
    assert said.keys() == {"case_00"}
    assert "two files for one image: a/image/case_00.nii.gz and b/image/case_00.nii.gz" in said["case_00"]
    assert [path.name for path in (tmp_path / "out/label").iterdir()] == ["case_01.mha"]


def test_files_without_a_partner_are_named_and_strict_refuses(tmp_path):
    phantoms.write_dataset(tmp_path / "in", 3)
    (tmp_path / "in/label/case_02.nii.gz").unlink()
    (tmp_path / "in/image/case_01.nii.gz").unlink()
    patterns = {"image": "image/{case}.nii.gz", "label": "label/{case}.nii.gz"}
    result = collect(tmp_path / "in", tmp_path / "out", **patterns)
    assert result.exit_code == 0
    assert [record.case_id for record in result.records] == ["case_00"]
    assert all(any(case in name for name in result.summary.unpaired) for case in ("case_01", "case_02"))
    (tmp_path / "in/notes").mkdir()
    for number in range(12):
        (tmp_path / f"in/notes/{number:02d}.txt").touch()
    collect(tmp_path / "in", tmp_path / "out", **patterns)
    skipped = [path for path, _, _ in described(tmp_path / "out")["skipped"]]
    assert skipped == [f"notes/{number:02d}.txt" for number in range(12)]
    with pytest.raises(LayoutError, match="--strict"):
        collect(tmp_path / "in", tmp_path / "strict", **patterns, strict=True)
    assert not (tmp_path / "strict").exists()
    with pytest.raises(LayoutError, match="no volume file fits --image"):
        collect(tmp_path / "in", tmp_path / "none", "scans/{case}.mha")


def test_splits_and_patients_come_from_the_paths(tmp_path):
    for split in ("Tr", "Ts"):
        for patient in ("p1", "p2"):
            write_volume(phantoms.noise(GRID), tmp_path / f"in/images{split}/{patient}/scan.mha")
    collect(tmp_path / "in", tmp_path / "out", "images{split}/{patient}/{case}.mha")
    meta = described(tmp_path / "out")
    assert meta["splits"] == {"test": ["Ts_p1_scan", "Ts_p2_scan"], "train": ["Tr_p1_scan", "Tr_p2_scan"]}
    assert meta["cases"]["Tr_p2_scan"]["patient"] == "p2"


@pytest.mark.parametrize("by_name", [True, False])
def test_masks_of_classes_become_one_label(tmp_path, by_name):
    label = phantoms.l_shape(GRID)
    write_volume(phantoms.noise(GRID), tmp_path / "in/p1/ct.nii.gz")
    for value, name in ((1, "tumour"), (2, "liver"), (3, "cyst")):
        mask = label.with_array((label.array_zyx == value).astype(np.uint8))
        write_volume(mask, tmp_path / f"in/p1/masks/{name}.nii.gz")
    if by_name:
        more = {"part": [f"{name}={{case}}/masks/{name}.nii.gz" for name in ("tumour", "liver", "cyst")]}
        names = {"0": "background", "1": "tumour", "2": "liver", "3": "cyst"}
    else:
        more = {"label": "{case}/masks/{part}.nii.gz", "labels": ("5=tumour",)}
        names = {"0": "background", "5": "tumour", "6": "cyst", "7": "liver"}
    assert collect(tmp_path / "in", tmp_path / "out", "{case}/ct.nii.gz", **more).exit_code == 0
    assert described(tmp_path / "out")["labels"] == names
    found = read_volume(tmp_path / "out/label/p1.mha", "label").array_zyx
    values = {name: int(value) for value, name in names.items()}
    for value, name in ((1, "tumour"), (2, "liver"), (3, "cyst")):
        np.testing.assert_array_equal(found == values[name], label.array_zyx == value)


def test_links_are_relative_and_copy_nothing(tmp_path):
    phantoms.write_channels(tmp_path / "in", 2, suffix=".mhd")
    bad = tmp_path / "in/image/case_01_t2.mhd"
    write_volume(phantoms.noise(phantoms.GRIDS["sagittal"]), bad)
    values = {"image": "image/{case}_{channel}.mhd", "label": "label/{case}.mhd", "labels": ("1=arm",)}
    for _ in range(2):
        result = collect(tmp_path / "in", tmp_path / "out", link=True, **values)
        assert [record.case_id for record in result.records if record.status == "failed"] == ["case_01"]
    (tmp_path / "out").rename(tmp_path / "moved")
    link = tmp_path / "moved/image/case_00_t1.mhd"
    assert link.is_symlink()
    np.testing.assert_array_equal(
        read_volume(link).array_zyx, read_volume(tmp_path / "in/image/case_00_t1.mhd").array_zyx
    )
    assert described(tmp_path / "moved")["labels"] == {"0": "background", "1": "arm"}
    assert list(described(tmp_path / "moved")["cases"]) == ["case_00"]


def test_links_have_the_names_of_a_dataset(tmp_path):
    for case in ("p1", "p2"):
        write_volume(phantoms.noise(GRID), tmp_path / f"in/{case}/image.nii.gz")
        write_volume(phantoms.l_shape(GRID), tmp_path / f"in/{case}/seg.nii.gz")
    dry = collect(tmp_path / "in", tmp_path / "out", "{case}/image.nii.gz", label="{case}/seg.nii.gz", link=True,
                  dry_run=True)  # fmt: skip
    assert str(tmp_path / "out/label/p2.nii.gz") in dry.records[1].message
    assert not (tmp_path / "out").exists()
    collect(tmp_path / "in", tmp_path / "out", "{case}/image.nii.gz", label="{case}/seg.nii.gz", link=True)
    assert (tmp_path / "out/image/p2.nii.gz").resolve() == tmp_path / "in/p2/image.nii.gz"
    assert (tmp_path / "out/label/p2.nii.gz").resolve() == tmp_path / "in/p2/seg.nii.gz"


def test_a_pattern_of_folders_reads_dicom_with_its_annotations(tmp_path):
    for case in ("p1", "p2"):
        write_series(phantoms.noise(GRID), tmp_path / f"in/{case}/CT", modality="CT")
    write_series(phantoms.noise(GRID, 1), tmp_path / "in/p2/CT/more", modality="CT")
    grid = series_geometry(find_series(tmp_path / "in/p1/CT")[0][0])
    label = phantoms.l_shape(grid)
    write_volume(label, tmp_path / "labels/p1.mha")
    (tmp_path / "labels/dataset.json").write_text(json.dumps({"labels": {"1": "arm", "2": "leg", "3": "foot"}}))
    itkit.run(
        "itk_convert", mode="dicom-seg", source=tmp_path / "labels", dest=tmp_path / "seg", series=tmp_path / "in/p1"
    )
    shutil.copy(tmp_path / "seg/p1.dcm", tmp_path / "in/p1/CT/seg.dcm")
    result = collect(tmp_path / "in", tmp_path / "out", "{case}/CT", labels=("7=leg", "9=foot"))
    said = {record.case_id: record for record in result.records}
    assert said["p2"].status == "failed"
    assert "2 DICOM series" in said["p2"].message
    assert any("arm" in text for text in said["p1"].warnings)
    expected = read_series(find_series(tmp_path / "in/p1/CT", recursive=False)[0][0])
    np.testing.assert_array_equal(read_volume(tmp_path / "out/image/p1.mha").array_zyx, expected.array_zyx)
    found = read_volume(tmp_path / "out/label/p1.mha", "label").array_zyx
    np.testing.assert_array_equal(found, np.select([label.array_zyx == 2, label.array_zyx == 3], [7, 9]))


def test_dicom_goes_with_labels_of_other_formats(tmp_path):
    write_series(phantoms.noise(GRID), tmp_path / "in/p1/scan", modality="CT")
    grid = series_geometry(find_series(tmp_path / "in/p1/scan")[0][0])
    write_volume(phantoms.l_shape(grid), tmp_path / "in/p1/label.nii.gz")
    assert collect(tmp_path / "in", tmp_path / "out", "{case}/scan", label="{case}/label.nii.gz").exit_code == 0
    found = read_volume(tmp_path / "out/label/p1.mha", "label")
    np.testing.assert_array_equal(found.array_zyx, phantoms.l_shape(grid).array_zyx)


CASES = ("a1", "b2", "c3")
FOLDERS = {
    "flat": (["{}.nii.gz", "{}_seg.nii.gz"], "{case}.nii.gz", "{case}_seg.nii.gz"),
    "folders": (["{}/t1.nii", "{}/flair.nii", "{}/seg.nii"], "{case}/{channel}.nii", "{case}/seg.nii"),
    "named": (
        ["{0}/{0}-t1.mha", "{0}/{0}-t2.mha", "{0}/{0}-seg.mha"],
        "{case}/{case}-{channel}.mha",
        "{case}/{case}-seg.mha",
    ),
    "nnunet": (
        ["imagesTr/{}_0000.nii.gz", "imagesTr/{}_0001.nii.gz", "labelsTr/{}.nii.gz"],
        "imagesTr/{case}_{channel}.nii.gz",
        "labelsTr/{case}.nii.gz",
    ),
    "masks": (
        ["{}/ct.nii.gz", "{}/segmentations/liver.nii.gz", "{}/segmentations/spleen.nii.gz"],
        "{case}/ct.nii.gz",
        "{case}/segmentations/{part}.nii.gz",
    ),
    "prefixed": (["volume-{}.nii", "segmentation-{}.nii"], "volume-{case}.nii", "segmentation-{case}.nii"),
    "images": (["{}.mha"], "{case}.mha", ""),
    "series": (["{}/ct/1.dcm", "{}/mask.nii"], "{case}/ct", "{case}/mask.nii"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_guess_says_the_command_and_changes_nothing(tmp_path, name):
    shapes, image, label = FOLDERS[name]
    for case in CASES:
        for shape in shapes:
            path = tmp_path / shape.format(case)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (tmp_path / "README.md").touch()
    before = sorted(tmp_path.rglob("*"))
    lines = itkit.run("itk_collect", source=tmp_path, guess=True).summary.lines
    assert lines[0].endswith(f"DEST --image '{image}'" + (f" --label '{label}'" if label else ""))
    assert lines[1].startswith("3 cases: a1, b2, c3")
    assert lines[-1] == "1 file fits no pattern: README.md"
    assert itkit.run("itk_collect", source=tmp_path, guess=True, dry_run=True).summary.lines == lines
    assert sorted(tmp_path.rglob("*")) == before
    found, rest, _ = sort_paths(
        [path.relative_to(tmp_path).as_posix() for path in before if path.is_file()],
        [PathPattern.parse(text, "image") for text in (image, label) if text],
    )
    assert (len(found), rest) == (3 * len(shapes), ["README.md"])


def test_the_command_of_a_guess_can_be_pasted_into_a_shell(tmp_path):
    write_volume(phantoms.noise(phantoms.GRIDS["plain"]), tmp_path / "it's raw/a 1.mha")
    command = shlex.split(guess(tmp_path / "it's raw")[0])
    assert command[:5] == ["itk_collect", str(tmp_path / "it's raw"), "DEST", "--image", "{case}.mha"]


def test_voxels_beside_their_header_fit_with_it():
    paths = ["a.mhd", "a.zraw", "b/c.nhdr", "b/c.raw", "d/e.raw", "notes.txt"]
    patterns = [PathPattern.parse("{case}.mhd", "image"), PathPattern.parse("b/{case}.nhdr", "label")]
    assert sort_paths(paths, patterns)[1] == ["d/e.raw", "notes.txt"]


def test_a_stray_file_and_a_missing_one_do_not_hide_the_channels(tmp_path):
    for name in ("stray", "a1/t1", "a1/flair", "a1/seg", "b2/t1", "b2/seg", "c3/t1", "c3/flair", "c3/seg"):
        path = tmp_path / f"{name}.nii"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert guess(tmp_path)[0].endswith("--image '{case}/{channel}.nii' --label '{case}/seg.nii'")


def test_files_of_several_formats_are_guessed_though_a_case_is_a_dicom_series(tmp_path):
    names = ["a/CT.nii.gz", "a/organs.mha", "b/CT.mha", "b/organs.nrrd", "c/CT.nrrd", "c/organs.mha", "Thumbs.db"]
    for name in [*names, *(f"d/series/{number:03}.dcm" for number in range(20))]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    lines = guess(tmp_path)
    assert lines[0].endswith("--image '{case}/CT.*' --label '{case}/organs.*'")
    assert lines[2] == "3 cases with label"
    for path in tmp_path.glob("*/organs.*"):
        path.unlink()
    assert guess(tmp_path)[0].endswith("--image '{case}/CT.*'")


def test_two_folders_of_many_files_are_two_cases(tmp_path):
    for name in ("0/ct", "0/liver", "0/spleen", "1/ct", "1/liver", "1/spleen"):
        path = tmp_path / f"{name}.nii"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert guess(tmp_path)[0].endswith("--image '{case}/{channel}.nii'")


def test_a_folder_without_images_gives_no_guess(tmp_path):
    (tmp_path / "notes.txt").touch()
    assert "no pattern fits its 1 file" in guess(tmp_path)[0]


def test_what_is_collected_is_on_one_grid_and_of_the_asked_spacing(tmp_path):
    write_volume(phantoms.noise(GRID), tmp_path / "in/p1.mha")
    write_volume(Volume(phantoms.l_shape(GRID).array_zyx[:, :, :-1], GRID.crop((0, 0, 0), (9, 14, 10)), "label"),
                 tmp_path / "in/p1_seg.mha")  # fmt: skip
    result = collect(tmp_path / "in", tmp_path / "out", "{case}.mha", label="{case}_seg.mha")
    assert "differ in size" in result.records[0].message
    assert not list((tmp_path / "out").rglob("*.mha"))
    collect(tmp_path / "in", tmp_path / "fine", "{case}.mha", spacing=(2.0, -1, -1), ext=".nii.gz")
    assert read_volume(tmp_path / "fine/image/p1.nii.gz").spacing_zyx[0] == pytest.approx(2.0)
