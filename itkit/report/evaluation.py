"""The page of an evaluation: classes, distributions, volumes, worst cases, confusion, what was missed and invented."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.text import counted, some
from itkit.core.thumbnail import class_colour
from itkit.core.volume import Volume
from itkit.metrics.definitions import BORDER, COLUMNS, DEFINITIONS, SMALLER_IS_BETTER
from itkit.process.evaluation import Evaluation, shown_value
from itkit.report.pages import (
    MISSING,
    Cell,
    Html,
    Ranked,
    Rgb,
    Section,
    TableCell,
    cards,
    class_name,
    colour_key,
    element,
    figure,
    markup,
    number,
    page,
    short_name,
    swatch,
    table,
    tiles,
)
from itkit.report.pictures import FILL, Overlay, busiest_point, three_planes
from itkit.report.plots import Group, Line, bland_altman, box_plot, heat_map
from itkit.report.windows import window_of

_MOST_BOXES = 24
"""Number of classes up to which plots show all of them."""
REFERENCE: Rgb = (64, 196, 255)
PREDICTION: Rgb = (255, 140, 0)
_SHOWN = ("dice", "nsd", "hd95_mm", "assd_mm", "volume_similarity")
_PLOTS = {
    "dice": "Dice",
    "nsd": "NSD",
    "hd95_mm": "HD95, mm",
    "assd_mm": "ASSD, mm",
    "volume_similarity": "volume similarity",
}
_DIGITS = {"hd_mm": 2, "hd95_mm": 2, "assd_mm": 2, "masd_mm": 2, "volume_gt_ml": 2, "volume_pred_ml": 2}
_MOST_ROWS = 3000
_MOST_BLAND_ALTMAN = 24
_MOST_CONFUSED = 40
_MARGIN_MM = 15.0


@dataclass(frozen=True, eq=False)
class Worst:
    """A case with a bad result: its label maps, and its image if there is one.

    Parameters
    ----------
    case, label
        The case, and the label whose result is shown.
    values
        The values of the class or region.
    gt, pred
        Reference and prediction on one grid.
    image
        The image on the same grid.
    problem
        Why there is no picture.
    modality
        Modality of the image, as ``dataset.json`` names it.
    """

    case: str
    label: str
    values: tuple[int, ...] = ()
    gt: Volume | None = None
    pred: Volume | None = None
    image: Volume | None = None
    problem: str = ""
    modality: str = ""


@dataclass(frozen=True, eq=False)
class Results:
    """What a page shows beside the rows.

    Parameters
    ----------
    summaries
        Summary of all cases (key ``""``) and of each group.
    overall
        Means over labels.
    comparison
        Paired comparison with the baseline, by label and metric.
    prediction, reference, baseline, group
        Names of the folders, and of the column of groups.
    tolerances
        Tolerance of the NSD for each label, mm.
    """

    summaries: Mapping[str, Mapping[str, Any]]
    overall: Mapping[str, Any]
    comparison: Mapping[str, Mapping[str, Any]]
    prediction: str
    reference: str
    baseline: str = ""
    group: str = ""
    tolerances: Mapping[str, float] | None = None


def evaluation_page(evaluation: Evaluation, results: Results, worst: Iterable[Worst]) -> str:
    """Return the self-contained page of an evaluation."""
    summary = results.summaries[""]
    sections = [
        Section("Classes", [_class_table(evaluation, summary)]),
        *_comparison(evaluation, results),
        Section("Distributions", list(distributions(evaluation, summary))),
        *_groups(evaluation, results),
        *_lesions(evaluation, summary),
        Section(
            "Worst cases", list(_worst(evaluation, worst)) or [element("p", "No case differs from its reference.")]
        ),
        *_confusion(evaluation),
        Section("Missed and invented", [_flagged(evaluation)]),
        *_volumes(evaluation),
        Section("Every case", [_case_table(evaluation)]),
        *_failed(evaluation),
        Section("Definitions", _definitions(evaluation, results)),
    ]
    cases = counted(len(evaluation.rows), "case")
    intro = f"{results.prediction} against {results.reference}: {cases}, {_classes(len(evaluation.names))}"
    return page("Evaluation", intro, [_tiles(evaluation, results), *sections])


def _classes(count: int) -> str:
    return "1 class" if count == 1 else f"{count} classes"


def _tiles(evaluation: Evaluation, results: Results) -> Html:
    missed = sum(found["n_missed"] for found in results.summaries[""].values())
    invented = sum(found["n_invented"] for found in results.summaries[""].values())
    values: dict[str, Cell] = {"cases": str(len(evaluation.rows)), "classes": str(len(evaluation.names))}
    for metric in ("dice", "nsd", "hd95_mm"):
        if metric in results.overall:
            values[f"mean {_PLOTS[metric]}"] = _number(results.overall[metric]["mean"], metric)
    values |= {"classes missed": str(missed), "classes invented": str(invented)}
    if evaluation.missing:
        values["without a prediction"] = str(len(evaluation.missing))
    if evaluation.failed:
        values["failed"] = str(len(evaluation.failed))
    return tiles(values, bad=["failed", "without a prediction"])


def _number(value: float | None, metric: str) -> str:
    return number(value, _DIGITS.get(metric, 3))


def _named(evaluation: Evaluation, label: str) -> Html:
    name = evaluation.names[label]
    if not _is_value(label):
        return Html(markup(label))
    return class_name(int(label), "" if name == label else name)


def _is_value(label: str) -> bool:
    return label.removeprefix("-").isdigit()


def _ranked(evaluation: Evaluation, label: str) -> TableCell:
    return Ranked(_named(evaluation, label), label)  # a text: names stand on the left; digits sort as numbers


def _colour(label: str) -> Rgb | None:
    return class_colour(int(label)) if _is_value(label) else None


def _text(evaluation: Evaluation, label: str) -> str:
    name = short_name(evaluation.names[label])
    return name if evaluation.names[label] == label else f"{label} {name}"


def _class_table(evaluation: Evaluation, summary: Mapping[str, Any]) -> Html:
    metrics = [name for name in _SHOWN if name in evaluation.metrics] or list(evaluation.metrics[:5])
    rows: list[list[TableCell]] = []
    for label, found in summary.items():
        means = [_mean_and_interval(found[metric], metric) for metric in metrics]
        counts = [str(found[f"n_{flag}"]) for flag in ("missed", "invented", "both_empty")]
        rows.append([_ranked(evaluation, label), *counts, *means])
    caption = (
        "mean over the cases with a finite value (95 % interval by bootstrap over cases); summary.csv holds medians"
    )
    head = ["class", "missed", "invented", "in neither", *(_PLOTS.get(metric, metric) for metric in metrics)]
    return table(head, rows, caption=caption)


def _mean_and_interval(found: Mapping[str, Any], metric: str) -> TableCell:
    mean, (low, high) = found["mean"], found["ci95"]
    if mean is None:
        return MISSING
    interval = "" if low is None else f" ({_number(low, metric)} to {_number(high, metric)})"
    return Ranked(f"{_number(mean, metric)}{interval}", mean)


def _interval(found: Mapping[str, Any], metric: str) -> TableCell:
    low, high = found["ci95"]
    if low is None:
        return MISSING
    return Ranked(f"{_number(low, metric)} to {_number(high, metric)}", high - low)


def distributions(evaluation: Evaluation, summary: Mapping[str, Any]) -> Iterator[Cell]:
    """Yield the box plots; of many classes, those of the worst, and the others folded."""
    drawn = worst_classes(evaluation, summary)
    yield cards(_box_plots(evaluation, drawn))
    others = [label for label in evaluation.names if label not in drawn]
    if others:
        text = f"These are the {len(drawn)} of {len(evaluation.names)} classes with the lowest mean Dice."
        yield element("p", text, kind="note")
        more = element("summary", f"All others ({len(others)})")
        yield element("details", more, cards(_box_plots(evaluation, others)))


def worst_classes(evaluation: Evaluation, summary: Mapping[str, Any]) -> list[str]:
    """Return the classes with the lowest mean Dice, in the order of the tables; all if there are few."""
    labels = list(evaluation.names)

    def dice(label: str) -> float:
        mean = summary[label].get("dice", {}).get("mean")
        return 2.0 if mean is None else float(mean)

    lowest = sorted(labels, key=dice)[:_MOST_BOXES]
    return [label for label in labels if label in lowest]


def _box_plots(evaluation: Evaluation, labels: Sequence[str]) -> Iterator[Html]:
    for metric, name in _PLOTS.items():
        if metric not in evaluation.metrics:
            continue
        groups = []
        for label in labels:
            values = {
                case: float(value)
                for case, rows in evaluation.rows.items()
                if rows[label]["flag"] != "both_empty" and (value := shown_value(rows[label], metric)) is not None
            }
            groups.append(Group(_text(evaluation, label), list(values.values()), _colour(label), list(values)))
        better = "smaller is better" if metric in SMALLER_IS_BETTER else "0 is right" if "volume" in metric else ""
        yield box_plot(groups, title=name + (f" ({better})" if better else " (1 is best)"), x=name)


def _volumes(evaluation: Evaluation) -> list[Section]:
    if not {"volume_gt_ml", "volume_pred_ml"} <= {*evaluation.metrics}:
        return []
    plots = []
    for label in list(evaluation.names)[:_MOST_BLAND_ALTMAN]:
        rows = {case: rows[label] for case, rows in evaluation.rows.items() if rows[label]["flag"] != "both_empty"}
        if len(rows) < 2:
            continue
        first, second = ([row[name] for row in rows.values()] for name in ("volume_gt_ml", "volume_pred_ml"))
        plots.append(bland_altman(first, second, title=_text(evaluation, label), unit="ml", names=list(rows)))
    if not plots:
        return []
    note = "Bland\u2013Altman: prediction minus reference against the mean of both; a point is a case."
    if len(evaluation.names) > _MOST_BLAND_ALTMAN:
        note += f" The first {_MOST_BLAND_ALTMAN} of {_classes(len(evaluation.names))} are drawn."
    return [Section("Volumes", [element("p", note, kind="note"), cards(plots)])]


def _worst(evaluation: Evaluation, worst: Iterable[Worst]) -> Iterator[Cell]:
    first = True
    for item in worst:
        if first:
            entries = [
                Html(swatch(REFERENCE).text + "outline of the reference"),
                Html(swatch(PREDICTION).text + "outline of the prediction"),
            ]
            yield element("p", "The class with the lowest Dice of each case, where both differ most.", kind="note")
            yield colour_key(entries)
            first = False
        row = evaluation.rows[item.case][item.label]
        facts = [
            f"{name} {_number(value, metric)}"
            for metric, name in (("dice", "Dice"), ("hd95_mm", "HD95 mm"), ("nsd", "NSD"))
            if isinstance(value := shown_value(row, metric), float)
        ]
        flag = f" ({row['flag']})" if row["flag"] else ""
        yield element("h3", item.case, ": ", _text(evaluation, item.label), flag)
        yield element("p", ", ".join(facts), kind="muted")
        if item.problem or item.gt is None or item.pred is None:
            yield element("p", item.problem or "no picture", kind="note")
            continue
        yield cards(figure(plane, picture) for plane, picture in draw_disagreement(item).items())


def draw_disagreement(item: Worst) -> Mapping[Any, Any]:
    """Draw the three planes where reference and prediction of a class differ most, cut to its surroundings."""
    assert item.gt is not None
    assert item.pred is not None
    masks = [np.isin(volume.array_zyx, item.values) for volume in (item.gt, item.pred)]
    either = masks[0] | masks[1]
    box = _surroundings(either, item.gt)
    z, y, x = box
    start, size = (z.start, y.start, x.start), (z.stop - z.start, y.stop - y.start, x.stop - x.start)
    cut = item.gt.geometry.crop(start, size)
    gt, pred, differs = (
        Volume(np.ascontiguousarray(mask[box]).view(np.uint8), cut, "label") for mask in (*masks, masks[0] ^ masks[1])
    )
    image, window = item.image, None
    if image is not None:
        window = window_of(image, item.gt.with_array(either.view(np.uint8)), item.modality)
        image = image.with_array(np.ascontiguousarray(image.array_zyx[box]), cut)
    fill = 0.0 if image is not None else FILL
    overlays = [Overlay(gt, REFERENCE, fill), Overlay(pred, PREDICTION, fill)]
    return three_planes(image, overlays, at_xyz=busiest_point(differs), window=window, longest_side=300)


def _surroundings(mask: NDArray[np.bool_], volume: Volume) -> tuple[slice, slice, slice]:
    """Return the box of a mask, with a margin of a quarter of its longest side and at least 15 mm."""
    spans = []
    for axis in range(3):
        there = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        spans.append((int(there[0]), int(there[-1]) + 1) if there.size else (0, mask.shape[axis]))
    spacing = volume.geometry.spacing_zyx
    longest = max((end - start) * step for (start, end), step in zip(spans, spacing, strict=True))
    margin = max(_MARGIN_MM, longest / 4)
    z, y, x = (
        slice(max(0, start - math.ceil(margin / step)), min(size, end + math.ceil(margin / step)))
        for (start, end), step, size in zip(spans, spacing, mask.shape, strict=True)
    )
    return z, y, x


def _confusion(evaluation: Evaluation) -> list[Section]:
    known = [0, *(int(label) for label in evaluation.names if _is_value(label) and label != "0")]
    pairs = [(gt, pred, n) for gt, row in evaluation.confusion.items() for pred, n in row.items() if gt != pred]
    wrong = {value: sum(n for gt, pred, n in pairs if value in (gt, pred)) for value in known}
    chosen = sorted(sorted(known, key=lambda value: -wrong[value])[:_MOST_CONFUSED], key=known.index)
    rows = [value for value in chosen if evaluation.confusion.get(value)]
    if len(rows) < 2:
        return []
    texts = {value: evaluation.names.get(str(value), str(value)) for value in chosen}
    texts[0] = evaluation.names.get("0", "background")
    shares: list[list[float | None]] = []
    for value in rows:
        row = evaluation.confusion[value]
        total = sum(row.values())
        shares.append([row.get(other, 0) / total for other in chosen])
    note = "rows: reference; columns: prediction; share of the reference's voxels over all cases"
    if len(known) > len(chosen):
        note += f"; the {len(chosen)} of {_classes(len(known))} that are confused most"
    plot = heat_map([texts[v] for v in rows], [texts[v] for v in chosen], shares, title="Confusion", note=note)
    return [Section("Confusion", [plot])]


def _flagged(evaluation: Evaluation) -> Html:
    rows: list[list[TableCell]] = []
    for case, of_case in evaluation.rows.items():
        for label, row in of_case.items():
            if row["flag"] in ("missed", "invented"):
                ml = row.get("volume_gt_ml" if row["flag"] == "missed" else "volume_pred_ml")
                why = "no prediction" if case in evaluation.missing else row["flag"]
                rows.append([case, _ranked(evaluation, label), why, number(ml, 3)])
    if not rows:
        return element("p", "None: every class of every case is in both label maps or in neither.")
    return table(["case", "class", "", "volume, ml"], rows)


def _case_table(evaluation: Evaluation) -> Html:
    names = [name for name in COLUMNS if name in evaluation.metrics]
    if evaluation.has_instances:
        names += ["detection_f1", "pq"]
    rows: list[list[TableCell]] = []
    marked = []
    for case, of_case in evaluation.rows.items():
        for label, row in of_case.items():
            cells = [_number(shown_value(row, name), name) for name in names]
            rows.append([case, _ranked(evaluation, label), *cells, row["flag"].replace("_", " ")])
            marked.append(row["flag"] in ("missed", "invented"))
    shown, caption = rows, ""
    if len(rows) > _MOST_ROWS:
        shown, marked = rows[:_MOST_ROWS], marked[:_MOST_ROWS]
        caption = f"the first {_MOST_ROWS} of {len(rows)} rows; per_case.csv holds all"
    return table(["case", "class", *names, "flag"], shown, marked=marked, caption=caption)


def _comparison(evaluation: Evaluation, results: Results) -> list[Section]:
    if not results.comparison or evaluation.baseline is None:
        return []
    metrics = [name for name in _SHOWN if name in evaluation.metrics]
    rows: list[list[TableCell]] = []
    for label, found in results.comparison.items():
        for metric in metrics:
            of = found[metric]
            rows.append(
                [
                    _ranked(evaluation, label),
                    _PLOTS[metric],
                    _number(of["mean_difference"], metric),
                    _interval(of, metric),
                    _number(of["median_difference"], metric),
                    str(of["n"]),
                    _p(of["p"]),
                    _p(of["p_holm"]),
                ]
            )
    head = ["class", "metric", "mean difference", "95 % interval", "median", "pairs", "p", "p (Holm)"]
    note = (
        f"{results.prediction} minus {results.baseline}, case by case. p: Wilcoxon's signed-rank test, two-sided; "
        "Holm's correction runs over the classes, for each metric."
    )
    groups = []
    for label in evaluation.names:
        ours = evaluation.values(label, "dice")
        theirs = {
            case: rows[label]["dice"]
            for case, rows in evaluation.baseline.items()
            if case in ours and rows[label]["flag"] != "both_empty"
        }
        differences = [ours[case] - theirs[case] for case in theirs]
        groups.append(Group(_text(evaluation, label), differences, _colour(label), list(theirs)))
    parts: list[Cell] = [element("p", note, kind="note")]
    if "dice" in evaluation.metrics:
        plot = box_plot(groups, title="Difference in Dice", x="difference in Dice", marks=[Line("", x=0.0)])
        parts.append(cards([plot]))
    return [Section(f"Against {results.baseline}", [*parts, table(head, rows)])]


def _p(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2e}" if 0 < value < 0.001 else f"{value:.3f}"


def _groups(evaluation: Evaluation, results: Results) -> list[Section]:
    groups = [name for name in results.summaries if name]
    if not groups:
        return []
    metrics = [name for name in ("dice", "hd95_mm") if name in evaluation.metrics]
    rows: list[list[TableCell]] = []
    for group in groups:
        for label, found in results.summaries[group].items():
            row: list[TableCell] = [group, _ranked(evaluation, label)]
            for metric in metrics:
                row += [_number(found[metric]["mean"], metric), _interval(found[metric], metric)]
            rows.append([*row, str(max((found[metric]["n"] for metric in metrics), default=0))])
    head = [results.group, "class"]
    for metric in metrics:
        head += [f"{_PLOTS[metric]}, mean", "95 % interval"]
    return [Section(f"By {results.group}", [table([*head, "cases"], rows)])]


def _lesions(evaluation: Evaluation, summary: Mapping[str, Any]) -> list[Section]:
    if not evaluation.has_instances:
        return []
    rows: list[list[TableCell]] = []
    for label, found in summary.items():
        lost = [ml for rows_ in evaluation.rows.values() for ml in rows_[label]["missed_ml"]]
        false = [ml for rows_ in evaluation.rows.values() for ml in rows_[label]["false_ml"]]
        counts = [str(found[name]) for name in ("instances_gt", "instances_pred", "instances_matched")]
        means = [_number(found[name]["mean"], name) for name in ("detection_f1", "pq")]
        largest = [number(max(values, default=None), 3) for values in (lost, false)]
        rows.append([_ranked(evaluation, label), *counts, *means, *largest])
    head = ["class", "in the reference", "in the prediction", "matched", "F1, mean", "PQ, mean"]
    note = "Connected components (26 neighbours); a pair matches if its IoU is above 0.5."
    return [
        Section(
            "Lesions",
            [element("p", note, kind="note"), table([*head, "largest missed, ml", "largest false, ml"], rows)],
        )
    ]


def _failed(evaluation: Evaluation) -> list[Section]:
    if not evaluation.failed:
        return []
    rows = [[case, message] for case, message in evaluation.failed.items()]
    return [Section("Failed", [table(["case", "reason"], rows, marked=[True] * len(rows))])]


def _definitions(evaluation: Evaluation, results: Results) -> list[Cell]:
    chosen = [name for name in DEFINITIONS if name not in COLUMNS or name in evaluation.metrics]
    chosen = [name for name in chosen if name in COLUMNS or evaluation.has_instances]
    rows: list[list[TableCell]] = [[name, DEFINITIONS[name]] for name in [*chosen, "tp", "fp", "fn", "flag"]]
    parts: list[Cell] = [element("p", f"{BORDER[0].upper()}{BORDER[1:]}.")]
    if results.tolerances:
        by_limit: dict[float, list[str]] = {}
        for label, limit in results.tolerances.items():
            by_limit.setdefault(limit, []).append(_text(evaluation, label) if label in evaluation.names else label)
        said = "; ".join(f"{limit:g} mm for {some(labels, 30)}" for limit, labels in by_limit.items())
        if len(by_limit) == 1:
            said = f"{next(iter(by_limit)):g} mm"
        parts.append(element("p", f"Tolerance tau of the NSD: {said}."))
    return [*parts, table(["key", "definition"], rows, sorts=False)]
