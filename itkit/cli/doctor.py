"""The text of ``itkit doctor``: versions, resources and plug-ins of this machine."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version

from itkit.catalogue import describe_registered
from itkit.core.errors import PluginError
from itkit.core.files import reader_plugins
from itkit.core.plugins import find_plugins
from itkit.core.version import VERSION
from itkit.criterion.registry import GROUP as LOSS_GROUP
from itkit.criterion.registry import LOSSES
from itkit.engine.resources import available_cores, available_memory, format_bytes
from itkit.io.formats.backend import codecs_backend
from itkit.kernels.dispatch import backend as kernel_backend
from itkit.models.registry import GROUP as NETWORKS
from itkit.models.registry import list_models


def main(arguments: Sequence[str] = ()) -> int:
    """Print the report."""
    del arguments
    print(report())
    return 0


def report() -> str:
    """Return a line for each version, optional package and plug-in, and for cores, memory, codecs and kernels."""
    rows = [
        ("itkit", VERSION),
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        ("cores", f"{available_cores()} usable"),
        ("memory", f"{format_bytes(available_memory())} free to this process"),
        ("kernels", kernel_backend()),
        ("codecs", _codecs()),
    ]
    lines = [f"{name:<12}{text}" for name, text in rows]
    lines += ["", "packages (extra: package, version):"]
    lines += [f"  {extra:<11}{name:<24}{state}" for extra, name, state in optional_packages()]
    plugins, wrong = plugged_in()
    if plugins:
        lines += ["", "plug-ins (kind: name, package):"]
        lines += [f"  {kind:<11}{name:<24}{package}" for kind, name, package in plugins]
    if wrong:
        lines += ["", "plug-ins that can't be used:", *(f"  {message}" for message in wrong)]
    return "\n".join(lines)


def plugged_in() -> tuple[list[tuple[str, str, str]], list[str]]:
    """Return the usable plug-ins of other packages (kind, name, package), and a message for each unusable one."""
    operations, wrong = describe_registered()
    readers = reader_plugins()
    rows = [("operation", name, entry.package) for name, entry in operations.items()]
    found = [("reader", plugin) for plugin in readers.by_name.values()]
    messages = [*wrong, *readers.refused]
    for kind, group, taken in (("network", NETWORKS, list_models(plugins=False)), ("loss", LOSS_GROUP, LOSSES)):
        plugins = find_plugins(group, taken)
        found += [(kind, plugin) for plugin in plugins.by_name.values()]
        messages += plugins.refused
    for kind, plugin in found:
        try:
            plugin.load()
        except PluginError as error:
            messages.append(str(error))
        else:
            rows.append((kind, plugin.name, plugin.package))
    return rows, messages


def _codecs() -> str:
    wanted = codecs_backend()
    if wanted == "itk":
        return "SimpleITK (ITKIT_CODECS=itk)"
    if wanted == "isal":
        return "ISA-L reads and writes (ITKIT_CODECS=isal)"
    return "ISA-L reads, ITKIT's encoder writes" if kernel_backend() == "native" else "ISA-L reads and writes"


def optional_packages() -> list[tuple[str, str, str]]:
    """Return (extra, package, version or 'not installed') for each requirement in ITKIT's metadata."""
    rows = []
    for requirement in requires("itkit") or []:
        name = requirement.split(";")[0]
        for mark in "<>=!~[ (":
            name = name.split(mark)[0]
        extra = requirement.partition("extra == ")[2].strip("\"' ") or "base"
        try:
            state = version(name)
        except PackageNotFoundError:
            state = "not installed"
        rows.append((extra, name, state))
    return sorted(dict.fromkeys(rows), key=lambda row: (row[0] != "base", row))
