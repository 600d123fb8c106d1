"""``itkit doctor``: versions, resources and plug-ins of this machine, to be pasted into a report.

Nobody's business stays out of it: no path, and no name of a user or a host.
"""

from __future__ import annotations

import getpass
import locale
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, requires, version

from itkit.catalogue import describe_registered
from itkit.core.errors import PluginError
from itkit.core.files import reader_plugins
from itkit.core.params import Params
from itkit.core.plugins import find_plugins
from itkit.core.text import shown
from itkit.core.tool import Tool
from itkit.core.version import VERSION
from itkit.criterion.registry import GROUP as LOSS_GROUP
from itkit.criterion.registry import LOSSES
from itkit.engine.resources import available_cores, available_memory, format_bytes
from itkit.io.formats.backend import codecs_backend
from itkit.kernels.dispatch import backend as kernel_backend
from itkit.models.registry import GROUP as NETWORKS
from itkit.models.registry import list_models

_BEGIN = r"(?:[A-Za-z]:[\\/]|\\\\|~[\w.-]*[\\/]|/)"
_PATH = re.compile(
    rf"""(?<=')(?:{_BEGIN}|file:)[^'\n]*(?=')|(?<=")(?:{_BEGIN}|file:)[^"\n]*(?=")|"""  # in quotes, with blanks
    rf"""(?<![\w.:/\\-]){_BEGIN}[^\s'"`,;:()<>|]+|\bfile:[^\s'"`,;()<>|]+"""
)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_SHOWN = ("ITKIT_CODECS", "ITKIT_NATIVE", *_THREADS)
"""The settings whose values are shown: those of others may be a key, a name or a path."""


class DoctorParams(Params):
    """Show versions, resources, optional packages and plug-ins, for a report of a bug; it holds no path and no name."""


def run(params: DoctorParams) -> int:
    """Print the report."""
    del params
    print(report())
    return 0


def report() -> str:
    """Return a line for each version, optional package and plug-in, and for cores, memory, codecs and kernels."""
    rows = [
        ("itkit", f"{VERSION} ({installed_as()})"),
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        ("cores", f"{available_cores()} usable"),
        ("memory", f"{format_bytes(available_memory())} free to this process"),
        ("kernels", kernel_backend()),
        ("codecs", _codecs()),
        ("text", f"files {sys.getfilesystemencoding()}, locale {locale.getpreferredencoding(False)}"),
        ("settings", ", ".join(settings()) or "none"),
    ]
    lines = [f"{name:<12}{text}" for name, text in rows]
    lines += ["", "packages (extra: package, version):"]
    lines += [f"  {extra:<13}{name:<24}{anonymous(state)}" for extra, name, state in optional_packages()]
    plugins, wrong = plugged_in()
    if plugins:
        lines += ["", "plug-ins (kind: name, package):"]
        lines += [f"  {kind:<11}{_own(name):<24}{_own(package)}" for kind, name, package in plugins]
    if wrong:
        lines += ["", "plug-ins that can't be used:", *(f"  {shown(anonymous(message))}" for message in wrong)]
    return "\n".join(lines)


def installed_as() -> str:
    """Return how ITKIT is installed: as a package, from a checkout, or not at all."""
    try:
        origin = distribution("itkit").read_text("direct_url.json") or ""
    except PackageNotFoundError:
        return "not installed"
    return "from a checkout" if '"editable": true' in origin else "installed"


def settings() -> Iterator[str]:
    """Yield the environment variables that change what ITKIT does: of some the values, and of others the names."""
    for name in sorted(os.environ):
        if name.startswith("ITKIT_") or name in _THREADS:
            value = os.environ[name]
            is_plain = name in _SHOWN and re.fullmatch(r"[a-z0-9]{1,12}", value) is not None
            yield f"{name}={value}" if is_plain else f"{name} (set)"


def anonymous(text: str) -> str:
    r"""Return a message without folders, and without the names of this user and host.

    Examples
    --------
    >>> anonymous("can't open /home/ann/data/x.mha (C:\\Users\\ann\\y.nii: not found)")
    "can't open …/x.mha (…/y.nii: not found)"
    """
    home = _home()
    if home:
        text = re.sub(rf"{re.escape(home)}(?=[\\/])", "~", text)  # its name may hold blanks, also without quotes
    text = _PATH.sub(lambda found: "…/" + re.split(r"[\\/]", found[0].rstrip("\\/"))[-1], text)
    host = platform.node()
    for kind, name in (("user", _user()), ("host", host), ("host", host.partition(".")[0])):
        if name and name != "itkit":  # the user of our container image
            text = re.sub(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", f"<{kind}>", text, flags=re.IGNORECASE)
    return text


def _own(text: str) -> str:
    """Return the name of a plug-in or its package in one line, without the names of this user and host."""
    return shown(anonymous(text))


def _home() -> str:
    try:
        home = os.path.expanduser("~")  # noqa: PTH111 - as messages spell it
    except (OSError, KeyError):
        return ""
    return home if len(home) > 3 else ""  # a root is no home


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no user database, as in some containers
        return ""


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
    try:
        wanted = requires("itkit") or []
    except PackageNotFoundError:  # a checkout on PYTHONPATH
        return []
    for requirement in wanted:
        name = requirement.split(";")[0]
        for mark in "<>=!~[ (":
            name = name.split(mark)[0]
        if name == "itkit":  # an extra that names other extras
            continue
        extra = requirement.partition("extra == ")[2].strip("\"' ") or "base"
        try:
            state = version(name)
        except PackageNotFoundError:
            state = "not installed"
        rows.append((extra, name, state))
    return sorted(dict.fromkeys(rows), key=lambda row: (row[0] != "base", row))


TOOL = Tool("itkit doctor", DoctorParams, run, "itkit doctor")
