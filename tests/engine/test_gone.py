"""Cases that left the source are named at every run; ``--prune`` removes what we wrote, and nothing else."""

import json
from pathlib import Path

import pytest
from helpers import tree

import itkit
from itkit.core.errors import LayoutError
from itkit.io.sitk_toolkit import write_volume
from itkit.testing import phantoms


def commands(root):
    raw = root / "raw"
    return {
        "itk_resample": {"mode": "dataset", "source": raw, "spacing": (2, 2, 2)},
        "itk_patch": {"source": raw, "patch_size": 4, "patch_stride": 4, "pad": True},
        "itk_orient": {"source": raw, "orient": "RAS"},
        "itk_aug": {"source": raw / "image", "label_source": raw / "label", "random_rot": (5, 5, 5)},
        "itk_extract": {"source": raw / "label", "mappings": ("1:2",)},
    }


def run(root, name, out="out", **options):
    places = {"dest": root / out}
    if name == "itk_aug":
        places = {"dest": root / out / "image", "label_dest": root / out / "label"}
    return itkit.run(name, **commands(root)[name], **places, **options)


def files(root, out="out"):
    return {name: data for name, data in tree(root / out).items() if ".itkit" not in name}


def leave(root):
    """Delete a case, withdraw a label, rename a case; return the ids that are not made from a pair any more."""
    for kind in ("image", "label"):
        (root / "raw" / kind / "case_01.nii.gz").unlink()
        (root / "raw" / kind / "case_03.nii.gz").rename(root / "raw" / kind / "renamed.nii.gz")
    (root / "raw" / "label" / "case_02.nii.gz").unlink()
    return ["case_01", "case_02", "case_03"]


@pytest.mark.parametrize("name", commands(Path()))
def test_cases_that_left_are_named_at_every_run_and_pruned_on_request(tmp_path, name):
    phantoms.write_dataset(tmp_path / "raw", 4)
    assert run(tmp_path, name).summary.gone == ()
    gone = leave(tmp_path)
    for _ in range(2):
        result = run(tmp_path, name)
        assert list(result.summary.gone) == gone
        assert f"3 no longer made from the source ({', '.join(gone)})" in result.summary.text()
        (line,) = [line for line in result.summary.lines if line.startswith("warning: 3 cases of the destination")]
        assert all(case in line for case in gone)
        assert result.exit_code == 0
    before = tree(tmp_path / "out")
    dry = run(tmp_path, name, prune=True, dry_run=True)
    assert tree(tmp_path / "out") == before
    result = run(tmp_path, name, prune=True)
    removed = before.keys() - tree(tmp_path / "out").keys()
    assert removed
    assert {line for line in dry.summary.lines if line.startswith("would delete")} == {
        f"would delete {tmp_path / 'out' / path}" for path in removed
    }
    assert result.summary.gone == ()
    assert run(tmp_path, name).summary.gone == ()
    run(tmp_path, name, "fresh")
    ours, fresh = files(tmp_path), files(tmp_path, "fresh")
    volumes = {path for path in fresh if path.endswith(".mha")}
    assert ours.keys() == fresh.keys()
    assert {path: ours[path] for path in volumes} == {path: fresh[path] for path in volumes}
    index = next(path for path in (tmp_path / "out").rglob("series_meta.json"))
    assert not any(case in index.read_text() for case in gone)
    if name == "itk_patch":
        meta = json.loads((tmp_path / "out" / "crop_meta.json").read_text())
        assert sorted(meta["patch_meta"]) == ["case_00", "renamed"]


def test_sidecars_list_what_is_there(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 3)
    run(tmp_path, "itk_patch")
    for kind in ("image", "label"):
        (tmp_path / "raw" / kind / "case_01.nii.gz").unlink()
        (tmp_path / "raw" / kind / "case_02.nii.gz").unlink()
    for path in (tmp_path / "out" / "case_02").iterdir():
        path.unlink()
    result = run(tmp_path, "itk_patch")
    assert result.summary.gone == ("case_01",)
    meta = json.loads((tmp_path / "out" / "crop_meta.json").read_text())
    assert sorted(meta["patch_meta"]) == ["case_00", "case_01"]
    other = commands(tmp_path)["itk_patch"] | {"patch_size": 6, "patch_stride": 6}
    itkit.run("itk_patch", **other, dest=tmp_path / "out")
    meta = json.loads((tmp_path / "out" / "crop_meta.json").read_text())
    assert sorted(meta["patch_meta"]) == ["case_00"]  # the other one was cut with other parameters


def test_edited_and_foreign_files_are_never_pruned(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 3)
    run(tmp_path, "itk_orient")
    edited = tmp_path / "out" / "label" / "case_01.mha"
    write_volume(phantoms.l_shape(phantoms.GRIDS["plain"]), edited)
    foreign = tmp_path / "out" / "image" / "mine.mha"
    write_volume(phantoms.noise(phantoms.GRIDS["plain"]), foreign)
    kept = edited.read_bytes(), foreign.read_bytes()
    for kind in ("image", "label"):
        (tmp_path / "raw" / kind / "case_01.nii.gz").unlink()
    result = run(tmp_path, "itk_orient", prune=True)
    assert not (tmp_path / "out" / "image" / "case_01.mha").exists()
    assert (edited.read_bytes(), foreign.read_bytes()) == kept
    assert any(str(edited) in line and "edited" in line for line in result.summary.lines)
    assert result.summary.gone == ("case_01",)


def test_a_file_that_a_case_of_today_owns_is_not_pruned(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 2)
    run(tmp_path, "itk_orient")
    manifest = tmp_path / "out" / ".itkit" / "manifest.jsonl"
    line = json.loads(manifest.read_text().splitlines()[0])
    with manifest.open("a") as file:
        file.write(json.dumps({**line, "case": "older"}) + "\n")
    run(tmp_path, "itk_orient", prune=True)
    assert (tmp_path / "out" / "image" / "case_00.mha").exists()


def test_nothing_outside_the_destination_is_pruned(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    run(tmp_path, "itk_orient")
    victim = tmp_path / "victim.mha"
    victim.write_bytes(b"somebody's")
    status = victim.stat()
    manifest = tmp_path / "out" / ".itkit" / "manifest.jsonl"
    line = json.loads(manifest.read_text().splitlines()[0])
    planted = {"path": "../victim.mha", "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
    with manifest.open("a") as file:
        file.write(json.dumps({**line, "case": "planted", "outputs": [planted]}) + "\n")
    result = run(tmp_path, "itk_orient", prune=True)
    assert victim.exists()
    assert any("lies outside the destination" in text for text in result.summary.lines)


def test_a_shard_knows_the_cases_of_the_others(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 4)
    for shard in ("1/2", "2/2"):
        assert run(tmp_path, "itk_orient", shard=shard, prune=True).summary.gone == ()
    assert len(list((tmp_path / "out" / "image").iterdir())) == 4
    for kind in ("image", "label"):
        (tmp_path / "raw" / kind / "case_01.nii.gz").unlink()
    assert run(tmp_path, "itk_orient", shard="1/2").summary.gone == ("case_01",)


def test_a_converter_that_is_told_to_take_some_cases_alone_prunes_none(tmp_path):
    from itkit.core.operation import Operation, Plan
    from itkit.core.params import Params
    from itkit.engine.options import RunOptions
    from itkit.engine.planning import make_plan

    operation = Operation("test", Params, lambda params: Plan((), is_partial=True), None)
    with pytest.raises(LayoutError, match="--only"):
        make_plan(operation, Params(), RunOptions(prune=True))
