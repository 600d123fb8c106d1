"""Which code reads and writes volume files."""

from __future__ import annotations

import os
from typing import Literal, cast

Codecs = Literal["native", "isal", "itk"]


def codecs_backend() -> Codecs:
    """Return which codecs are wanted.

    The environment decides by ``ITKIT_CODECS``:

    - ``native``, the default: our own formats; ISA-L decompresses, our own encoder compresses.
    - ``isal``: the same formats; ISA-L compresses, too.
    - ``itk``: SimpleITK reads and writes every file.

    Examples
    --------
    >>> codecs_backend() in ("native", "isal", "itk")
    True
    """
    wanted = os.environ.get("ITKIT_CODECS")
    return cast("Codecs", wanted) if wanted in ("isal", "itk") else "native"
