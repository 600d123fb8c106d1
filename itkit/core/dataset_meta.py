"""``dataset.json`` as a value: what a dataset's description may contain, and how operations change it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from itkit.core.text import file_part

_MOST_CHANNELS = 1000
_OF_FILES = ("training", "validation", "test", "dataset", "numTraining", "numTest", "file_ending")
"""Parts in which MSD and nnU-Net list files; they no longer hold once the files have moved."""
_OF_CASES = ("cases", "splits", "counts", "warnings")
_INTEGER = re.compile(r"-?\d{1,20}")


@dataclass(frozen=True)
class DatasetMeta:
    """The content of a ``dataset.json``, unchanged; the properties return the parts that commands understand.

    Both ITKIT's own form (``channels``, ``labels {value: name}``) and nnU-Net's form (``channel_names``,
    ``labels {name: value}``) are understood; all other parts are kept as they are.

    Parameters
    ----------
    values
        The JSON object.

    Raises
    ------
    ValueError
        When a part that commands understand is malformed.

    Examples
    --------
    >>> meta = DatasetMeta({"channels": ["T1", "T1 c"], "labels": {"0": "background", "2": "tumour"}})
    >>> meta.channels, meta.endings, meta.labels
    (('T1', 'T1 c'), ('T1', 'T1-c'), {0: 'background', 2: 'tumour'})
    """

    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name, (is_right, expected) in _SHAPES.items():
            if name in self.values and not is_right(self.values[name]):
                raise ValueError(f"{name}: expected {expected}")
        if len(set(map(str.lower, self.endings))) < len(self.endings) or "" in self.endings:
            raise ValueError("channels: their names must differ in letters or digits, files are called after them")

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels, in order; empty if the description lists none."""
        if "channels" in self.values:
            return tuple(self.values["channels"])
        return tuple(name for _, name in sorted(self._numbered().items()))

    @property
    def endings(self) -> tuple[str, ...]:
        """Ending of each channel's files, which are named ``<case>_<ending>``."""
        if "channels" in self.values:
            return tuple(map(file_part, self.channels))
        return tuple(f"{number:04d}" for number in sorted(self._numbered()))

    @property
    def is_ours(self) -> bool:
        """Whether the description lists channels in ITKIT's own form, by name."""
        return "channels" in self.values

    @property
    def has_vectors(self) -> bool:
        """Whether one file may hold all channels."""
        return len(self.values.get("channels", ())) > 1

    def _numbered(self) -> dict[int, str]:
        names = self.values.get("channel_names", self.values.get("modality"))
        return {int(number): str(name) for number, name in names.items()} if _are_numbered(names) else {}

    @property
    def modality(self) -> str:
        """Modality of all images, e.g. ``CT``; empty if it is unknown, or images differ in it."""
        words = self.values.get("modality")
        if isinstance(words, str):
            return words
        if isinstance(words, list):
            return str(words[0]) if len(words) == 1 else ""
        return "CT" if [name.upper() for name in self.channels] == ["CT"] else ""

    @property
    def labels(self) -> dict[int, str]:
        """Name of each label value; regions (several values under one name) are left out."""
        raw = self.values.get("labels", {})
        if _names_by_value(raw):
            return {int(value): name for value, name in raw.items()}
        return {value: name for name, value in raw.items() if isinstance(value, int)}

    @property
    def colours(self) -> dict[int, tuple[int, int, int]]:
        """Colour of each label value, red, green and blue from 0 to 255; empty if the description gives none."""
        found = {int(value): colour for value, colour in self.values.get("colours", {}).items()}
        return {value: (red, green, blue) for value, (red, green, blue) in found.items()}

    @property
    def splits(self) -> dict[str, tuple[str, ...]]:
        """Cases of each split."""
        return {name: tuple(cases) for name, cases in self.values.get("splits", {}).items()}

    @property
    def cases(self) -> Mapping[str, Mapping[str, Any]]:
        """Facts about each case."""
        found: Mapping[str, Mapping[str, Any]] = self.values.get("cases", {})
        return found

    @property
    def history(self) -> tuple[Mapping[str, Any], ...]:
        """Operations that produced the dataset, first to last, each as ``{"operation": name, "params": {…}}``."""
        return tuple(self.values.get("history", ()))

    def replaced(self, **changes: Any) -> DatasetMeta:
        """Return the description with some values replaced; new parts come last."""
        return DatasetMeta({**self.values, **changes})

    def without(self, *names: str) -> DatasetMeta:
        """Return the description without some of its parts."""
        return DatasetMeta({name: value for name, value in self.values.items() if name not in names})

    def without_cases(self) -> DatasetMeta:
        """Return the parts of the description that do not depend on the cases."""
        return self.without(*_OF_CASES, *_OF_FILES)

    def after(self, operation: str, params: Mapping[str, Any]) -> DatasetMeta:
        """Return the description with an operation added to its history."""
        return self.replaced(history=[*self.history, {"operation": operation, "params": dict(params)}])

    def restricted(self, origins: Mapping[str, str], labelled: Collection[str]) -> DatasetMeta:
        """Return the description of a dataset made from some of the cases.

        Parameters
        ----------
        origins
            New case ids, each with the id that the case has in this description.
        labelled
            New case ids of the cases that have a label.
        """
        changes: dict[str, Any] = {}
        new = dict(sorted(origins.items()))
        if "cases" in self.values:
            changes["cases"] = {case: self.cases[source] for case, source in new.items() if source in self.cases}
        if "splits" in self.values:
            members = {name: frozenset(cases) for name, cases in self.splits.items()}
            splits = {
                name: [case for case, source in new.items() if source in there] for name, there in members.items()
            }
            changes["splits"] = {name: cases for name, cases in splits.items() if cases}
        if isinstance(self.values.get("counts"), Mapping):
            counts = {name: len(cases) for name, cases in sorted(changes.get("splits", {}).items())}
            changes["counts"] = {"cases": len(new), "with_label": sum(case in labelled for case in new), **counts}
        if isinstance(self.values.get("warnings"), Mapping):
            said = self.values["warnings"]
            changes["warnings"] = {case: said[source] for case, source in new.items() if source in said}
        return self.without(*_OF_FILES).replaced(**changes)

    def with_labels(self, labels: Mapping[int, str]) -> DatasetMeta:
        """Return the description with another table of classes; what was said of the old ones no longer holds.

        Examples
        --------
        >>> DatasetMeta({"labels": {"1": "arm"}, "ignore": 1}).with_labels({0: "background", 1: "body"}).values
        {'labels': {'0': 'background', '1': 'body'}}
        """
        cases = {
            case: {name: value for name, value in facts.items() if name not in ("classes", "labels")}
            for case, facts in self.cases.items()
        }
        changes = {
            "labels": {str(value): name for value, name in labels.items()},
            **({"cases": cases} if cases else {}),
        }
        return self.replaced(**changes).without("regions", "regions_class_order", "ignore")

    def relabelled(self, mapping: Mapping[int, int], *, keep_rest: bool = False) -> DatasetMeta:
        """Return the description after classes have been selected and renumbered.

        When several classes are merged into one, its name joins all their names with ``+``.

        Parameters
        ----------
        mapping
            Old label value to new label value.
        keep_rest
            Whether classes that are not mapped keep their value; otherwise they are removed.

        Examples
        --------
        >>> meta = DatasetMeta({"labels": {"0": "background", "1": "cyst", "2": "tumour", "3": "kidney"}})
        >>> meta.relabelled({1: 1, 2: 1}).labels
        {0: 'background', 1: 'cyst+tumour'}
        """

        def new(value: int) -> int:
            return mapping.get(value, value if keep_rest else 0)

        def table(names: Mapping[int, str]) -> dict[int, str]:
            joined: dict[int, list[str]] = {}
            for value, name in sorted(names.items()):
                if new(value) != 0 or value == 0:
                    joined.setdefault(new(value), []).append(name)
            return {value: "+".join(dict.fromkeys(parts)) for value, parts in sorted(joined.items())}

        def values_of(values: Any) -> list[int]:
            return sorted({new(value) for value in values if isinstance(value, int)} - {0})

        changes: dict[str, Any] = {}
        if "labels" in self.values:
            raw = self.values["labels"]
            names = table(self.labels)
            if _names_by_value(raw):
                changes["labels"] = {str(value): name for value, name in names.items()}
            else:
                regions = {name: values_of(value) for name, value in raw.items() if isinstance(value, list)}
                changes["labels"] = {name: value for value, name in names.items()} | {
                    name: values for name, values in regions.items() if values
                }
        if isinstance(self.values.get("regions"), Mapping):
            regions = {name: values_of(values) for name, values in self.values["regions"].items() if _is_list(values)}
            changes["regions"] = {name: values for name, values in regions.items() if values}
        if _is_list(self.values.get("regions_class_order")):
            changes["regions_class_order"] = _in_order(self.values["regions_class_order"], new)
        if isinstance(self.values.get("ignore"), int):
            changes["ignore"] = new(self.values["ignore"]) or None
        if "colours" in self.values:
            colours = {new(value): colour for value, colour in sorted(self.colours.items(), reverse=True)}
            changes["colours"] = {str(value): list(colours[value]) for value in sorted(colours) if value}
        if "cases" in self.values:
            changes["cases"] = {
                case: dict(_relabelled_case(facts, table, values_of)) for case, facts in self.cases.items()
            }
        gone = [name for name, value in changes.items() if value is None or (name == "regions" and not value)]
        return self.replaced(**changes).without(*gone)


