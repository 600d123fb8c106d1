"""One model to train or to test, and how that went."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

Status = Literal["trained", "tested", "skipped", "planned", "failed", "interrupted", "not run"]


@dataclass(frozen=True)
class Job:
    """A model of an experiment, and what to do with it.

    Parameters
    ----------
    experiment, model
        Their names.
    config
        The configuration.
    work_dir
        Folder of the training.
    test_dir
        Folder of the test; ``None`` unless it is to be tested.
    cfg_options
        Values that replace those of the configuration, ``key=value``.
    use_last
        Test the last checkpoint, not the best one, also of a training that has not ended.
    detect_anomaly
        Find the operation whose gradient is nan.
    amp
        Compute in half precision.
    resume
        Go on from the last checkpoint.
    dry_run
        Only say what would be done.
    """

    experiment: str
    model: str
    config: Path
    work_dir: Path
    test_dir: Path | None = None
    cfg_options: tuple[str, ...] = ()
    use_last: bool = False
    detect_anomaly: bool = False
    amp: bool = False
    resume: bool = False
    dry_run: bool = False

    @property
    def is_test(self) -> bool:
        """Whether it tests."""
        return self.test_dir is not None

    @property
    def name(self) -> str:
        """Experiment and model."""
        return f"{self.experiment}/{self.model}"

    def resumed(self) -> Job:
        """Return the job that goes on from the last checkpoint."""
        return replace(self, resume=True)

    def to_json(self) -> str:
        """Return the job as text for another process."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Return the job that `to_json` has written."""
        values: dict[str, Any] = json.loads(text)
        for name in ("config", "work_dir", "test_dir"):
            values[name] = None if values[name] is None else Path(values[name])
        return cls(**{**values, "cfg_options": tuple(values["cfg_options"])})


@dataclass(frozen=True)
class Result:
    """How a job went.

    Parameters
    ----------
    status
        What came of it.
    message
        Why it was skipped or failed, or where the result is.
    can_retry
        Whether another try could go better.
    """

    status: Status
    message: str = ""
    can_retry: bool = False

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Result:
        """Return the result that another process has written as JSON."""
        return cls(values["status"], str(values["message"]), bool(values["can_retry"]))
