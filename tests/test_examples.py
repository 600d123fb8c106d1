"""The scripts in ``examples/`` run as they stand, in an empty folder."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = {
    "own_data": {},
    "nnunet_hand_over": {},
    "pathology_tiles": {},
    "train_any_network": {"STEPS": "3"},  # 60 steps show that it learns, and take a minute
}


def runs(name, folder, monkeypatch):
    for key, value in {"OMP_NUM_THREADS": "1", **SCRIPTS[name]}.items():
        monkeypatch.setenv(key, value)
    call = [sys.executable, "-W", "ignore", str(EXAMPLES / f"{name}.py")]
    return subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    "name", ["own_data", "nnunet_hand_over", pytest.param("pathology_tiles", marks=pytest.mark.slow)]
)
def test_an_example_runs(name, tmp_path, monkeypatch):
    done = runs(name, tmp_path, monkeypatch)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_training_example_runs(tmp_path, monkeypatch):
    done = runs("train_any_network", tmp_path, monkeypatch)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "liver" in done.stdout


def test_every_script_is_run_and_described():
    scripts = {path.stem for path in EXAMPLES.glob("*.py")}
    assert scripts == set(SCRIPTS)
    page = (EXAMPLES.parent / "docs" / "how-to" / "examples.md").read_text(encoding="utf-8")
    beside = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert {name for name in {f"{script}.py" for script in scripts} | beside if f"`{name}" not in page} == set()
