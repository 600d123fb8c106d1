"""Build the packages, install the wheel into clean virtual environments, one for each extra, and use it.

``python -m tools.wheels`` tries every extra, ``python -m tools.wheels base web`` some of them; see ``--help``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_TIMEOUT_S = 300


class Trial:
    """A virtual environment in which a wheel was installed, and nothing else is known.

    Parameters
    ----------
    folder
        Folder of the environment; commands run in ``home`` beside it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scripts = folder / ("Scripts" if os.name == "nt" else "bin")
        self.home = folder.with_name(f"{folder.name}-home")
        self.home.mkdir(exist_ok=True)

    @property
    def packages(self) -> Path:
        """Return the folder of the installed packages."""
        (found,) = self.folder.glob("Lib/site-packages" if os.name == "nt" else "lib/python*/site-packages")
        return found

    @property
    def environment(self) -> dict[str, str]:
        """Return an environment that leads to nothing of the caller's: no path, no settings, no display."""
        kept = {name: os.environ[name] for name in ("SYSTEMROOT", "TEMP", "LANG") if name in os.environ}
        path = os.pathsep.join([str(self.scripts), *([] if os.name == "nt" else ["/usr/bin", "/bin"])])
        return {**kept, "PATH": path, "HOME": str(self.home), "QT_QPA_PLATFORM": "offscreen"}

    def run(self, name: str, *arguments: str) -> str:
        """Run a program of the environment, and return what it prints; it must succeed."""
        done = subprocess.run(
            [self.scripts / name, *arguments],
            cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{name} {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def python(self, code: str) -> str:
        """Run code, with warnings as errors where ITKIT itself causes them."""
        return self.run("python", "-c", code)


def use_base(trial: Trial) -> None:
    """Use the commands as they stand in the first lines of the README, and look for every kind of resource."""
    expect("usage: itk_check" in trial.run("itk_check", "--help"), "help of itk_check")
    expect("kernels     native" in trial.run("itkit", "doctor"), "the compiled kernels")
    told = trial.run("itkit", "demo", "--out", "demo")
    expect("report: " in told and (trial.home / "demo" / "report.html").is_file(), "the page of the demo")
    expect("convert_kits23" in trial.run("itkit", "list"), "the list of operations")
    expect("itkit[gui]" in refused(trial, "itkit-app"), "what itkit-app says without Qt")
    expect((trial.folder / "share" / "man" / "man1" / "itk_check.1").is_file(), "the manual page of itk_check")
    found = trial.python(
        "from importlib.resources import files; root = files('itkit')\n"
        "for name in ('py.typed', 'commands.pyi', 'core/descriptions.json', 'cli/help/itk_check.txt',"
        " 'web/static/index.html', 'data/torso/LICENSE'): print(root.joinpath(*name.split('/')).is_file())"
    )
    expect(found.split() == ["True"] * 6, "resources")


def use_web(trial: Trial) -> None:
    """Start the server of ``itkit-web``, and open its page by the address that it prints."""
    with subprocess.Popen(
        [trial.scripts / "python", "-m", "itkit", "web", "--no-browser"],
        cwd=trial.home, env=trial.environment, stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        try:
            expect(server.stdout is not None, "a pipe")
            address = server.stdout.readline().strip() if server.stdout else ""
            opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())  # the token becomes a cookie
            with opener.open(address, timeout=30) as answer:
                expect(answer.status == 200 and b"<title" in answer.read(), f"the page of {address}")
        finally:
            server.terminate()


def use_gui(trial: Trial) -> None:
    """Open every page of the window once."""
    trial.run("itkit-app", "--check")


def use_fast(trial: Trial) -> None:
    """Write patches into a chunked store."""
    _dataset(trial)
    trial.run("itk_patch", "raw", "patches", "--patch-size", "8", "--patch-stride", "8", "--pad", "--store", "blosc2")


def use_dask(trial: Trial) -> None:
    """Resample with a local cluster."""
    _dataset(trial)
    trial.run("itk_resample", "dataset", "raw", "out", "--spacing", "3", "3", "3", "--executor", "dask", "--mp")


def use_train(trial: Trial) -> None:
    """Build a network and apply it."""
    code = "import torch; from itkit.models import create_model; from itkit.criterion import create_loss\n"
    code += "net = create_model('unet', in_channels=1, num_classes=2, spatial_dims=2)\n"
    trial.python(f"{code}print(net(torch.zeros(1, 1, 64, 64)).shape, create_loss('dice'))\nimport itkit.lightning")


def _dataset(trial: Trial) -> None:
    trial.python(
        "from pathlib import Path; from itkit.testing.phantoms import write_dataset; write_dataset(Path('raw'), 2)"
    )


def imports(*modules: str, command: Sequence[str] = ()) -> Callable[[Trial], None]:
    """Return a use that imports packages, and runs a command if one is given."""

    def use(trial: Trial) -> None:
        trial.python(f"import {', '.join(modules)}")
        if command:
            trial.run(*command)

    return use


USES: Mapping[str, Callable[[Trial], None]] = {
    "base": use_base,
    "web": use_web,
    "gui": use_gui,
    "dicom": imports("pydicom", "highdicom", "openjpeg", "itkit.io.dicom.read", command=("itk_convert", "--help")),
    "nibabel": imports("nibabel"),
    "fast": use_fast,
    "dask": use_dask,
    "onnx": imports("onnx", "onnxruntime", "onnxscript"),
    "serve": imports("onnxruntime", "fastapi", command=("itkit", "serve", "--help")),
    "openvino": imports("openvino"),
    "pathology": imports("openslide", "pyvips", "tifffile", "shapely", command=("itk_wsi", "--help")),
    "train": use_train,
    "pytorch": use_train,
    "mm": imports("mmengine", "mmcv", "mmseg", "itkit.mm.mmeng_PlugIn", command=("mmrun", "--help")),
    "tensorboard": imports("tensorboard"),
    "docs": imports("mkdocs", "material", "zensical"),
    "dev": imports("pytest", "mypy", "build", command=("ruff", "--version")),
    "nvidia": imports("onnx", "tensorrt"),
}
"""What shows that an extra works; ``base`` is the installation without one."""


@dataclass(frozen=True)
class Built:
    """The packages of a build."""

    sdist: Path
    wheel: Path


def expect(is_so: bool, what: str) -> None:
    """End with a message unless something is so."""
    if not is_so:
        raise SystemExit(f"not as expected: {what}")


def refused(trial: Trial, name: str) -> str:
    """Return what a command says that can't run without an extra."""
    call = [trial.scripts / name]
    done = subprocess.run(call, cwd=trial.home, env=trial.environment, capture_output=True, text=True, check=False)
    expect(done.returncode == 2 and "Traceback" not in done.stderr, f"{name} without its extra: one line")
    return done.stderr


def copy_tree(target: Path) -> Path:
    """Copy what git knows or would add, so that a build leaves nothing in the checkout."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        source, path = ROOT / name, target / name
        if source.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, path)
    return target


def build(folder: Path, *, pure: bool = False) -> Built:
    """Build the source distribution of the checkout, and the wheel from it."""
    tree = copy_tree(folder / "tree")
    environment = {**os.environ, "ITKIT_BUILD": "pure" if pure else "native"}
    environment.pop("PYTHONPATH", None)
    call = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(tree)]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the build fails:\n{done.stdout}{done.stderr}")
    (sdist,), (wheel,) = ((folder / "dist").glob(pattern) for pattern in ("*.tar.gz", "*.whl"))
    return Built(sdist, wheel)


def install(wheel: Path, extra: str, folder: Path, *, base: Trial | None = None) -> Trial:
    """Install a wheel with an extra into a new virtual environment, which has nothing else, not even pip.

    Parameters
    ----------
    wheel, extra
        What to install; the extra ``base`` stands for none.
    folder
        Folder of the environment.
    base
        An environment with the wheel alone; its packages are linked into the new one, which saves their unpacking.
        The scripts of ITKIT are then missing.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    trial = Trial(folder)
    if base is not None:
        shutil.copytree(base.packages, trial.packages, copy_function=os.link, dirs_exist_ok=True)
    wanted = str(wheel) if extra == "base" else f"{wheel}[{extra}]"
    call = [sys.executable, "-m", "pip", "--python", str(trial.scripts / "python"), "--disable-pip-version-check"]
    call += ["install", "-q", "--no-compile", "-c", str(ROOT / "constraints-cpu.txt"), wanted]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{extra}: can't be installed:\n{done.stderr}")
    return trial


def _megabytes(folder: Path) -> int:
    """Return how much room a folder takes."""
    return sum(path.lstat().st_size for path in folder.rglob("*")) // 1_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Try extras, print what came of each, and return 1 if one fails."""
    parser = argparse.ArgumentParser(prog="python -m tools.wheels", description=__doc__)
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help=f"of {', '.join(USES)} (default: all)")
    parser.add_argument("--without", nargs="*", default=[], metavar="EXTRA", help="extras to leave out")
    options = parser.parse_args(argv)
    chosen = [name for name in options.extras or USES if name not in options.without]
    unknown = sorted({*chosen} - {*USES})
    if unknown:
        parser.error(f"no extra {', '.join(unknown)}")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="itkit-wheels-") as name:
        folder = Path(name)
        built = build(folder)
        print(f"built {built.sdist.name}, {built.wheel.name}", flush=True)
        for extra in chosen:
            begin, trial = time.perf_counter(), folder / extra
            try:
                USES[extra](install(built.wheel, extra, trial))
            except (SystemExit, OSError) as error:
                failed += 1
                print(f"{extra:<12}FAILS: {error}", flush=True)
            else:
                print(f"{extra:<12}works, {time.perf_counter() - begin:.0f} s, {_megabytes(trial)} MB", flush=True)
            shutil.rmtree(trial, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
