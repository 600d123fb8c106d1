"""Every code block of the documentation runs, or says why it does not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import BIN

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- (skip: [^>]+) -->\n)?^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks_run(page, tmp_path):
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    ran = 0
    for skip, language, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        if skip or language not in ("bash", "python"):
            continue
        call = (
            ["bash", "-euo", "pipefail", "-c", code]
            if language == "bash"
            else [sys.executable, "-W", "ignore", "-c", code]
        )
        done = subprocess.run(
            call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        ran += 1
    assert ran or page.name == "index.md"


def test_the_tour_names_paths_that_exist():
    tour = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("A tour:")[1].split("## ")[0]
    paths = re.findall(r"\| `([^`]+)` \|", tour)
    assert len(paths) == 10
    assert [path for path in paths if not (ROOT / path).is_file()] == []
