"""Dense manifest lines as they stand: what those of one form share is made ready once; no record is made of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from itkit.engine.dense import Forms, full
from itkit.engine.lines import BROKEN, record_of
from itkit.engine.records import Records

_TARGETS = "targets"


@dataclass(frozen=True, eq=False)
class Shape:
    """What the lines of one form say beside the names of the cases and the stamps of their files.

    Parameters
    ----------
    inputs
        Each volume that is read, of one file: its name, and how the file's name goes on after the last part of the
        case's id.
    folders
        The folder of each target, relative to the destination.
    outputs
        The entry of each file that is made; ``in`` and ``ends`` stand before and after the case's id in its path.
    """

    inputs: tuple[tuple[str, str], ...]
    folders: Mapping[str, str]
    outputs: tuple[Mapping[str, Any], ...]


class PlainLine(NamedTuple):
    """A dense line, and its shape; of each file it has the text that `itkit.engine.dense.stamp_text` makes."""

    key: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    shape: Shape


class PlainLines:
    """The dense lines of cases whose volumes are single files with names that follow from the case's id."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._shapes: dict[tuple[int, int], Shape | None] = {}

    def get(self, case: str) -> PlainLine | None:
        """Return the line of a case; ``None`` if it has another form, is damaged, or there is none."""
        found = self._records.dense_line(case)
        if found is None:
            return None
        line, forms = found
        try:
            shape = self._shape(line, forms)
            if shape is None or type(forms.value(line.get("facts", {}))) is not dict or "warnings" in line:
                return None
            key, inputs, outputs = line["key"], line["inputs"], line["outputs"]
            is_whole = type(key) is type(line["message"]) is str and type(line["seconds"]) in (int, float)
            is_whole &= {*map(type, inputs), *map(type, outputs)} <= {str}
            if not is_whole or (len(inputs), len(outputs)) != (len(shape.inputs), len(shape.outputs)):
                return None
        except BROKEN:
            return None
        return PlainLine(key, inputs, outputs, shape)

    def _shape(self, line: Mapping[str, Any], forms: Forms) -> Shape | None:
        number = line["form"]
        if type(number) is not int:
            return None
        try:
            return self._shapes[id(forms), number]
        except KeyError:
            record_of(full(line, forms))  # refuses a form that no run writes
            shape = self._shapes[id(forms), number] = _shape_of(forms.value(number))
            return shape


def _shape_of(form: Mapping[str, Any]) -> Shape | None:
    """Return the shape of a form; ``None`` for one with more than plain files."""
    inputs = {**form["inputs"]}
    folders = inputs.pop(_TARGETS, None)
    outputs = form["outputs"]
    is_plain = (
        type(folders) is dict
        and all(
            type(item) is dict and item.keys() == {"ends", "parts"} and type(item["ends"]) is str and item["parts"] == 1
            for item in inputs.values()
        )
        and all(type(item.get("in")) is type(item.get("ends")) is str and "path" not in item for item in outputs)
    )
    if not is_plain:
        return None
    return Shape(tuple((name, item["ends"]) for name, item in inputs.items()), folders, tuple(outputs))
