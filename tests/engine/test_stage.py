"""A dead run's journal is finished only while what it has moved is as it left it, wherever the folder lies."""

import contextlib
import json
import os
import resource
import time
from dataclasses import replace
from pathlib import Path

import pytest

import itkit
from itkit.core.errors import LayoutError, WriteError
from itkit.core.operation import Record
from itkit.engine.journal import Commit, Move
from itkit.engine.manifest import Manifest
from itkit.engine.places import relative_path
from itkit.engine.stage import Stage, recover
from itkit.io.disk import hidden_beside
from itkit.io.meta import file_stamp
from itkit.testing import phantoms


def moved(staged: Path, final: Path) -> Move:
    """Return a move as a run makes it."""
    return Move(str(staged), str(final))


@pytest.mark.parametrize("is_edited", [False, True])
def test_a_journal_is_not_finished_over_a_file_beside_the_destination_that_was_edited(tmp_path, monkeypatch, is_edited):
    dest, beside = tmp_path / "image", tmp_path / "label"
    manifest = Manifest(dest)
    stage = Stage.open(manifest, "itk_aug", [beside])
    moves = [moved(stage.folder / name, folder / name) for name, folder in (("a.mha", beside), ("b.mha", dest))]
    for move in moves:
        Path(move.staged).write_bytes(b"voxels")
    outputs = tuple({"path": relative_path(Path(move.final), dest), **file_stamp(move.staged)} for move in moves)

    def die_half_way(pairs):
        staged, final = map(Path, pairs[0])
        final.parent.mkdir()
        staged.rename(final)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("itkit.engine.stage.commit_files", die_half_way)
        with pytest.raises(KeyboardInterrupt):
            stage.commit([Commit(Record("a", "done", outputs=outputs), moves)])
    stage.lock.close()
    if is_edited:
        (beside / "a.mha").write_bytes(b"somebody's own")
    recover(manifest, [beside])
    assert (dest / "b.mha").exists() == (not is_edited)
    assert ("a" in manifest.latest_done("itk_aug")) == (not is_edited)
    assert Path(beside / "a.mha").read_bytes() == (b"somebody's own" if is_edited else b"voxels")


def dead_run(dest: Path, moves: object, stale: object = ()) -> Path:
    """Make the folder of a run that has died with a journal."""
    folder = dest / ".itkit" / "tmp" / "999999999-x"
    folder.mkdir(parents=True)
    (folder / "lock").write_text("x")
    (folder / "f").write_text("evil")
    record = {"case": "q", "status": "done", "outputs": []}
    (folder / "journal.json").write_text(
        json.dumps({"operation": "itk_orient", "record": record, "moves": moves, "stale": stale})
    )
    return folder


@pytest.mark.parametrize("how", ["absolute", "dotdot", "through a link", "stale", "staged outside", "staged link"])
def test_a_journal_that_somebody_packed_reaches_nothing_outside(tmp_path: Path, how: str) -> None:
    dest, outside = tmp_path / "dest", tmp_path / "outside"
    for folder in (dest, outside):
        folder.mkdir()
    (outside / "mine").write_text("mine")
    (dest / "link").symlink_to(outside)
    moves, stale = {
        "absolute": ([["f", str(outside / "new")]], []),
        "dotdot": ([["f", f"{dest}/../outside/mine"]], []),
        "through a link": ([["f", str(dest / "link" / "new")]], []),
        "stale": ([["f", str(dest / "new")]], [str(outside / "mine")]),
        "staged outside": ([[str(outside / "mine"), str(dest / "new")]], []),
        "staged link": ([["to mine", str(dest / "new")]], []),
    }[how]
    folder = dead_run(dest, moves, stale)
    (folder / "to mine").symlink_to(outside / "mine")
    recover(Manifest(dest))
    assert [path.name for path in outside.iterdir()] == ["mine"]
    assert (outside / "mine").read_text() == "mine"
    assert not (dest / "new").exists()


def test_a_journal_inside_the_destination_is_finished(tmp_path: Path) -> None:
    dead_run(tmp_path, [["f", str(tmp_path / "new")]])
    recover(Manifest(tmp_path))
    assert (tmp_path / "new").read_text() == "evil"
    assert not (tmp_path / ".itkit" / "tmp" / "999999999-x").exists()


