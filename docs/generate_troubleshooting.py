"""Write ``docs/how-to/troubleshooting.md`` from the error texts in the sources.

Run ``python docs/generate_troubleshooting.py``; ``make help-pages`` runs it as well.

The sources are parsed, not imported. A message is what an error of ITKIT's tree is made from: a text, the parts of a
text that depend on a condition, or what a function beside it returns. Warnings, notes and the reasons that are put
into errors are sentences that a function returns or adds to a list. A part that differs from run to run (a path, a
number) is shown as ``…``. A function's parameter ``advice`` stands for every text that a call of it gives.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "how-to" / "troubleshooting.md"
DOTS = "…"
ADVICE = "advice"

SECTIONS: Mapping[str, tuple[str, str]] = {
    "ParamsError": (
        "A parameter is wrong",
        "Exit code 2: nothing ran, nothing was written. Correct the command line; `--help` shows order, unit and "
        "default of every option.",
    ),
    "LayoutError": (
        "A folder is not what the command needs",
        "Exit code 2: nothing ran, nothing was written. `itk_check check FOLDER` shows what a folder holds.",
    ),
    "MissingExtraError": ("An optional package is missing", "Exit code 2: nothing ran."),
    "PluginError": ("A plug-in can't be used", "`itkit doctor` lists all plug-ins. All else goes on working."),
    "CaseSkipped": ("A case is left out", "Exit code 0: the case is named in the summary and the manifest."),
    "CaseError": ("A case fails", "Exit code 1: the others are done. Run the same command again when it is mended."),
    "ReadError": (
        "A file can't be read",
        "Exit code 1: its case fails, the others are done. `itk_check check FOLDER --deep` finds all such files.",
    ),
    "UndecodableError": ("Pixels of a DICOM file can't be decoded", "Exit code 1: its series fails."),
    "IrregularSeriesError": (
        "The slices of a DICOM series make no regular volume",
        "Exit code 1: the series fails, `dicom_report.csv` has the reason. See "
        "[From DICOM to a dataset](from-dicom-to-a-dataset.md).",
    ),
    "NotDicomError": ("A file is not DICOM", "Exit code 1, if nothing else was found."),
    "WriteError": ("A file can't be written", "Exit code 1: no part of the case is left under its final name."),
    "DiskFullError": ("The disk is full", "Exit code 1; 2 before a first step. Nothing is half-written."),
    "GeometryMismatchError": ("Two grids differ", "Exit code 1: the case fails, because voxels would not match."),
    "LabelError": ("A label map holds what it must not hold", "Exit code 1: the case fails."),
    "DownloadError": ("A download fails", "Exit code 1. Run the command again: it continues where it stopped."),
    "ResourceError": ("A case needs too much memory", "Exit code 1: the case fails, the others are done."),
    "ArgumentError": ("An argument of a Python function is wrong", "It is also a `ValueError`."),
    "GeometryError": ("Numbers are not those of a voxel grid", "It is also a `ValueError`."),
    "ModelError": ("A network or a loss is wrong", "It is also a `ValueError`."),
    "WeightsError": ("Weights can't be used", "It is also a `ValueError`."),
    "RequestError": ("A web server refuses a request", "The client is told; nothing was changed."),
    "NotServedError": ("A path is not served", "Missing, outside the root, or no file: all look alike to the client."),
    "TooManyError": ("More than a server does at once", "Wait until something has ended."),
    "BusyError": ("Too many volumes are read at once", "Wait a moment, and try again."),
    "FullError": ("A server's queue is full", "Wait until a job has ended."),
    "UploadError": ("An upload can't be taken", "It is malformed, or holds too much."),
}  # fmt: skip
"""Title and advice of each error's section, in the order of the page."""
NOTES = "Warnings, notes, and reasons"
REASONS = {"io/dicom/stack.py": "IrregularSeriesError", "core/grids.py": "GeometryMismatchError"}
"""Where all other texts are the reasons of one error."""
WITH_NOTES = ("core/grids.py", "dataset/", "engine/", "io/", "process/")
NO_NOTES = ("dataset/convert/docs.py", "dataset/Totalsegmentator/classes.py", "engine/functions.py",
            "io/child.py", "io/formats/itk_tasks.py", "io/dicom/pixel_tasks.py")  # fmt: skip
"""Where texts are no messages: pages, tables, programs."""
CHECKED_BY_PYDANTIC = ("process/", "dataset/", "core/params.py", "core/fields.py", "engine/options.py")
"""Where a ``ValueError`` is a parameter's: pydantic hands its text on."""


