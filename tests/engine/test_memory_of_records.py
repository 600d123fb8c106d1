"""The main process does not hold what it knows of many files of many cases at once."""

import gc
import os
import tracemalloc

import itkit
from itkit.core.ended import Ended
from itkit.core.operation import Record
from itkit.engine import process_executor, session
from itkit.testing import phantoms


def record(number, files):
    """A record as one of itk_patch."""
    case = f"case_{number:04d}"
    outputs = tuple(
        {"path": f"{case}/{case}_z{file}.mha", "bytes": file, "size": [1, 2, file]} for file in range(files)
    )
    return Record(case, "done", warnings=(case,), outputs=outputs)


def test_records_of_many_files_are_kept_small():
    tracemalloc.start()
    try:
        ended = Ended()
        for number in range(300):
            ended.add(record(number, 60))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2_000_000  # twenty times as much as objects
    assert list(ended) == [record(number, 60) for number in range(300)]
    assert ended[7] == ended.notable()[7] == record(7, 60)
    assert ended[298:] == [record(298, 60), record(299, 60)]


def test_earlier_records_are_read_when_their_cases_end(tmp_path, monkeypatch):
    phantoms.write_dataset(tmp_path / "raw", 8)
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out", "patch_size": (6, 9, 9)}
    itkit.run("itk_patch", **values, patch_stride=(6, 9, 9))
    held, task = [], session.Session.task

    def counted(*arguments):
        held.append(sum(isinstance(one, Record) and bool(one.outputs) for one in gc.get_objects()))
        return task(*arguments)

    monkeypatch.setattr(session.Session, "task", counted)
    again = itkit.run("itk_patch", **values, patch_stride=(5, 8, 8), workers=2)
    assert again.summary.counts["done"] == 8
    assert len(held) == 8
    assert max(held) < 4
    assert len(list((tmp_path / "out").rglob("*.mha"))) == sum(len(one.outputs) for one in again.records)


def test_results_of_many_files_are_handed_on_at_once(tmp_path, monkeypatch):
    phantoms.write_dataset(tmp_path / "raw", 1)
    for number in range(1, 80):
        for kind in ("image", "label"):
            os.link(tmp_path / "raw" / kind / "case_00.nii.gz", tmp_path / "raw" / kind / f"case_{number:02d}.nii.gz")
    monkeypatch.setattr(process_executor, "_MOST_FILES", 1)
    groups, run = [], process_executor.ProcessExecutor.run

    def watched(*arguments):
        for group in run(*arguments):
            groups.append([len(result.files) for _, result in group])
            yield group

    monkeypatch.setattr(process_executor.ProcessExecutor, "run", watched)
    result = itkit.run("itk_orient", source=tmp_path / "raw", dest=tmp_path / "out", orient="RAS", workers=2)
    assert result.summary.counts["done"] == 80
    assert sum(map(len, groups)) == 80
    assert max(map(len, groups)) <= 3  # two workers, and one that had ended
