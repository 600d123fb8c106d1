"""The help texts that commands print without importing their models: ``python -m itkit.cli.help_pages`` writes them."""

from __future__ import annotations

from pathlib import Path

from itkit.catalogue import CATALOGUE, load
from itkit.cli.help import help_text
from itkit.cli.main import HELP_FOLDER
from itkit.io.meta import write_text


def main() -> None:
    """Write the help page of every command."""
    for name in CATALOGUE:
        write_text(Path(HELP_FOLDER, f"{name}.txt"), help_text(load(name)))


if __name__ == "__main__":
    main()
