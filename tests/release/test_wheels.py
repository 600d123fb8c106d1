"""What is built is complete, installs into clean environments, and works there."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from itkit.catalogue import CATALOGUE
from tools import wheels

ROOT = Path(__file__).parents[2]
NOT_RELEASED = (".ci/", ".github/")


@pytest.mark.slow
def test_packages_are_complete_and_work_in_clean_environments(tmp_path):
    """`make wheels-check` does the same for every extra."""
    built = wheels.build(tmp_path)
    tree = {path.relative_to(tmp_path / "tree").as_posix() for path in files_in(tmp_path / "tree")}
    with tarfile.open(built.sdist) as archive:
        released = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name in tree - released if not name.startswith(NOT_RELEASED)} == set()
    with zipfile.ZipFile(built.wheel) as archive:
        wheel = set(archive.namelist())
    ours = {name for name in tree if name.startswith("itkit/")}
    sources = {name for name in ours if name.startswith("itkit/kernels/native/")}
    assert ours - sources - wheel == set()
    others = {name for name in wheel - ours if ".dist-info/" not in name}
    assert {Path(name).name.split(".")[0] for name in others if not name.endswith(".1")} == {"_native"}
    assert {Path(name).name for name in others} >= {f"{name}.1" for name in CATALOGUE if name.startswith("itk_")}

    base = wheels.install(built.wheel, "base", tmp_path / "base")
    web = wheels.install(built.wheel, "web", tmp_path / "web", base=base)
    gui = wheels.install(built.wheel, "gui", tmp_path / "gui", base=base)
    wheels.use_base(base)
    wheels.use_web(web)
    gui.python("import itkit.gui.app, itkit.gui.window")


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file() and "egg-info" not in path.as_posix()]


def test_every_extra_has_a_trial():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = text.split("[project.optional-dependencies]\n")[1].split("\n[")[0]
    extras = {line.split(" = ")[0] for line in table.splitlines() if " = [" in line}
    assert extras == {*wheels.USES, "all"} - {"base"}
    assert extras >= {"dev", "nvidia", "pathology", "pytorch", "mm", "gui"}


def test_a_trial_sees_nothing_of_the_caller(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("ITKIT_CODECS", "itk")
    environment = wheels.Trial(tmp_path / "trial").environment
    assert environment["HOME"] == str(tmp_path / "trial-home")
    assert not {name for name in environment if name.startswith(("PYTHON", "ITKIT"))}


def test_a_program_that_fails_ends_the_trial(tmp_path):
    trial = wheels.Trial(tmp_path)
    trial.scripts.mkdir()
    program = trial.scripts / "fails"
    program.write_text("#!/bin/sh\necho said; exit 3\n")
    program.chmod(0o755)
    with pytest.raises(SystemExit, match=r"(?s)fails now: exit code 3.*said"):
        trial.run("fails", "now")


def test_the_pure_wheel_is_for_every_platform(tmp_path):
    """It holds no kernels: numpy does their work."""
    tree = wheels.copy_tree(tmp_path / "tree")
    call = [sys.executable, "setup.py", "-q", "bdist_wheel"]
    environment = {**os.environ, "ITKIT_BUILD": "pure"}
    done = subprocess.run(call, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tree / "dist").iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert not [name for name in names if name.endswith((".so", ".pyd", ".c", ".h"))]
    assert "itkit/kernels/dispatch.py" in names


def test_a_wrong_kind_of_build_is_refused():
    environment = {**os.environ, "ITKIT_BUILD": "fast"}
    call = [sys.executable, ROOT / "setup.py", "--version"]
    done = subprocess.run(call, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (1, "ITKIT_BUILD: expected native, pure or nothing; got 'fast'")
