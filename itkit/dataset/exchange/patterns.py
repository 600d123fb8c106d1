"""Patterns of paths as users write them, e.g. ``{case}/{channel}.nii.gz``, and how files are sorted by them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from itkit.core.errors import ArgumentError
from itkit.core.files import image_like, split_extension, volume_pattern

Role = Literal["image", "label", "part"]
FIELDS = ("case", "channel", "part", "patient", "split")
ANY_FORMAT = ".*"
"""End of a pattern of volume files of any format."""
_PIECE = re.compile(r"\{(\w*)\}|(\*+)|([^{}*]+)|(.)")
_ENDING = re.compile(rf"{volume_pattern()}\Z")


@dataclass(frozen=True)
class PathPattern:
    """A pattern of paths below the source.

    Parameters
    ----------
    text
        As the user wrote it: ``{case}``, ``{channel}``, ``{part}``, ``{patient}`` and ``{split}`` stand for a piece of
        a name, ``*`` for anything within a name, ``**`` for any folders, ``.*`` at the end for any format. A field that
        stands twice is the same twice.
    role
        What the files are.
    part
        Name of the class of all files, for a role ``part`` without ``{part}``.
    regex
        The pattern as a regular expression for a whole path; letter case does not matter in the extension.
    weight
        Number of letters that are not free: of the patterns that a file fits, the one with most decides.
    """

    text: str
    role: Role
    part: str = ""
    regex: re.Pattern[str] = field(default=re.compile(""), compare=False)
    weight: int = 0

    @classmethod
    def parse(cls, text: str, role: Role, part: str = "") -> PathPattern:
        """Return the pattern that a text describes.

        Raises
        ------
        ArgumentError
            When it names neither ``{case}`` nor ``{patient}``, an unknown field, or has braces that do not match.

        Examples
        --------
        >>> pattern = PathPattern.parse("{case}/{channel}.nii.gz", "image")
        >>> pattern.regex.fullmatch("p1/t1.nii.gz").groupdict()
        {'case': 'p1', 'channel': 't1'}
        """
        text = text.strip().removeprefix("./").rstrip("/")
        ending = _ENDING.search(text)
        of_any_format = text.endswith(ANY_FORMAT)
        body = text[: ending.start()] if ending else text.removesuffix(ANY_FORMAT) if of_any_format else text
        regex, weight, seen = "", 0, set()
        for name, stars, plain, wrong in _PIECE.findall(body):
            if wrong or (not name and not stars and not plain) or (name and name not in FIELDS):
                known = ", ".join(f"{{{one}}}" for one in FIELDS)
                raise ArgumentError(
                    f"{text!r}: expected {known}, * and plain letters; got {wrong or '{' + name + '}'!r}"
                )
            if name:
                greedy = "" if name in ("case", "patient") else "?"
                regex += f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+{greedy})"
                seen.add(name)
            elif stars:
                regex += ".*" if len(stars) > 1 else "[^/]*"
            else:
                regex += re.escape(plain)
                weight += len(plain)
        if not seen & {"case", "patient"}:
            raise ArgumentError(f"{text!r}: {{case}} must say which part of a path is the name of the case")
        if ending:
            regex += f"(?i:{re.escape(ending[0])})"
            weight += len(ending[0])
        elif of_any_format:
            regex += volume_pattern()
            weight += 1
        return cls(text, role, part, re.compile(regex), weight)

    @property
    def fields(self) -> frozenset[str]:
        """Names of the fields in the pattern."""
        return frozenset(self.regex.groupindex)

    @property
    def is_folder(self) -> bool:
        """Whether the pattern names folders of DICOM files: it does not end like a volume file."""
        return _ENDING.search(self.text) is None and not self.text.endswith(ANY_FORMAT)


@dataclass(frozen=True)
class Sorted:
    """A path with the pattern that it fits, and the values of the pattern's fields."""

    path: str
    pattern: PathPattern
    values: Mapping[str, str]


def sort_paths(
    paths: Iterable[str], patterns: Iterable[PathPattern]
) -> tuple[list[Sorted], list[str], dict[str, list[str]]]:
    """Sort files, and folders of DICOM files, by the patterns that they fit.

    Returns
    -------
    tuple
        What fits a pattern; the files that fit none, but for the voxels of headers that fit one; and the files that
        fit two patterns of different roles equally well, with these patterns.

    Examples
    --------
    >>> image, label = PathPattern.parse("{case}.mha", "image"), PathPattern.parse("{case}_seg.mha", "label")
    >>> found, rest, _ = sort_paths(["a.mha", "a_seg.mha", "notes.txt"], [image, label])
    >>> [(one.path, one.pattern.role) for one in found], rest
    ([('a.mha', 'image'), ('a_seg.mha', 'label')], ['notes.txt'])
    """
    paths = list(paths)
    ordered = sorted(patterns, key=lambda pattern: -pattern.weight)
    of_files = [pattern for pattern in ordered if not pattern.is_folder]
    of_folders = [pattern for pattern in ordered if pattern.is_folder]
    found: list[Sorted] = []
    rest: list[str] = []
    unclear: dict[str, list[str]] = {}
    folders = {path[:at] for path in paths for at, letter in enumerate(path) if letter == "/"} if of_folders else set()
    taken = []
    for folder in sorted(folders):
        match = next(((p, m) for p in of_folders if (m := p.regex.fullmatch(folder)) is not None), None)
        if match is not None:
            found.append(Sorted(folder, match[0], match[1].groupdict()))
            taken.append(f"{folder}/")
    inside = tuple(taken)
    for path in paths:
        fitting = (
            [(p, m) for p in of_files if (m := p.regex.fullmatch(path)) is not None]
            if split_extension(path.rsplit("/", 1)[-1])
            else []
        )
        if not fitting:
            rest += [] if inside and path.startswith(inside) else [path]
            continue
        pattern, match_ = fitting[0]
        rivals = [
            p.text
            for p, _ in fitting
            if p.weight == pattern.weight and (p.role, p.part) != (pattern.role, pattern.part)
        ]
        if rivals:
            unclear[path] = [pattern.text, *rivals]
        found.append(Sorted(path, pattern, match_.groupdict()))
    return found, _without_voxels(rest, found), unclear


def _without_voxels(rest: Iterable[str], found: Iterable[Sorted]) -> list[str]:
    """Return files without the data files that lie beside headers which fit a pattern."""
    beside = {one.path.rpartition("/")[0] for one in found if one.path.lower().endswith((".mhd", ".nhdr"))}
    return [
        path
        for path in rest
        if not (path.rpartition("/")[0] in beside and ".raw" in image_like(path.rpartition("/")[2]))
    ]
