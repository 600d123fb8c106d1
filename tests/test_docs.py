"""The documentation: code blocks run, every page is found, no link is dead, and the examples of commands are true."""

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import BIN

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))  # the package that makes pages

from making import building, concepts, site  # noqa: E402 - after the path
from making.examples import Example, run, run_and_draw  # noqa: E402
from making.worked import WORKED  # noqa: E402

ELSEWHERE = ("models/", "explanation/losses.md")
"""Pages whose blocks run in ``tests/models/test_model_pages.py`` and ``tests/criterion/test_losses.py``."""
PAGES = [ROOT / "README.md", *(DOCS / page for page in site.own_pages() if not page.startswith(ELSEWHERE))]
SLOW = (  # a training; MONAI, which takes long to import; many commands on the CT
    "from-dicom-to-a-network.md",
    "from-monai-scripts.md",
    "from-itkit-4.md",
    "newcomers-walk.md",
)
BLOCK = re.compile(r"(?:<!-- (skip: [^>]+) -->\n+)?^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
RUN = ("bash", "python")
SHOWN = ("text", "toml", "json", "yaml", "ini", "csv", "xml")
"""Languages of blocks that are no commands: outputs and files."""


def shown_path(page):
    return page.relative_to(ROOT).as_posix()


def cases():
    for page in PAGES:
        yield pytest.param(page, id=shown_path(page), marks=[pytest.mark.slow] if page.name in SLOW else [])


@pytest.mark.parametrize("page", [*cases()])
def test_code_blocks_run(page, tmp_path):
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    for skip, language, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        if skip or language not in RUN:
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


def test_every_block_of_code_runs_or_says_why_not():
    unsaid = []
    for name, text in {**site.own_pages(), "README.md": (ROOT / "README.md").read_text(encoding="utf-8")}.items():
        for skip, language, _ in BLOCK.findall(text):
            if not skip and language not in (*RUN, *SHOWN):
                unsaid.append(f"{name}: {language or 'no language'}")
    assert unsaid == []


def test_a_block_that_is_not_run_is_seen():
    found = BLOCK.findall("<!-- skip: why -->\n```bash\na\n```\n\n```console\nb\n```\n")
    assert [(skip, language) for skip, language, _ in found] == [("skip: why", "bash"), ("", "console")]


@pytest.fixture(scope="module")
def pages():
    """Return every page of the site, those that the build makes included, without the outputs of examples."""
    return {**site.own_pages(), **building.made_pages()}


def test_every_page_is_in_the_navigation_once(pages):
    listed = site.navigation()
    assert sorted(listed) == sorted(pages)


def test_no_link_is_dead(pages):
    assert site.dead_links(pages, building.made_pictures()) == []


def test_dead_links_are_seen(pages):
    text = "[a](nowhere.md) [b](index.md#no-such-heading) ![c](images/none.png) [d](index.md) [e](../README.md)"
    dead = site.dead_links({**pages, "bad.md": text}, set())
    assert [one for one in dead if one.startswith("bad.md")] == [
        "bad.md: nowhere.md",
        "bad.md: index.md#no-such-heading",
        "bad.md: images/none.png",
        "bad.md: ../README.md",
    ]


def test_no_page_asks_another_server_for_anything(pages):
    asking = re.compile(r"!\[[^\]]*\]\((?:https?:)?//|<(?:img|script|link|iframe|video)\b[^>]*(?:https?:)?//")
    assert [name for name, text in pages.items() if asking.search(text)] == []


def test_no_page_names_a_path_of_a_machine(pages):
    assert [name for name, text in pages.items() if re.search(r"/(?:root|work|home/\w+|tmp)/\w", text)] == []


def test_every_option_stands_on_its_commands_page_with_unit_and_default(pages):
    page = pages["reference/commands/itk_resample.md"]
    entry = page.split("`--spacing Z Y X`")[1].split("\n`")[0]
    assert "order Z Y X" in entry
    assert "mm" in entry
    assert "default: -1 -1 -1" in entry
    assert "> 0, or -1" in entry
    assert "`--shard SHARD`" in pages["reference/every-command.md"]


def test_what_an_example_printed_stands_on_its_page_in_lines_that_fit():
    from making.commands import command_page, commands
    from making.examples import Printed

    command = WORKED["itk_orient"].commands[0]
    page = command_page("itk_orient", commands()["itk_orient"], {"itk_orient": [Printed(command, "word " * 40)]})
    shown = page.split("It prints:")[1].split("![")[0]
    assert shown.count("word") == 40
    assert max(map(len, shown.splitlines())) <= 90


def test_every_operation_has_an_example_or_needs_an_extra():
    from making.commands import commands

    assert {name for name in commands() if name.startswith("itk_")} - set(WORKED) == {"itk_infer", "itk_wsi"}


def test_an_example_is_run_and_drawn(tmp_path):
    from itkit.cli.demo import write_torso_dataset

    write_torso_dataset(tmp_path / "data")
    printed, picture = run_and_draw("itk_orient", WORKED["itk_orient"], tmp_path / "data", tmp_path / "work")
    assert printed[0].output.startswith("3 done, 0 skipped, 0 failed")
    assert str(tmp_path) not in printed[0].output
    assert picture.startswith("<svg")
    with pytest.raises(RuntimeError, match="exit code 2"):
        run(Example("", ("itk_orient raw elsewhere XYZ",)), tmp_path / "work" / "itk_orient")


def test_pictures_of_concepts_are_drawn_and_hold_no_link():
    for name, draw in concepts.PICTURES.items():
        svg = draw()
        links = re.findall(r'href="([^"]{0,20})', svg)
        assert all(link.startswith("data:image/png") for link in links), name
        assert "http" not in svg.replace("http://www.w3.org/2000/svg", ""), name


def test_the_picture_of_axes_tells_the_truth():
    """The voxel that the picture names has the value and the point that it says, by SimpleITK."""
    import SimpleITK as sitk

    svg = concepts.axis_order()
    z, y, x = map(int, re.search(r"array_zyx\[(\d+), (\d+), (\d+)\]", svg).groups())
    image = sitk.ReadImage(str(ROOT / "itkit" / "data" / "torso" / "image.nii.gz"))
    assert image.GetPixel(x, y, z) == int(re.search(r"= (-?\d+) HU", svg)[1])
    point = [round(value) for value in image.TransformIndexToPhysicalPoint((x, y, z))]
    assert f"({', '.join(map(str, point))})" in svg


@pytest.mark.parametrize("name", ["commands", "python_pages", "site"])
def test_the_examples_of_what_makes_pages_run(name):
    failures, tried = doctest.testmod(importlib.import_module(f"making.{name}"))
    assert failures == 0
    assert tried


@pytest.mark.slow
def test_the_example_with_most_steps_runs(tmp_path):
    """All others run when the site is built."""
    from itkit.cli.demo import write_torso_dataset

    write_torso_dataset(tmp_path / "data")
    run_and_draw("itk_check", WORKED["itk_check"], tmp_path / "data", tmp_path / "work")


def test_the_check_of_a_built_site_sees_what_is_wrong(tmp_path, monkeypatch):
    import check_site

    head = '<script src="https://cdn.example/a.js"></script><link rel="stylesheet" href="style.css">'
    body = '<h1 id="top"></h1><a href="b/c.html#here">1</a><a href="b/c.html#there">2</a><a href="../up.html">3</a>'
    (tmp_path / "b").mkdir()
    (tmp_path / "style.css").write_text("a { src: url('https://fonts.example/f.woff2') } b { src: url(g.woff2) }")
    (tmp_path / "a.html").write_text(head + body)
    (tmp_path / "b" / "c.html").write_text('<p id="here"></p><a href="../a.html#top">4</a><img src="none.png">')
    (tmp_path / "search.json").write_text('{"items": [{"location": "a.html#top"}]}')
    monkeypatch.setattr(check_site, "navigation", lambda: ["a.md", "b/c.md", "d.md"])
    assert [*check_site.faults(tmp_path)] == [
        "d.md: the navigation lists it, and it was not built",
        "a.html: asks another server for https://cdn.example/a.js",
        "a.html: b/c.html#there: no such place on that page",
        "a.html: ../up.html leads nowhere",
        "b/c.html: none.png leads nowhere",
        "style.css: asks another server for https://fonts.example/f.woff2",
        "b/c.html: the search does not know it",
    ]


def test_the_tour_names_paths_that_exist():
    tour = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("A tour:")[1].split("## ")[0]
    paths = re.findall(r"\| `([^`]+)` \|", tour)
    assert len(paths) == 10
    assert [path for path in paths if not (ROOT / path).is_file()] == []
