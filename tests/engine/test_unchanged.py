"""What is told of a case at a glance is what a close look would tell; and who reads a case notes what it was then."""

import json
import os
import shutil
from pathlib import Path

import pytest

import itkit
from itkit.engine import decisions, manifest, unchanged
from itkit.engine.records import Records
from itkit.io import meta
from itkit.testing import phantoms

CASES = 4


@pytest.fixture
def dense(monkeypatch):
    """Let the lines of a run be dense from the first on."""
    monkeypatch.setattr(manifest, "LOOSE_BYTES", 0)


@pytest.fixture
def made(tmp_path, dense):
    """Return the parameters of a run over some pairs that has ended."""
    phantoms.write_dataset(tmp_path / "raw", CASES, suffix=".mha")
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out", "orient": "RAS"}
    assert itkit.run("itk_orient", **values).exit_code == 0
    return values


def glances(monkeypatch, values, **options):
    """Return what is told of each case at a glance, and what a close look says of those of which anything is told."""
    told, looked = {}, {}
    action = unchanged.Glance.action

    def noted(self, case):
        told[case] = action(self, case)
        return  # a close look follows

    with monkeypatch.context() as patch:
        patch.setattr(unchanged.Glance, "action", noted)
        result = itkit.run("itk_orient", **{**values, **options, "dry_run": True})
    for record in result.records:
        looked[record.case_id] = "run" if record.status == "planned" else record.status
    assert {case: looked[case] for case, said in told.items() if said} == {c: said for c, said in told.items() if said}
    return told


def test_cases_that_stand_are_known_without_their_records(made, monkeypatch):
    assert glances(monkeypatch, made) == dict.fromkeys(("case_00", "case_01", "case_02", "case_03"), "skipped")
    monkeypatch.setattr(decisions._Look, "judge", None)  # nobody looks closer
    assert itkit.run("itk_orient", **made).summary.counts["skipped"] == CASES


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def replace_by_its_copy(path: Path) -> None:
    stat = path.stat()
    shutil.copy(path, path.with_suffix(".new"))
    os.utime(path.with_suffix(".new"), ns=(stat.st_atime_ns, stat.st_mtime_ns))
    path.with_suffix(".new").replace(path)


@pytest.mark.parametrize("kind", ["image", "label"])
@pytest.mark.parametrize(
    ("where", "change"),
    [("raw", touch), ("raw", replace_by_its_copy), ("out", touch), ("out", replace_by_its_copy), ("out", Path.unlink)],
)
def test_a_change_of_any_file_takes_a_closer_look(made, monkeypatch, where, kind, change):
    change(made["source"].with_name(where) / kind / "case_02.mha")
    assert glances(monkeypatch, made) == {f"case_0{n}": None if n == 2 else "skipped" for n in range(CASES)}


@pytest.mark.parametrize("options", [{"orient": "LPI"}, {"compression": "small"}])
def test_other_parameters_take_a_closer_look(made, monkeypatch, options):
    assert set(glances(monkeypatch, made, **options).values()) == {None}


def test_another_file_of_the_same_case_takes_a_closer_look(made, monkeypatch):
    (made["dest"] / "label" / "case_01.nii.gz").write_bytes(b"somebody's own")
    assert set(glances(monkeypatch, made).values()) == {None}


def test_a_source_that_was_moved_takes_no_closer_look_but_an_input_of_another_name_does(made, monkeypatch):
    moved = made["source"].rename(made["source"].with_name("moved"))
    assert set(glances(monkeypatch, {**made, "source": moved}).values()) == {"skipped"}
    image = moved / "image" / "case_03.mha"
    image.rename(image.with_suffix(".MHA"))
    assert glances(monkeypatch, {**made, "source": moved})["case_03"] is None


def test_new_cases_are_known_unless_something_stands_in_their_place(tmp_path, monkeypatch):
    phantoms.write_dataset(tmp_path / "raw", CASES, suffix=".mha")
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out", "orient": "RAS"}
    (tmp_path / "out" / "label").mkdir(parents=True)
    (tmp_path / "out" / "label" / "case_01.mha").write_bytes(b"somebody's own")
    assert glances(monkeypatch, values) == {f"case_0{n}": None if n == 1 else "run" for n in range(CASES)}
    assert set(glances(monkeypatch, values, executor="dask").values()) == {None}  # workers may see other numbers


@pytest.mark.parametrize("damage", [b'"form":', b'"outputs":["', b'"key":"', b'"seconds":'])
def test_a_damaged_line_is_none(made, monkeypatch, damage):
    path = made["dest"] / ".itkit" / "manifest.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[-1] = lines[-1].replace(damage, damage + b"x", 1)
    assert glances(monkeypatch, made)["case_03"] == "skipped"
    path.write_bytes(b"".join(lines))
    assert glances(monkeypatch, made)["case_03"] is None


