"""Manual pages and the help of verbs: made from the models, complete, and readable by ``man``."""

import re
import shutil
import subprocess

import pytest

from itkit.catalogue import load, named
from itkit.cli import man, umbrella
from itkit.cli.help import help_of, help_text
from itkit.cli.help_pages import MANUAL
from itkit.cli.man import ManParams, all_pages, page, run
from itkit.cli.verbs import VERBS, tools
from itkit.core.errors import ParamsError


@pytest.fixture(scope="module")
def pages():
    return all_pages()


def plain(text):
    """Return the text of a page as a reader sees it."""
    text = re.sub(r"\\\[u([0-9A-F]{4,6})\]", lambda found: chr(int(found[1], 16)), text)
    return text.replace("\\-", "-").replace("\\(dq", '"').replace("\\&", "").replace("\\e", "\\")


def test_the_pages_of_the_tree_follow_the_models(pages):
    stored = {path.name: path.read_text(encoding="utf-8") for path in MANUAL.iterdir()}
    assert stored == pages, "run: make help-pages"


def test_every_program_and_verb_has_a_page_with_all_its_options(pages):
    assert pages.keys() >= {f"{name}.1" for name in ("itkit", "itkit-app", "itkit-web", "mmrun", *named("process"))}
    assert len(pages) == 2 + len(named("process")) + len(VERBS)
    for name in named("process"):
        told = plain(pages[f"{name}.1"])
        for _, rows in help_of(load(name)).groups:
            assert [left for left, right in rows if f"{left}\n{right}" not in told] == []


def test_no_line_of_a_page_is_a_request_by_accident(pages):
    known = {".TH", ".nh", ".ad", ".SH", ".B", ".BR", ".TP", ".nf", ".fi", ".RS", ".RE", '.\\"'}
    for name, text in pages.items():
        lines = [line for line in text.splitlines() if line.startswith((".", "'"))]
        assert {line.split()[0] for line in lines} <= known, name
        assert text.isascii(), name


@pytest.mark.parametrize("program", [name for name in ("mandoc",) if shutil.which(name)])
def test_mandoc_finds_nothing_wrong(program):
    call = [program, "-T", "lint", "-W", "warning", *sorted(MANUAL.iterdir())]
    told = subprocess.run(call, capture_output=True, text=True, check=False).stdout.splitlines()
    assert [line for line in told if "missing date" not in line] == []


@pytest.mark.parametrize("word", ["check", "itk_check", "kits23", "brats2024_ped", "train", "convert-dataset", "itkit"])
def test_a_page_is_found_by_every_name(word):
    assert page(word).startswith('.\\" Made from the models')


def test_an_unknown_command_is_told_and_pages_are_written(tmp_path, capsys, pages, monkeypatch):
    monkeypatch.setattr(man, "all_pages", lambda: pages)
    with pytest.raises(ParamsError, match="no command 'trrain'; did you mean 'train'"):
        page("trrain")
    assert run(ManParams(dest=tmp_path / "man1")) == 0
    assert len(list((tmp_path / "man1").iterdir())) == len(pages)
    assert "pages in" in capsys.readouterr().out


@pytest.mark.parametrize("verb", tools())
def test_help_verb_is_verb_help(verb, capsys):
    assert umbrella.main(["help", verb]) == 0
    by_help = capsys.readouterr().out
    assert umbrella.main([verb, "--help"]) == 0
    assert capsys.readouterr().out == by_help == help_text(tools()[verb], prog=f"itkit {verb}")
    assert "example:" in by_help


def test_help_without_a_verb_lists_all_and_knows_operations_and_datasets(capsys):
    for words, expected in (
        ([], umbrella.usage()),
        (["resample"], "usage: itkit resample {image,label,dataset}"),
        (["convert-dataset", "kits23"], "usage: itkit convert-dataset kits23 source dest"),
    ):
        assert umbrella.main(["help", *words]) == 0
        assert capsys.readouterr().out.startswith(expected)
    assert umbrella.main(["help", "resampel"]) == 2
    assert "did you mean 'resample'" in capsys.readouterr().err


def test_a_command_and_a_folder_for_all_exclude_each_other(tmp_path, capsys):
    assert umbrella.main(["man", "resample", "--dest", str(tmp_path / "man1")]) == 2
    assert "--dest writes the pages of all commands; leave out 'resample'" in capsys.readouterr().err
    assert not (tmp_path / "man1").exists()