@pytest.mark.parametrize("name", [".itkit", ".itkit/tmp", ".itkit/manifest.jsonl", ".itkit/collect.lock"])
def test_a_state_folder_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    dest, outside = tmp_path / "dest", tmp_path / "outside"
    (outside / "1-x").mkdir(parents=True)
    (dest / name).parent.mkdir(parents=True)
    (dest / name).symlink_to(outside)
    for do in (lambda: recover(Manifest(dest)), lambda: Stage.open(Manifest(dest), "itk_orient")):
        with pytest.raises(LayoutError, match="link"):
            do()
    assert [path.name for path in outside.rglob("*")] == ["1-x"]


def test_links_among_the_staged_folders_are_removed_not_followed(tmp_path: Path) -> None:
    dest, outside = tmp_path / "dest", tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").touch()
    (dest / ".itkit" / "tmp").mkdir(parents=True)
    (dest / ".itkit" / "tmp" / "x-1").symlink_to(outside)
    recover(Manifest(dest))
    assert [path.name for path in outside.iterdir()] == ["mine"]


def test_a_case_is_not_written_through_a_link_in_the_destination(tmp_path: Path) -> None:
    dest, outside = tmp_path / "dest", tmp_path / "outside"
    outside.mkdir()
    stage = Stage.open(Manifest(dest), "itk_orient")
    (dest / "site").symlink_to(outside)
    (stage.folder / "a").touch()
    (refused,) = stage.commit([Commit(Record("a", "done"), [moved(stage.folder / "a", dest / "site" / "a")])])
    assert isinstance(refused, WriteError)
    assert "outside the destination" in str(refused)
    stage.close()
    assert list(outside.iterdir()) == []


def test_hidden_files_of_dead_runs_are_removed_from_every_folder_of_a_run(tmp_path: Path) -> None:
    dest, second = tmp_path / "dest", tmp_path / "second"
    (dest / ".itkit" / "tmp").mkdir(parents=True)
    second.mkdir()
    here = hidden_beside(second / "a.mha")
    for folder in (dest, second):
        (folder / here.name.replace(f"-{os.getpid()}-", "-999999999-")).write_text("half a file")
    for path in (here, second / ".itkit-999999999-notes", second / ".itkit-x", second / "a.mha"):
        path.write_text("mine")
    recover(Manifest(dest), [second])
    assert [path.name for path in dest.iterdir()] == [".itkit"]
    assert {path.name for path in second.iterdir()} == {here.name, ".itkit-999999999-notes", ".itkit-x", "a.mha"}


def test_tidying_up_where_the_disk_refuses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead_run(tmp_path, [["f", str(tmp_path / "new")]])

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("itkit.engine.journal.commit_files", refuse)
    with pytest.raises(LayoutError, match=r"tidied up \(No space left on device\)"):
        recover(Manifest(tmp_path))


def test_a_stage_that_can_not_be_opened_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(LayoutError, match="File too large"):
            Stage.open(Manifest(tmp_path), "itk_orient")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / ".itkit" / "tmp").iterdir()) == []


@pytest.mark.parametrize("strike", [1, 2, 3])
def test_an_interrupt_between_two_files_of_a_case_leaves_no_half_of_it(tmp_path, monkeypatch, strike):
    phantoms.write_dataset(tmp_path / "raw", 2)
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out", "orient": "RAS"}
    moved = []
    rename = os.replace

    def interrupted(source, target):
        if Path(target).suffix == ".mha" and Path(target).parent.is_dir():
            moved.append(target)
            if len(moved) == strike:
                raise KeyboardInterrupt
        return rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        assert itkit.run("itk_orient", **values).summary.interrupted
    names = [{path.name for path in (tmp_path / "out" / kind).glob("*.mha")} for kind in ("image", "label")]
    assert names[0] == names[1]
    assert len(names[0]) == (strike + 1) // 2
    assert list((tmp_path / "out" / ".itkit" / "tmp").iterdir()) == []
    again = itkit.run("itk_orient", **values)
    statuses = [record.status for record in again.records]
    assert statuses == ["skipped" if f"{record.case_id}.mha" in names[0] else "done" for record in again.records]
    assert len(list((tmp_path / "out").rglob("*.mha"))) == 4


