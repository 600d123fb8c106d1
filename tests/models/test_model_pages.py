import importlib.util
import json
import re
from pathlib import Path

import pytest

from itkit.models import list_models, model_card
from itkit.models.registry import FAMILIES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "models"


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("generate_models", ROOT / "docs" / "generate_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_what_the_cards_say(generator):
    written = {path.name: path.read_text() for path in FOLDER.glob("*.md")}
    assert written == generator.pages(), "run: python docs/generate_models.py"


def test_every_network_is_listed_with_its_numbers(generator):
    index = (FOLDER / "index.md").read_text()
    for name in list_models(plugins=False):
        row = next(line for line in index.splitlines() if f"`{name}`" in line and line.startswith("|"))
        assert re.search(r"\d M \|", row), row
        assert re.search(r"\d G at \d+ x \d+", row), row


def test_every_card_names_paper_and_repository_and_its_page_shows_them():
    for card in map(model_card, list_models(plugins=False)):
        assert re.fullmatch(r"10\.\d{4,9}/[^\s]+", card.doi), card.name
        assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", card.repository), card.name
        if arxiv := re.fullmatch(r"10\.48550/arXiv\.(\d{2})(\d{2})\.\d{5}", card.doi):
            assert 2000 + int(arxiv[1]) <= card.year + 1, card.name
        page = (FOLDER / f"{card.family}.md").read_text()
        assert f"{card.paper}, [doi:{card.doi}](https://doi.org/{card.doi})" in page, card.name
        assert f"<{card.repository}>" in page, card.name


@pytest.mark.parametrize("page", ["index", *FAMILIES])
def test_the_examples_run(page):
    if page == "swin_unetr":
        pytest.importorskip("einops")
    blocks = re.findall(r"```python\n(.*?)```", (FOLDER / f"{page}.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, f"{page}.md", "exec"), {})


def test_what_was_tried_is_what_the_cards_say():
    measured = json.loads((FOLDER / "measured.json").read_text())
    for trial, flag in (("onnx", "onnx"), ("compile", "compiles")):
        for key, found in measured.get(trial, {}).items():
            assert getattr(model_card(key.partition("/")[0]), flag) == ("error" not in found), (trial, key, found)
            assert found.get("difference", 0) < 1e-3, (trial, key, found)
