"""A plan in the making: its values, and the number that each of them follows from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from itkit.training.plan_file import Plan, make_plan


@dataclass
class Draft:
    """The sections of a plan's file, the reason of each value, and what the user should know."""

    values: dict[str, dict[str, Any]]
    reasons: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def put(self, key: str, value: Any, reason: str = "") -> None:
        """Write a value, ``section.name``, and the reason for it."""
        section, _, name = key.partition(".")
        self.values.setdefault(section, {})[name] = value
        if reason:
            self.reasons[key] = reason

    def plan(self, **training: Any) -> Plan:
        """Return the plan as it is now, with other values of its section ``training``."""
        return make_plan({**self.values, "training": {**self.values["training"], **training}})
