"""Nothing of a user is overwritten, nothing hides behind something else, nothing is claimed that was not written."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from helpers import BIN, tree

import itkit
from itkit.core.errors import LayoutError, MissingExtraError, ParamsError, WriteError
from itkit.core.geometry import Geometry
from itkit.core.grids import resampled_grid
from itkit.core.volume import Volume
from itkit.engine import stage
from itkit.engine.options import RunOptions
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.testing import phantoms

GRID = Geometry((6, 8, 8), (1.0, 1.0, 1.0))


def aug(root, **values):
    folders = {"source": root / "raw" / "image", "label_source": root / "raw" / "label"}
    return itkit.run("itk_aug", **folders, random_rot=(5, 5, 5), **values)


def statuses(result):
    return [record.status for record in result.records]


def test_an_output_folder_that_is_new_is_written(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 2)
    aug(tmp_path, dest=tmp_path / "a", label_dest=tmp_path / "b")
    assert statuses(aug(tmp_path, dest=tmp_path / "a", label_dest=tmp_path / "c")) == ["done", "done"]
    assert len(list((tmp_path / "c").glob("*.mha"))) == 2
    assert len(list((tmp_path / "b").glob("*.mha"))) == 2  # of another folder: not ours to remove


def test_two_outputs_of_one_path_and_two_cases_of_one_id_are_refused(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(LayoutError, match="output of two volumes"):
        aug(tmp_path, dest=tmp_path / "a", label_dest=tmp_path / "link")
    write_volume(phantoms.noise(GRID), tmp_path / "raw" / "case_00.mha")
    with pytest.raises(LayoutError, match="share the id 'case_00'"):
        itkit.run("itk_orient", source=tmp_path / "raw", dest=tmp_path / "out", orient="LPI")


def test_whole_files_of_any_kind_are_left_alone(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 2)
    (tmp_path / "out" / "image").mkdir(parents=True)
    for case, array, vector in (("case_00", np.zeros((4, 5, 6, 3)), True), ("case_01", np.zeros((2, 4, 5, 6)), False)):
        image = sitk.GetImageFromArray(array.astype(np.uint8), isVector=vector)
        sitk.WriteImage(image, str(tmp_path / "out" / "image" / f"{case}.mha"))
    before = {path: path.read_bytes() for path in (tmp_path / "out" / "image").iterdir()}
    values = {"mode": "dataset", "source": tmp_path / "raw", "dest": tmp_path / "out"}
    assert statuses(itkit.run("itk_resample", **values, spacing=(2, 2, 2))) == ["left", "left"]
    assert all(path.read_bytes() == data for path, data in before.items())


def test_an_edited_data_file_is_left_alone(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out", "orient": "LPI", "ext": ".mhd"}
    itkit.run("itk_orient", **values, compression="none")
    raw = tmp_path / "out" / "image" / "case_00.raw"
    raw.write_bytes(b"\x01" * raw.stat().st_size)
    assert statuses(itkit.run("itk_orient", **values, compression="none")) == ["left"]
    assert set(raw.read_bytes()) == {1}


def test_patches_that_no_longer_hold_are_removed_and_unlisted(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out"}
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
        source=path.parent,
        dest=tmp_path / "out",
        spacing=(2, 2, 2),
        workers=workers,
    )
    assert statuses(result) == ["done", "failed", "done"]
    assert "b.mha" in result.records[1].message
    checked = itkit.run("itk_check", mode="check", source=path.parent)
    assert statuses(checked) == ["done", "nonconforming", "done"]


def test_an_absurd_spacing_is_a_named_failure(tmp_path):
    write_volume(phantoms.noise(GRID), tmp_path / "in" / "a.mha")
    for spacing in (1e-9, 1e-300):
        result = itkit.run(
            "itk_resample",
            mode="image",
            source=tmp_path / "in",
            dest=tmp_path / "o",
            spacing=(spacing, 1, 1),
        )
        assert statuses(result) == ["failed"]


def test_deep_report_of_infinite_values_is_json(tmp_path):
    volume = phantoms.noise(GRID, dtype=np.float32)
    volume.array_zyx[1, 2, 3] = np.inf
    write_volume(volume, tmp_path / "in" / "a.mha")
    itkit.run("itk_check", mode="check", source=tmp_path / "in", deep=True, report=tmp_path / "r.json")
    assert "1 infinite" in json.loads((tmp_path / "r.json").read_text())["a"]["message"]
    index = tmp_path / "in" / "series_meta.json"
    index.write_text(index.read_text().replace("[1.0, 1.0, 1.0]", "[NaN, 1.0, 1.0]"))
    itkit.run("itk_check", mode="check", source=tmp_path / "in")
    assert json.loads(index.read_text())["a.mha"]["spacing"] == [1.0, 1.0, 1.0]


def test_copy_takes_whole_samples_or_none(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 2)
    write_volume(phantoms.noise(GRID), tmp_path / "out" / "image" / "case_00.nii.gz")
    result = itkit.run("itk_check", mode="copy", source=tmp_path / "raw", dest=tmp_path / "out")
    assert result.exit_code == 1
    assert "copied 1 valid samples" in result.summary.lines[-1]
    assert not (tmp_path / "out" / "label" / "case_00.nii.gz").exists()
    assert (tmp_path / "out" / "label" / "case_01.nii.gz").exists()


def test_strict_check_refuses_unpaired_files(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    write_volume(phantoms.noise(GRID), tmp_path / "raw" / "image" / "lone.mha")
    with pytest.raises(LayoutError, match="lone"):
        itkit.run("itk_check", mode="check", source=tmp_path / "raw", strict=True)
    for number in range(30):
        (tmp_path / "raw" / "image" / f"more_{number}.mha").touch()
    with pytest.raises(LayoutError, match=r"31 files have no partner: .* and 21 more$"):
        itkit.run("itk_check", mode="check", source=tmp_path / "raw", strict=True)


@pytest.mark.parametrize("name", ["itk_check", "itk_patch", "itk_aug"])
def test_sub_folders_are_searched_when_asked(tmp_path, name):
    phantoms.write_dataset(tmp_path / "raw", 1)
    for part in ("image", "label"):
        (tmp_path / "raw" / part / "site").mkdir()
        old = tmp_path / "raw" / part / "case_00.nii.gz"
        (tmp_path / "raw" / part / "site" / "b.nii.gz").write_bytes(old.read_bytes())
    raw, out = tmp_path / "raw", tmp_path / "out"
    values = {
        "itk_check": {"mode": "copy", "source": raw, "dest": out},
        "itk_patch": {"source": raw, "dest": out, "patch_size": 4, "patch_stride": 4, "layout": "dataset"},
        "itk_aug": {
            **{"source": raw / "image", "label_source": raw / "label", "random_rot": (5, 5, 5)},
            **{"dest": out / "image", "label_dest": out / "label"},
        },
    }[name]
    result = itkit.run(name, **values, recursive=True)
    assert [record.case_id for record in result.records] == ["case_00", "site/b"]
    assert {
        path.parent.name for path in (out / "label").rglob("*") if path.is_file() and ".itkit" not in path.parts
    } >= {"site"}


def test_python_api_refuses_what_it_would_ignore(tmp_path):
    with pytest.raises(ParamsError, match="no operation 'itk_resampl'; did you mean 'itk_resample'"):
        itkit.run("itk_resampl")
    with pytest.raises(ParamsError, match="existing is given beside"):
        itkit.run("itk_orient", options=RunOptions(), existing="redo", source=tmp_path, dest=tmp_path, orient="LPS")
    with pytest.raises(ValueError, match="LPS, RAS or LPI"):
        itkit.orient(phantoms.noise(GRID), "XXX")
    assert itkit.orient(phantoms.noise(GRID), "lpi").geometry.orientation == "LPI"
    with pytest.raises(ParamsError, match="empty path"):
        itkit.run("itk_orient", source=tmp_path, dest="", orient="LPS")


def test_a_missing_extra_leaves_nothing_behind(tmp_path, monkeypatch):
    import sys

    phantoms.write_dataset(tmp_path / "raw", 1)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"itkit\[dask\]"):
        itkit.run("itk_orient", source=tmp_path / "raw", dest=tmp_path / "out", orient="LPS", executor="dask")
    assert not (tmp_path / "out").exists()


def test_rerun_works_from_any_folder(tmp_path, command):
    phantoms.write_dataset(tmp_path / "raw", 1)
    assert command("itk_orient", "raw", "out", "LPI", cwd=tmp_path)[0] == 0
    assert command("itkit", "rerun", tmp_path / "out" / "orient_configs.json", cwd="/")[0] == 0
    assert read_volume(tmp_path / "out" / "image" / "case_00.mha").geometry.orientation == "LPI"


def test_a_pipe_is_a_named_failure(tmp_path, command):
    phantoms.write_dataset(tmp_path / "raw", 1)
    for name in ("pipe.mha", "pipe2.mhd"):
        os.mkfifo(tmp_path / "raw" / "image" / name)
    code, _, stderr = command("itk_orient", tmp_path / "raw" / "image", tmp_path / "out", "RAS")
    assert code == 1
    assert stderr.count("not a regular file") == 2
    assert (tmp_path / "out" / "case_00.mha").exists()
    assert command("itk_check", "symlink", tmp_path / "raw" / "image", "-o", tmp_path / "links")[0] == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_complex_voxels_are_a_named_failure(tmp_path, workers):
    write_volume(phantoms.noise(Geometry((4, 5, 6), (1.0, 1.0, 1.0))), tmp_path / "raw" / "good.mha")
    sitk.WriteImage(sitk.Image([4, 5, 6], sitk.sitkComplexFloat32), str(tmp_path / "raw" / "wave.nii"))
    result = itkit.run("itk_orient", source=tmp_path / "raw", dest=tmp_path / "out", orient="RAS", workers=workers)
    assert [record.status for record in result.records] == ["done", "failed"]
    assert "complex" in result.records[1].message
    assert itkit.run("itk_check", mode="check", source=tmp_path / "raw").exit_code == 1


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_names_that_are_no_text_are_worked_on(tmp_path, command, locale):
    name = os.fsdecode(b"p\xfc")
    phantoms.write_dataset(tmp_path / "raw", 1)
    for folder in ("image", "label"):
        path = tmp_path / "raw" / folder / "case_00.nii.gz"
        path.with_name(f"{name}.nii.gz").write_bytes(path.read_bytes())
    raw, out = tmp_path / "raw", tmp_path / "out"
    for status in ("2 done, 0 skipped", "0 done, 2 skipped"):
        code, stdout, stderr = command("itk_resample", "dataset", raw, out, "--size", 4, 4, 4, "--mp", env=locale)
        assert (code, stderr) == (0, "")
        assert status in stdout
    assert {path.stem for path in (out / "image").iterdir()} == {"case_00", name}
    assert f"image/{name}.mha" in json.loads((out / "series_meta.json").read_text())
    code, stdout, stderr = command(
        "itk_check", "check", raw, "--min-size", 999, -1, -1, "--report", "r.csv", env=locale, cwd=tmp_path
    )
    assert (code, "Traceback" in stderr) == (1, False)
    assert r"p\udcfc: size" in stdout


def test_linked_folders_are_sources_of_their_own_and_loops_end(tmp_path):
    write_volume(phantoms.noise(Geometry((4, 5, 6), (1.0, 1.0, 1.0))), tmp_path / "raw" / "one" / "a.mha")
    (tmp_path / "raw" / "two").symlink_to("one")
    (tmp_path / "raw" / "one" / "loop").symlink_to("..")
    result = itkit.run("itk_orient", source=tmp_path / "raw", dest=tmp_path / "out", orient="RAS")
    assert [record.case_id for record in result.records] == ["one/a", "two/a"]


def test_patches_of_another_layout_are_removed(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    foreign = tmp_path / "out" / "case_00" / "notes.txt"
    foreign.parent.mkdir(parents=True)
    foreign.touch()
    common = {"source": tmp_path / "raw", "dest": tmp_path / "out", "patch_size": 4, "patch_stride": 4}
    for more, places in (
        ({}, "case_00/"),
        ({"layout": "dataset"}, ("image/", "label/")),
        ({"store": "zarr"}, "case_00.zarr.zip"),
        ({}, "case_00/"),
    ):
        assert itkit.run("itk_patch", **common, pad=True, **more).exit_code == 0
        files = [name for name in tree(tmp_path / "out") if name.endswith((".mha", ".zip"))]
        assert files
        assert all(name.startswith(places) for name in files)
    assert foreign.exists()


def test_large_integers_survive_a_turn_onto_their_own_grid(tmp_path):
    values = np.array([0, 2**64 - 1, 2**63, 2**53 + 1], np.uint64).reshape(1, 1, 4)
    write_volume(Volume(values, Geometry((1, 1, 4), (1.0, 1.0, 1.0))), tmp_path / "raw" / "a.mha")
    itkit.run("itk_resample", mode="image", source=tmp_path / "raw", dest=tmp_path / "out", orient="RAS",
              size=(1, 1, 4))  # fmt: skip
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "a.mha").array_zyx, values[:, :, ::-1])


def test_tables_of_an_axis_count_as_memory(tmp_path):
    write_volume(phantoms.noise(Geometry((1, 1, 1), (1.0, 1.0, 1.0))), tmp_path / "raw" / "a.mha")
    result = itkit.run("itk_resample", mode="image", source=tmp_path / "raw", dest=tmp_path / "out",
                       size=(1, 1, 10**8), max_memory=1 << 30)  # fmt: skip
    assert "needs about" in result.records[0].message


@pytest.mark.parametrize("progress", ["json", "none"])
def test_output_that_can_not_be_written_is_said(tmp_path, progress):
    phantoms.write_dataset(tmp_path / "raw", 1)
    words = [BIN / "itk_check", "check", tmp_path / "raw", "--progress", progress]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: the output can't be written (No space left on device)"


@pytest.mark.parametrize("progress", ["json", "none"])
def test_a_reader_that_has_enough_hears_nothing(tmp_path, progress):
    phantoms.write_dataset(tmp_path / "raw", 1)
    reading, writing = os.pipe()
    os.close(reading)
    words = [BIN / "itk_check", "check", tmp_path / "raw", "--progress", progress]
    done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "1 conforming\n" if progress == "json" else "")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "(No space left on device)"),
        (IsADirectoryError(21, "Is a directory", "half.mha", None, "a.mha"), "(a.mha: Is a directory)"),
    ],
)
def test_what_hinders_a_move_is_named(tmp_path, monkeypatch, error, said):
    phantoms.write_dataset(tmp_path / "raw", 1)

    def refuse(moves):
        raise error

    monkeypatch.setattr(stage, "commit_files", refuse)
    result = itkit.run("itk_orient", source=tmp_path / "raw", dest=tmp_path / "out", orient="RAS")
    assert result.records[0].message == f"case_00: can't be moved into place {said}"


def test_a_closed_standard_input_is_no_fault(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    line = f"'{BIN / 'itk_check'}' delete '{tmp_path / 'raw'}' --min-size 999 -1 -1 <&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "")
    assert "nothing deleted: not confirmed" in done.stdout


def test_a_manifest_that_is_none_refuses_and_foreign_lines_are_passed_over(tmp_path, command):
    phantoms.write_dataset(tmp_path / "raw", 1)
    manifest = tmp_path / "out" / ".itkit" / "manifest.jsonl"
    manifest.mkdir(parents=True)
    code, _, stderr = command("itk_orient", tmp_path / "raw", tmp_path / "out", "RAS")
    assert (code, len(stderr.splitlines())) == (2, 1)
    assert "manifest.jsonl: can't be read" in stderr
    manifest.rmdir()
    line = {"time": 9e9, "operation": "itk_orient", "status": "done", "case": "case_00", "outputs": [{"path": "x"}]}
    manifest.write_text(json.dumps(line))
    assert command("itk_orient", tmp_path / "raw", tmp_path / "out", "RAS")[0] == 0


def test_all_behind_two_dashes_are_names(tmp_path, command):
    phantoms.write_dataset(tmp_path / "-raw", 1)
    assert command("itk_orient", "--ext", "keep", "--", "-raw", "-out", "LPI", cwd=tmp_path)[0] == 0
    assert (tmp_path / "-out" / "image" / "case_00.nii.gz").exists()


def test_shards_at_once_describe_all_that_they_made(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 6)
    words = [BIN / "itk_patch", tmp_path / "raw", tmp_path / "out", "--patch-size", "4", "--patch-stride", "4", "--pad"]
    for _ in range(3):
        shards = [
            subprocess.Popen([*words, "--shard", f"{number}/6"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for number in range(1, 7)
        ]
        assert [shard.communicate()[1] for shard in shards] == [b""] * 6
        assert [shard.returncode for shard in shards] == [0] * 6
        cases = json.loads((tmp_path / "out" / "crop_meta.json").read_text())["patch_meta"]
        files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.mha")}
        assert len(cases) == 6
        assert json.loads((tmp_path / "out" / "series_meta.json").read_text()).keys() == files
        shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (Geometry.as_stated((4, 5, 6), (0.0, 1.0, 1.0)), "spacing Z is 0 mm"),
        (Geometry.as_stated((4, 5, 6), (1.0, -1.0, 1.0)), "spacing Y is -1 mm"),
        (Geometry.as_stated((4, 5, 6), (1.0, 1.0, float("nan"))), "spacing X is nan mm"),
        (Geometry.as_stated((4, 5, 6), (1.0, 1.0, 1.0), (float("nan"), 0.0, 0.0)), "origin or direction"),
        (
            Geometry.as_stated((4, 5, 6), (1.0, 1.0, 1.0), direction_xyz=(1.0, 0.5, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)),
            "sheared",
        ),
        (Geometry.as_stated((4, 5, 6), (1.0, 1.0, 1.0), direction_xyz=(1.0, 0.0, 0.0)), "origin or direction"),
    ],
)
@pytest.mark.parametrize("suffix", [".mha", ".nii.gz", ".nrrd"])
def test_what_could_not_be_read_again_is_not_written(tmp_path, grid, message, suffix):
    with pytest.raises(WriteError, match=message):
        itkit.write(Volume(np.zeros((4, 5, 6), np.int16), grid), tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())


def test_an_extension_that_is_no_format_and_a_kind_that_is_none_are_refused(tmp_path):
    grid = Geometry((4, 5, 6), (1.0, 1.0, 1.0))
    with pytest.raises(WriteError, match=r"x\.tiff: expected an extension of \.mha"):
        itkit.write(Volume(np.zeros((4, 5, 6), np.int16), grid), tmp_path / "x.tiff")
    with pytest.raises(ValueError, match="'mask'"):
        Volume(np.zeros((4, 5, 6), np.uint8), grid, "mask")


@pytest.mark.parametrize(
    "values",
    [
        {"spacing_zyx": (0, 1, 1)},
        {"spacing_zyx": (-2, 1, 1)},
        {"spacing_zyx": (float("nan"), 1, 1)},
        {"spacing_zyx": (1, 1)},
        {"size_zyx": (0, 3, 3)},
        {"size_zyx": (3.5, 3, 3)},
        {"spacing_zyx": (1, -1, -1), "size_zyx": (3, -1, -1)},
    ],
)
def test_grids_of_impossible_numbers_are_refused(values):
    with pytest.raises(ValueError, match=r"spacing_zyx|size_zyx"):
        resampled_grid(Geometry((4, 5, 6), (1.0, 1.0, 1.0)), **values)


def test_an_index_is_made_anew_where_every_case_is_left_alone(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    common = {"source": tmp_path / "raw", "dest": tmp_path / "out", "orient": "RAS"}
    assert itkit.run("itk_orient", **common).exit_code == 0
    (tmp_path / "out" / ".itkit" / "manifest.jsonl").unlink()
    index = tmp_path / "out" / "series_meta.json"
    whole = index.read_text()
    index.write_text("{")
    assert [record.status for record in itkit.run("itk_orient", **common).records] == ["left"]
    assert json.loads(index.read_text()).keys() == json.loads(whole).keys()


@pytest.mark.parametrize("content", [b"notes", b"", b"ObjectType = Image\nNDims = 3\n"])
def test_a_file_that_we_did_not_write_is_kept_readable_or_not(tmp_path, content):
    phantoms.write_dataset(tmp_path / "raw", 1)
    path = tmp_path / "out" / "image" / "case_00.mha"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    common = {"source": tmp_path / "raw", "dest": tmp_path / "out", "orient": "RAS"}
    result = itkit.run("itk_orient", **common)
    assert statuses(result) == ["left"]
    assert "case_00.mha was not written by this command" in result.records[0].message
    assert path.read_bytes() == content
    assert not (tmp_path / "out" / "label" / "case_00.mha").exists()
    assert statuses(itkit.run("itk_orient", **common, existing="redo")) == ["done"]


def test_a_link_to_nowhere_is_a_file_that_we_did_not_write(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    path = tmp_path / "out" / "image" / "case_00.mha"
    path.parent.mkdir(parents=True)
    path.symlink_to("/not/mounted/case_00.mha")
    assert statuses(itkit.run("itk_orient", source=tmp_path / "raw", dest=tmp_path / "out", orient="RAS")) == ["left"]
    assert path.is_symlink()


def test_a_file_that_comes_while_a_run_works_is_kept(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    path = tmp_path / "out" / "image" / "case_00.mha"

    def somebody(event):
        if event["event"] == "start":
            path.parent.mkdir(parents=True)
            path.write_text("notes")

    common = {"source": tmp_path / "raw", "dest": tmp_path / "out", "orient": "RAS"}
    assert statuses(itkit.run("itk_orient", **common, on_event=somebody)) == ["left"]
    assert path.read_text() == "notes"


def test_half_a_file_of_ours_is_named_before_it_is_replaced(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    common = {"source": tmp_path / "raw", "dest": tmp_path / "out", "orient": "RAS"}
    itkit.run("itk_orient", **common)
    path = tmp_path / "out" / "image" / "case_00.mha"
    path.write_bytes(path.read_bytes()[:200])
    result = itkit.run("itk_orient", **common)
    assert result.records[0].warnings == ("case_00.mha was no whole file and is made again",)


def test_a_description_that_we_did_not_write_is_kept(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 2)
    path = tmp_path / "out" / "crop_meta.json"
    path.parent.mkdir()
    path.write_text("mine")
    common = {"source": tmp_path / "raw", "dest": tmp_path / "out", "patch_size": 4, "patch_stride": 4, "pad": True}
    result = itkit.run("itk_patch", **common)
    assert statuses(result) == ["done", "done"]
    assert f"{path} was not written by this command; left alone (--existing redo replaces it)" in result.summary.lines
    assert path.read_text() == "mine"
    assert "left alone" in " ".join(itkit.run("itk_patch", **common).summary.lines)
    itkit.run("itk_patch", **common, existing="redo")
    whole = path.read_text()
    assert "patch_meta" in whole
    path.write_text("broken")
    itkit.run("itk_patch", **common)
    assert path.read_text() == whole
