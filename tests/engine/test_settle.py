"""Cases that end together are settled as if they had ended one after the other."""

from types import SimpleNamespace

import pytest

from itkit.core.operation import Job, Target
from itkit.core.params import Params
from itkit.engine.decisions import Decision
from itkit.engine.manifest import Manifest
from itkit.engine.options import RunOptions
from itkit.engine.settle import EndedCase, settle
from itkit.engine.stage import Stage
from itkit.engine.worker import StagedFile, Task, TaskResult
from itkit.io.meta import file_stamp


def ended(stage, case, name, before=None):
    """Return a case whose only file is staged."""
    folder = stage.folder_of_case()
    folder.mkdir(exist_ok=True)
    staged, final = folder / name, stage.manifest.dest / name
    staged.write_bytes(case.encode())
    job = Job(case, {}, {"image": Target(stage.manifest.dest, ".mha", "image")}, output_ids=())
    result = TaskResult("done", files=(StagedFile(str(staged), str(final), file_stamp(staged)),), is_flushed=False)
    return EndedCase(Decision(job, "run", before=before), Task(None, Params(), job, folder), result)


def settled(stage, cases, **options):
    return settle(
        SimpleNamespace(key="k", options=RunOptions(**options), prints=lambda decision, _: decision.inputs),
        cases,
        stage,
    )


@pytest.mark.parametrize("existing", ["skip", "redo"])
def test_the_second_case_that_makes_a_file_sees_that_of_the_first(tmp_path, existing):
    stage = Stage.open(Manifest(tmp_path), "itk_patch")
    cases = [ended(stage, "a", "same.mha"), ended(stage, "b", "other.mha"), ended(stage, "c", "same.mha")]
    records = settled(stage, cases, existing=existing)
    stage.close()
    assert [record.status for record in records] == ["done", "done", "left" if existing == "skip" else "done"]
    assert (tmp_path / "same.mha").read_bytes() == (b"a" if existing == "skip" else b"c")


def test_what_a_case_no_longer_makes_is_not_removed_from_another_that_makes_it_now(tmp_path):
    stage = Stage.open(Manifest(tmp_path), "itk_patch")
    (before,) = settled(stage, [ended(stage, "a", "1.mha")])
    records = settled(stage, [ended(stage, "b", "1.mha"), ended(stage, "a", "2.mha", before)], existing="redo")
    stage.close()
    assert [record.status for record in records] == ["done", "done"]
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.mha")} == {"1.mha": b"b", "2.mha": b"a"}
