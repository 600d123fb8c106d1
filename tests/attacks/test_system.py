"""A clock that steps back, a full disk, a source that is cut, few file descriptors, little memory."""

import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from attack_data import first_quick, folder_with, made, pair, zeros
from helpers import leftovers

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@pytest.mark.slow
@pytest.mark.parametrize("ahead_s", [[864000, 0, 0], [0, -86400, -86000]])
def test_the_last_run_counts_whatever_the_clocks_say(attacked, tmp_path, library, ahead_s):
    source, out = folder_with(tmp_path / "in", {}), tmp_path / "out"

    def resample(spacing, ahead):
        env = {"LD_PRELOAD": library, "CLOCK_S": str(ahead)}
        return attacked("itk_resample", "image", source, out, "--spacing", spacing, 1, 1, env=env)

    first, second, third = ahead_s
    assert resample(2, first).code == 0
    before = made(out)
    assert resample(3, second).code == 0
    assert made(out) != before
    again = resample(3, third)
    assert "2 skipped" in again.text, again
    assert resample(2, third).code == 0
    assert made(out) == before


@pytest.mark.slow
@pytest.mark.parametrize("rooms", [[0, 3, 12], pytest.param([1, 5, 8, 20], marks=pytest.mark.long)])
def test_a_disk_that_takes_no_more_names_is_named(attacked, tmp_path, library, rooms):
    source, whole = pair(tmp_path / "in", 2), tmp_path / "whole"
    run = ("itk_resample", "dataset", source)
    assert attacked(*run, whole, "--spacing", 2, 1, 1).code == 0
    expected = made(whole)
    for room in rooms:
        out = tmp_path / f"out_{room}"
        env = {"LD_PRELOAD": library, "UNDER": str(out), "FULL_AFTER": str(room)}
        ended = attacked(*run, out, "--spacing", 2, 1, 1, env=env)
        assert ended.is_calm
        standing = made(out) if out.exists() else {}
        assert standing.items() <= expected.items()
        assert ended.code != 0 or standing == expected
        assert len({name.split("/")[-1] for name in standing}) * 2 == len(standing)
        assert attacked(*run, out, "--spacing", 2, 1, 1).code == 0
        assert made(out) == expected
        assert not leftovers(out)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["itk_orient", "itk_resample"])
def test_a_source_that_is_cut_while_it_is_read_costs_at_most_itself(attacked, tmp_path, name):
    source, out, cut = tmp_path / "in", tmp_path / "out", []
    for case in "ab":
        zeros(source, f"{case}.mha", (160, 256, 256))

    def watch(pids):
        """Cut the first volume that a process has open or mapped."""
        for pid in pids if not cut else ():
            try:
                seen = Path(f"/proc/{pid}/maps").read_text()
                seen += " ".join(os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir())  # noqa: PTH115
            except OSError:
                continue
            for case in "ab":
                if str(source / f"{case}.mha") in seen and not cut:
                    os.truncate(source / f"{case}.mha", 100_000)
                    cut.append(case)

    more = ("RAS",) if name == "itk_orient" else ("--spacing", 2, 1, 1)
    mode = () if name == "itk_orient" else ("image",)
    ended = attacked(name, *mode, source, out, *more, watch=watch)
    assert ended.is_calm
    assert {f"{case}.mha" for case in "ab" if case not in cut} <= set(made(out))


@pytest.mark.parametrize(("files", "workers"), first_quick([(20, 1), (20, 3), (7, 1), (9, 3), (11, 1)], 2))
def test_few_file_descriptors_are_named(attacked, tmp_path, files, workers):
    source, out = pair(tmp_path / "in", 2), tmp_path / "out"
    limits = [(resource.RLIMIT_NOFILE, files)]
    ended = attacked("itk_orient", source, out, "LPI", "--workers", workers, limits=limits)
    assert ended.is_calm
    assert ended.code == 0 or "Too many open files" in ended.text
    assert attacked("itk_orient", source, out, "LPI").code == 0
    assert len(made(out)) == 4
    assert not leftovers(out)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", ""])
@pytest.mark.parametrize(
    "command",
    [
        ["itk_convert", "format", "IN", "OUT"],
        ["itk_resample", "image", "IN", "OUT", "--spacing", 2, 1, 1.1],
        ["itk_orient", "IN", "OUT", "LPI"],
    ],
)
def test_memory_stays_below_its_limit_or_the_case_is_refused(attacked, tmp_path, command, dtype):
    zeros(tmp_path / "in", "v.mha", (256, 512, 512), np.uint8)
    places = {"IN": tmp_path / "in", "OUT": tmp_path / "out"}
    more = ["--dtype", dtype] if dtype else []
    ended = attacked(*(places.get(word, word) for word in command), *more, "--max-memory", "400MB")
    assert ended.is_calm
    if ended.code == 0:
        assert ended.peak_mb <= 400
    else:
        assert "raise --max-memory" in ended.text
