"""Plug-ins that other packages register by entry points; they are looked up when needed, never at start.

The groups are ``itkit.operations``, ``itkit.datasets``, ``itkit.readers``, ``itkit.models`` and ``itkit.losses``;
``docs/how-to/write-a-plug-in.md`` says what each group expects.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from itkit.core.errors import PluginError

_NAME = re.compile(r"\w[\w.+-]*")
"""Names that command lines, and scripts of shells, take as one word."""


@dataclass(frozen=True)
class Plugin:
    """One entry point that an installed package registers.

    Attributes
    ----------
    name
        Name of the entry point.
    path
        ``"module:attribute"``.
    package
        The package and its version, for messages.
    """

    name: str
    path: str
    package: str

    def load(self) -> Any:
        """Import the object that the entry point names.

        Raises
        ------
        PluginError
            When the import fails for any reason; the message names the package.
        """
        try:
            return resolve(self.path)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise PluginError(f"{self.package}: {self.path} of the plug-in {self.name!r} fails: {reason}") from error


@dataclass(frozen=True)
class Plugins:
    """The plug-ins of one group: the usable ones by name, and a message for each refused one."""

    by_name: dict[str, Plugin]
    refused: tuple[str, ...] = ()


def resolve(path: str) -> Any:
    """Import the attribute that ``"module:attribute"`` names.

    Examples
    --------
    >>> resolve("math:tau") > 6
    True
    """
    module, _, attribute = path.partition(":")
    value: Any = import_module(module)
    for part in filter(None, attribute.split(".")):
        value = getattr(value, part)
    return value


def find_plugins(group: str, taken: Container[str] = ()) -> Plugins:
    """Return the plug-ins that installed packages register in a group.

    A name that ITKIT already uses, that two packages register, or that is not one word is refused; other names stay
    usable.

    Parameters
    ----------
    group
        Group of the entry points, e.g. ``"itkit.operations"``.
    taken
        Names that ITKIT itself uses.
    """
    found: dict[str, list[Plugin]] = {}
    for plugin in _entry_points(group):
        found.setdefault(plugin.name, []).append(plugin)
    usable, refused = {}, []
    for name, plugins in found.items():
        packages = " and ".join(plugin.package for plugin in plugins)
        if name in taken:
            refused.append(f"{packages}: the name {name!r} ({group}) is taken by ITKIT; the package must rename it")
        elif _NAME.fullmatch(name) is None:
            refused.append(f"{packages}: the name {name!r} ({group}) may hold letters, digits and _ . + - alone")
        elif len(plugins) > 1:
            refused.append(f"{packages}: all register {name!r} ({group}); uninstall all but one")
        else:
            usable[name] = plugins[0]
    return Plugins(usable, tuple(refused))


@cache
def _entry_points(group: str) -> tuple[Plugin, ...]:
    from importlib.metadata import entry_points  # importing it takes longer than showing a help page

    found = set()
    for point in entry_points(group=group):
        package = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "a package"
        found.add((point.name, point.value.split(" ")[0], package))  # a package may be on the path twice
    return tuple(Plugin(*row) for row in sorted(found))
