"""A rule stands in one place: nobody writes out again what a module of ours has said already.

Each test looks for the form in which a second definition would come (a literal, a pattern), not for a name.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from helpers import sources

import itkit
from itkit.core import files, params
from itkit.core.axes import IDENTITY_XYZ

ROOT = Path(itkit.__file__).parent
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def pieces(tree):
    """Return all pieces of code of a module, docstrings left out."""
    nodes = list(ast.walk(tree))
    bodies = [node.body for node in nodes if isinstance(node, DOCUMENTED)]
    said = {id(line.value) for body in bodies for line in body if isinstance(line, ast.Expr)}
    return [node for node in nodes if id(node) not in said]


@cache
def pieces_of_all_modules():
    return {path.relative_to(ROOT).as_posix(): pieces(tree) for path, tree in sources().items()}


def places(predicate, modules=None):
    """Return the modules that hold a piece of code for which a predicate is true, and how many such pieces."""
    counts = {
        name: sum(map(bool, map(predicate, nodes)))
        for name, nodes in (pieces_of_all_modules() if modules is None else modules).items()
    }
    return {name: count for name, count in counts.items() if count}


def is_text(node, pattern):
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(re.search(pattern, node.value))


def is_call_of(node, name):
    return isinstance(node, ast.Call) and name in (getattr(node.func, "id", ""), getattr(node.func, "attr", ""))


def constants(node):
    """Return the values of a tuple, list, set or ``Literal``; empty for other code."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal":
        node = node.slice
    items = node.elts if isinstance(node, (ast.Tuple, ast.List, ast.Set)) else []
    return [item.value for item in items if isinstance(item, ast.Constant)]


def is_set_of(values):
    return lambda node: len(constants(node)) == len(values) and set(constants(node)) == set(values)


def is_list_of_extensions(node):
    """Three of them are all; ``.mhd`` and ``.nhdr``, or the two of NIfTI, are said of a format."""
    return len(set(constants(node)) & set(files.VOLUME_EXTENSIONS)) > 2


def is_identity(node):
    """Nine numbers, zeros but for the diagonal, in one row."""
    return constants(node) == list(IDENTITY_XYZ)


def test_extensions_of_volumes():
    assert places(is_list_of_extensions) == {"core/files.py": 1}
    as_pattern = places(lambda node: is_text(node, r"\\\.(nii|mha|nrrd)\b.*\|"))
    assert as_pattern == {}


@pytest.mark.parametrize("name", [files.SERIES_META, files.DATASET_META, files.STATE_FOLDER])
def test_names_of_files_that_several_layers_know(name):
    assert places(lambda node: isinstance(node, ast.Constant) and node.value == name) == {"core/files.py": 1}


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (files.Compression, "core/files.py"),
        (params.OverlapRule, "core/params.py"),
        (params.ChannelLayout, "core/params.py"),
    ],
)
def test_choices_that_several_operations_offer(kind, place):
    def is_definition(node):
        return isinstance(node, ast.Subscript) and is_set_of(kind.__args__)(node)

    assert places(is_definition) == {place: 1}


def test_lists_that_are_cut_short():
    assert places(lambda node: is_text(node, r"^ (and )?more\b")) == {"core/text.py": 1}


def test_downloads_that_are_continued():
    assert places(lambda node: is_text(node, r"^bytes=$")) == {"io/download.py": 1}


def test_locks_of_files():
    locks = places(lambda node: isinstance(node, ast.Attribute) and node.attr in ("flock", "lockf", "locking"))
    assert locks.keys() == {"io/locks.py"}


def test_close_words():
    assert places(lambda node: isinstance(node, ast.Attribute) and node.attr == "get_close_matches") == {
        "core/text.py": 1
    }


def test_identity_matrix():
    assert places(is_identity) == {"core/axes.py": 1}


def test_shell_and_escaping_of_pages():
    assert places(lambda node: is_text(node, r"(?i)<!doctype|<html")) == {"report/pages.py": 1}
    escapes = places(lambda node: is_call_of(node, "escape") and ast.unparse(node.func) in ("html.escape", "escape"))
    # the others are no pages: a piece of a notebook, the cells of a spreadsheet
    assert escapes == {"report/pages.py": 1, "core/volume.py": 1, "report/workbook.py": 1}
    pictures = places(lambda node: is_text(node, "data:image"))
    assert pictures == {"core/thumbnail.py": 1}


def test_painting_and_smallest_types():
    def tries_types(node):
        return constants(node)[:2] == ["uint8", "uint16"] and len(constants(node)) == 4

    assert places(tries_types) == {"kernels/arrays.py": 1}
    keeps_ranks = places(lambda node: isinstance(node, ast.ClassDef) and node.name in ("Canvas", "Painter"))
    assert keeps_ranks == {"kernels/paint.py": 1}


def test_millilitres_of_a_class():
    def divides(node):
        return (
            isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Div)
            and isinstance(node.right, ast.Constant)
            and node.right.value in (1000, 1000.0)
            and re.search("spacing|dz", ast.unparse(node.left)) is not None
        )

    assert places(divides) == {"core/geometry.py": 1}


def test_random_numbers_of_a_case():
    seeds = places(lambda node: is_call_of(node, "crc32") and "crc32(case_id" in ast.unparse(node))
    assert seeds.keys() == {"core/draws.py"}
    picks = places(lambda node: is_call_of(node, "start_around"))
    assert picks == {"kernels/draws.py": 1}


def test_version_of_itkit():
    import_names = r"^\d+\.\d+\.\d+(\.\w+)?$"
    assigns = places(
        lambda node: (
            isinstance(node, ast.Assign)
            and is_text(node.value, import_names)
            and any("VERSION" in ast.unparse(target) for target in node.targets)
        )
    )
    assert assigns == {"core/version.py": 1}


SECOND = """
'''A page may say <html> and series_meta.json.'''
_SUFFIXES = (".mha", ".nii", ".nrrd")
_REGEX = r"(?i:\\.nii|\\.mha)"
_DIRECTION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
def f(names):
    '''Write dataset.json.'''
    return ", ".join(names[:5]) + f" and {len(names) - 5} more"
"""


def test_what_the_system_says_of_a_file_that_can_not_be_written():
    """`write_error` knows what to do about it, too."""
    assert places(lambda node: is_call_of(node, "WriteError") and "strerror" in ast.unparse(node)) == {}


def test_a_second_definition_is_seen_and_a_docstring_is_none():
    modules = {"second": pieces(ast.parse(SECOND))}
    assert places(is_list_of_extensions, modules) == {"second": 1}
    assert places(lambda node: is_text(node, r"\\\.(nii|mha|nrrd)\b.*\|"), modules) == {"second": 1}
    assert places(is_identity, modules) == {"second": 1}
    assert places(lambda node: is_text(node, r"^ (and )?more\b"), modules) == {"second": 1}
    assert places(lambda node: is_text(node, r"<html|series_meta|dataset\.json"), modules) == {}
