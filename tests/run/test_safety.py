"""Nothing of a user is overwritten, nothing hides behind something else, nothing is claimed that was not written."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

import itkit
from itkit.core.errors import LayoutError, MissingExtraError, ParamsError
from itkit.core.volume import Geometry
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.run.options import RunOptions
from itkit.testing import phantoms

GRID = Geometry((6, 8, 8), (1.0, 1.0, 1.0))


def aug(root, **values):
    folders = {"img_folder": root / "raw" / "image", "lbl_folder": root / "raw" / "label"}
    return itkit.run("itk_aug", **folders, random_rot=(5, 5, 5), **values)


def statuses(result):
    return [record.status for record in result.records]


def test_an_output_folder_that_is_new_is_written(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 2)
    aug(tmp_path, out_img_folder=tmp_path / "a", out_lbl_folder=tmp_path / "b")
    assert statuses(aug(tmp_path, out_img_folder=tmp_path / "a", out_lbl_folder=tmp_path / "c")) == ["done", "done"]
    assert len(list((tmp_path / "c").glob("*.mha"))) == 2
    assert len(list((tmp_path / "b").glob("*.mha"))) == 2  # of another folder: not ours to remove


def test_two_outputs_of_one_path_and_two_cases_of_one_id_are_refused(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(LayoutError, match="output of two volumes"):
        aug(tmp_path, out_img_folder=tmp_path / "a", out_lbl_folder=tmp_path / "link")
    write_volume(phantoms.noise(GRID), tmp_path / "raw" / "case_00.mha")
    with pytest.raises(LayoutError, match="share the id 'case_00'"):
        itkit.run("itk_orient", src_dir=tmp_path / "raw", dst_dir=tmp_path / "out", orient="LPI")


def test_whole_files_of_any_kind_are_left_alone(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 2)
    (tmp_path / "out" / "image").mkdir(parents=True)
    for case, array, vector in (("case_00", np.zeros((4, 5, 6, 3)), True), ("case_01", np.zeros((2, 4, 5, 6)), False)):
        image = sitk.GetImageFromArray(array.astype(np.uint8), isVector=vector)
        sitk.WriteImage(image, str(tmp_path / "out" / "image" / f"{case}.mha"))
    before = {path: path.read_bytes() for path in (tmp_path / "out" / "image").iterdir()}
    values = {"mode": "dataset", "source_folder": tmp_path / "raw", "dest_folder": tmp_path / "out"}
    assert statuses(itkit.run("itk_resample", **values, spacing=(2, 2, 2))) == ["left", "left"]
    assert all(path.read_bytes() == data for path, data in before.items())


def test_an_edited_data_file_is_left_alone(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    values = {"src_dir": tmp_path / "raw", "dst_dir": tmp_path / "out", "orient": "LPI", "ext": ".mhd"}
    itkit.run("itk_orient", **values, compression="none")
    raw = tmp_path / "out" / "image" / "case_00.raw"
    raw.write_bytes(b"\x01" * raw.stat().st_size)
    assert statuses(itkit.run("itk_orient", **values, compression="none")) == ["left"]
    assert set(raw.read_bytes()) == {1}


def test_patches_that_no_longer_hold_are_removed_and_unlisted(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    values = {"src_folder": tmp_path / "raw", "dst_folder": tmp_path / "out"}
    itkit.run("itk_patch", **values, patch_size=4, patch_stride=4)
    assert list((tmp_path / "out").rglob("*.mha"))
    assert statuses(itkit.run("itk_patch", **values, patch_size=32, patch_stride=32)) == ["skipped"]
    assert not list((tmp_path / "out").rglob("*.mha"))
    assert json.loads((tmp_path / "out" / "crop_meta.json").read_text())["patch_meta"] == {}
    assert statuses(itkit.run("itk_patch", **values, patch_size=4, patch_stride=4)) == ["done"]


@pytest.mark.parametrize("spacing", ["1e300 1 1", "0 1 1", "nan 1 1"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_header_fails_by_name_alone(tmp_path, spacing, workers):
    for case in "abc":
        write_volume(phantoms.noise(GRID), tmp_path / "in" / f"{case}.mha", compression="none")
    path = tmp_path / "in" / "b.mha"
    head, mark, rest = path.read_bytes().partition(b"ElementSpacing = ")
    path.write_bytes(head + mark + spacing.encode() + b"\n" + rest.partition(b"\n")[2])
    result = itkit.run(
        "itk_resample",
        mode="image",
        source_folder=path.parent,
        dest_folder=tmp_path / "out",
        spacing=(2, 2, 2),
        workers=workers,
    )
    assert statuses(result) == ["done", "failed", "done"]
    assert "b.mha" in result.records[1].message
    checked = itkit.run("itk_check", mode="check", sample_folder=path.parent)
    assert statuses(checked) == ["done", "nonconforming", "done"]


def test_an_absurd_spacing_is_a_named_failure(tmp_path):
    write_volume(phantoms.noise(GRID), tmp_path / "in" / "a.mha")
    for spacing in (1e-9, 1e-300):
        result = itkit.run(
            "itk_resample",
            mode="image",
            source_folder=tmp_path / "in",
            dest_folder=tmp_path / "o",
            spacing=(spacing, 1, 1),
        )
        assert statuses(result) == ["failed"]


def test_deep_report_of_infinite_values_is_json(tmp_path):
    volume = phantoms.noise(GRID, dtype=np.float32)
    volume.array_zyx[1, 2, 3] = np.inf
    write_volume(volume, tmp_path / "in" / "a.mha")
    itkit.run("itk_check", mode="check", sample_folder=tmp_path / "in", deep=True, report=tmp_path / "r.json")
    assert "1 infinite" in json.loads((tmp_path / "r.json").read_text())["a"]["message"]
    index = tmp_path / "in" / "series_meta.json"
    index.write_text(index.read_text().replace("[1.0, 1.0, 1.0]", "[NaN, 1.0, 1.0]"))
    itkit.run("itk_check", mode="check", sample_folder=tmp_path / "in")
    assert json.loads(index.read_text())["a.mha"]["spacing"] == [1.0, 1.0, 1.0]


def test_copy_takes_whole_samples_or_none(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 2)
    write_volume(phantoms.noise(GRID), tmp_path / "out" / "image" / "case_00.nii.gz")
    result = itkit.run("itk_check", mode="copy", sample_folder=tmp_path / "raw", output=tmp_path / "out")
    assert result.exit_code == 1
    assert "copied 1 valid samples" in result.summary.lines[-1]
    assert not (tmp_path / "out" / "label" / "case_00.nii.gz").exists()
    assert (tmp_path / "out" / "label" / "case_01.nii.gz").exists()


def test_strict_check_refuses_unpaired_files(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    write_volume(phantoms.noise(GRID), tmp_path / "raw" / "image" / "lone.mha")
    with pytest.raises(LayoutError, match="lone"):
        itkit.run("itk_check", mode="check", sample_folder=tmp_path / "raw", strict=True)


@pytest.mark.parametrize("name", ["itk_check", "itk_patch", "itk_aug"])
def test_sub_folders_are_searched_when_asked(tmp_path, name):
    phantoms.write_dataset(tmp_path / "raw", 1)
    for part in ("image", "label"):
        (tmp_path / "raw" / part / "site").mkdir()
        old = tmp_path / "raw" / part / "case_00.nii.gz"
        (tmp_path / "raw" / part / "site" / "b.nii.gz").write_bytes(old.read_bytes())
    raw, out = tmp_path / "raw", tmp_path / "out"
    values = {
        "itk_check": {"mode": "copy", "sample_folder": raw, "output": out},
        "itk_patch": {"src_folder": raw, "dst_folder": out, "patch_size": 4, "patch_stride": 4, "layout": "dataset"},
        "itk_aug": {
            **{"img_folder": raw / "image", "lbl_folder": raw / "label", "random_rot": (5, 5, 5)},
            **{"out_img_folder": out / "image", "out_lbl_folder": out / "label"},
        },
    }[name]
    result = itkit.run(name, **values, recursive=True)
    assert [record.case_id for record in result.records] == ["case_00", "site/b"]
    assert {
        path.parent.name for path in (out / "label").rglob("*") if path.is_file() and ".itkit" not in path.parts
    } >= {"site"}


def test_python_api_refuses_what_it_would_ignore(tmp_path):
    with pytest.raises(ParamsError, match="no command 'itk_resampl'"):
        itkit.run("itk_resampl")
    with pytest.raises(ParamsError, match="existing is given beside"):
        itkit.run("itk_orient", options=RunOptions(), existing="redo", src_dir=tmp_path, dst_dir=tmp_path, orient="LPS")
    with pytest.raises(ValueError, match="LPS, RAS or LPI"):
        itkit.orient(phantoms.noise(GRID), "XXX")
    assert itkit.orient(phantoms.noise(GRID), "lpi").geometry.orientation == "LPI"
    with pytest.raises(ParamsError, match="empty path"):
        itkit.run("itk_orient", src_dir=tmp_path, dst_dir="", orient="LPS")


def test_a_missing_extra_leaves_nothing_behind(tmp_path, monkeypatch):
    import sys

    phantoms.write_dataset(tmp_path / "raw", 1)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"itkit\[dask\]"):
        itkit.run("itk_orient", src_dir=tmp_path / "raw", dst_dir=tmp_path / "out", orient="LPS", executor="dask")
    assert not (tmp_path / "out").exists()


def test_rerun_works_from_any_folder(tmp_path, command):
    phantoms.write_dataset(tmp_path / "raw", 1)
    assert command("itk_orient", "raw", "out", "LPI", cwd=tmp_path)[0] == 0
    assert command("itkit", "rerun", tmp_path / "out" / "orient_configs.json", cwd="/")[0] == 0
    assert read_volume(tmp_path / "out" / "image" / "case_00.mha").geometry.orientation == "LPI"
