"""The Python reference: signatures and docstrings of the public names, read from the sources without importing them."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from itkit.catalogue import CATALOGUE
from making.commands import block, joined, table

PACKAGE = Path(__file__).parents[2] / "itkit"
WIDTH = 88


@dataclass(frozen=True)
class Page:
    """A page of the reference: its title, what it is for, and the modules whose public names it holds."""

    title: str
    text: str
    modules: Sequence[str]
    names: Sequence[str] = ()


PAGES: Mapping[str, Page] = {
    "volumes": Page(
        "Volumes and operations",
        "`import itkit` gives these names. They load when they are first used.",
        ("itkit",),
    ),
    "metrics": Page("Metrics", "Overlap, distances and lesions, and statistics over cases.", ("itkit.metrics",)),
    "datasets": Page(
        "Datasets for training", "Cases of a folder as arrays, and random patches.", ("itkit.dataset.folder",)
    ),
    "models": Page("Networks", "The registry of networks; needs the extra `train`.", ("itkit.models",)),
    "losses": Page(
        "Losses", "Losses by name; needs the extra `train`.", ("itkit.criterion.registry", "itkit.criterion.modules")
    ),
    "inference": Page("Inference", "Trained networks on whole volumes.", ("itkit.inference",)),
    "training": Page(
        "Training",
        "Plans, and their task and data for Lightning; needs the extra `train`.",
        ("itkit.training.plan_file", "itkit.lightning"),
    ),
    "deploy": Page("Export", "One file that proves that it computes the same.", ("itkit.deploy",)),
    "pathology": Page("Whole slides", "Needs the extra `pathology`.", ("itkit.pathology",)),
    "files": Page(
        "Files",
        "Readers and writers of volumes, DICOM series and datasets.",
        ("itkit.io.sitk_toolkit", "itkit.io.nii_toolkit", "itkit.io.dcm_toolkit"),
    ),
    "errors": Page("Errors", "All errors of ITKIT; every one is an `ItkitError`.", ("itkit.core.errors",)),
    "operations": Page(
        "For authors of operations",
        "What a command of your own is made of; see [Add a command](../../how-to/add-a-command.md).",
        ("itkit.core.operation", "itkit.core.fields", "itkit.testing.phantoms"),
    ),
}


def pages() -> dict[str, str]:
    """Return all pages of the Python reference by their path below ``docs``."""
    return {
        "reference/python.md": index_page(),
        **{f"reference/python/{name}.md": module_page(page) for name, page in PAGES.items()},
    }


def index_page() -> str:
    """Return the overview of the Python reference, with the function of every command."""
    functions = [
        (f"`itkit.{entry.function or name}`", f"[`{name}`](commands/{name}.md)")
        for name, entry in CATALOGUE.items()
        if entry.group == "process"
    ]
    return joined(
        [
            "# Python",
            "Begin with [Use it from Python](../how-to/use-from-python.md). Arrays are Z Y X, physical points X Y Z in "
            "LPS and mm; names say which.",
            table(
                ("page", "what for"),
                ((f"[{page.title}](python/{name}.md)", _plain_links(page.text)) for name, page in PAGES.items()),
            ),
            "## A function for every command",
            "Each takes the parameters of its command, and returns the records of all cases.",
            table(("function", "command"), functions),
            "Converters have the name of their operation: `itkit.convert_kits23`.",
        ]
    )


def _plain_links(text: str) -> str:
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)


def module_page(page: Page) -> str:
    """Return the page of some modules."""
    parts = [f"# {page.title}", page.text]
    for module in page.modules:
        parts.append(f"## {module}")
        tree = parsed(module)
        doc = ast.get_docstring(tree)
        parts += prose(doc) if doc else []
        for name in public_names(module):
            parts += [*entity(module, name)]
    return joined(parts)


@cache
def parsed(module: str) -> ast.Module:
    """Return the tree of a module."""
    return ast.parse(path_of(module).read_text(encoding="utf-8"))


def path_of(module: str) -> Path:
    """Return the file of a module of ours."""
    place = PACKAGE.parent.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def imported(module: str) -> dict[str, tuple[str, str]]:
    """Return the names that a module imports from others of ours, each with its module and name there."""
    found = {}
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("itkit"):
            for one in node.names:
                found[one.asname or one.name] = (str(node.module), one.name)
    return found


def public_names(module: str) -> list[str]:
    """Return the public names of a module: ``__all__``, or those of a package, or what the module defines."""
    for node in parsed(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [*ast.literal_eval(node.value)]
    if path_of(module).name == "__init__.py":
        return [name for name in imported(module) if name != "*" and definition(module, name) is not None]
    kinds = (ast.FunctionDef, ast.ClassDef)
    defined = [node for node in parsed(module).body if isinstance(node, kinds)]
    own = [node.name for node in defined if not node.name.startswith("_") and ast.get_docstring(node)]
    return own or [name for name in imported(module) if definition(module, name) is not None]


def definition(module: str, name: str) -> ast.FunctionDef | ast.ClassDef | None:
    """Return where a name is defined, through modules that hand it on; ``None`` for values."""
    for node in parsed(module).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return node
    home = imported(module).get(name)
    is_elsewhere = home is not None and home[0] != module and path_of(home[0]).is_file()
    return definition(*home) if home is not None and is_elsewhere else None


def entity(module: str, name: str) -> Iterator[str]:
    """Yield the parts of the page about a function or a class, with its public methods."""
    node = definition(module, name)
    if node is None:
        return
    yield f"### {name}"
    if isinstance(node, ast.FunctionDef):
        yield block("python", signature(node, name))
        yield from prose(ast.get_docstring(node) or "")
        return
    yield block("python", class_head(node))
    yield from prose(ast.get_docstring(node) or "")
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_") and ast.get_docstring(method):
            decorators = {ast.unparse(one) for one in method.decorator_list}
            is_value = bool(decorators & {"property", "cached_property"})
            shown = f"{name}.{method.name}"
            yield f"#### {shown}"
            if not is_value:
                yield block("python", signature(method, shown, bound="staticmethod" not in decorators))
            yield from prose(ast.get_docstring(method) or "", depth=5)


def signature(node: ast.FunctionDef, name: str, *, bound: bool = False) -> str:
    """Return a function's head, in several lines if it is long."""
    arguments = ast.unparse(node.args)
    if bound:
        arguments = arguments.partition(", ")[2] if "," in arguments else ""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{name}({arguments}){returns}"
    if len(line) <= WIDTH:
        return line
    return f"{name}(\n{''.join(f'    {one},{chr(10)}' for one in split_arguments(arguments))}){returns}"


