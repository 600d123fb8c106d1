"""The page of a training: what was trained, its curves, each class, validation cases, and how to go on."""

from __future__ import annotations

import shlex
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from itkit.core.text import counted
from itkit.core.thumbnail import class_colour, data_uri
from itkit.report.pages import (
    Cell,
    Html,
    Section,
    TableCell,
    class_name,
    colour_key,
    element,
    markup,
    number,
    page,
    table,
    tiles,
)
from itkit.report.plots import Curve, curves

Points = Sequence[tuple[float, float]]
Metrics = Mapping[str, float | None]
_METRICS = ("dice", "iou", "precision", "recall")
_MOST_CASES = 24


@dataclass(frozen=True)
class TrainingResults:
    """What the page shows.

    Parameters
    ----------
    name
        Name of the run.
    state
        ``"finished"``, or why it has not.
    facts
        What was trained, in words, by name.
    losses, mean_losses, rates
        Loss of each step, mean of each epoch, learning rate; each by step.
    dice
        Mean Dice of each validation, by step.
    class_dice
        The same for each class.
    labels
        Name of each label value.
    best
        Metrics of each class when the mean Dice was best.
    best_dice, best_step
        That mean, and the step after which it was measured; ``None`` before the first validation.
    seconds
        Time of training.
    cases
        Number of cases that train and that validate.
    overlays
        Picture of each validation case: a PNG.
    plan
        The plan's text.
    weights
        Report of the weights from which training started.
    notes
        What else should be known.
    """

    name: str
    state: str
    facts: Mapping[str, str]
    losses: Points
    mean_losses: Points
    rates: Points
    dice: Points
    class_dice: Mapping[str, Points]
    labels: Mapping[int, str]
    best: Mapping[str, Metrics]
    best_dice: float | None
    best_step: int | None
    seconds: float
    cases: tuple[int, int]
    overlays: Mapping[str, Path] = field(default_factory=dict)
    plan: str = ""
    weights: str | None = None
    notes: Sequence[str] = ()


def training_page(results: TrainingResults) -> str:
    """Return the self-contained page."""
    train, val = results.cases
    intro = f"{counted(train, 'case')} to learn from, {counted(val, 'case')} to validate"
    sections = [
        Section("Curves", _curves(results)),
        Section("Classes", _classes(results)),
        Section("Validation cases", _cases(results)),
        Section("What was trained", [table(["", "value"], _rows(results.facts), sorts=False)]),
        Section("Use it", _usage(results)),
        Section("Plan", [element("details", element("summary", "plan.toml"), element("pre", results.plan))]),
    ]
    parts: list[Cell | Section] = [_tiles(results)]
    parts += [element("p", note, kind="note") for note in results.notes]
    return page(f"Training: {results.name}", intro, [*parts, *sections])


def _rows(facts: Mapping[str, str]) -> list[Sequence[TableCell]]:
    return [[name, element("span", value)] for name, value in facts.items()]


def _tiles(results: TrainingResults) -> Html:
    steps = str(int(results.losses[-1][0])) if results.losses else "0"
    loss = number(results.mean_losses[-1][1], 3) if results.mean_losses else number(None)
    values: dict[str, Cell] = {
        "best mean Dice": number(results.best_dice, 3),
        "after step": number(results.best_step, 0),
        "steps": steps,
        "loss, last epoch": loss,
        "time": _clock(results.seconds),
        "state": results.state,
    }
    return tiles(values, bad=[] if results.state == "finished" else ["state"])


def _clock(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"


def _curves(results: TrainingResults) -> list[Cell]:
    drawn = [
        curves(
            [Curve("each step", results.losses, width=1, opacity=0.4), Curve("mean of the epoch", results.mean_losses)],
            title="Training loss",
            x="step",
            y="loss",
        )
    ]
    if results.dice:
        values = list(results.labels)
        of_classes = [
            Curve(name, results.class_dice.get(name, ()), class_colour(value), width=1.2)
            for value, name in results.labels.items()
        ]
        key = colour_key([class_name(value, results.labels[value]) for value in values])
        plot = curves(
            [*of_classes, Curve("mean", results.dice, width=3)],
            title="Dice of whole validation volumes: classes, and their mean (thick)",
            x="step",
            y="Dice",
            most=1.0,
        )
        drawn += [plot]
    drawn.append(curves([Curve("learning rate", results.rates)], title="Learning rate", x="step", y="learning rate"))
    return [element("div", *drawn, kind="cards"), *([key] if results.dice else [])]


def _classes(results: TrainingResults) -> list[Cell]:
    if not results.best:
        return [element("p", "No volume has been validated yet.")]
    rows: list[Sequence[TableCell]] = [
        [class_name(value, name), *(number(results.best.get(name, {}).get(metric), 3) for metric in _METRICS)]
        for value, name in results.labels.items()
    ]
    note = (
        "Voxels are added up over all validation cases, after the step with the best mean Dice; on the grid that the "
        "network sees. itkit validate measures each case on its own grid, with distances."
    )
    return [table(["class", *_METRICS], rows), element("p", note, kind="note")]


def _cases(results: TrainingResults) -> list[Cell]:
    if not results.overlays:
        return [element("p", "No picture has been drawn yet.")]
    shown = list(results.overlays.items())[:_MOST_CASES]
    note = (
        "Above the truth, below the prediction with the truth's outlines in white; axial, coronal and sagittal, where "
        "most classes are seen. Drawn when the mean Dice was best."
    )
    parts: list[Cell] = [element("p", note, kind="note")]
    parts += [element("div", *(_picture(name, path) for name, path in shown), kind="cards")]
    if len(results.overlays) > len(shown):
        parts.append(element("p", f"The folder overlays has all {len(results.overlays)} cases."))
    return parts


def _picture(name: str, path: Path) -> Html:
    data = path.read_bytes()
    width, height = struct.unpack(">2I", data[16:24])  # the header of a PNG
    source = data_uri(data)
    said = markup(name)
    picture = f'<img alt="{said}: truth and prediction" width="{width}" height="{height}" src="{source}">'
    start = f'<figure class="slice" style="width:{width}px">'
    return Html(f"{start}{picture}<figcaption>{said}</figcaption></figure>")


def _usage(results: TrainingResults) -> list[Cell]:
    run, model = shlex.quote(results.name), shlex.quote(f"{results.name}/model")
    commands = (
        f"itkit predict {run} SOURCE DEST     # label maps of new images\n"
        f"itkit validate {run}                # each validation case, with distances and a page\n"
        f"itk_infer {model} SOURCE DEST   # all options: ensembles, probabilities, backends"
    )
    parts: list[Cell] = [element("pre", commands)]
    if results.weights:
        parts += [element("p", "Training started from weights:"), element("pre", results.weights)]
    return parts
