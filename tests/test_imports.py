"""Layers import downwards only, in no circle, and nothing heavy is imported before it is needed."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import sources

import itkit

ROOT = Path(itkit.__file__).parent
TORCH_USERS = {"models", "criterion", "inference", "training", "lightning", "mm", "deploy"}

BELOW_PROCESS = {"core", "kernels", "io"}
BELOW_ENGINE = {*BELOW_PROCESS, "process", "report"}
BELOW_CLI = {*BELOW_ENGINE, "engine", "catalogue", "commands"}
MAY_IMPORT = {
    "core": set(),
    "kernels": {"core"},
    "io": {"core", "kernels"},
    "metrics": {"core", "kernels"},
    # beside each other: a table of results, a volume that is turned to be drawn
    "process": {*BELOW_PROCESS, "report", "metrics"},
    "report": {*BELOW_PROCESS, "process", "metrics"},
    "catalogue": {"core"},
    "engine": {*BELOW_ENGINE, "catalogue"},
    "commands": {"catalogue", "engine"},
    "cli": {*BELOW_CLI, "inference", "training", "lightning", "deploy", "serving"},
    "forms": BELOW_CLI,
    "serving": {"core", "io"},
    "gui": {*BELOW_CLI, "forms"},
    "web": {*BELOW_CLI, "forms", "serving"},
    "dataset": BELOW_ENGINE,
    "models": {"core"},
    "criterion": {"core", "models"},  # a network's own loss knows what its network puts out
    "inference": {*BELOW_PROCESS, "process", "models", "catalogue"},  # the name of what takes slides, as text
    "training": {*BELOW_PROCESS, "process", "metrics", "report", "dataset", "models", "criterion", "inference"},
    "lightning": {*BELOW_ENGINE, "metrics", "dataset", "models", "criterion", "inference", "training"},
    "mm": {*BELOW_ENGINE, "metrics", "dataset", "models", "criterion", "inference", "training"},
    "deploy": {*BELOW_ENGINE, "metrics", "models", "inference", "engine", "serving"},
    "pathology": {*BELOW_ENGINE, "models", "inference", "training"},
    "utils": {"core"},
}
"""What the modules of each package (or a module beside the packages) may import of the others."""

FROM_ABOVE = {"", "__main__", "testing"}
"""May import anything: the public names and the program, the suites that packages are tested with."""


def name_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


EXCEPTIONS = {
    **{
        (name_of(path), "itkit.mm.datasets"): "a public dataset's class for MMEngine stands beside its converter"
        for path in ROOT.glob("dataset/*/mm_dataset.py")
    },
    (
        "itkit.dataset.convert.docs",
        "itkit.catalogue",
    ): "a program: writes a page for every dataset",
    ("itkit.models.download", "itkit.io.download"): "weights are fetched as series are; there is one downloader",
    ("itkit.models.download", "itkit.io.locks"): "and one kind of lock",
    ("itkit.cli.models", "itkit.models.registry"): "`itkit models` lists the networks; their cards need no torch",
    ("itkit.cli.doctor", "itkit.models.registry"): "`itkit doctor` lists networks of other packages",
    ("itkit.cli.doctor", "itkit.criterion.registry"): "and losses",
    ("itkit.forms.chains", "itkit.cli.adapter"): "a chain is written as command lines; there is one parser of them",
    ("itkit.forms.pages", "itkit.cli.verbs"): "the verbs of itkit are listed once; windows offer some of them",
    ("itkit.forms.trainings", "itkit.training.history"): "what a training logs is read as it is written; no torch",
}


class Arrow(NamedTuple):
    """An import of one of our modules by another."""

    source: str
    target: str
    is_for_types: bool


def package_of(name):
    return f"{name}.".split(".")[1]


def is_check_of(node, name):
    return isinstance(node, ast.If) and any(
        isinstance(part, ast.Name) and part.id == name for part in ast.walk(node.test)
    )


def imports_in(nodes, *, is_for_types=False):
    """Yield every module that code imports, wherever it stands, and whether for annotations alone.

    What runs as a program (``if __name__ == "__main__"``) is left out: nobody imports it.
    """
    for node in nodes:
        if is_check_of(node, "__name__"):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, is_for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((f"{node.module}.{alias.name}", is_for_types) for alias in node.names)
        else:
            only = is_for_types or is_check_of(node, "TYPE_CHECKING")
            yield from imports_in(ast.iter_child_nodes(node), is_for_types=only)


def arrows(trees):
    """Return the imports among modules, given by name and syntax tree."""
    found = set()
    for source, tree in trees.items():
        for name, is_for_types in imports_in(tree.body):
            target = name if name in trees else name.rpartition(".")[0]
            if target in trees and target != source:
                found.add(Arrow(source, target, is_for_types))
    return found


@cache
def ours():
    return arrows({name_of(path): tree for path, tree in sources().items()})


def upward(found):
    """Return the arrows that no direction allows; those for annotations count, too: they are knowledge all the same."""
    return sorted(
        {
            (arrow.source, arrow.target)
            for arrow in found
            if package_of(arrow.source) not in FROM_ABOVE
            and package_of(arrow.source) != package_of(arrow.target)
            and package_of(arrow.target) not in MAY_IMPORT[package_of(arrow.source)]
        }
    )


def circle(found):
    """Return modules that import each other in a circle, if any; imports for annotations never run and don't count."""
    below = {}
    for arrow in found:
        if not arrow.is_for_types:
            below.setdefault(arrow.source, set()).add(arrow.target)
    finished = set()

    def search(name, path):
        if name in path:
            return path[path.index(name) :]
        if name in finished:
            return []
        for other in sorted(below.get(name, ())):
            found = search(other, [*path, name])
            if found:
                return found
        finished.add(name)
        return []

    return next((found for name in sorted(below) if (found := search(name, []))), [])