def test_what_an_interrupt_could_not_finish_is_finished_by_the_next_run(tmp_path, monkeypatch):
    stage = Stage.open(Manifest(tmp_path), "itk_orient")
    moves = [moved(stage.folder / f"{name}.mha", tmp_path / name / "a.mha") for name in ("image", "label")]
    for move in moves:
        Path(move.staged).write_bytes(b"voxels")
    outputs = tuple({"path": relative_path(Path(move.final), tmp_path), **file_stamp(move.staged)} for move in moves)

    def refuse(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("itkit.engine.stage.commit_files", refuse)
        patch.setattr("itkit.engine.journal.commit_files", refuse)
        with pytest.raises(KeyboardInterrupt):
            stage.commit([Commit(Record("a", "done", outputs=outputs), moves)])
        with pytest.raises(KeyboardInterrupt):  # the second Ctrl-C
            stage.finish()
    stage.close()
    recover(Manifest(tmp_path))
    assert [Path(move.final).read_bytes() for move in moves] == [b"voxels"] * 2
    assert "a" in Manifest(tmp_path).latest_done("itk_orient")
    assert list((tmp_path / ".itkit" / "tmp").iterdir()) == []


def test_a_run_that_ends_leaves_no_journal_to_one_that_begins(tmp_path, monkeypatch):
    manifest = Manifest(tmp_path)
    stage = Stage.open(manifest, "itk_orient")
    move = moved(stage.folder / "a.mha", tmp_path / "a.mha")
    Path(move.staged).write_bytes(b"voxels")
    outputs = ({"path": "a.mha", **file_stamp(move.staged)},)
    stage.commit([Commit(Record("a", "done", outputs=outputs), [move])])
    with monkeypatch.context() as patch:  # the other run comes between the lock and the folder
        patch.setattr("itkit.engine.stage._remove_tree", lambda folder: None)
        stage.close()
    recover(Manifest(tmp_path))
    assert len((tmp_path / ".itkit" / "manifest.jsonl").read_text().splitlines()) == 1
    assert list((tmp_path / ".itkit" / "tmp").iterdir()) == []


def three_cases(stage: Stage, dest: Path) -> list[Commit]:
    """Stage an image and a label of three cases, whose bytes are not flushed."""
    found = []
    for case in "abc":
        (stage.folder / case).mkdir()
        moves = [moved(stage.folder / case / name, dest / name / f"{case}.mha") for name in ("image", "label")]
        for move in moves:
            Path(move.staged).write_bytes(f"{case}, {Path(move.staged).name}".encode())
        outputs = tuple({"path": relative_path(Path(move.final), dest), **file_stamp(move.staged)} for move in moves)
        found.append(Commit(Record(case, "done", outputs=outputs), moves, is_flushed=False))
    return found


def killed_at(stage: Stage, cases: list[Commit], monkeypatch, moved: int) -> None:
    """Commit cases, and die when some of their files have been moved."""
    left = iter(range(moved))

    def die_after_some(pairs):
        for staged, final in (map(Path, pair) for pair in pairs):
            final.parent.mkdir(exist_ok=True)
            if next(left, None) is None:
                raise KeyboardInterrupt
            staged.rename(final)

    with monkeypatch.context() as patch:
        patch.setattr("itkit.engine.stage.commit_files", die_after_some)
        with contextlib.suppress(KeyboardInterrupt):
            stage.commit(cases)
    stage.lock.close()


@pytest.mark.parametrize("moved", range(7))
def test_cases_that_are_moved_together_are_all_finished_after_a_kill(tmp_path, monkeypatch, moved):
    stage = Stage.open(Manifest(tmp_path), "itk_orient")
    cases = three_cases(stage, tmp_path)
    killed_at(stage, cases, monkeypatch, moved)
    recover(Manifest(tmp_path))
    for case in cases:
        texts = [Path(move.final).read_bytes().decode() for move in case.moves]
        assert texts == [f"{case.record.case_id}, {name}" for name in ("image", "label")]
    assert {*Manifest(tmp_path).latest_done("itk_orient")} == {*"abc"}
    assert list((tmp_path / ".itkit" / "tmp").iterdir()) == []


def test_of_cases_that_are_moved_together_one_that_fails_costs_no_other(tmp_path):
    stage = Stage.open(Manifest(tmp_path), "itk_orient")
    cases = three_cases(stage, tmp_path)
    (tmp_path / "label" / "b.mha").mkdir(parents=True)  # where the label of b belongs
    Path(cases[2].moves[0].staged).unlink()  # its bytes can't be flushed
    first, *others = stage.commit(cases)
    assert isinstance(first, Record)
    assert ["can't be moved into place" in str(others[0]), "can't be written" in str(others[1])] == [True, True]
    stage.close()
    recover(Manifest(tmp_path))
    assert {*Manifest(tmp_path).latest_done("itk_orient")} == {"a"}
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*.mha") if path.is_file()) == [
        "image/a.mha",
        "label/a.mha",
    ]


