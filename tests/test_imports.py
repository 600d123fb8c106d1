"""Layers import downwards only, and nothing heavy is imported before it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import itkit

ROOT = Path(itkit.__file__).parent
LAYERS = ["core", "kernels", "io", "process", "engine", "cli"]
TORCH_USERS = {"models", "criterion", "lightning", "mm", "deploy"}


def imports_of(path):
    """Modules imported when a file is imported: not those inside functions or under TYPE_CHECKING."""

    def visit(nodes):
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield node.module
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                continue
            elif isinstance(node, (ast.If, ast.Try, ast.With)):
                yield from visit(node.body)

    return set(visit(ast.parse(path.read_text(encoding="utf-8")).body))


def modules():
    return [path for path in sorted(ROOT.rglob("*.py")) if "__pycache__" not in path.parts]


@pytest.mark.parametrize("layer", LAYERS)
def test_no_layer_imports_a_higher_one(layer):
    higher = {f"itkit.{name}" for name in LAYERS[LAYERS.index(layer) + 1 :]}
    for path in (ROOT / layer).rglob("*.py"):
        wrong = {
            name for name in imports_of(path) if name and any(name == h or name.startswith(h + ".") for h in higher)
        }
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_torch_is_imported_by_its_users_alone():
    for path in modules():
        if path.relative_to(ROOT).parts[0] not in TORCH_USERS:
            assert not any(name and name.split(".")[0] == "torch" for name in imports_of(path)), path


def test_only_the_command_line_prints():
    for path in modules():
        if path.relative_to(ROOT).parts[0] != "cli":
            calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
            assert not any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls), path


def test_vectors_are_reversed_in_axes_alone():
    """``[::-1]`` on an array's axis is fine (it has a comma); on a vector it belongs in core/axes.py."""
    for path in modules():
        if path.relative_to(ROOT).as_posix().startswith(("core/axes", "models/", "criterion/")):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            is_reversal = (
                isinstance(node, ast.Subscript)
                and isinstance(node.slice, ast.Slice)
                and isinstance(node.slice.step, ast.UnaryOp)
                and node.slice.lower is None
                and node.slice.upper is None
            )
            name = ast.unparse(node.value) if is_reversal else ""
            assert not name.endswith(("_zyx", "_xyz", "spacing", "size", "origin", "shape")), f"{path}: {name}[::-1]"


def modules_after(code):
    script = f"import sys; {code}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_import_itkit_is_light():
    loaded = modules_after("import itkit")
    assert not loaded & {"numpy", "SimpleITK", "pydantic", "torch", "PyQt6", "scipy", "pydicom"}


@pytest.mark.parametrize("name", ["itk_check", "itk_resample", "itkit"])
def test_help_imports_nothing_heavy(name):
    call = (
        "from itkit.cli.umbrella import main; main(['--help'])"
        if name == "itkit"
        else f"from itkit.cli.main import main; main('{name}', ['--help'])"
    )
    assert not modules_after(call) & {"numpy", "SimpleITK", "pydantic", "torch", "PyQt6", "scipy", "pydicom"}


NEEDLESS_FOR_HEADERS = {
    "SimpleITK", "asyncio", "concurrent.futures", "html", "itkit.io.sitk_toolkit", "itkit.io.formats.store",
    "itkit.engine.pool", "logging", "multiprocessing", "numpy", "pickle", "subprocess", "traceback",
}  # fmt: skip
"""Modules that take a millisecond and more each, where the check of a small dataset takes a tenth of a second."""


@pytest.mark.parametrize("is_dataset", [True, False])
def test_a_check_of_headers_imports_what_it_needs_alone(tmp_path, is_dataset):
    from itkit.testing import phantoms

    phantoms.write_dataset(tmp_path, 1)
    folder = tmp_path if is_dataset else tmp_path / "image"
    call = (
        f"from itkit.cli.main import main; main('itk_check', ['check', {str(folder)!r}, '--min-size', '1', '1', '1'])"
    )
    assert not modules_after(call) & NEEDLESS_FOR_HEADERS


def test_workers_need_no_event_loop(tmp_path):
    from itkit.testing import phantoms

    phantoms.write_dataset(tmp_path / "raw", 2)
    words = ["dataset", str(tmp_path / "raw"), str(tmp_path / "out"), "--spacing", "2", "2", "2", "--workers", "2"]
    loaded = modules_after(f"from itkit.cli.main import main; assert not main('itk_resample', {words!r})")
    assert "itkit.engine.pool" in loaded
    assert not loaded & {"asyncio", "ssl", "SimpleITK"}