def split_arguments(arguments: str) -> list[str]:
    """Return the arguments of a head one by one.

    Examples
    --------
    >>> split_arguments("a: dict[str, int], b=(1, 2)")
    ['a: dict[str, int]', 'b=(1, 2)']
    """
    found, depth, start = [], 0, 0
    for at, sign in enumerate(arguments):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            found.append(arguments[start:at].strip())
            start = at + 1
    return [*found, arguments[start:].strip()]


def class_head(node: ast.ClassDef) -> str:
    """Return a class's first line, and the fields that it declares."""
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    lines = [f"class {node.name}({bases})" if bases else f"class {node.name}"]
    for one in node.body:
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and not one.target.id.startswith("_"):
            value = f" = {ast.unparse(one.value)}" if one.value else ""
            lines.append(f"    {one.target.id}: {ast.unparse(one.annotation)}{value}")
        elif isinstance(one, ast.FunctionDef) and one.name == "__init__":
            lines = [signature(one, node.name, bound=True)]
    return "\n".join(lines)


_SECTION = re.compile(r"^(\w[\w ]*)\n(-{3,})$", re.MULTILINE)
_LISTED = ("Parameters", "Attributes", "Returns", "Yields", "Raises", "Other Parameters", "Warns")


def prose(doc: str, *, depth: int = 4) -> list[str]:
    """Return a docstring in the form of numpydoc as parts of a page."""
    del depth  # sections are bold lines: they would crowd the table of contents
    places = [(match.start(), match.end(), match[1]) for match in _SECTION.finditer(doc)]
    parts = [*paragraphs(doc[: places[0][0] if places else len(doc)])]
    for number, (_, end, title) in enumerate(places):
        body = doc[end : places[number + 1][0] if number + 1 < len(places) else len(doc)].strip("\n")
        parts.append(f"**{title}**")
        if title in _LISTED:
            parts += definitions(body)
        elif title == "References":
            parts += [f"- {said(one)}" for one in re.sub(r"^\.\. ", "", body, flags=re.MULTILINE).split("\n[")]
        else:
            parts += paragraphs(body)
    return parts


def definitions(body: str) -> Iterator[str]:
    """Yield the entries of a section: a line for the name, indented lines that describe it."""
    for entry in re.split(r"\n(?=\S)", body):
        name, _, text = entry.partition("\n")
        told = said(" ".join(textwrap.dedent(text).split()))
        yield f"`{name.strip()}`\n\n:   {told}" if told else f"`{name.strip()}`"


def paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a text: prose, literal blocks and examples of the interpreter."""
    literal = False
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        stripped = textwrap.dedent(paragraph)
        if not stripped.strip():
            continue
        if stripped.lstrip().startswith(">>>"):
            yield block("pycon", stripped)
        elif literal and paragraph.startswith(" "):
            yield block("python", stripped)
            continue
        elif stripped.strip() != "::":
            yield said(stripped.removesuffix(":") if stripped.endswith("::") else stripped)
        literal = stripped.rstrip().endswith("::")


def said(text: str) -> str:
    """Return reStructuredText as Markdown.

    Examples
    --------
    >>> said("``a`` is `b` [1]_, see <x>")
    '`a` is `b` [1], see &lt;x&gt;'
    """
    plain = text.replace("``", "`").replace("]_", "]")
    pieces = plain.split("`")
    for at in range(0, len(pieces), 2):
        pieces[at] = re.sub(r"([*_])", r"\\\1", pieces[at].replace("<", "&lt;").replace(">", "&gt;"))
    return "`".join(pieces)
