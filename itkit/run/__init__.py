"""From an operation and its parameters to files: plan, execute, resume, report.

``itkit.run`` names this package and the function that runs an operation; so the package can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from itkit.run.api import run

        return run(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
