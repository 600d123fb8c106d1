"""Tables about cases: which column is which, and what is refused."""

import os

import pytest

from itkit.core import bounded
from itkit.core.errors import ParamsError
from itkit.io.tables import read_table


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_rows_by_case_whatever_separates_the_cells(tmp_path, delimiter):
    lines = ["patient, case ,site", "p1,a, north", "p2,b,south", ""]
    (tmp_path / "t.csv").write_text("\ufeff" + "\n".join(line.replace(",", delimiter) for line in lines))
    table = read_table(tmp_path / "t.csv")
    assert table.columns == ("patient", "site")
    assert table.column("site") == {"a": "north", "b": "south"}
    with pytest.raises(ParamsError, match="no column 'age'; it has patient, site"):
        table.column("age")


def test_the_first_column_holds_the_cases_if_none_is_called_so(tmp_path):
    (tmp_path / "t.csv").write_text('id,text\na,"x, y"\n')
    assert read_table(tmp_path / "t.csv").rows == {"a": {"text": "x, y"}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a line with the names"),
        ("case,x\n", "expected a line with the names"),
        ("case,x,x\na,1,2\n", "two columns have the same name"),
        ("case,x\na,1\na,2\n", "the case 'a' has two rows"),
        ("case,x\na\n", "row 2 has 1 cells; expected 2"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, text, said):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ParamsError, match=said):
        read_table(tmp_path / "t.csv")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ParamsError, match=r"--table .*none\.csv: can't be read"):
        read_table(tmp_path / "none.csv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are POSIX's")
def test_a_table_that_never_ends_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    for name in ("pipe.csv", "zero.csv"):
        with pytest.raises(ParamsError, match=f"{name}: can't be read \\(it is not a file"):
            read_table(tmp_path / name)


def test_a_table_of_too_many_cells_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("case,x\n" + "a,1\n" * 50)
    monkeypatch.setattr(bounded, "MOST_CELLS", 100)
    with pytest.raises(ParamsError, match="it holds more than 100 cells"):
        read_table(tmp_path / "a.csv")
