"""Optional packages: import one when it is needed, or raise an error that names the extra to install."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from itkit.core.errors import MissingExtraError


def require(module: str, *, extra: str, why: str) -> Any:
    """Import an optional module; what it would report to its makers stays unsent.

    Parameters
    ----------
    module
        Import name, e.g. ``"pydicom"``.
    extra
        Name of the extra of ITKIT that installs it.
    why
        What needs the package, in a few words; the message starts with it.

    Raises
    ------
    MissingExtraError
        When it is not installed, or fails to import.

    Examples
    --------
    >>> require("json", extra="dev", why="an example").dumps([1])
    '[1]'
    """
    _silence(module.partition(".")[0])
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{why} needs the package {module!r} ({error}); install it with: pip install 'itkit[{extra}]'"
        ) from error


def _silence(package: str) -> None:
    """Keep a package from reporting to its makers that it is used; it looks once, when it is imported.

    Where a hospital's machine may reach the internet, it must not tell others what runs there. ONNX Runtime makes an
    identifier of the machine and reports every model; it has a switch. OpenVINO reports its import, and has no switch
    but a file in the user's home; without the package that sends, it uses a stub of its own.
    """
    if package == "onnxruntime":
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    elif package == "openvino":
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: not installed, for Python


def require_torch(why: str) -> Any:
    """Import torch, with threads that wait without spinning.

    Where other programs need the cores too, threads that spin while they wait for each other take twenty times as long,
    because every pause of one of them costs the others a time slice. An environment that sets ``OMP_WAIT_POLICY``
    decides otherwise.

    Parameters
    ----------
    why
        What needs torch, in a few words.

    Raises
    ------
    MissingExtraError
        When it is not installed.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's threads read it once, when torch is imported
    return require("torch", extra="train", why=why)
