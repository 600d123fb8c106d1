"""Texts that hold somebody's names: what a terminal and a spreadsheet get to see of them."""

from __future__ import annotations

import csv

import pytest

from itkit.core.text import csv_text, shown

OBEYED = (
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "bell\x07",
    "back\x08",
    "\u202egnp.exe",
    "\x9b2J",
    "a\nb",
    "a\u2028b",
    "\x85",
)


@pytest.mark.parametrize("text", OBEYED)
def test_what_a_terminal_obeys_is_escaped(text: str) -> None:
    assert shown(text).isascii()
    assert shown(text).isprintable()
    assert shown(text).encode().decode("unicode_escape") == text


@pytest.mark.parametrize("text", ["case_1", "Größe", "日本語\u3000症例", "مريض", "a\u00a0b", "ée\u0301"])
def test_names_of_every_script_stay_as_they_are(text: str) -> None:
    assert shown(text) == text


def test_line_ends_stay_where_they_are_asked_for() -> None:
    assert shown("a\nb\x1b", lines=True) == "a\nb\\x1b"


def test_names_that_can_not_be_decoded_are_escaped() -> None:
    assert shown("a\udcff") == "a\\udcff"


@pytest.mark.parametrize("cell", ["=cmd|'calc'!A1", "+1+1", "-2+3", "@SUM(1)", "\tx", "\rx", "-", "=1"])
def test_a_cell_that_a_spreadsheet_runs_becomes_text(cell: str) -> None:
    (row,) = csv.reader([csv_text([[cell]]).rstrip("\n")])
    assert row[0].startswith("'")


def test_numbers_stay_numbers() -> None:
    assert csv_text([["-1", "+2.5", "-.5e-3", -3, 4.5]]) == "-1,+2.5,-.5e-3,-3,4.5\n"
