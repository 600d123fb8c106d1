"""``itkit man``: manual pages for ``man``, made from the help of the commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import model_validator

from itkit.catalogue import ALIASES, CATALOGUE, find, load, named
from itkit.cli.help import Help, help_of
from itkit.cli.main import SCRIPTS
from itkit.cli.umbrella import command_groups, find_operation
from itkit.cli.verbs import VERBS, tools
from itkit.core.errors import ParamsError
from itkit.core.fields import PathRole, Positional, Suggest
from itkit.core.params import Params
from itkit.core.plugins import resolve
from itkit.core.text import did_you_mean
from itkit.core.tool import Tool
from itkit.io.disk import write_text

SECTION = 1
_UMBRELLA = "Turn any pile of CT and MR volumes into a clean, uniform, training-ready dataset, and train on it."
_DATASETS = "convert official releases of datasets to image/ and label/"
_WINDOWS = "the windows of ITKIT: jobs, a viewer, trainings"


class ManParams(Params):
    """Print the manual page of a command, for man; or write the pages of all commands into a folder."""

    command: Annotated[str, Suggest("verbs"), Positional("VERB")] = ""
    """The command (default: itkit itself)."""
    dest: Annotated[Path | None, PathRole("out_folder")] = None
    """Folder to write the pages of all commands into, such as ~/.local/share/man/man1."""

    @model_validator(mode="after")
    def _check_one_task(self) -> ManParams:
        if self.command and self.dest is not None:
            raise ValueError(f"--dest writes the pages of all commands; leave out {self.command!r}")
        return self


def run(params: ManParams) -> int:
    """Print a page, or write all of them."""
    if params.dest is None:
        print(page(params.command or "itkit"), end="")
        return 0
    pages = all_pages()
    params.dest.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        write_text(params.dest / name, text)
    print(f"{len(pages)} pages in {params.dest}")
    return 0


def all_pages() -> dict[str, str]:
    """Return the page of every program and verb, by file name; converters share the page of ``convert-dataset``."""
    names = ["itkit", "itkit-app", "convert-dataset", *named("process"), *tools()]
    return {f"{title_of(name)}.{SECTION}": page(name) for name in names}


def title_of(name: str) -> str:
    """Return the name of a command's page: that of its program, or, as git has it, ``itkit-VERB``.

    Examples
    --------
    >>> title_of("itk_check"), title_of("train"), title_of("web"), title_of("mmrun"), title_of("itkit")
    ('itk_check', 'itkit-train', 'itkit-web', 'mmrun', 'itkit')
    """
    is_program = name.startswith(("itk_", "itkit")) or name in SCRIPTS
    return name if is_program else f"itkit-{name}"


def page(name: str) -> str:
    """Return the manual page of a verb or operation.

    Raises
    ------
    ParamsError
        When there is no such command.
    """
    if name == "itkit":
        groups = tuple((title, tuple(rows.items())) for title, rows in command_groups().items())
        told = Help("itkit verb [arguments]", _UMBRELLA, groups, "itkit help resample")
        return roff(name, "medical images to datasets to networks", told)
    if name in ("itkit-app", "convert-dataset"):
        path, summary = ("itkit.gui.app:USAGE", _WINDOWS) if name == "itkit-app" else ("", _DATASETS)
        return text_page(title_of(name), summary, resolve(path) if path else resolve("itkit.cli.datasets:usage")())
    tool = tools().get(name)
    if tool is not None:
        title = title_of(name)
        return roff(title, VERBS[name].summary, help_of(tool))
    operation = _operation(name) or _operation(f"convert_{name}")
    if operation is None:
        hint = did_you_mean(name, [*CATALOGUE, *VERBS])
        raise ParamsError(f"no command {name!r}{hint} (itkit list shows all)")
    return roff(title_of(operation), find(operation).summary, help_of(load(operation)))


def _operation(word: str) -> str | None:
    return ALIASES[word][0] if word in ALIASES else find_operation(word)


def roff(title: str, summary: str, told: Help) -> str:
    """Return a help as a manual page.

    Parameters
    ----------
    title
        Name of the page.
    summary
        What the command does, in a few words.
    told
        The help.
    """
    lines = [*_head(title, summary), ".SH SYNOPSIS", f".B {_escaped(told.usage)}"]
    lines += [".SH DESCRIPTION", *_paragraph(told.intro)]
    for heading, rows in told.groups:
        lines.append(f'.SH "{_escaped(heading.partition(" (")[0].upper())}"')
        for left, right in rows:
            lines += [".TP", f".B {_escaped(left)}", *_paragraph(right)]
    lines += [".SH EXAMPLE", *_as_it_stands(told.example)]
    if told.closing:
        lines.append('.SH "EXIT STATUS"')
        for part in told.closing.split("; "):
            code, _, meaning = part.partition(" ")
            lines += [".TP", f".B {code}", *_paragraph(f"{meaning}.")]
    return "\n".join([*lines, *_see_also(title)]) + "\n"


def text_page(title: str, summary: str, text: str) -> str:
    """Return a help that is a text already as a manual page."""
    lines = [*_head(title, summary), ".SH DESCRIPTION", *_as_it_stands(text.strip("\n")), *_see_also(title)]
    return "\n".join(lines) + "\n"


def _head(title: str, summary: str) -> Iterator[str]:
    yield '.\\" Made from the models by: python -m itkit.cli.help_pages'
    yield f'.TH "{_escaped(title.upper())}" {SECTION} "" "ITKIT" "ITKIT"'
    yield ".nh"
    yield ".ad l"
    yield ".SH NAME"
    yield f"{_escaped(title)} \\- {_escaped(summary)}"


def _see_also(title: str) -> list[str]:
    return [] if title == "itkit" else ['.SH "SEE ALSO"', f".BR itkit ({SECTION})"]


def _paragraph(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield _escaped(line)


def _as_it_stands(text: str) -> list[str]:
    return [".nf", ".RS 2", *(_escaped(line) for line in text.splitlines()), ".RE", ".fi"]


def _escaped(text: str) -> str:
    """Return a text without what roff takes for its own."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    text = re.sub(r"[^\x00-\x7f]", lambda found: f"\\[u{ord(found[0]):04X}]", text)
    return f"\\&{text}" if text.startswith((".", "'")) else text


TOOL = Tool("itkit man", ManParams, run, "itkit man resample > itk_resample.1")
