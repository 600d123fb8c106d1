"""Dense manifest lines: what many cases share is said once, in the line of the first of them.

A dense line reads back as the same record. ``inputs`` and ``outputs`` list the stamp of each file (size, modification
time, change time after it, inode; hexadecimal); ``form`` and ``facts`` say the rest, as a value or as the number of one
that an earlier line defines under ``forms``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

MOST_FORMS = 1024
MOST_FORMS_READ = 4 * MOST_FORMS
"""Runs at the same time add forms of their own to one file."""
LONGEST_FORM = 4096
"""Letters of a value that is longer than any which cases share: the list of a case's patches is its own."""
STAMP = ("bytes", "mtime_ns", "ctime_ns", "inode")
"""What tells of a file whether it is still the same."""
_KEPT = ("run", "operation", "case", "status", "message", "key")


class Forms:
    """The values that lines of one file share, by number.

    Parameters
    ----------
    first
        The number that the first new value gets.
    most
        How many values may get one.
    """

    def __init__(self, first: int = 0, most: int = MOST_FORMS) -> None:
        self.by_number: dict[str, Any] = {}
        self._unsure: set[str] = set()
        self._first, self._most = first, most
        self._numbers: dict[str, int] = {}

    def learn(self, line: Mapping[str, Any]) -> None:
        """Take over what a line defines; a number of two values stands for neither."""
        defined = line.get("forms")
        if isinstance(defined, dict):
            for number, value in defined.items():
                if self.by_number.get(number, value) != value:
                    self._unsure.add(number)
                elif len(self.by_number) < MOST_FORMS_READ:
                    self.by_number[number] = value

    def value(self, said: Any) -> Any:
        """Return a value, or the one that a number stands for.

        Raises
        ------
        KeyError
            When no line has defined it, or two have done so differently.
        """
        if type(said) is not int:
            return said
        if str(said) in self._unsure:
            raise KeyError(said)
        return self.by_number[str(said)]

    def number(self, value: Any, text: str, new: dict[str, Any]) -> Any:
        """Return the number of a value, which is added to the new ones where it has none; else the value.

        Long values have no number, and none have when all numbers are taken.

        ``text`` is the value as JSON.
        """
        number = self._numbers.get(text)
        if number is None:
            if len(self._numbers) >= self._most or len(text) > LONGEST_FORM:
                return value
            number = self._numbers[text] = self._first + len(self._numbers)
            new[str(number)] = value
        return number


def is_defining(line: bytes) -> bool:
    """Whether a line, as it stands in a file, may define forms."""
    return b'"forms"' in line


def is_dense(line: Mapping[str, Any]) -> bool:
    """Whether a manifest line is a dense one."""
    return "form" in line


def lacks_form(line: Mapping[str, Any], forms: Forms) -> bool:
    """Whether a line is a dense one that shares what no line says."""
    try:
        forms.value(line["form"])
        forms.value(line.get("facts"))
    except KeyError:
        return is_dense(line)
    return False


def dense(line: Mapping[str, Any], forms: Forms, text_of: Any) -> dict[str, Any] | None:
    """Return the dense form of a line of a finished case; ``None`` for a line that has none.

    ``text_of`` makes JSON of a value.
    """
    if "tables" in line:  # `itkit.engine.wide` has made it short
        return None
    try:
        case = str(line["case"])
        base = case.rpartition("/")[2]
        stamps: tuple[list[str], list[str]] = ([], [])
        form = {
            "inputs": {name: _thinned_input(item, base, stamps[0]) for name, item in line["inputs"].items()},
            "outputs": [_thinned_output(item, case, stamps[1]) for item in line["outputs"]],
        }
        facts = line.get("facts", {})
        result = {**{name: line.get(name, "") for name in _KEPT}, "inputs": stamps[0], "outputs": stamps[1]}
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if type(result["run"]) is not int:
        return None
    new: dict[str, Any] = {}
    result["seconds"] = line.get("seconds", 0.0)
    result["form"] = forms.number(form, text_of(form), new)
    if facts:
        result["facts"] = forms.number(facts, text_of(facts), new) if isinstance(facts, dict) else facts
    if line.get("warnings"):
        result["warnings"] = line["warnings"]
    return {**result, "forms": new} if new else result