def test_cases_whose_lines_can_not_be_written_leave_no_file(tmp_path):
    stage = Stage.open(Manifest(tmp_path), "itk_orient")
    Manifest(tmp_path).path.mkdir(parents=True)
    found = stage.commit(three_cases(stage, tmp_path))
    assert [type(record) for record in found] == [WriteError] * 3
    stage.close()
    assert not list(tmp_path.glob("*/*.mha"))


def one_case(stage: Stage, dest: Path, folder: str) -> Commit:
    """Stage a volume whose file has the name of many others: they lie in a folder for each patient."""
    place = stage.folder_of_case()
    place.mkdir(exist_ok=True)
    move = moved(place / "scan.mha", dest / folder / "scan.mha")
    Path(move.staged).write_bytes(folder.encode())
    outputs = ({"path": f"{folder}/scan.mha", **file_stamp(move.staged)},)
    return Commit(Record(f"{folder}/scan", "done", outputs=outputs), [move], is_flushed=False, folder=place)


@pytest.mark.parametrize("is_journal_back", [False, True])
def test_a_folder_that_is_used_again_is_not_that_of_the_case_before(tmp_path, monkeypatch, is_journal_back):
    stage = Stage.open(Manifest(tmp_path), "itk_orient")
    first = one_case(stage, tmp_path, "patient_1")
    kept = []
    with monkeypatch.context() as patch:
        patch.setattr("itkit.engine.stage.commit_files", lambda moves: kept.append(journal.read_bytes()))
        journal = stage.folder / "journal.json"
        stage.commit([first])
    assert stage.commit([first]) != []
    stage.take_back(first)
    time.sleep(0.02)
    second = one_case(stage, tmp_path, "patient_2")
    assert second.folder == first.folder
    assert not journal.exists()
    if is_journal_back:  # the disk had not noted yet that it was removed
        journal.write_bytes(kept[0])
    stage.lock.close()
    recover(Manifest(tmp_path))
    assert (tmp_path / "patient_1" / "scan.mha").read_bytes() == b"patient_1"
    assert not (tmp_path / "patient_2").exists()


@pytest.mark.parametrize("edited", ["replaced", "stale", "new"])
def test_what_was_edited_after_a_kill_is_neither_replaced_nor_removed(tmp_path, monkeypatch, edited):
    stage = Stage.open(Manifest(tmp_path), "itk_orient")
    (case, *_) = three_cases(stage, tmp_path)
    places = {"replaced": tmp_path / "label" / "a.mha", "stale": tmp_path / "a.nii.gz", "new": tmp_path / "label/a.mha"}
    for path in [places["stale"], *([places["replaced"]] if edited == "replaced" else [])]:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"of an earlier run")
    killed_at(stage, [replace(case, stale=[places["stale"]])], monkeypatch, 1)
    places[edited].parent.mkdir(exist_ok=True)
    places[edited].write_bytes(b"somebody's own")
    recover(Manifest(tmp_path))
    assert places[edited].read_bytes() == b"somebody's own"
    assert (tmp_path / "image" / "a.mha").read_bytes() == b"a, image"
    assert ("a" in Manifest(tmp_path).latest_done("itk_orient")) == (edited == "stale")


