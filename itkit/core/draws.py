"""The random numbers of a case: they depend on a seed, the case and a few numbers, and on nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def case_generator(seed: int, case_id: str, *more: int) -> np.random.Generator:
    """Return the random generator of a case, another one for each seed, case id and further numbers.

    Draws are therefore the same with any number of workers, in a resumed run, and when the dataset gets more cases.

    Examples
    --------
    >>> int(case_generator(0, "case_00", 3).integers(1000)) == int(case_generator(0, "case_00", 3).integers(1000))
    True
    """
    from zlib import crc32

    import numpy as np

    return np.random.default_rng([seed, crc32(case_id.encode(errors="surrogateescape")), *more])
