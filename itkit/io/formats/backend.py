"""Choose the code that reads and writes volume files."""

from __future__ import annotations

import os
from typing import Literal, cast

Codecs = Literal["native", "isal", "itk"]


def codecs_backend() -> Codecs:
    """Return which codecs to use.

    The environment variable ``ITKIT_CODECS`` decides:

    - ``native`` (default): ITKIT's own code for the formats; ISA-L decompresses, ITKIT's own encoder compresses.
    - ``isal``: the same, but ISA-L also compresses.
    - ``itk``: SimpleITK reads and writes every file.

    Examples
    --------
    >>> codecs_backend() in ("native", "isal", "itk")
    True
    """
    wanted = os.environ.get("ITKIT_CODECS")
    return cast("Codecs", wanted) if wanted in ("isal", "itk") else "native"
