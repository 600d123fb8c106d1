"""``curves.png`` and ``report.html`` of a run, made from the files in its folder."""

from __future__ import annotations

from pathlib import Path

from itkit.core.geometry import by
from itkit.io.disk import write_bytes, write_text
from itkit.report.training import TrainingResults, training_page
from itkit.training.curves import draw_curves, losses, smooth_losses, thinned
from itkit.training.history import METRICS_JSONL, History, dice_of, read_history
from itkit.training.run_files import PLAN_FILE, Run, read_run
from itkit.training.status import read_status

CURVES_FILE, REPORT_FILE, OVERLAYS = "curves.png", "report.html", "overlays"


def write_curves(run: Path, history: History, names: list[str]) -> None:
    """Write ``curves.png``.

    Raises
    ------
    WriteError
        When it can't be written.
    """
    write_bytes(run / CURVES_FILE, draw_curves(history, names))


def write_report(path: Path) -> None:
    """Write ``report.html`` of a run.

    Raises
    ------
    WriteError
        When it can't be written.
    """
    write_text(path / REPORT_FILE, training_page(results_of(read_run(path), read_history(path / METRICS_JSONL))))


def results_of(run: Run, history: History) -> TrainingResults:
    """Return what the page of a run shows."""
    labels, best = run.plan.dataset.labels, history.best
    lost = run.facts.get("lost_classes") or {}
    notes = [f"{case}: too small for the network's spacing: {', '.join(names)}" for case, names in lost.items()]
    return TrainingResults(
        name=run.path.name,
        state=read_status(run.path)["state"],
        facts=_facts(run),
        losses=losses(history),
        mean_losses=smooth_losses(history),
        rates=thinned([(one.step, one.learning_rate) for one in history.steps], 500),
        dice=dice_of(history),
        class_dice={name: dice_of(history, name) for name in labels.values()},
        labels=labels,
        best={} if best is None else best.classes,
        best_dice=None if best is None else best.val_dice,
        best_step=None if best is None else best.step,
        seconds=history.steps[-1].seconds if history.steps else 0.0,
        cases=(len(run.train), len(run.val)),
        overlays={file.stem: file for file in sorted((run.path / OVERLAYS).glob("*.png"))},
        plan=(run.path / PLAN_FILE).read_text(encoding="utf-8"),
        weights=run.facts.get("weights"),
        notes=notes,
    )


def _facts(run: Run) -> dict[str, str]:
    plan = run.plan
    training, versions = plan.training, run.facts.get("versions") or {}
    machine = run.facts.get("machine") or {}
    gpus = ", ".join(machine.get("gpus") or ()) or f"{machine.get('cores', '?')} cores, no GPU"
    options = ", ".join(f"{key} {value}" for key, value in plan.network.options.items())
    return {
        "network": plan.network.name + (f" ({options})" if options else ""),
        "dataset": plan.dataset.path,
        "channels": ", ".join(plan.dataset.channels),
        "patch": f"{by(training.patch_size)} voxels ZYX",
        "spacing": f"{by(plan.preprocess.spacing)} mm ZYX, {plan.preprocess.orient}",
        "batch": str(training.batch_size),
        "epochs": f"{training.epochs} of {training.steps_per_epoch} steps",
        "loss": str(training.loss),
        "optimiser": f"{training.optimizer}, learning rate {training.learning_rate:g}, {training.scheduler}",
        "precision": training.precision,
        "seed": str(training.seed),
        "fold": str(run.facts.get("fold", 0)),
        "machine": f"{machine.get('system', '?')}; {gpus}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "digest of the dataset": str((run.facts.get("dataset") or {}).get("digest", "")),
    }
