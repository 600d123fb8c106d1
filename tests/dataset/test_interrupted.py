"""A converter that is killed at any moment is completed by the same command, with the same bytes."""

import json
import os
import signal
import subprocess
import sys

import pytest
from helpers import interrupted
from synthetic import Release, convert, tree

from itkit.catalogue import CATALOGUE

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(name, source, dest, *more):
    return [
        sys.executable,
        "-m",
        CATALOGUE[f"convert_{name}"].path.partition(":")[0],
        str(source),
        str(dest),
        "--progress",
        "json",
        *more,
    ]


@pytest.mark.parametrize(("name", "cases", "after", "more"), [
    ("kits23", 6, 2, ()), ("brats2024", 5, 1, ("--workers", "2")), ("sa_med2d_20m", 1050, 1, ()),
])  # fmt: skip
def test_killed_and_completed(name, cases, after, more, tmp_path):
    """Kill after some cases have ended; the rest is done by the next run, and nothing is left over."""
    folder = tmp_path / "release"
    one = _many_slices(folder, cases) if name == "sa_med2d_20m" else Release(name, folder, cases)
    source = one.source
    dest = tmp_path / "killed"
    words = interrupted(signal.SIGKILL, command(name, source, dest, *more)[1:], after=after)
    done = subprocess.run(words, capture_output=True, env=ENVIRONMENT, start_new_session=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (dest / "dataset.json").exists()
    done = subprocess.run(
        command(name, source, dest), capture_output=True, text=True, env=ENVIRONMENT, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["counts"]["skipped"] >= after
    convert(name, source, tmp_path / "undisturbed")
    assert tree(dest) == tree(tmp_path / "undisturbed")
    assert one.problems(dest) == []
    assert not list((dest / ".itkit" / "tmp").iterdir())


def _many_slices(folder, count):
    """A release whose index has more than one part."""
    one = Release("sa_med2d_20m", folder)
    index = one.source / "SAMed2D_v1.json"
    pairs = json.loads(index.read_text())
    first = next(iter(pairs))
    stem = first.removeprefix("images/").removesuffix(".png")
    for number in range(count):
        name = stem.replace("--x_", f"_{number}--x_")
        os.link(one.source / first, one.source / "images" / f"{name}.png")
        pairs[f"images/{name}.png"] = pairs[first]
    index.write_text(json.dumps(pairs, indent=4))
    one.truth["duplicates"] = [path.removeprefix("images/").removesuffix(".png") for path in pairs]
    (folder / "expected.json").write_text(json.dumps(one.truth))
    return one


def test_an_interrupt_ends_with_code_130_and_can_be_completed(tmp_path):
    one = _many_slices(tmp_path / "release", 400)
    dest = tmp_path / "out"
    words = interrupted(signal.SIGINT, command("sa_med2d_20m", one.source, dest)[1:])
    done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=300, check=False)
    assert done.returncode == 130, done.stderr
    result, _ = convert("sa_med2d_20m", one.source, dest)
    assert result.exit_code == 0
    assert one.problems(dest) == []


def test_a_label_that_is_gone_from_the_release_goes_from_the_dataset(tmp_path):
    one = Release("kits23", tmp_path / "release")
    convert("kits23", one.source, tmp_path / "twice")
    min(one.source.rglob("segmentation.nii.gz")).unlink()
    for dest in ("twice", "once"):
        convert("kits23", one.source, tmp_path / dest)
    assert tree(tmp_path / "twice") == tree(tmp_path / "once")