def full(line: Mapping[str, Any], forms: Forms) -> dict[str, Any]:
    """Return the full form of a dense line.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError, StopIteration
        When it is damaged.
    """
    case = line["case"]
    base = case.rpartition("/")[2]
    form = forms.value(line["form"])
    ins, outs = iter(line["inputs"]), iter(line["outputs"])
    return {
        **{name: line[name] for name in _KEPT},
        "inputs": {name: _whole_input(item, base, ins) for name, item in form["inputs"].items()},
        "outputs": [_whole_output(item, case, outs) for item in form["outputs"]],
        "facts": forms.value(line.get("facts", {})),
        "warnings": line.get("warnings", []),
        "seconds": line["seconds"],
    }


def stamp_text(stamp: Mapping[str, int]) -> str:
    """Return the text of a file's stamp.

    Examples
    --------
    >>> stamp_text({"bytes": 16, "mtime_ns": 256, "ctime_ns": 255, "inode": 3})
    '10.100.-1.3'
    """
    return _text(*(stamp[name] for name in STAMP))


def status_text(status: os.stat_result) -> str:
    """Return the text of the stamp that a file's status says."""
    return _text(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _text(size: int, mtime: int, ctime: int, inode: int) -> str:
    return f"{_beginning(size, mtime)}{ctime - mtime:x}.{inode:x}"


def _beginning(size: int, mtime: int) -> str:
    return f"{size:x}.{mtime:x}."


def is_of(text: str, stamp: Mapping[str, int]) -> bool:
    """Whether a stamp's text tells of a file with a size and a modification time, wherever it lies on the disk."""
    return text.startswith(_beginning(stamp["bytes"], stamp["mtime_ns"]))


def stamp_of(text: str) -> dict[str, int]:
    """Return the stamp that a text says.

    Examples
    --------
    >>> stamp_of("10.100.-1.3")
    {'bytes': 16, 'mtime_ns': 256, 'ctime_ns': 255, 'inode': 3}
    """
    size, mtime, later, inode = text.split(".")
    modified = int(mtime, 16)
    return {
        "bytes": int(size, 16),
        "mtime_ns": modified,
        "ctime_ns": modified + int(later, 16),
        "inode": int(inode, 16),
    }


def _is_volume(item: Any) -> bool:
    return isinstance(item, dict) and item.keys() == {"file", "parts"}


def _thinned_input(item: Any, base: str, stamps: list[str]) -> Any:
    if not _is_volume(item):
        if isinstance(item, dict) and "parts" in item:
            raise ValueError("unknown form")
        return item
    file = item["file"]
    for part in item["parts"]:
        if tuple(part) != STAMP:
            raise ValueError("unknown form")
        stamps.append(stamp_text(part))
    named = {"ends": file[len(base) :]} if file.startswith(base) else {"file": file}
    return {**named, "parts": len(item["parts"])}


def _whole_input(item: Any, base: str, stamps: Iterator[str]) -> Any:
    if not (isinstance(item, dict) and "parts" in item):
        return item
    file = item["file"] if "file" in item else base + item["ends"]
    return {"file": file, "parts": [stamp_of(next(stamps)) for _ in range(item["parts"])]}


def _thinned_output(item: Mapping[str, Any], case: str, stamps: list[str]) -> dict[str, Any]:
    if not item.keys() >= {*STAMP} or "sha256" in item or {"in", "ends"} & item.keys():
        raise ValueError("unknown form")
    stamps.append(stamp_text(item))
    thin = {name: value for name, value in item.items() if name not in STAMP}
    before, found, after = str(item["path"]).partition(case)
    if found and case:
        del thin["path"]
        thin["in"], thin["ends"] = before, after
    if thin.get("case") == case:
        thin["case"] = None
    return thin


def _whole_output(item: Mapping[str, Any], case: str, stamps: Iterator[str]) -> dict[str, Any]:
    whole = {**item, **stamp_of(next(stamps))}
    if "path" not in whole:
        whole["path"] = f"{whole.pop('in')}{case}{whole.pop('ends')}"
    if "case" in whole and whole["case"] is None:
        whole["case"] = case
    return whole
