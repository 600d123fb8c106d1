"""Which code reads and writes volume files."""

from __future__ import annotations

import os
from typing import Literal


def codecs_backend() -> Literal["native", "itk"]:
    """Return ``native`` for our own codecs, or ``itk``: then SimpleITK reads and writes every file.

    The environment decides: ``ITKIT_CODECS=itk`` turns every fast path to and from files off.

    Examples
    --------
    >>> codecs_backend() in ("native", "itk")
    True
    """
    return "itk" if os.environ.get("ITKIT_CODECS") == "itk" else "native"