@dataclass(frozen=True)
class Module:
    """A module's tree, and the functions in it by name."""

    place: str
    tree: ast.Module
    advice: Mapping[str, Sequence[str]]

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        """All functions and methods by name."""
        return {node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)}

    def texts(self, node: ast.expr, seen: frozenset[str] = frozenset()) -> list[str]:
        """Return the texts that an expression may have; empty where it comes from elsewhere."""
        if isinstance(node, ast.Constant):
            return [node.value] if isinstance(node.value, str) else []
        if isinstance(node, ast.JoinedStr):
            found = [""]
            for part in node.values:
                more = [part.value] if isinstance(part, ast.Constant) else self._chosen(part, seen)
                found = [f"{before}{text}" for before in found for text in more]
            return found
        if isinstance(node, ast.IfExp):
            return [*self.texts(node.body, seen), *self.texts(node.orelse, seen)]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = self.texts(node.left, seen) or [DOTS], self.texts(node.right, seen) or [DOTS]
            return [f"{a}{b}" for a in left for b in right]
        if isinstance(node, ast.Call):
            return self._returned(node, seen)
        return []

    def _chosen(self, part: ast.expr, seen: frozenset[str]) -> list[str]:
        """Return the texts of a part of a text; ``…`` unless it is one of two texts."""
        value = part.value if isinstance(part, ast.FormattedValue) else part
        if isinstance(value, ast.Name) and value.id == ADVICE:
            return [*self.advice.get(self._around.get(value, ""), [DOTS])]
        is_choice = isinstance(value, ast.IfExp) and all(
            isinstance(one, ast.Constant) and isinstance(one.value, str) for one in (value.body, value.orelse)
        )
        return self.texts(value, seen) if is_choice else [DOTS]

    @cached_property
    def _around(self) -> dict[ast.Name, str]:
        """For each place of an advice, the function that it stands in."""
        return {
            node: name
            for name, function in self.functions.items()
            for node in ast.walk(function)
            if isinstance(node, ast.Name) and node.id == ADVICE
        }

    def _returned(self, call: ast.Call, seen: frozenset[str]) -> list[str]:
        name = called(call)
        function = self.functions.get(name)
        if function is None or name in seen:
            return []
        returns = [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value]
        return [text for value in returns for text in self.texts(value, seen | {name})]


def called(call: ast.Call) -> str:
    """Return the last name of what is called."""
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


@cache
def modules() -> tuple[Module, ...]:
    """Return every module of the package."""
    package = ROOT / "itkit"
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(package.rglob("*.py"))}
    advice = advice_of(trees.values())
    return tuple(Module(path.relative_to(package).as_posix(), tree, advice) for path, tree in trees.items())


def advice_of(trees: Iterable[ast.Module]) -> dict[str, list[str]]:
    """Return the texts that calls give as advice, by the function that is called."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    places = {
        node.name: [argument.arg for argument in node.args.args].index(ADVICE)
        for node in nodes
        if isinstance(node, ast.FunctionDef) and any(argument.arg == ADVICE for argument in node.args.args)
    }
    found: dict[str, set[str]] = {name: set() for name in places}
    for node in nodes:
        if isinstance(node, ast.Call) and called(node) in places and len(node.args) > places[called(node)]:
            text = node.args[places[called(node)]]
            found[called(node)] |= {text.value if isinstance(text, ast.Constant) else DOTS}
    return {name: sorted(texts) for name, texts in found.items() if texts}


def error_names() -> dict[str, str]:
    """Return the names of ITKIT's errors, each with the section that it belongs to."""
    tree = ast.parse((ROOT / "itkit" / "core" / "errors.py").read_text(encoding="utf-8"))
    return {node.name: node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)} | {"ItkitError": ""}


def items(node: ast.expr) -> Iterator[ast.expr]:
    """Yield the texts in a value: of lists, of each choice, and the value itself."""
    if isinstance(node, (ast.Tuple, ast.List)):
        for one in node.elts:
            yield from items(one)
    elif isinstance(node, ast.Starred):
        yield from items(node.value)
    elif isinstance(node, ast.IfExp):
        yield from (*items(node.body), *items(node.orelse))
    elif isinstance(node, (ast.ListComp, ast.GeneratorExp)):
        yield from items(node.elt)
    elif isinstance(node, ast.Call) and called(node) in ("Fault", "Report", "Skipped", "append", "extend"):
        for one in node.args:
            yield from items(one)
    elif isinstance(node, (ast.Constant, ast.JoinedStr, ast.BinOp)):
        yield node


