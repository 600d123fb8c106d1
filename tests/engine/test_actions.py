"""What collect asks for reaches the disk through one door: written, copied, deleted, or only told."""

import ast
import json
from pathlib import Path

import pytest
from helpers import tree

import itkit.process
from itkit.core.actions import Delete, RefreshIndex, Transfer
from itkit.core.operation import InputFile, Job, Operation, Outcome, Plan, Report, Target
from itkit.core.params import Params
from itkit.core.volume import Geometry
from itkit.engine.options import RunOptions
from itkit.engine.runner import execute
from itkit.io.layouts import find_volumes
from itkit.io.sitk_toolkit import write_volume
from itkit.testing import phantoms

WRITERS = {
    *("write_json", "write_text", "write_bytes", "write_volume", "refresh_index", "open", "mkdir", "unlink"),
    *("rename", "symlink_to", "copy_unit", "link_unit", "delete_file", "copy2", "rmtree"),
}


class NoteParams(Params):
    """Copy volumes and ask for files."""

    source: Path
    dest: Path


def plan(params):
    jobs = tuple(
        Job(case, {"image": InputFile(path, "image")}, {"image": Target(params.dest / "image", ".mha", "image")})
        for case, path in find_volumes(params.source).items()
    )
    return Plan(jobs, (), params.dest)


def look(params):
    return Plan(plan(params).jobs)


def run(tmp_path, report, *, plan=plan, on_event=None, confirm=None, **options):
    write_volume(phantoms.noise(Geometry((3, 4, 5), (1, 1, 1))), tmp_path / "in" / "a.mha")
    operation = Operation(
        "test_note",
        NoteParams,
        plan,
        lambda case, params, context: Outcome((case,) if plan is not look else ()),
        lambda params, collected: report,
    )
    params = NoteParams(source=tmp_path / "in", dest=tmp_path / "out")
    return execute(operation, params, RunOptions(**options), on_event=on_event, confirm=confirm)


def test_files_lie_in_the_destination_as_text_or_json(tmp_path):
    beside = tmp_path / "out" / "image" / "deep" / "notes.txt"
    report = Report(("first",), files={Path("a.json"): {"b": [1]}, beside: "text\n"}, closing=("all written",))
    result = run(tmp_path, report)
    assert json.loads((tmp_path / "out" / "a.json").read_text()) == {"b": [1]}
    assert beside.read_text() == "text\n"
    assert (result.exit_code, result.summary.lines) == (0, ("first", "all written"))


def test_a_file_outside_the_destination_is_refused(tmp_path):
    for path in (Path("../escaped.json"), tmp_path / "elsewhere.json"):
        result = run(tmp_path, Report(("first",), files={path: {}}, closing=("all written",)))
        assert result.exit_code == 1
        assert result.summary.lines[0] == "first"
        assert "lies outside the destination" in result.summary.lines[1]
        assert len(result.summary.lines) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_a_file_that_can_not_be_written_fails_the_run_and_costs_no_line(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "taken").write_text("a file where a folder is needed")
    result = run(tmp_path, Report(("found 3",), 0, files={Path("taken/table.csv"): "text"}))
    assert (result.exit_code, result.summary.lines[0]) == (1, "found 3")
    assert result.summary.lines[1].startswith(f"error: {tmp_path / 'out' / 'taken' / 'table.csv'}: can't be written")


def test_what_stands_in_the_place_of_a_file_is_left_alone_and_named(tmp_path):
    (tmp_path / "out" / "taken").mkdir(parents=True)
    result = run(tmp_path, Report(("found 3",), 0, files={Path("taken"): "text"}))
    assert result.exit_code == 0
    assert any("taken was not written by this command; left alone" in line for line in result.summary.lines)
    assert (tmp_path / "out" / "taken").is_dir()


def test_an_index_is_made_of_what_the_run_has_written(tmp_path):
    run(tmp_path, Report(actions=(RefreshIndex(tmp_path / "out" / "image"),)))
    index = json.loads((tmp_path / "out" / "image" / "series_meta.json").read_text())
    assert index["a.mha"]["size"] == [3, 4, 5]


def test_copies_and_deletions_are_events(tmp_path):
    path, events = tmp_path / "in" / "a.mha", []
    copy = Transfer((((path, tmp_path / "copy" / "a.mha"),),), tmp_path / "copy", what="volumes")
    delete = Delete((path,), tmp_path / "in", "1 volume")
    result = run(tmp_path, Report((), 0, actions=(copy, delete)), plan=look, on_event=events.append)
    assert result.summary.lines == (f"copied 1 volumes to {tmp_path / 'copy'}", "deleted 1 volume")
    assert [(e["action"], e["path"], e["final"]) for e in events if e["event"] == "action"] == [
        ("copy", str(path), str(tmp_path / "copy" / "a.mha")),
        ("delete", str(path), None),
    ]
    assert not path.exists()
    assert (tmp_path / "copy" / "a.mha").is_file()


@pytest.mark.parametrize("answer", [None, False, True])
def test_nothing_is_deleted_before_the_user_agrees(tmp_path, answer):
    asked = []

    def confirm(question):
        asked.append(question)
        return answer

    delete = Delete((tmp_path / "in" / "a.mha",), tmp_path / "in", "1 volume", question="sure?")
    result = run(tmp_path, Report((), 0, actions=(delete,)), plan=look, confirm=None if answer is None else confirm)
    assert (tmp_path / "in" / "a.mha").exists() == (not answer)
    assert result.exit_code == (0 if answer else 2)
    assert asked == ([] if answer is None else ["sure?"])


def writes(source):
    """Names of what a module calls or imports that writes to a disk."""
    nodes = [*ast.walk(ast.parse(source))]
    imported = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    called = {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}
    return (imported | called) & WRITERS


def test_process_writes_nothing():
    """Stores and columns of patches are written where the worker says, through io/; everything else is returned."""
    assert writes("from itkit.io.meta import write_json\nPath('x').mkdir()") == {"write_json", "mkdir"}
    for path in sorted(Path(itkit.process.__file__).parent.glob("*.py")):
        assert not writes(path.read_text(encoding="utf-8")), path.name


def test_a_dry_run_of_a_check_touches_nothing_whatever_is_asked_for(tmp_path):
    write_volume(phantoms.noise(Geometry((3, 4, 5), (1, 1, 1))), tmp_path / "in" / "a.mha")
    before = tree(tmp_path)
    for values in ({"mode": "check", "report": tmp_path / "r.csv"}, {"mode": "copy", "output": tmp_path / "out"}):
        itkit.run("itk_check", source=tmp_path / "in", dry_run=True, **values)
        assert tree(tmp_path) == before
