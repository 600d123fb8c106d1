"""Write the pages and pictures that are made from the sources: ``python docs/generate_reference.py``.

They lie in ``docs/reference`` and ``docs/images/made``, which git ignores. Pages of commands are made from the
parameter models; their examples are run on the CT that comes with ITKIT, and what they printed and made is shown.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    from making.building import build

    build()
