"""Write ``docs/reference/commands.md`` and ``converters.md`` from the models: ``python docs/generate_reference.py``."""

from __future__ import annotations

from pathlib import Path

from itkit.catalogue import CATALOGUE, load, named
from itkit.cli.help import help_text


def page(title: str, *groups: str) -> str:
    """Return the reference of the operations of some groups."""
    parts = [f"# {title}", "Made from the parameter models."]
    for name in (name for group in groups for name in named(group)):
        summary = CATALOGUE[name].summary
        parts += [f"## {name}", f"{summary[0].upper()}{summary[1:]}.", f"```text\n{help_text(load(name))}```"]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    folder = Path(__file__).parent / "reference"
    folder.mkdir(exist_ok=True)
    (folder / "commands.md").write_text(page("Commands", "process"), encoding="utf-8")
    (folder / "converters.md").write_text(page("Converters", "convert", "export", "download"), encoding="utf-8")
