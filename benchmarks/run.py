"""Measure ITKIT and its peers side by side, in turns, on one dataset; write ``RESULTS.md``.

Run: python benchmarks/run.py [--quick] [--rounds N] [--only WORD] [--ours VENV] [--no-write] [--go-on]

Each result is kept as soon as it is there: a run that was stopped, or in which a row failed, is finished by --go-on.
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import subprocess
from pathlib import Path

from contests import Contest, contests
from extras import kernels, linearity, random_patches, raw_results, scaling, sizes
from kept import Kept
from measure import run
from report import Pairs, render
from workplace import HERE, SCRIPTS, Workplace, prepare


def compare(place: Workplace, contest: Contest, rounds: int) -> Pairs:
    """Run both sides in turns, after their outputs have been found to agree."""
    note = ""
    destinations = {"ours": place.scratch / "ours", "peer": place.scratch / "peer"}
    commands = {"ours": contest.ours, "peer": contest.peer}

    def once(side: str, *, sample_memory: bool = False):
        for path in contest.forget:
            path.unlink(missing_ok=True)
        shutil.rmtree(destinations[side], ignore_errors=True)
        return run(commands[side](destinations[side]), sample_memory=sample_memory)

    peaks = tuple(once(side, sample_memory=True).peak_bytes for side in commands)  # looking costs time
    if contest.check:
        words = [place.ours.python, SCRIPTS / "agree.py", *contest.check, *destinations.values()]
        note = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)
        if note.returncode:
            raise SystemExit(f"{contest.name}: {note.stdout}{note.stderr}")
        note = note.stdout.strip()
    pairs = [(once("ours"), once("peer")) for _ in range(rounds)]
    for folder in destinations.values():
        shutil.rmtree(folder, ignore_errors=True)
    return Pairs(contest, tuple(pairs), peaks, note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two small cases, two rounds")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", default="", help="rows whose name holds this word")
    parser.add_argument("--ours", type=Path, help="environment that has the package, instead of a fresh one")
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    parser.add_argument("--go-on", action="store_true", help="take the results of a run that was stopped")
    options = parser.parse_args()
    place = prepare(quick=options.quick, ours=options.ours)
    rounds = options.rounds or (2 if options.quick else 5)
    raw_results(place)
    kept = Kept(place.scratch.parent / "kept.json", go_on=options.go_on)
    results = []
    for contest in contests(place):
        name = f"{contest.name} / {contest.peer_name}"
        if options.only in name:
            few = rounds if contest.wall_target != 2.5 else 5 * rounds  # short runs are noisy
            pairs = kept.pairs(contest)
            results.append(pairs or kept.keep(name, compare(place, contest, few)))
            print(results[-1].line(), flush=True)
    sections = []
    for make in (kernels, sizes, scaling, linearity, random_patches):
        if options.only in make.__name__:
            section = kept.section(make.__name__)
            sections.append(section or kept.keep(make.__name__, make(place, rounds)))
            print("\n".join(["", *sections[-1].lines]), flush=True)
    if not options.no_write and not options.only:
        day = datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()
        (HERE / "RESULTS.md").write_text(render(results, sections, place, rounds, day), encoding="utf-8")


if __name__ == "__main__":
    main()
