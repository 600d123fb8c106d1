"""The page of messages has the text of every error in the sources, and of those that commands really print."""

import ast
import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import sources

from itkit.core import errors
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import write_volume

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "how-to" / "troubleshooting.md"
ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.ItkitError)}


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("generate_troubleshooting", ROOT / "docs/generate_troubleshooting.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for it there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_page_is_what_the_sources_say(generator):
    assert PAGE.read_text(encoding="utf-8") == generator.page(), "run: python docs/generate_troubleshooting.py"


def longest_parts():
    """Yield the longest constant part of every text that an error is made from."""
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS):
                continue
            text = node.args[0] if node.args else None
            parts = text.values if isinstance(text, ast.JoinedStr) else [text]
            fixed = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            if fixed:
                yield path.name, node.lineno, max(fixed, key=len)


def test_every_error_is_on_it(generator):
    page = " ".join(PAGE.read_text(encoding="utf-8").split()).replace(" | ", "; ")
    found = list(longest_parts())
    assert len(found) > 300
    missing = [
        (name, line, part)
        for name, line, part in found
        for piece in re.split(r"; ", " ".join(part.split()))
        if len(piece) > 3 and generator.cell(piece.strip()) not in page
    ]
    assert missing == []


def test_every_kind_of_error_has_its_section(generator):
    used = {name for name, texts in generator.messages().items() if texts} - {generator.NOTES}
    assert used <= ERRORS
    assert ERRORS - {"ItkitError"} == set(generator.SECTIONS)
    assert PAGE.read_text(encoding="utf-8").count("\n## ") == len(used) + 1


@pytest.mark.parametrize(
    "words",
    [
        ("itk_orient", "nowhere", "out", "RAS"),
        ("itk_orient", "raw", "raw/out", "RAS"),
        ("itk_orient", "raw", "out", "RAS"),
        ("itk_orient", "raw", "out", "RAS", "--shard", "3/2"),
        ("itk_patch", "raw", "out", "--patch-size", "4"),
        ("itk_resample", "dataset", "raw", "out", "--spacing", "1", "1", "1"),
        ("itk_resample", "image", "raw", "out", "--spacing", "1", "1", "1", "--size", "4", "4", "4"),
    ],
)
def test_what_commands_say_is_found(generator, words, tmp_path, command):
    write_volume(Volume(np.zeros((4, 5, 6), np.int16), Geometry((4, 5, 6), (1.0, 1.0, 1.0))), tmp_path / "raw/a.nrrd")
    (tmp_path / "raw/b.mha").write_bytes(b"")
    (tmp_path / "raw/c.mha").write_bytes(b"hello" * 99)
    code, _, stderr = command(*words, cwd=tmp_path)
    assert code in (1, 2)
    templates = [text for texts in generator.messages().values() for text in texts]
    patterns = [re.compile(".*?".join(map(re.escape, text.split(generator.DOTS)))) for text in templates]
    for line in stderr.splitlines():
        said = re.sub(r"^(itk_\w+: error|failed|note): (?:[bc]: )?", "", line)
        assert any(pattern.search(said) for pattern in patterns), said
