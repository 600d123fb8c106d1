"""``python -m itkit VERB``: what ``itkit VERB`` does."""

from itkit.cli.main import command

if __name__ == "__main__":
    raise SystemExit(command())
