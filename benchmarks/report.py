"""Write results as text: medians of ratios, tables and simple plots."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path

from contests import Contest
from measure import Cost
from workplace import Workplace

MIB = 2**20


@dataclass(frozen=True)
class Pairs:
    """Costs of both sides of a contest, measured in turns."""

    contest: Contest
    costs: tuple[tuple[Cost, Cost], ...]
    peaks: tuple[int, int]
    agreement: str = ""

    def median(self, side: int, what: str) -> float:
        return statistics.median(getattr(pair[side], what) for pair in self.costs)

    def ratio(self, what: str) -> float:
        return statistics.median(getattr(ours, what) / max(getattr(peer, what), 1e-9) for ours, peer in self.costs)

    def line(self) -> str:
        name = f"{self.contest.name} / {self.contest.peer_name}"
        return f"{name:<62} wall {self.ratio('wall_s'):.3f} cpu {self.ratio('cpu_s'):.3f} ({self.agreement})"

    def row(self) -> str:
        ours, peer = (
            f"{self.median(side, 'wall_s'):.2f} / {self.median(side, 'cpu_s'):.2f} s" for side in (0, 1)
        )  # fmt: skip
        memory = " / ".join(f"{peak / MIB:.0f}" for peak in self.peaks)
        peak = self.peaks[0] / max(self.peaks[1], 1)
        target = _target(self.ratio("wall_s"), self.contest.wall_target)
        cpu_target = _target(self.ratio("cpu_s"), self.contest.cpu_target)
        return (
            f"| {self.contest.name} | {self.contest.peer_name} | **{self.ratio('wall_s'):.3f}** {target} | "
            f"{self.ratio('cpu_s'):.3f} {cpu_target} | {ours} | {peer} | {memory} ({peak:.2f}) |"
        )


@dataclass(frozen=True)
class Section:
    """A section of the results page."""

    title: str
    lines: tuple[str, ...]


def _target(value: float, target: float | None) -> str:
    if target is None:
        return ""
    return f"(aim {target:g}: {'met' if value <= target else 'missed'})"


def machine() -> str:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    return (
        f"{cpu}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}; load average before the run {os.getloadavg()[0]:.1f}"
    )


def render(results: list[Pairs], sections: list[Section], place: Workplace, rounds: int, day: str) -> str:
    agreements = [f"- {r.contest.name}: {r.agreement}" for r in results if r.agreement]
    lines = [
        "# Results",
        "",
        f"Written by `make bench` on {day}. {machine()}.",
        "",
        f"Dataset `{place.data.name}`, made with a fixed seed by `benchmarks/scripts/make_data.py`. Both sides of a row ran "
        f"in turns, {rounds} rounds. Numbers are medians; ratios are medians of the ratios ours / peer of each round. "
        "CPU time is that of the whole process tree. Memory is that of all processes together: shared pages count once, "
        "and the page cache does not count. It was measured in separate runs. Our runs flush every file to disk before "
        "they rename it; the peers' runs don't. nnU-Net's resampling, by default cubic, is compared at order 1.",
        "",
        "| job | peer | wall | cpu | ours: wall / cpu | peer: wall / cpu | peak MiB, ours / peer (ratio) |",
        "|---|---|---|---|---|---|---|",
        *(result.row() for result in results),
        "",
        "Checked before timing:",
        "",
        *agreements,
    ]
    for section in sections:
        lines += ["", f"## {section.title}", "", *section.lines]
    return "\n".join([*lines, ""])


def plot(path: Path, points: list[tuple[float, float]], x_label: str, y_label: str) -> None:
    """Draw points and the line through the origin that fits them best, as SVG."""
    width, height, left, bottom = 480, 280, 60, 40
    x_most, y_most = max(x for x, _ in points), max(y for _, y in points) * 1.1
    slope, start = statistics.linear_regression(*zip(*points, strict=True))

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x / x_most * (width - left - 20), height - bottom - y / y_most * (height - bottom - 20)

    (x0, y0), (x1, y1) = place(0, max(0.0, start)), place(x_most, start + slope * x_most)
    dots = "".join('<circle cx="{:.1f}" cy="{:.1f}" r="4" fill="#1f5fa8"/>'.format(*place(*point)) for point in points)
    marks = "".join(
        f'<text x="{place(x, 0)[0]:.1f}" y="{height - bottom + 16:.1f}" text-anchor="middle">{x:g}</text>'
        for x, _ in points
    ) + "".join(
        f'<text x="{left - 6}" y="{place(0, y)[1] + 4:.1f}" text-anchor="end">{y:.2g}</text>'
        for y in (0, y_most / 2, y_most)
    )
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">'
        f'<rect width="{width}" height="{height}" fill="white"/>'
        f'<path d="M{left} 20V{height - bottom}H{width - 20}" fill="none" stroke="#444"/>'
        f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" stroke="#9bb8d8" stroke-width="2"/>{dots}{marks}'
        f'<text x="{width / 2}" y="{height - 6}" text-anchor="middle">{x_label}</text>'
        f'<text x="14" y="{height / 2}" transform="rotate(-90 14 {height / 2})" text-anchor="middle">{y_label}</text></svg>\n',
        encoding="utf-8",
    )
