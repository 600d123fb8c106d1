"""Write texts that are made from the models: ``python -m itkit.cli.help_pages``.

With the help pages, commands print their help without importing their models. With the descriptions, parameters keep
theirs in installations without sources. With the stubs, type checkers know the functions of `itkit.commands`. In a
checkout, the manual pages (``man/man1``) and the page of messages (``docs/how-to/troubleshooting.md``) are written,
too. Tests check that all of them are up to date.
"""

from __future__ import annotations

from pathlib import Path
from runpy import run_path

from itkit.catalogue import CATALOGUE, load
from itkit.cli.function_stubs import stub_text
from itkit.cli.help import help_text
from itkit.cli.man import all_pages
from itkit.cli.operation import HELP_FOLDER
from itkit.cli.verbs import tools
from itkit.core import params
from itkit.core.params import DESCRIPTIONS, Params, place_of
from itkit.engine.options import RunOptions
from itkit.io.disk import write_text
from itkit.io.json_files import write_json

STUBS = Path(__file__).parent.parent / "commands.pyi"
MESSAGES = Path(__file__).parents[2] / "docs" / "generate_troubleshooting.py"
"""The script that writes the page of messages."""
MANUAL = Path(__file__).parents[2] / "man" / "man1"
"""The manual pages, which installations get as share/man/man1."""


def descriptions() -> dict[str, dict[str, str]]:
    """Return the descriptions of all parameters of our commands, from the sources, by model and parameter."""
    models: list[type[Params]] = [RunOptions, *(load(name).params for name in CATALOGUE)]
    models += [tool.params for tool in tools().values()]
    bases = {base for model in models for base in model.__mro__}
    ours = sorted((base for base in bases if issubclass(base, Params)), key=place_of)
    found = {place_of(model): model.own_descriptions() for model in ours}
    return {place: texts for place, texts in found.items() if texts}


def main() -> None:
    """Write the help page of every operation, descriptions, the types of the functions, and the manual pages."""
    write_json(Path(params.__file__).with_name(DESCRIPTIONS), descriptions())
    for name in CATALOGUE:
        write_text(Path(HELP_FOLDER, f"{name}.txt"), help_text(load(name)))
    write_text(STUBS, stub_text())
    if MESSAGES.is_file():  # in a checkout
        for name, text in all_pages().items():
            write_text(MANUAL / name, text)
        run_path(str(MESSAGES), run_name="__main__")


if __name__ == "__main__":
    main()
