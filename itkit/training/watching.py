"""Curves of a run as text, made anew while it trains."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from itkit.core.errors import LayoutError
from itkit.report.text_plot import text_plot
from itkit.training.curves import losses, thinned
from itkit.training.history import METRICS_JSONL, History, dice_of, read_history
from itkit.training.run_lock import LOCK_FILE
from itkit.training.status import STATUS_FILE, read_status

_BAR = 20
_MOST_CLASSES = 12
_LONGEST_NAME = 24
_ENDED = {"finished", "interrupted", "failed", "killed"}


def curves_text(history: History, status: dict[str, Any], *, name: str = "run", width: int = 72) -> str:
    """Return the curves of a run as text.

    Parameters
    ----------
    history
        What was logged.
    status
        ``state`` and ``total`` of the run.
    name
        Name of the run.
    width
        Letters of a line.
    """
    last = history.steps[-1] if history.steps else None
    total = status.get("total")
    of = "" if total is None else f" of {total}"
    head = f"{name}: {status['state']}"
    if last is None:
        return f"{head}; no step yet"
    rate = "" if math.isnan(last.learning_rate) else f", learning rate {last.learning_rate:.3g}"
    lines = [f"{head}, step {last.step}{of}, loss {last.train_loss:.3f}{rate}", ""]
    width = max(30, min(width, 120))
    drawn = [thinned(losses(history), 4 * width)]
    lines += [text_plot(drawn, title="training loss", x="step", width=width)]
    if history.validations:
        dice = [(0.0, 0.0), *dice_of(history)] if len(history.validations) == 1 else dice_of(history)
        best = history.best
        assert best is not None
        title = f"mean Dice of the validation, best {best.val_dice:.3f} after step {best.step}"
        lines += ["", text_plot([dice], title=title, x="step", width=width, most=1.0), ""]
        lines += _bars(history)
    return "\n".join(lines)


def _bars(history: History) -> Sequence[str]:
    classes = history.validations[-1].classes
    shown = list(classes.items())[:_MOST_CLASSES]
    longest = min(_LONGEST_NAME, max((len(name) for name, _ in shown), default=0))
    lines = []
    for name, values in shown:
        dice = values.get("dice")
        bar = "" if dice is None else "█" * round(_BAR * min(1.0, max(0.0, dice)))
        lines.append(f"{name[:longest]:<{longest}} {'    -' if dice is None else f'{dice:.3f}'} {bar}".rstrip())
    if len(classes) > len(shown):
        lines.append(f"and {len(classes) - len(shown)} others")
    return lines


def watch(
    run: Path, show: Callable[[str], None], *, width: Callable[[], int], seconds: float = 2.0, rounds: int | None = None
) -> None:
    """Show the curves of a run again and again, until it ends.

    Parameters
    ----------
    run
        Its folder.
    show
        Called with the text whenever something is new.
    width
        Returns the letters of a line.
    seconds
        Time between two looks.
    rounds
        Look so often at most.

    Raises
    ------
    LayoutError
        When there is no such folder, or nothing in it says whether it trains; its curves are shown before.
    """
    seen: Any = None
    while rounds is None or rounds > 0:
        if not run.is_dir():
            raise LayoutError(f"{run}: no such run; its folder is made when all cases are prepared")
        status, path = read_status(run), run / METRICS_JSONL
        state, is_begun = status["state"], status["state"] != "unknown" or not _may_begin(run)
        stamp = (state, is_begun, path.stat().st_size if path.is_file() else 0)
        if stamp != seen:
            history = read_history(path)
            if not is_begun:
                show(f"{run}: no training has begun here yet; it is waited for until Ctrl-C")
            elif history.steps or state != "unknown":
                show(curves_text(history, status, name=str(run), width=width()))
            seen = stamp
        if is_begun and state == "unknown":
            fault = "is malformed" if (run / STATUS_FILE).exists() else "is missing"
            raise LayoutError(
                f"{run}: {STATUS_FILE} {fault}, so it is not known whether a training runs; expected a run of itkit "
                "train (one of an older version gets the file when it goes on)"
            )
        if state in _ENDED:
            return
        rounds = None if rounds is None else rounds - 1
        time.sleep(seconds)


def _may_begin(run: Path) -> bool:
    """Whether a folder without a status is empty, or that of a training that still prepares its cases."""
    return (run / LOCK_FILE).exists() or not any(run.iterdir())
