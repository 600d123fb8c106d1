"""A dead run's journal is finished only while what it has moved is as it left it, wherever the folder lies."""

from pathlib import Path

import pytest

from itkit.core.operation import Record
from itkit.engine.manifest import Manifest
from itkit.engine.places import relative_path
from itkit.engine.stage import Move, Stage, recover
from itkit.io.meta import file_stamp


@pytest.mark.parametrize("is_edited", [False, True])
def test_a_journal_is_not_finished_over_a_file_beside_the_destination_that_was_edited(tmp_path, monkeypatch, is_edited):
    dest, beside = tmp_path / "image", tmp_path / "label"
    manifest = Manifest(dest)
    stage = Stage.open(manifest, "itk_aug")
    moves = [Move(stage.folder / name, folder / name) for name, folder in (("a.mha", beside), ("b.mha", dest))]
    for move in moves:
        move.staged.write_bytes(b"voxels")
    outputs = tuple({"path": relative_path(move.final, dest), **file_stamp(move.staged)} for move in moves)

    def die_half_way(pairs):
        staged, final = pairs[0]
        final.parent.mkdir()
        staged.rename(final)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("itkit.engine.stage.commit_files", die_half_way)
        with pytest.raises(KeyboardInterrupt):
            stage.commit(Record("a", "done", outputs=outputs), moves)
    stage.lock.close()
    if is_edited:
        (beside / "a.mha").write_bytes(b"somebody's own")
    recover(manifest)
    assert (dest / "b.mha").exists() == (not is_edited)
    assert ("a" in manifest.latest_done("itk_aug")) == (not is_edited)
    assert Path(beside / "a.mha").read_bytes() == (b"somebody's own" if is_edited else b"voxels")
