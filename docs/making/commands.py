"""A page for every command, made from its parameter model; pages of converters, and of verbs without a model."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from posixpath import normpath
from typing import Any

from itkit.catalogue import CATALOGUE, load, named
from itkit.cli.adapter import models_of
from itkit.cli.help import help_of
from itkit.cli.verbs import VERBS, tools
from itkit.core.fields import Bounds, markers, option_name
from itkit.core.operation import Operation
from itkit.core.tool import Tool
from making.examples import Example, Printed, picture_of
from making.worked import WORKED

GUIDES: Mapping[str, tuple[str, ...]] = {
    "itk_check": ("prepare-a-dataset.md",),
    "itk_resample": ("prepare-a-dataset.md", "../explanation/resampling.md"),
    "itk_orient": ("prepare-a-dataset.md", "../explanation/orientation.md"),
    "itk_patch": ("prepare-a-dataset.md", "train-from-patches.md"),
    "itk_aug": ("augment-a-dataset.md",),
    "itk_extract": ("several-channels.md",),
    "itk_stats": ("measure-a-dataset.md",),
    "itk_convert": ("from-dicom-to-a-dataset.md", "exchange-with-other-tools.md"),
    "itk_evaluate": ("evaluate.md",),
    "itk_collect": ("collect-any-folder.md",),
    "itk_describe": ("several-channels.md",),
    "itk_enhance": ("enhance-images.md",),
    "itk_align": ("align-images.md",),
    "itk_combine": ("combine-labels.md",),
    "itk_split": ("split-a-dataset.md",),
    "itk_presegment": ("presegment.md",),
    "itk_crop": ("crop.md",),
    "itk_postprocess": ("postprocess.md",),
    "itk_infer": ("apply-a-network.md",),
    "itk_wsi": ("whole-slides.md",),
    "run": ("run-a-pipeline.md",),
    "plan": ("plan-a-training.md",),
    "train": ("train-your-first-network.md", "train-longer.md"),
    "validate": ("train-your-first-network.md",),
    "predict": ("train-your-first-network.md",),
    "export": ("export-a-network.md",),
    "bench": ("export-a-network.md",),
    "serve": ("serve-a-network.md", "use-3d-slicer.md"),
    "mm-convert": ("move-from-mmengine.md",),
    "mmrun": ("run-mmengine-experiments.md",),
    "web": ("use-itkit-web.md",),
    "demo": ("../start/five-minutes.md",),
    "completion": ("set-up-your-shell.md",),
    "man": ("set-up-your-shell.md",),
}
"""The guides of each command, below ``docs/how-to``."""
WIDTH = 90
"""Letters in a line of output on a page."""
_OPTION = re.compile(r"(?<![\w`-])(--?[a-z][\w-]*|<[\w-]+>)(?![\w`-])")


def pages(printed: Mapping[str, Sequence[Printed]] | None = None) -> dict[str, str]:
    """Return all pages of commands by their path below ``docs``; ``printed`` is what the examples printed."""
    found = {
        f"reference/commands/{name}.md": command_page(name, command, printed) for name, command in commands().items()
    }
    return {
        "reference/commands.md": index_page(),
        "reference/every-command.md": common_page(),
        "reference/converters.md": converters_page(),
        **found,
    }


@cache
def commands() -> dict[str, Operation[Any] | Tool[Any]]:
    """Return every command that has a model by name: operations of the group ``process``, and verbs."""
    return {**{name: load(name) for name in named("process")}, **tools()}


@dataclass(frozen=True)
class Entry:
    """An argument or option on a page: how it is written, what it does, and its range, axes, unit and default."""

    shown: str
    text: str
    notes: str

    def markdown(self) -> str:
        """Return it as an item of a list of definitions."""
        said = f" *{safe(self.notes)}*" if self.notes else ""
        text = self.text if self.text.endswith((".", ")")) else f"{self.text}."
        return f"`{self.shown}`\n\n:   {safe(text)}{said}"


def entries(command: Operation[Any] | Tool[Any], group: str) -> list[Entry]:
    """Return the arguments or options of a command under one title of its help."""
    ranges = {
        option_name(name): bounds.text()
        for model in models_of(command)
        for name, field in model.model_fields.items()
        for bounds in markers(field, Bounds)
    }
    found = []
    for shown, text in dict(help_of(command).groups).get(group, ()):
        told, _, notes = text.removesuffix("]").rpartition(" [") if text.endswith("]") else (text, "", "")
        limit = next((limit for option, limit in ranges.items() if option in shown.split()), "")
        found.append(Entry(shown, told, "; ".join(filter(None, (limit, notes)))))
    return found


def command_page(
    name: str, command: Operation[Any] | Tool[Any], printed: Mapping[str, Sequence[Printed]] | None = None
) -> str:
    """Return the page of one command."""
    is_operation = isinstance(command, Operation)
    told = help_of(command)
    extra = CATALOGUE[name].extra if is_operation else ""
    needs = f" Some inputs need the extra `{extra}`: `pip install 'itkit[{extra}]'`." if extra else ""
    parts = [f"# {command.name}", safe(told.intro) + needs]
    guides = [f"[{title_of(guide)}](../../{normpath(f'how-to/{guide}')})" for guide in GUIDES.get(name, ())]
    parts += [f"Guide: {', '.join(guides)}."] if guides else []
    parts.append(block("text", told.usage))
    if name in WORKED:
        parts += example_parts(name, WORKED[name], (printed or {}).get(name, ()))
    parts += ["## One more command line" if name in WORKED else "## Example", block("text", told.example)]
    for title, group in (("Arguments", "arguments"), ("Options", "options")):
        rows = entries(command, group)
        parts += [f"## {title}", *(row.markdown() for row in rows)] if rows else []
    if is_operation:
        parts += [
            "## What every command has",
            "Workers, dry runs, resuming, limits of memory and more: [options of every command](../every-command.md).",
            "## From Python",
            block("python", f"import itkit\n\nhelp(itkit.{CATALOGUE[name].function or name})  # the same parameters"),
        ]
    return joined(parts)


def example_parts(name: str, example: Example, printed: Sequence[Printed]) -> Iterator[str]:
    """Yield the worked example of a command: what is run, what it printed, and the picture of the result."""
    yield "## A worked example"
    yield example.text
    outputs = {one.command: one.output for one in printed}
    before = "itkit demo --only-data raw    # the CT of a torso that comes with ITKIT\n"
    yield block("bash", before + "\n".join(example.commands))
    lines = "\n".join(outputs.get(command, "") for command in example.commands).splitlines()
    if any(lines):
        yield "It prints:"
        yield block("text", "\n".join(folded(line) for line in lines if line))
    if example.draw is not None:
        yield f"![{example.caption}](../../{picture_of(name)})"
        yield example.caption


def folded(line: str) -> str:
    """Return a line that is longer than a page is wide as several, those after the first indented."""
    return textwrap.fill(line, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False) or line


def index_page() -> str:
    """Return the list of all commands."""
    parts = [
        "# Commands",
        "Each page is made from the model that also gives the command its options, checks, help, forms and JSON "
        "schema. The examples were run, and the pictures drawn, when these pages were built.",
        "Numbers on the command line are **Z Y X** unless an option says otherwise.",
        "## Operations on cases",
        table(("command", "what it does"), ((link(name), CATALOGUE[name].summary) for name in named("process"))),
        "## Other verbs",
        table(
            ("verb", "what it does"),
            ((link(name, f"itkit {name}"), verb.summary) for name, verb in VERBS.items()),
        ),
    ]
    return joined(parts)


def link(name: str, shown: str = "") -> str:
    """Return a link to the page of a command."""
    return f"[`{shown or name}`]({f'commands/{name}.md' if name in commands() else 'converters.md'})"


def common_page() -> str:
    """Return the page of the options that every operation has."""
    command = load("itk_check")
    return joined(
        [
            "# Options of every command",
            "All operations on cases, converters among them, take these options. "
            "What they mean together: [Resume, redo, and failures](../how-to/resume-and-failures.md).",
            *(row.markdown() for row in entries(command, "options of every command")),
            "## Exit codes",
            f"{capital(help_of(command).closing)}.",
        ]
    )


def converters_page() -> str:
    """Return the page of all converters of datasets: what they share, and what single ones have besides."""
    names = named("convert")
    rows = {name: _own_entries(name) for name in (*names, *named("export"), *named("download"))}
    shared = [row for row in rows[names[0]] if all(row in rows[name] for name in names)]
    parts = [
        "# Converters",
        "`itkit convert-dataset NAME SOURCE DEST` turns a release of a public dataset into `image/`, `label/` and "
        "`dataset.json`; each dataset has [a page](../datasets/index.md) with its files, classes and peculiarities. "
        "They also take the [options of every command](every-command.md).",
        "## Options of every converter",
        *(row.markdown() for row in shared),
    ]
    for name, own in rows.items():
        summary = CATALOGUE[name].summary
        parts += [f"## {name}", f"{safe(summary)}.", block("text", load(name).example)]
        parts += [row.markdown() for row in own if row not in shared]
    return joined(parts)


def _own_entries(name: str) -> list[Entry]:
    return [*entries(load(name), "arguments"), *entries(load(name), "options")]


def title_of(guide: str) -> str:
    """Return the title of a guide."""
    from making.site import DOCS

    return (DOCS / "how-to" / guide).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def block(language: str, code: str) -> str:
    """Return a block of code."""
    return f"```{language}\n{code.rstrip()}\n```"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def safe(text: str) -> str:
    """Return a text of the models as Markdown: options as code, and no sign taken for markup.

    Examples
    --------
    >>> print(safe("with --fill, for <name>"))
    with `--fill`, for `<name>`
    """
    pieces = text.split("`")
    for at in range(0, len(pieces), 2):
        pieces[at] = _OPTION.sub(r"`\1`", re.sub(r"([*_\[\]])", r"\\\1", pieces[at]))
    return "`".join(pieces)


def capital(text: str) -> str:
    """Return a text with a capital first letter."""
    return text[:1].upper() + text[1:]


def joined(parts: Iterable[str]) -> str:
    """Return the parts of a page as its text."""
    return "\n\n".join(parts) + "\n"