def parsed(texts):
    return {name: ast.parse(text) for name, text in texts.items()}


def test_every_package_has_its_place():
    assert {package_of(name_of(path)) for path in sources()} <= MAY_IMPORT.keys() | FROM_ABOVE


def test_imports_go_downwards_but_for_those_that_are_named():
    assert upward(ours()) == sorted(EXCEPTIONS)


def test_no_modules_import_each_other_in_a_circle():
    assert circle(ours()) == []


def test_imports_in_functions_classes_and_branches_are_seen():
    lower = """
def late():
    try:
        from itkit.engine import runner
    except ImportError:
        import itkit.cli.main
    class Inner:
        with open("x"):
            import itkit.process.b
if __name__ == "__main__":
    import itkit.gui.app
"""
    texts = {"itkit.io.a": lower, "itkit.engine.runner": "", "itkit.cli.main": "", "itkit.gui.app": ""}
    texts["itkit.process.b"] = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from itkit.engine.runner import X\n"
    )
    assert upward(arrows(parsed(texts))) == [
        ("itkit.io.a", "itkit.cli.main"),
        ("itkit.io.a", "itkit.engine.runner"),
        ("itkit.io.a", "itkit.process.b"),
        ("itkit.process.b", "itkit.engine.runner"),
    ]


@pytest.mark.parametrize(("back", "expected"), [("", []), ("def f():\n    import itkit.core.a", 3)])
def test_a_circle_is_found_through_functions(back, expected):
    texts = {
        "itkit.core.a": "from itkit.core.b import x",
        "itkit.core.b": "from itkit.core import c",
        "itkit.core.c": back,
    }
    found = circle(arrows(parsed(texts)))
    assert found == [] if not expected else len(found) == expected


def test_torch_is_imported_by_its_users_alone():
    for path, tree in sources().items():
        if path.relative_to(ROOT).parts[0] not in {*TORCH_USERS, "testing"}:
            names = {name.split(".")[0] for name, _ in imports_in(tree.body)}
            assert "torch" not in names, path


def test_only_the_command_line_prints():
    for path, tree in sources().items():
        if path.relative_to(ROOT).parts[0] != "cli":
            calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
            assert not any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls), path


def test_vectors_are_reversed_in_axes_alone():
    """``[::-1]`` on an array's axis is fine (it has a comma); on a vector it belongs in core/axes.py."""
    for path, tree in sources().items():
        if path.relative_to(ROOT).as_posix().startswith(("core/axes", "models/", "criterion/")):
            continue
        for node in ast.walk(tree):
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