@pytest.mark.parametrize(
    "damage",
    [
        {"moves": [["a\0b", "image/a.mha"]]},
        {"moves": [["a", "ima\0ge/a.mha"]]},
        {"moves": [["a" * 5000, "image/a.mha"]]},
        {"moves": [["a", "image"]]},
        {"moves": [["a", "i\0", None], ["a", "../evil.mha", None]]},
        {"moves": [["a", "image/\ud800.mha"]]},
        {"moves": [["a", {}]]},
        {"stale": ["image"]},
        {"stale": ["a\0b"]},
        {"stale": [[]]},
        {"record": {"case": "a", "status": "done", "inputs": 5}},
        {"record": {"case": "a", "status": "done", "facts": {"x": float("inf")}}},
        {"record": {"case": "a", "status": "done", "outputs": [{"path": "\0", "bytes": 1, "mtime_ns": 1}]}},
        {"operation": []},
    ],
)
@pytest.mark.parametrize("is_list", [True, False])
def test_no_journal_that_somebody_packed_ends_a_run(tmp_path, damage, is_list):
    dest = tmp_path / "out"
    (dest / "image").mkdir(parents=True)
    (dest / "image" / "a.mha").write_bytes(b"somebody's own")
    folder = dest / ".itkit" / "tmp" / "999999999-0"
    folder.mkdir(parents=True)
    for name in ("lock", "a"):
        (folder / name).touch()
    line = {"operation": "itk_orient", "record": {"case": "b", "status": "failed"}, "moves": [], "stale": [], **damage}
    for move in line["moves"]:
        move[1] = f"{dest}/{move[1]}" if isinstance(move[1], str) else move[1]
    line["stale"] = [f"{dest}/{path}" if isinstance(path, str) else path for path in line["stale"]]
    (folder / "journal.json").write_text(json.dumps([line] if is_list else line))
    recover(Manifest(dest))
    Manifest(dest).newest()
    assert (dest / "image" / "a.mha").read_bytes() == b"somebody's own"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("cut", [0, 1])
def test_a_journal_in_parts_is_finished_if_it_is_whole(tmp_path, monkeypatch, cut):
    monkeypatch.setattr("itkit.engine.journal._IN_PART", 2)
    stage = Stage.open(Manifest(tmp_path), "itk_patch")
    stale = [tmp_path / f"old_{number}" for number in range(3)]
    for path in stale:
        path.touch()

    def commit(case, count, stale=()):
        moves = [
            moved(stage.folder / f"{case}{number}.mha", tmp_path / f"{case}{number}.mha") for number in range(count)
        ]
        for move in moves:
            Path(move.staged).write_bytes(b"voxels")
        outputs = tuple({"path": Path(move.final).name, **file_stamp(move.staged)} for move in moves)
        return Commit(Record(case, "done", outputs=outputs), moves, stale)

    def die_half_way(pairs):
        for staged, final in (map(Path, pair) for pair in pairs[:3]):
            staged.rename(final)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if not cut:
            patch.setattr("itkit.engine.stage.commit_files", die_half_way)
        else:  # a journal that is not whole was never acted upon
            patch.setattr("itkit.engine.stage.commit_files", lambda pairs: die_half_way(()))
        with pytest.raises(KeyboardInterrupt):
            stage.commit([commit("a", 5, stale), commit("b", 1), commit("c", 0)])
    stage.lock.close()
    journal = stage.folder / "journal.json"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines[: len(lines) - cut]))
    recover(Manifest(tmp_path))
    made = ["a0.mha", "a1.mha", "a2.mha", "a3.mha", "a4.mha", "b0.mha"]
    left = ["old_0", "old_1", "old_2"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".itkit") == (left if cut else made)
    assert sorted(Manifest(tmp_path).latest_done("itk_patch")) == ([] if cut else ["a", "b", "c"])
    assert list((tmp_path / ".itkit" / "tmp").iterdir()) == []
