"""The table of cases names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| ([\w, ]+) \| .* \| (tests/\S+\.py)(?:::(\w+))? \|$", re.MULTILINE)


def test_every_test_of_the_table_exists():
    table = (ROOT / "tests/cases/README.md").read_text(encoding="utf-8")
    rows = ROW.findall(table)
    assert len(rows) > 70
    for _, path, name in rows:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in text, f"{path}::{name}"
    named = {case for cases, _, _ in rows for case in cases.split(", ")}
    assert len(named) > 50
