"""Locks between processes: held, waited for, gone with their process, and absent where a system has none."""

import fcntl
import subprocess
import sys
import threading

import pytest

from itkit.engine.manifest import Manifest
from itkit.engine.stage import Stage, recover
from itkit.io.locks import lock_new, locked, try_lock

HOLD = (
    "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
)


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_lock_is_taken_until_its_process_ends(tmp_path, holder):
    with (tmp_path / "lock").open("ab") as file:
        assert try_lock(file) == "taken"
        holder.kill()
        holder.wait()
        assert try_lock(file) == "ours"


def test_a_folder_is_locked_though_another_run_has_looked_at_it_first(tmp_path):
    def make():
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        with (folder / "lock").open("ab"):  # as `recover` does to see whether it is locked
            return folder

    folder, lock = lock_new(make, "lock", b"mine")
    with lock:
        assert (folder / "lock").read_bytes() == b"mine"
        assert [path.name for path in tmp_path.iterdir()] == ["0"]


def test_a_block_waits_for_the_lock(tmp_path, holder):
    order = []
    threading.Timer(0.4, lambda: (order.append("killed"), holder.kill())).start()
    with locked(tmp_path / "lock"):
        order.append("locked")
    assert order == ["killed", "locked"]


@pytest.fixture
def no_locks(monkeypatch):
    def refuse(file, how):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_without_locks_all_goes_on(tmp_path, no_locks):
    with (tmp_path / "lock").open("ab") as file:
        assert try_lock(file) == "no locks"
    with locked(tmp_path / "lock"), locked(tmp_path / "no folder" / "lock"):
        pass


def test_without_locks_the_process_id_tells_whose_folder_may_go(tmp_path, no_locks):
    manifest = Manifest(tmp_path)
    mine, others = Stage.open(manifest, "itk_orient"), Stage.open(manifest, "itk_orient")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = others.folder.rename(others.folder.with_name(f"{gone.pid}-0123456789ab"))
    recover(manifest)
    assert mine.folder.exists()
    assert not dead.exists()
    mine.close()
    others.close()
