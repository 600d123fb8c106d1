"""The command that a form stands for: words for the child process, and the line that people copy."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from itkit.core.fields import Secret, marker
from itkit.core.operation import Operation
from itkit.core.params import Params
from itkit.core.tool import Tool
from itkit.engine.options import RunOptions
from itkit.engine.parameters import to_argv
from itkit.engine.progress import EVENTS

_EVENTS = ("--progress", "json")
_PLAN = "--dry-run"


@dataclass(frozen=True)
class Command:
    """A command line of ITKIT.

    Parameters
    ----------
    name
        The operation, e.g. ``itk_resample``, or the verb of a tool, e.g. ``itkit train``.
    argv
        Its arguments.
    secrets
        Environment variables that hand secrets to it; they are in no command line and no text.
    tells, plans
        Whether it tells its progress in JSON lines, and whether it can be run dry.
    """

    name: str
    argv: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    tells: bool = True
    plans: bool = True

    @property
    def text(self) -> str:
        """The line that a terminal takes; secrets are left out.

        Examples
        --------
        >>> Command("itk_orient", ("my raw", "out", "LPI")).text
        "itk_orient 'my raw' out LPI"
        >>> Command("convert_kits23", ("kits", "out")).text
        'itkit convert_kits23 kits out'
        """
        verb = [self.name] if self.name.startswith("itk_") else ["itkit", self.name.removeprefix("itkit ")]
        return shlex.join([*verb, *self.argv])

    def words(self, *, plan: bool = False) -> list[str]:
        """Return the words of the child process: this interpreter, and no shell."""
        more = [*([_PLAN] if plan and self.plans else []), *(_EVENTS if self.tells else [])]
        return [sys.executable, "-m", "itkit", self.name.removeprefix("itkit "), *self.argv, *more]

    def environment(self) -> dict[str, str]:
        """Return the environment of the child process."""
        safe = {"PYTHONSAFEPATH": "1", "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:backslashreplace", EVENTS: "begin"}
        return {**os.environ, **safe, **self.secrets}


def command_of(command: Operation[Any] | Tool[Any], params: Params, options: RunOptions | None = None) -> Command:
    """Return the command line of checked parameters; options that a window sets itself may not be given."""
    is_operation = isinstance(command, Operation)
    tells = isinstance(command, Operation) or command.tells
    return Command(command.name, tuple(to_argv(params, options)), _secrets(params), tells=tells, plans=is_operation)


def _secrets(params: Params) -> dict[str, str]:
    found = {}
    for name, info in type(params).model_fields.items():
        secret, value = marker(info, Secret), getattr(params, name)
        if secret is not None and value != info.default:
            found[secret.variable] = value.get_secret_value()
    return found
