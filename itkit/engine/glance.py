"""Judge cases of which nothing but grids is needed, without a task for each: the index of their folder tells them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from itkit.core.operation import Context, Jobs, Record
from itkit.core.volume import Case
from itkit.engine.decisions import Decision, Decisions
from itkit.engine.session import Session
from itkit.io.seen import Seen


def at_a_glance(
    session: Session, decisions: Decisions, seen: Seen, done: Callable[[Record, int], None]
) -> Iterator[Decision]:
    """Judge every case whose grids are known and leave no doubt, and yield the decisions on the others.

    Parameters
    ----------
    session, decisions
        The run, and its cases.
    seen
        What is known of the files.
    done
        Called with the record of a case that is judged, and its number.
    """
    jobs = session.plan.jobs
    if not isinstance(jobs, Jobs) or jobs.reads is None:
        yield from decisions.running()
        return
    for number, case in enumerate(jobs.ids):
        record = _record(session, jobs, case, seen)
        if record is None:
            yield Decision(jobs[number], "run")
        else:
            done(record, number)


def _record(session: Session, jobs: Jobs, case: str, seen: Seen) -> Record | None:
    assert jobs.reads is not None
    start = time.perf_counter()
    grids = {}
    for name, path in jobs.reads(case).items():
        grid = seen.grid(path)
        if grid is None:
            return None
        grids[name] = grid
    try:
        outcome = session.operation.case(Case(case, {}, grids), session.params, Context(1, session.options.seed, case))
        facts, reasons, warnings = dict(outcome.facts), outcome.reasons, tuple(outcome.warnings)
    except Exception:  # noqa: BLE001 - the worker tells what is wrong
        return None
    return Record(
        case,
        "nonconforming" if reasons else "done",
        "; ".join(reasons),
        session.key,
        facts=facts,
        warnings=warnings,
        took_s=round(time.perf_counter() - start, 3),
    )