@pytest.mark.parametrize("options", [{}, {"workers": 2}])
def test_what_a_case_is_made_from_is_noted_as_before_by_who_reads_it(tmp_path, options):
    phantoms.write_dataset(tmp_path / "raw", CASES, suffix=".mhd")
    (tmp_path / "raw" / "image" / "case_03.mhd").write_bytes(b"damaged")
    values = {"source": tmp_path / "raw", "orient": "RAS"}
    result = itkit.run("itk_orient", dest=tmp_path / "out", **values, **options)
    assert result.summary.counts["failed"] == 1
    before = itkit.run("itk_orient", dest=tmp_path / "before", **values, executor="dask", workers=1)
    noted, expected = (
        {case: record.inputs for case, record in manifest.Manifest(dest).newest()["itk_orient"].items()}
        for dest in (tmp_path / "out", tmp_path / "before")
    )
    assert noted == expected
    assert len(noted["case_00"]["image"]["parts"]) == 2
    assert before.exit_code == result.exit_code


def test_a_file_that_is_replaced_while_its_case_is_read_is_noticed_by_the_next_run(tmp_path, monkeypatch):
    from itkit.io import sitk_toolkit

    phantoms.write_dataset(tmp_path / "raw", CASES, suffix=".mha")
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out", "orient": "RAS"}
    read = sitk_toolkit.read_voxels

    def late(header, **how):
        if header.data_path.name == "case_01.mha" and header.data_path.parent.name == "image":
            touch(header.data_path)
        return read(header, **how)

    with monkeypatch.context() as patch:
        patch.setattr(sitk_toolkit, "read_voxels", late)
        assert itkit.run("itk_orient", **values).summary.counts["done"] == CASES
    again = itkit.run("itk_orient", **values)
    assert {record.case_id: record.status for record in again.records if record.status == "done"} == {"case_01": "done"}


def test_voxels_in_a_sub_folder_under_the_name_of_their_header_are_noticed_when_they_change(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1, suffix=".nhdr")
    image = tmp_path / "raw" / "image"
    voxels = image / "voxels" / "case_00.nhdr"
    voxels.parent.mkdir()
    (image / "case_00.raw.gz").rename(voxels)
    header = image / "case_00.nhdr"
    header.write_bytes(header.read_bytes().replace(b"case_00.raw.gz", b"voxels/case_00.nhdr"))
    values = {"mode": "dataset", "source": tmp_path / "raw", "dest": tmp_path / "out", "spacing": (5, 1, 1)}
    assert itkit.run("itk_resample", **values).summary.counts["done"] == 1
    touch(voxels)
    assert itkit.run("itk_resample", **values).summary.counts["done"] == 1


def test_a_stamp_that_is_no_text_stops_no_run(tmp_path, dense):
    phantoms.write_dataset(tmp_path / "raw", 1, suffix=".mha")
    for part in ("image", "label"):  # cases of one grid: the lines of all but the first define nothing
        for n in range(1, 10):  # and more than those from which names are learned
            shutil.copy(tmp_path / "raw" / part / "case_00.mha", tmp_path / "raw" / part / f"case_0{n}.mha")
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out", "orient": "RAS"}
    itkit.run("itk_orient", **values)
    index = tmp_path / "out" / "series_meta.json"
    whole = index.read_text()
    path = tmp_path / "out" / ".itkit" / "manifest.jsonl"
    *lines, last = path.read_text().splitlines()
    path.write_text("\n".join([*lines, json.dumps({**json.loads(last), "outputs": [1, None]}), ""]))
    index.unlink()
    assert itkit.run("itk_orient", **values, shard="1/2").summary.counts["skipped"] == 5
    assert json.loads(index.read_text()).keys() == json.loads(whole).keys()


def test_the_index_is_made_from_dense_lines_without_records_and_headers(made, monkeypatch):
    index = made["dest"] / "series_meta.json"
    whole = index.read_text()
    index.unlink()
    reads = []
    read = Records._read
    monkeypatch.setattr(Records, "_read", lambda self, case, spot: (reads.append(case), read(self, case, spot))[1])
    monkeypatch.setattr(meta, "read_any_header", None)
    assert itkit.run("itk_orient", **made).summary.counts["skipped"] == CASES
    assert index.read_text() == whole
    assert len(reads) <= 2 * CASES  # to learn how the names follow from those of the cases, twice