def notes(module: Module) -> set[str]:
    """Return the sentences that a module's functions return, keep, or add to a list."""
    found: set[str] = set()
    for node in ast.walk(module.tree):
        values: list[ast.expr] = []
        if isinstance(node, (ast.Yield, ast.Return, ast.Assign, ast.AnnAssign, ast.AugAssign)) and node.value:
            values = [*items(node.value)]
        elif isinstance(node, ast.Call):
            values = [*items(node)] if called(node) in ("Fault", "Report", "Skipped", "append", "extend") else []
        found |= {tidy(text) for value in values for text in module.texts(value)}
    return {text for text in found if is_sentence(text)}


def is_sentence(text: str) -> bool:
    """Return whether a text reads like a message."""
    words = [word for word in text.replace(DOTS, " ").split() if word.strip(",;:.()?").isalpha()]
    return len(words) >= 4 and len(text) < 300 and not set("<`#") & set(text)


@cache
def messages() -> Mapping[str, set[str]]:
    """Return the messages of each error, and the notes."""
    known = error_names()
    found: dict[str, set[str]] = {name: set() for name in SECTIONS}
    for module in modules():
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = called(node)
            if name == "ValueError" and module.place.startswith(CHECKED_BY_PYDANTIC):
                name = "ParamsError"
            if known.get(name) or name in found:
                found.setdefault(name, set()).update(map(tidy, module.texts(node.args[0])))
    found = {name: {text for text in texts if text.strip(f"{DOTS} :;,.()")} for name, texts in found.items()}
    known_texts = {text for texts in found.values() for text in texts}
    found[NOTES] = set()
    for module in modules():
        if module.place.startswith(WITH_NOTES) and module.place not in NO_NOTES:
            found[REASONS.get(module.place, NOTES)] |= notes(module) - known_texts
    return found


def tidy(text: str) -> str:
    """Return a message in one line, with one sign for each part that varies."""
    line = " ".join(text.split())
    while f"{DOTS}{DOTS}" in line:
        line = line.replace(f"{DOTS}{DOTS}", DOTS)
    return line


_NO_ADVICE = (
    DOTS,
    "-1",
    "got",
    "expected",
    "found",
    "files",
    "is",
    "it",
    "its",
    "the",
    "there",
    "they",
    "with",
    "rule:",
)


def split(message: str) -> tuple[str, str]:
    """Return what a message says, and what it says to do.

    >>> split("…: the file is empty; copy it again")
    ('…: the file is empty', 'copy it again')
    """
    said, _, advice = message.rpartition("; ")
    is_advice = said.strip(f"{DOTS} :;,.()") and advice.split(" ")[0].rstrip(",") not in _NO_ADVICE
    return (said, advice) if is_advice else (message, "")


def cell(text: str) -> str:
    """Return a text as a table's cell."""
    return text.replace("|", "\\|").replace("`", "'").replace("<", "&lt;") if text else ""


_ABOUT_NOTES = (
    "Warnings and notes change no exit code; the summary names the cases with warnings, and the manifest keeps them. "
    "Some of these texts are parts of the messages above."
)


def page() -> str:
    """Return the page."""
    parts = [
        "# Troubleshooting by message",
        "<!-- made by docs/generate_troubleshooting.py from the error texts in the sources; do not edit -->",
        "Search this page for a few words of the message that you got. `…` stands for what differs from case to case: "
        "a path, a number, a name. Every message says where, what, and, if one thing is likely to help, what to do.",
        "The summary line counts failures and names their cases; `.itkit/manifest.jsonl` in the destination has the "
        "message of each. [Resume, redo, and failures](resume-and-failures.md) says what happens to the other cases.",
        "```bash\n"
        "itk_check check nowhere || test $? = 2     # 2: nothing could run\n"
        "mkdir -p raw && printf 'no volume' > raw/a.nii.gz\n"
        "itk_check check raw --deep || test $? = 1  # 1: some case failed, and is named\n"
        "```",
    ]
    for name, texts in messages().items():
        if texts:
            title, advice = SECTIONS.get(name, (name, _ABOUT_NOTES))
            rows = sorted((split(text) for text in texts), key=lambda row: (row[0].strip(f"{DOTS} :").lower(), row))
            lines = [f"| {cell(said)} | {cell(todo)} |" for said, todo in rows]
            kind = f"`{name}`. " if name in SECTIONS else ""
            parts += [f"## {title}", f"{kind}{advice}", "\n".join(["| message | what to do |", "|---|---|", *lines])]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