def _in_order(values: Any, new: Any) -> list[int]:
    """Return the mapped values in their order, without duplicates and without background."""
    return list(dict.fromkeys(value for old in values if isinstance(old, int) if (value := new(old)) != 0))


def _relabelled_case(facts: Mapping[str, Any], table: Any, values_of: Any) -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if name == "classes" and _is_list(value):
            yield name, values_of(value)
        elif name == "labels" and isinstance(value, Mapping) and _names_by_value(value):
            names = table({int(number): text for number, text in value.items()})
            yield name, {str(number): text for number, text in names.items()}
        else:
            yield name, value


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_text_list(value: Any) -> bool:
    return _is_list(value) and all(isinstance(item, str) for item in value)


def _names_by_value(raw: Mapping[str, Any]) -> bool:
    return all(_INTEGER.fullmatch(key) and isinstance(name, str) for key, name in raw.items())


def _are_channels(value: Any) -> bool:
    return _is_text_list(value) and len(set(value)) == len(value) <= _MOST_CHANNELS


def _are_numbered(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) <= _MOST_CHANNELS
        and all(key.isascii() and key.isdigit() and len(key) <= 4 for key in value)
    )


def _are_labels(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    return _names_by_value(value) or all(
        _is_integer(item) or (_is_list(item) and all(map(_is_integer, item))) for item in value.values()
    )


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_colours(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        _INTEGER.fullmatch(key)
        and _is_list(colour)
        and len(colour) == 3
        and all(_is_integer(part) and 0 <= part <= 255 for part in colour)
        for key, colour in value.items()
    )


def _are_splits(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_text_list, value.values()))


def _are_cases(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(facts, Mapping) for facts in value.values())


def _is_history(value: Any) -> bool:
    return _is_list(value) and all(isinstance(item, Mapping) for item in value)


def channel_places(there: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Return, for each wanted channel, its place among those that are there; ``None`` if these have other names.

    Examples
    --------
    >>> channel_places(["T1", "T1 c"], ["t1-c", "T1"]), channel_places(["0000", "0001"], ["T1", "T2"])
    ([1, 0], None)
    """
    places = {file_part(name).lower(): place for place, name in enumerate(there)}
    names = [file_part(name).lower() for name in wanted]
    return [places[name] for name in names] if sorted(names) == sorted(places) else None


_SHAPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "channels": (_are_channels, "a list of names, each once"),
    "channel_names": (_are_numbered, "an object {number: name}"),
    "labels": (_are_labels, "an object {value: name} or, as nnU-Net has it, {name: value}"),
    "colours": (_are_colours, "an object {value: [red, green, blue]}, each from 0 to 255"),
    "splits": (_are_splits, "an object {split: [case, …]}"),
    "cases": (_are_cases, "an object {case: {…}}"),
    "history": (_is_history, "a list of {operation, params}"),
}
"""For each part that commands understand: the function that checks its form, and a description of the form."""
