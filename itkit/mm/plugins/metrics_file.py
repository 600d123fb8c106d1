"""Test metrics as one strict JSON file a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import LoggerHook
from mmengine.registry import HOOKS

from itkit.io.json_files import write_json
from itkit.mm.records import plain


@HOOKS.register_module()
class LoggerJSON(LoggerHook):
    """MMEngine's logger, which also writes the metrics of a test to ``test_<time>.json`` in the work folder.

    The file names configuration and checkpoint. Metrics may be anything: numbers of numpy, arrays and tensors become
    numbers and lists; ``None`` and what is not finite becomes null. MMEngine's own file loses numbers of numpy's
    float32, and is no JSON when a metric is nan. The metrics themselves stay as they are. Parameters are those of
    MMEngine's ``LoggerHook``.
    """

    def after_test_epoch(self, runner: Any, metrics: Mapping[str, Any] | None = None) -> None:
        """Log the metrics, and write the file."""
        _, text = runner.log_processor.get_log_after_epoch(
            runner, len(runner.test_dataloader), "test", with_non_scalar=True
        )
        runner.logger.info(text)
        if not is_main_process():
            return
        config = runner.cfg.filename
        values = {
            "experiment": runner.experiment_name,
            "config": None if config is None else str(config),
            "checkpoint": runner._load_from,  # what the configuration calls load_from; the runner has no other name
            "time": runner.timestamp,
            "metrics": plain(metrics if metrics is not None else {}),
        }
        write_json(Path(runner.work_dir) / f"test_{runner.timestamp}.json", values)
