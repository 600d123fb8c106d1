"""Scratch folders of servers: those that start at one moment keep theirs, and those of killed ones are removed."""

import fcntl
import subprocess
import sys
import tempfile
import threading

import pytest

from itkit.deploy.server.workroom import Workroom, remove_abandoned

HOLD = "import sys; from pathlib import Path; from itkit.deploy.server.workroom import Workroom\n"
HOLD += "room = Workroom(Path(sys.argv[1])); print(room.folder, flush=True); sys.stdin.read(); room.close()"


def once(before, after, function):
    """Call a function between two others; only the first time."""
    done = []

    def wrapped(*args, **kwargs):
        is_first = not done
        done.append(True)
        if is_first and before:
            before()
        made = function(*args, **kwargs)
        if is_first and after:
            after()
        return made

    return wrapped


@pytest.mark.parametrize("moment", ["the folder is made", "the file is made", "the file is locked"])
def test_a_server_that_tidies_up_meanwhile_takes_no_folder_in_use(moment, tmp_path, monkeypatch):
    taken = []

    def tidy():
        taken.extend(remove_abandoned(tmp_path))

    if moment == "the folder is made":
        monkeypatch.setattr(tempfile, "mkdtemp", once(None, tidy, tempfile.mkdtemp))
    else:
        is_locked = moment == "the file is locked"
        before, after = (None, tidy) if is_locked else (tidy, None)
        monkeypatch.setattr(fcntl, "flock", once(before, after, fcntl.flock))
    room = Workroom(tmp_path)
    assert len(taken) == (0 if moment == "the file is locked" else 1)
    assert list(tmp_path.iterdir()) == [room.folder]
    assert remove_abandoned(tmp_path) == []
    (room.new_folder() / "upload").write_bytes(b"1")
    room.close()
    assert list(tmp_path.iterdir()) == []


def test_servers_that_start_at_one_moment_keep_their_folders(tmp_path):
    rooms, gate = [], threading.Barrier(8)

    def start():
        for _ in range(8):
            gate.wait()
            rooms.append(Workroom(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rooms) == 64
    assert sorted(tmp_path.iterdir()) == sorted(room.folder for room in rooms)
    for room in rooms:
        room.close()
    assert list(tmp_path.iterdir()) == []


def test_only_what_a_killed_server_has_left_is_removed(tmp_path):
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as first, subprocess.Popen(words, **pipes) as second:
        dead, alive = (server.stdout.readline().strip() for server in (first, second))
        for folder in (dead, alive):
            (tmp_path / folder / "upload").write_bytes(b"1")
        unlocked = tmp_path / "itkit-serve-killed-before-it-could-lock"
        unlocked.mkdir()
        strange = tmp_path / "itkit-serve-of-somebody-else"
        strange.mkdir()
        (strange / "data").write_bytes(b"1")
        link = tmp_path / "itkit-serve-link"
        link.symlink_to(strange)
        first.kill()
        first.wait()
        assert {str(folder) for folder in remove_abandoned(tmp_path)} == {dead, str(unlocked)}
        assert {str(path) for path in tmp_path.iterdir()} == {alive, str(strange), str(link)}
        assert (tmp_path / alive / "upload").exists()
        assert (strange / "data").exists()
