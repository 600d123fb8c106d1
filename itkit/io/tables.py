"""Read tables about cases: CSV files with a row for each case."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from itkit.core.bounded import read_table_text
from itkit.core.errors import ParamsError
from itkit.core.text import some

_CASE = "case"
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Table:
    """A table about cases.

    Parameters
    ----------
    columns
        Names of the columns, without that of the cases.
    rows
        Text of each column, by case.
    """

    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def column(self, name: str) -> dict[str, str]:
        """Return a column by case.

        Raises
        ------
        ParamsError
            When there is no such column.
        """
        if name not in self.columns:
            raise ParamsError(f"the table has no column {name!r}; it has {some(self.columns)}")
        return {case: row[name] for case, row in self.rows.items()}


def read_table(path: Path, option: str = "--table") -> Table:
    """Read a CSV file: the first line names the columns; the column ``case``, else the first one, holds the case ids.

    Columns are separated by commas, semicolons or tabs. Blanks around a text do not count.

    Parameters
    ----------
    path
        The file, in UTF-8.
    option
        The option that names it, for messages.

    Raises
    ------
    ParamsError
        When the file can't be read, has no row, or names a column or a case twice.
    """
    where = f"{option} {path}"
    try:
        text = read_table_text(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ParamsError(f"{where}: can't be read ({reason})") from error
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        lines = [[cell.strip() for cell in line] for line in csv.reader(text.splitlines(), delimiter=delimiter)]
    except csv.Error as error:
        raise ParamsError(f"{where}: not a table ({error})") from error
    lines = [line for line in lines if any(line)]
    if len(lines) < 2:
        raise ParamsError(f"{where}: expected a line with the names of the columns, and a row for each case")
    names = lines[0]
    if len(set(names)) < len(names):
        raise ParamsError(f"{where}: two columns have the same name: {some(names)}")
    place = names.index(_CASE) if _CASE in names else 0
    rows: dict[str, Mapping[str, str]] = {}
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(names):
            raise ParamsError(f"{where}: row {number} has {len(line)} cells; expected {len(names)}")
        if line[place] in rows:
            raise ParamsError(f"{where}: the case {line[place]!r} has two rows")
        rows[line[place]] = {name: cell for name, cell in zip(names, line, strict=True) if name != names[place]}
    return Table(tuple(name for name in names if name != names[place]), rows)
