"""Plan a run over many volumes: storage, core hours and wall time, from rates measured on this machine.

Run: python benchmarks/plan.py [--cases 100000] [--size 160 512 512] [--cores 16] [--nodes 1 10 100] [--rounds 3]
[--page FILE]; ``--page docs/how-to/run-on-a-cluster.md`` puts the plan into that page.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from scale import run
from workplace import SCRIPTS

STORE_MB_S = 2000
"""What the shared file system gives to all nodes together, unless --store says otherwise."""


@dataclass(frozen=True)
class Rates:
    """What one case costs."""

    core_s: float
    read_bytes: int
    written_bytes: int


@dataclass(frozen=True)
class Line:
    """The plan for a number of nodes."""

    nodes: int
    hours: float
    bound_by: str


def measure(python: str, size_zyx: tuple[int, int, int], rounds: int) -> Rates:
    """Measure ``itk_orient`` on CT-like pairs of a size."""
    with tempfile.TemporaryDirectory(prefix="itkit-plan-") as folder:
        data, dest = Path(folder) / "data", Path(folder) / "dest"
        size = [str(value) for value in size_zyx]
        subprocess.run(
            [python, str(SCRIPTS / "make_data.py"), str(data), "2", *size], check=True, stdout=subprocess.DEVNULL
        )
        source = data / "nii.gz"
        costs = []
        for _ in range(rounds):
            shutil.rmtree(dest, ignore_errors=True)
            costs.append(run([python, "-m", "itkit", "orient", str(source), str(dest), "LPI", "--progress", "none"]))
        read, written = (sum(p.stat().st_size for p in at.rglob("*.*") if p.is_file()) for at in (source, dest))
        return Rates(statistics.median(cost.cpu_s for cost in costs) / 2, read // 2, written // 2)


def plan(rates: Rates, cases: int, cores: int, nodes: int, store_bytes_s: float) -> Line:
    """Return how long a run takes: bound by the cores of the nodes, or by the file system that they share."""
    computing = cases * rates.core_s / (cores * nodes)
    moving = cases * (rates.read_bytes + rates.written_bytes) / store_bytes_s
    return Line(nodes, max(computing, moving) / 3600, "cores" if computing >= moving else "file system")


def table(rates: Rates, cases: int, cores: int, nodes: list[int], store_mb_s: float) -> str:
    """Return the plan as Markdown."""
    lines = [
        f"{cases:,} pairs: {cases * rates.read_bytes / 1e12:.1f} TB to read, {cases * rates.written_bytes / 1e12:.1f} TB "
        f"to write, {math.ceil(cases * rates.core_s / 3600):,} core hours.",
        "",
        f"| nodes of {cores} cores | hours | bound by |",
        "|---|---|---|",
    ]
    for count in nodes:
        found = plan(rates, cases, cores, count, 1e6 * store_mb_s)
        lines.append(f"| {found.nodes} | {found.hours:.1f} | {found.bound_by} |")
    return "\n".join(lines)


def into_page(page: str, text: str) -> str:
    """Return a page with the plan that it quotes replaced."""
    quoted = "".join(f"> {line}".rstrip() + "\n" for line in text.splitlines())
    changed, count = re.subn(r"(?m)^> a pair: .*\n(?:>.*\n)*", lambda _: quoted, page)
    if count != 1:
        raise SystemExit(f"the page quotes {count} plans, not one")
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--size", type=int, nargs=3, default=(160, 512, 512), metavar=("Z", "Y", "X"))
    parser.add_argument("--cores", type=int, default=16, help="cores of a node")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--store", type=float, default=STORE_MB_S, help="MB/s of the shared file system")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--page", type=Path, help="Markdown page that has the plan as a quotation")
    options = parser.parse_args()
    rates = measure(options.python, tuple(options.size), options.rounds)
    text = (
        f"a pair: {rates.core_s:.2f} core s, {rates.read_bytes / 1e6:.1f} MB read, {rates.written_bytes / 1e6:.1f} MB "
        f"written\n\n{table(rates, options.cases, options.cores, options.nodes, options.store)}"
    )
    print(text)
    if options.page is not None:
        options.page.write_text(into_page(options.page.read_text(), text))


if __name__ == "__main__":
    main()
