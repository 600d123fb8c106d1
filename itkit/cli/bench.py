"""``itkit bench``: how fast a network is with each thing that can compute it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from itkit.core.fields import Bounds, PathRole, Pattern, Positional, Short
from itkit.core.params import Params
from itkit.core.text import shown
from itkit.core.tool import Tool
from itkit.inference.backends import DEVICE, device_name


class BenchParams(Params):
    """Measure seconds a window and volumes a minute of a network, for each backend."""

    models: Annotated[tuple[Path, ...], PathRole("in_file"), Positional("model"), Field(min_length=1)]
    """Trained models, which are exported to a temporary folder for other backends; or exported ones."""
    backends: tuple[Literal["torch", "onnx", "openvino"], ...] = ()
    """What computes them (default: all that are installed; for an exported model, its own)."""
    sample: Annotated[tuple[Path, ...], PathRole("in_file")] = ()
    """Image to measure on, one file a channel (default: a CT of a torso that comes with ITKIT)."""
    overlap: Annotated[float, Bounds(least=0, below=1)] = 0.5
    """Part of a window that the next one covers again."""
    repeats: Annotated[int, Bounds(least=1)] = 3
    """Number of measurements, after one that does not count; medians are shown."""
    device: Annotated[str, Pattern(DEVICE), AfterValidator(device_name)] = "auto"
    """auto (the GPU if there is one), cpu, cuda or cuda:N."""
    threads: Annotated[int | None, Bounds(least=1)] = None
    """Threads that compute (default: all cores of this process)."""
    out: Annotated[Path | None, PathRole("out_file"), Short("-o")] = None
    """JSON file to write."""


def run(params: BenchParams) -> int:
    """Measure, print a table, and return the exit code.

    Raises
    ------
    ModelError, MissingExtraError
        When one of the models can't be used at all; nothing was measured then.
    """
    from itkit.core.version import VERSION
    from itkit.deploy.benching import Speed, bench
    from itkit.engine.resources import available_cores
    from itkit.inference.backends import find_model
    from itkit.io.json_files import write_json

    for model in params.models:
        find_model(model)
    found: list[Speed] = []
    for model in params.models:
        found += bench(
            model,
            backends=params.backends,
            sample=params.sample,
            overlap=params.overlap,
            repeats=params.repeats,
            device=params.device,
            threads=params.threads or available_cores(),
            tell=lambda text: print(f"itkit bench: {text}", file=sys.stderr),
        )
    head = ("model", "backend", "device", "threads", "ms/window", "s/volume", "volumes/min", "windows")
    rows = [
        (
            one.model, one.backend, one.device, str(one.threads), f"{one.window_ms:.1f}", f"{one.volume_s:.2f}",
            f"{one.volumes_per_minute:.2f}", str(one.windows),
        )
        for one in found
        if not one.fault
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        print("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())
    for one in found:
        if one.fault:
            print(f"itkit bench: {one.backend}: {shown(one.fault)}", file=sys.stderr)
    if params.out is not None:
        write_json(params.out, {"itkit": VERSION, "results": [one.to_json() for one in found]})
    return 1 if any(one.fault for one in found) else 0


TOOL = Tool("itkit bench", BenchParams, run, "itkit bench run/model -o speed.json")
