"""Pages: whatever a text holds, it reads on the page as it was written."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from itkit.core.operation import Record
from itkit.report import plots
from itkit.report.chain import Step, _far_apart, report_page
from itkit.report.pages import MISSING, Html, Ranked, Section, element, figure, number, page, table
from itkit.report.style import STYLE
from itkit.report.tables import check_report
from itkit.testing import phantoms

NASTY = "<script>&\"' {case} %s"


class Page(HTMLParser):
    """What a browser would see: elements, texts, classes of rows and cells, pictures."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.classes, self.pictures = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.classes += [value for name, value in attrs if name == "class"]
        self.pictures += [dict(attrs)] if tag == "img" else []

    def handle_data(self, data):
        self.texts.append(data)


def test_every_text_is_escaped_where_it_enters():
    found = Page(page(NASTY, NASTY, [element("h2", NASTY), table([NASTY], [[NASTY]]), NASTY, Html("<hr>")]))
    assert "script" not in found.tags
    assert "hr" in found.tags
    assert "".join(found.texts).count(NASTY) == 7  # title twice, intro, h2, head, cell, plain part


def test_a_caption_is_also_what_a_screen_reader_says():
    found = Page(figure(NASTY, np.zeros((2, 3, 3), np.uint8)).text)
    assert found.pictures[0]["alt"] == NASTY
    assert found.pictures[0]["src"].startswith("data:image/png;base64,")
    assert found.texts == [NASTY]


def test_numbers_stand_on_the_right_but_names_do_not():
    found = Page(table(["case", "ml", "note"], [["001", "-1.5", "2 x 3"]], marked=[True]).text)
    assert found.classes == ["scroll", "n", "bad", "n"]


def test_a_page_needs_no_other_file_and_no_network():
    rows = [["1", Ranked("2 x 3", 6.0)], ["2", Ranked("none", "")]]
    text = page("t", "i", [Section(name, [table(["a", "b"], rows)]) for name in "abc"])
    assert not re.findall(r"(?:src|href|url|@import)\s*[=(]\s*[\"'](?!#|data:)", text)
    assert "http" not in text
    found = Page(text)
    assert found.tags.count("nav") == 1
    assert found.tags.count("section") == 3
    assert text.count('data-key="6.0"') == 3
    assert text.startswith("<!doctype html>")


def test_both_themes_know_every_colour():
    names = set(re.findall(r"var\((--[a-z-]+)", STYLE + "".join(Path(plots.__file__).read_text().split())))
    light, dark = STYLE.split("@media (prefers-color-scheme: dark)", 1)
    for theme in (light, dark.split("} }")[0]):
        assert names == set(re.findall(r"(--[a-z-]+):", theme))


def test_numbers_are_written_without_a_negative_zero():
    assert [number(-0.0), number(-0.04), number(1e9, 0), number(None)] == ["0.0", "0.0", "1000000000", MISSING]


def test_the_report_of_a_check_marks_what_does_not_conform():
    records = [Record("a<b", "done", facts={"size": (4, 5, 6)}), Record("002", "nonconforming", message=NASTY)]
    found = Page(check_report(records, ".HTML"))
    assert "2 samples, 1 of them nonconforming." in found.texts
    assert found.classes.count("bad") == 1
    assert {"a<b", "4 5 6", "conforming", "nonconforming", NASTY} <= set(found.texts)


def test_the_page_of_a_chain_shows_each_case_before_and_after(tmp_path):
    for name, cases in (("raw", 2), ("out/resampled", 2)):
        phantoms.write_dataset(tmp_path / name, cases)
    steps = [Step(f"itk_check {NASTY}", NASTY, "2 done", 1.234, 0, 2, 0)]
    found = Page(report_page(tmp_path / "raw", tmp_path / "out", steps, {1: NASTY}, NASTY))
    captions = [picture["alt"] for picture in found.pictures]
    assert captions == 2 * [
        f"{plane}, {when}" for plane in ("axial", "coronal", "sagittal") for when in ("before", "after")
    ]
    assert f"itk_check {NASTY}" in found.texts
    assert f"1 {NASTY}" in found.texts
    assert {"1.23", "0.62"} <= set(found.texts)


def test_patches_that_are_shown_lie_far_from_each_other():
    points = {f"{z}{x}": (10.0 * x, 0.0, 10.0 * z) for z in range(4) for x in range(4)}
    assert set(_far_apart(points, 4)) == {"00", "03", "30", "33"}
    assert len(_far_apart(points, 99)) == 16
