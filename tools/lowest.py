"""The lowest versions that pyproject.toml allows, as constraints for pip: ``python -m tools.lowest base dicom``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[([\w,-]+)\])?\s*([^;]*)")


def lowest(project: Mapping[str, Any], extras: Sequence[str]) -> dict[str, str]:
    """Return the lowest version of each package that some extras need; ``base`` stands for the dependencies of all.

    Parameters
    ----------
    project
        The table ``project`` of pyproject.toml.
    extras
        Names of extras; those that they name are followed.

    Raises
    ------
    ValueError
        When a requirement states no lowest version, or two extras state different ones.
    """
    found: dict[str, str] = {}
    for name, bound in _bounds(project, extras):
        if found.setdefault(name, bound) != bound:
            raise ValueError(f"{name}: {found[name]} and {bound} are both stated as the lowest version")
    return found


def _bounds(project: Mapping[str, Any], extras: Sequence[str]) -> Iterator[tuple[str, str]]:
    for extra in extras:
        rows = project["dependencies"] if extra == "base" else project["optional-dependencies"][extra]
        for row in rows:
            matched = _REQUIREMENT.match(row)
            name, more, versions = matched.groups() if matched else ("", "", "")
            if name == project["name"]:
                yield from _bounds(project, more.split(","))
                continue
            bound = re.search(r"[>=]=\s*([\w.]+)", versions)
            if bound is None:
                raise ValueError(f"{row!r}: states no lowest version")
            yield name, bound[1]


def main(argv: Sequence[str] | None = None) -> int:
    """Print one constraint a line."""
    extras = list(sys.argv[1:] if argv is None else argv)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name, version in lowest(project, extras or ["base"]).items():
        print(f"{name}=={version}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
