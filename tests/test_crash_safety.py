"""Killed, interrupted, out of disk: the same command completes with the bytes of an undisturbed run."""

import random
import shutil
import signal
import subprocess
import time

import pytest
from helpers import BIN, IS_LONG, interrupted, leftovers, tree, wait_until

from itkit.core.geometry import Geometry
from itkit.io.sitk_toolkit import write_volume
from itkit.testing import phantoms

GRID = Geometry((24, 60, 60), (2.0, 1.0, 1.0), (5.0, 6.0, 7.0), phantoms.GRIDS["oblique"].direction_xyz)
CASES = 10
KILLS = 50 if IS_LONG else 15


def write_cases(root, count=CASES):
    for number in range(count):
        write_volume(phantoms.noise(GRID, number), root / "image" / f"case_{number}.nii.gz")
        write_volume(phantoms.l_shape(GRID), root / "label" / f"case_{number}.nii.gz")


def resample(root, out, *more):
    return [BIN / "itk_resample", "dataset", root, out, "--spacing", "1.4", "0.7", "0.7", *more]


def run(arguments, **more):
    return subprocess.run(list(map(str, arguments)), capture_output=True, text=True, timeout=300, check=False, **more)


def volumes(folder):
    return {name: data for name, data in tree(folder).items() if name.endswith((".mha", ".mhd", ".zraw"))}


@pytest.mark.slow
def test_kill_9_at_any_moment(tmp_path):
    root = tmp_path / "raw"
    write_cases(root)
    start = time.monotonic()
    assert run(resample(root, tmp_path / "whole", "--workers", 2)).returncode == 0
    duration = time.monotonic() - start
    reference = volumes(tmp_path / "whole")
    assert len(reference) == 2 * CASES
    out, rng, kills = tmp_path / "out", random.Random(0), 0
    while kills < KILLS:
        process = subprocess.Popen(
            list(map(str, resample(root, out, "--workers", 2))), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(rng.uniform(0.1, duration))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        standing = volumes(out) if out.exists() else {}
        assert standing == {name: reference[name] for name in standing}  # whole, whatever the moment
        if process.returncode == 0:
            assert standing == reference
            assert not leftovers(out)
            shutil.rmtree(out)
    done = run(resample(root, out, "--workers", 2))
    assert done.returncode == 0, done.stderr
    assert volumes(out) == reference
    assert not leftovers(out)
    again = run(resample(root, out))
    assert f"0 done, {CASES} skipped, 0 failed" in again.stdout


def test_full_disk_is_a_named_failure_and_resume_completes(tmp_path):
    root, disk = tmp_path / "raw", tmp_path / "disk"
    write_cases(root, 4)
    assert run(resample(root, tmp_path / "whole")).returncode == 0
    reference = volumes(tmp_path / "whole")
    size = sum(map(len, reference.values()))
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size // 2}", "none", disk], check=True)
    try:
        out = disk / "out"
        done = run(resample(root, out))
        assert done.returncode == 1
        assert "No space left" in done.stderr
        assert "Traceback" not in done.stderr
        standing = volumes(out)
        assert 0 < len(standing) < len(reference)
        assert standing == {name: reference[name] for name in standing}
        images = {name.split("/")[1] for name in standing if name.startswith("image/")}
        labels = {name.split("/")[1] for name in standing if name.startswith("label/")}
        assert images == labels
        assert not leftovers(out)
        subprocess.run(["mount", "-o", f"remount,size={4 * size + 2**20}", disk], check=True)
        done = run(resample(root, out))
        assert done.returncode == 0, done.stderr
        assert volumes(out) == reference
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [1, 2])
def test_interrupt_keeps_what_is_done_and_says_130(tmp_path, number, workers):
    root, out = tmp_path / "raw", tmp_path / "out"
    write_cases(root)
    words = [*map(str, resample(root, out, "--workers", workers, "--progress", "json"))]
    done = run(interrupted(number, words))
    assert done.returncode == 130, done.stderr
    assert '"interrupted": true' in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not leftovers(out)
    done = run(resample(root, out))
    assert done.returncode == 0
    assert len(volumes(out)) == 2 * CASES


def test_detached_data_files_survive_a_kill_as_units(tmp_path):
    root, out = tmp_path / "raw", tmp_path / "out"
    write_cases(root, 3)
    assert run(resample(root, tmp_path / "whole", "--ext", ".mhd")).returncode == 0
    reference = volumes(tmp_path / "whole")
    assert sum(name.endswith(".zraw") for name in reference) == 6
    for count in (0, 1, 3):
        process = subprocess.Popen(
            list(map(str, resample(root, out, "--ext", ".mhd"))), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(lambda count=count: len(list(out.rglob("*.zraw"))) >= count and (out / ".itkit").exists())
        process.kill()
        process.wait()
        standing = volumes(out) if out.exists() else {}
        assert standing == {name: reference[name] for name in standing}
    assert run(resample(root, out, "--ext", ".mhd")).returncode == 0
    assert volumes(out) == reference
    assert not leftovers(out)
