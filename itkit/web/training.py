"""Trainings for the page: the curves and pictures of a run, read from its folder while ``itkit train`` writes it."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itkit.core.thumbnail import class_colour
from itkit.forms.trainings import Points, RunLog, curves_of, is_training, last_values, pictures_in, state_of
from itkit.report.scales import Scale, scale_of, tick_texts
from itkit.serving.paths import Root

if TYPE_CHECKING:
    from fastapi import FastAPI

_MOST_LOGS = 20


class Logs:
    """The logs that were asked for last, each read on from where it was left."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Path, RunLog] = OrderedDict()
        self._lock = threading.Lock()

    def facts(self, folder: Path) -> dict[str, Any]:
        """Return the curves of a training, and how far it is."""
        with self._lock:
            log = self._kept.setdefault(folder, RunLog(folder))
            self._kept.move_to_end(folder)
            while len(self._kept) > _MOST_LOGS:
                self._kept.popitem(last=False)
            while log.update():
                pass
            plots = [_plot(title, curves) for title, curves in curves_of(log.history).items()]
            return {"state": state_of(folder.name, log.history), "plots": plots}


def _plot(title: str, curves: Mapping[str, Points]) -> dict[str, Any]:
    """Return a plot as shares of its width and height, 0 to 1, from the left and from the top."""
    points = [point for line in curves.values() for point in line]
    across, up = scale_of([x for x, _ in points], 0, 1), scale_of([y for _, y in points], 1, 0)
    lines = [
        {
            "name": name,
            "colour": "#{:02x}{:02x}{:02x}".format(*class_colour(number)),
            "points": [[round(across.place(x), 5), round(up.place(y), 5)] for x, y in line if math.isfinite(y)],
        }
        for number, (name, line) in enumerate(curves.items())
        if line
    ]
    return {"title": title, "last": last_values(curves), "curves": lines, "x": _ticks(across), "y": _ticks(up)}


def _ticks(scale: Scale) -> list[dict[str, Any]]:
    return [{"at": scale.place(value), "text": text} for value, text in tick_texts(scale)]


def add_training(app: FastAPI, root: Root) -> None:
    """Add ``GET /api/training?path=``, the folder of a run."""
    logs = Logs()

    def training(path: str) -> dict[str, Any]:
        folder = root.subfolder(path)
        found = RunLog(folder).path
        if found.exists() or found.is_symlink():
            root.file(str(found))  # it is no link that leads outside
        shown = [
            {"name": picture.stem, "path": root.shown(picture), "stamp": stamp}
            for picture, stamp in pictures_in(folder).items()
            if root.holds(picture)
        ]
        return {"path": root.shown(folder), "has_begun": is_training(folder), **logs.facts(folder), "pictures": shown}

    app.add_api_route("/api/training", training)
