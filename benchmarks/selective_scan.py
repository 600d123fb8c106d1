"""Compare the toolkit's selective scan with the sequential recurrence, run in turns (A B A B).

The recurrence is written as the public reference implementations write it: decays and inputs of all positions at once,
then a loop over the positions. Prints, for every shape, the median ratio of the times of forward and of forward with
backward, and the peak memory that each needs above the inputs, measured in a process of its own.

    python benchmarks/selective_scan.py --rounds 5 --threads 1
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import time

import torch
from torch.nn import functional

from itkit.models.blocks.selective_scan import selective_scan

SHAPES = {
    # N, P, S, L, G
    "VMamba-T stage 1, 224x224": (1, 384, 1, 3136, 4),
    "VMamba v0 stage 2, 224x224": (1, 1536, 16, 784, 4),
    "Swin-UMamba stage 1, 128x128": (2, 768, 16, 1024, 4),
    "SegMamba stage 2, 128^3": (1, 576, 16, 4096, 3),
    "long sequence": (1, 96, 16, 16384, 1),
}


def sequential(u, delta, a, b, c, d, bias):
    step = functional.softplus(delta + bias[:, None])
    per_group = u.shape[1] // b.shape[1]
    b, c = (t.repeat_interleave(per_group, dim=1) for t in (b, c))
    decay = torch.exp(step[:, :, None] * a[None, :, :, None])
    drive = (step * u)[:, :, None] * b
    state = u.new_zeros(u.shape[0], u.shape[1], a.shape[1])
    outputs = []
    for here, joins, weight in zip(decay.unbind(-1), drive.unbind(-1), c.unbind(-1), strict=True):
        state = here * state + joins
        outputs.append((state * weight).sum(-1))
    return torch.stack(outputs, -1) + d[:, None] * u


VERSIONS = {"itkit": selective_scan, "sequential": sequential}


def inputs_of(shape):
    n, channels, states, length, groups = shape
    generator = torch.Generator().manual_seed(0)

    def normal(*size):
        return torch.randn(size, generator=generator)

    rates = -torch.arange(1.0, states + 1).repeat(channels, 1)
    tensors = [
        normal(n, channels, length),
        normal(n, channels, length) - 2,
        rates,
        normal(n, groups, states, length),
        normal(n, groups, states, length),
        normal(channels),
        normal(channels) / 10,
    ]
    return [t.requires_grad_() for t in tensors]


def run(scan, inputs, *, backward):
    start = time.perf_counter()
    if backward:
        torch.autograd.grad(scan(*inputs).sum(), inputs)
    else:
        with torch.no_grad():
            scan(*inputs)
    return time.perf_counter() - start


def compare(shape, rounds, *, backward):
    inputs = inputs_of(shape)
    times = {name: [] for name in VERSIONS}
    for scan in VERSIONS.values():
        run(scan, inputs, backward=backward)
    for _ in range(rounds):
        for name, scan in VERSIONS.items():
            times[name].append(run(scan, inputs, backward=backward))
    return times


def peak_mb(version, shape, connection):
    """Send the growth of the resident peak during one forward and backward pass."""
    torch.set_num_threads(1)
    inputs = inputs_of(shape)
    unit = 1 if sys.platform == "darwin" else 1024
    run(VERSIONS[version], inputs_of((1, 4, 2, 8, 1)), backward=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(VERSIONS[version], inputs, backward=True)
    connection.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit / 1e6)


def measure_peak(version, shape):
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=peak_mb, args=(version, shape, sender))
    process.start()
    peak = receiver.recv()
    process.join()
    return peak


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"torch {torch.__version__}, {options.threads} thread(s), {options.rounds} rounds; ratio = sequential / itkit"
    )
    # A child starts with its parent's peak, so these come before anything large is made here.
    peaks = {title: [measure_peak(version, shape) for version in VERSIONS] for title, shape in SHAPES.items()}
    for title, shape in SHAPES.items():
        parts = []
        for label, backward in (("forward", False), ("forward+backward", True)):
            times = compare(shape, options.rounds, backward=backward)
            ratio = statistics.median(b / a for a, b in zip(times["itkit"], times["sequential"], strict=True))
            parts.append(f"{label} {ratio:.1f}x ({1e3 * statistics.median(times['itkit']):.0f} ms)")
        ours, theirs = peaks[title]
        print(f"{title} {shape}: {', '.join(parts)}; peak {ours:.0f} MB against {theirs:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
