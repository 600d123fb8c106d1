"""Prepare the comparisons: make their virtual environments and a CT-like dataset."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parent
SCRIPTS = HERE / "scripts"
FULL_ZYX, QUICK_ZYX = (160, 512, 512), (104, 320, 320)
HEADERS = 2000
TIMES, LOTS = 4, 16


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def command(self, name: str) -> Path:
        return self.folder / "bin" / name


@dataclass(frozen=True)
class Workplace:
    """Environments, dataset and scratch folder of a benchmark run."""

    ours: Environment
    itkit4: Environment
    frameworks: Environment
    data: Path
    scratch: Path

    @property
    def pairs(self) -> Path:
        """Return the pairs as ``.nii.gz``."""
        return self.data / "nii.gz"

    @property
    def pairs_mha(self) -> Path:
        """Return the same pairs as compressed ``.mha``."""
        return self.data / "mha"

    @property
    def many(self) -> Path:
        """Return the pairs four times over, as ``nii.gz`` and ``mha``; copies are hard links and share one cache."""
        return self.data / "many"

    @property
    def lots(self) -> Path:
        """Return the pairs sixteen times over, as ``nii.gz`` alone."""
        return self.data / "lots" / "nii.gz"

    @property
    def evaluation(self) -> Path:
        """Return the folder with a reference and a prediction, ``gt`` and ``pred``."""
        return self.data / "evaluation"

    @property
    def chests(self) -> Path:
        """Return the flat folder of chests."""
        return self.data / "chests"

    @property
    def moving(self) -> Path:
        """Return the folder with chests and the same chests moved, ``fixed`` and ``moving``."""
        return self.data / "moving"

    @property
    def headers(self) -> Path:
        """Return the flat folder of 2,000 files."""
        return self.data / "headers"

    def fresh(self, name: str) -> Path:
        """Return a path that does not exist yet."""
        path = self.scratch / name
        shutil.rmtree(path, ignore_errors=True)
        return path


def prepare(*, quick: bool, ours: Path | None) -> Workplace:
    """Build what is missing; ``ours`` is an environment in which the package is already installed."""
    environments = HERE / ".envs"
    workplace = Workplace(
        Environment(ours) if ours else _environment(environments / "itkit", [[f"{REPOSITORY}[fast]"]], renew=True),
        _environment(
            environments / "itkit4",
            [["numpy", "SimpleITK", "tqdm", "pydantic"], ["--no-deps", "itkit==4.0.0"]],
        ),
        _environment(
            environments / "frameworks",
            [
                ["-c", f"{REPOSITORY}/constraints-cpu.txt", "torch", "monai", "torchio", "nibabel", "SimpleITK"],
                ["pandas", "scikit-image", "tifffile", "blosc2"],
                # what its resampling and its fingerprint need alone
                ["--no-deps", "nnunetv2==2.8.1", "batchgenerators==0.25.5", "acvl-utils==0.2.6"],
            ],
        ),
        HERE / ".data" / ("quick" if quick else "full"),
        HERE / ".data" / "scratch",
    )
    _make_data(workplace, *((2, QUICK_ZYX) if quick else (4, FULL_ZYX)))
    workplace.scratch.mkdir(parents=True, exist_ok=True)
    return workplace


def _environment(folder: Path, installs: list[list[str]], *, renew: bool = False) -> Environment:
    done = folder / ".complete"
    if done.exists() and not renew:
        return Environment(folder)
    print(f"building {folder.relative_to(REPOSITORY)}", flush=True)
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    for words in installs:
        forced = ["--force-reinstall", "--no-deps"] if renew and done.exists() else []
        pip = [str(folder / "bin" / "pip"), "--disable-pip-version-check", "install", "-q", *forced, *words]
        subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)
    done.touch()
    return Environment(folder)


def _make_data(workplace: Workplace, cases: int, size_zyx: tuple[int, int, int]) -> None:
    data = workplace.data
    if not (data / ".complete").exists():
        print(f"making {cases} cases of {size_zyx} voxels ZYX", flush=True)
        shutil.rmtree(data, ignore_errors=True)
        script = [workplace.itkit4.python, SCRIPTS / "make_data.py", data, cases, *size_zyx]
        subprocess.run([str(word) for word in script], check=True)
        workplace.headers.mkdir()
        sources = sorted((workplace.pairs / "image").iterdir())
        for number in range(HEADERS):
            os.link(sources[number % len(sources)], workplace.headers / f"case_{number:04d}.nii.gz")
        _link_copies(data, workplace.many, TIMES, ("nii.gz", "mha"))
        _link_copies(data, workplace.lots.parent, LOTS, ("nii.gz",))
        (data / ".complete").touch()
    if not workplace.chests.exists():
        script = [workplace.itkit4.python, SCRIPTS / "make_chest.py", workplace.chests, cases, *size_zyx]
        subprocess.run([str(word) for word in script], check=True)
    if not workplace.moving.exists():
        script = [workplace.itkit4.python, SCRIPTS / "make_moving.py", workplace.chests, workplace.moving, 2]
        subprocess.run([str(word) for word in script], check=True)
    if not (workplace.evaluation / ".complete").exists():
        script = [workplace.ours.python, SCRIPTS / "make_evaluation.py", workplace.evaluation]
        subprocess.run([str(word) for word in script], check=True)


def _link_copies(data: Path, to: Path, times: int, folders: tuple[str, ...]) -> None:
    for source in sorted(path for folder in folders for path in (data / folder).rglob("case_*")):
        for number in range(times):
            target = to / source.relative_to(data).with_name(f"{source.name.replace('_', f'_{number:02d}', 1)}")
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(source, target)
