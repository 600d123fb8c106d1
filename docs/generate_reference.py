"""Write ``docs/reference/commands.md`` from the parameter models: ``python docs/generate_reference.py``."""

from __future__ import annotations

from pathlib import Path

from itkit.catalogue import CATALOGUE, load
from itkit.cli.help import help_text


def page() -> str:
    """Return the reference of all commands."""
    parts = ["# Commands", "Made from the parameter models."]
    for name, (_, summary) in CATALOGUE.items():
        parts += [f"## {name}", f"{summary[0].upper()}{summary[1:]}.", f"```text\n{help_text(load(name))}```"]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    target = Path(__file__).parent / "reference" / "commands.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text(page(), encoding="utf-8")
