"""``itkit export``: a trained network as one file that proves that it computes the same."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import model_validator
from typing_extensions import Self

from itkit.core.fields import Axes, Bounds, Group, PathRole, Pattern, Positional, Unit
from itkit.core.params import Params
from itkit.core.text import shown
from itkit.core.tool import Tool


class ExportParams(Params):
    """Export a network, and compare the export with the original on windows of a real image."""

    model: Annotated[Path, PathRole("in_file"), Positional("model")]
    """Model folder, a run of itkit train, a checkpoint (.ckpt), or the name of a network of itkit models."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("dest")]
    """Folder to write: the model, parity.json and parity.html."""
    to: Literal["onnx", "openvino", "tensorrt", "torchscript", "bundle"]
    """What to export to; a TensorRT engine is built on the kind of GPU that will run it."""
    dynamic: bool = False
    """Take windows of any size that the network takes, not only of the patch size, and any number at once."""
    patch_size: Annotated[tuple[int, int, int] | None, Axes("ZYX"), Unit("voxels"), Bounds(least=1)] = None
    """Window (default: that of training; 64 voxels, or the size that the network is built for)."""
    sample: Annotated[tuple[Path, ...], PathRole("in_file"), Group("Proof")] = ()
    """Image to compare on, one file a channel (default: a CT of a torso that comes with ITKIT)."""
    tolerance: Annotated[float, Bounds(above=0), Group("Proof")] = 1e-3
    """What logits (of their range), the mean softmax, and the share of voxels' classes may differ by; else it fails."""
    replace: bool = False
    """Replace an earlier export in the destination."""
    network_option: Annotated[tuple[Annotated[str, Pattern(r"^[^=]+=.*$")], ...], Group("Untrained network")] = ()
    """Options of a network of itkit models, name=value; values are JSON, or text."""
    in_channels: Annotated[int | None, Bounds(least=1), Group("Untrained network")] = None
    """Its input channels (default: 1)."""
    num_classes: Annotated[int | None, Bounds(least=1), Group("Untrained network")] = None
    """Its classes, background among them (default: 2)."""
    spatial_dims: Annotated[int | None, Bounds(least=2, most=3), Group("Untrained network")] = None
    """Its axes (default: the first that the network knows)."""
    threads: Annotated[int, Bounds(least=1)] = 1
    """Threads that compute the comparison."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.dynamic and self.to in ("torchscript", "bundle"):
            raise ValueError("--dynamic: TorchScript is traced with one size; drop it, or use --to onnx")
        return self


def run(params: ExportParams) -> int:
    """Export and return the exit code."""
    from itkit.deploy.exporting import ExportFailed, ExportSettings, export, parse_options

    settings = ExportSettings(
        options=parse_options(params.network_option),
        in_channels=params.in_channels,
        num_classes=params.num_classes,
        spatial_dims=params.spatial_dims,
        patch_size=params.patch_size,
        dynamic=params.dynamic,
        sample=params.sample,
        tolerance=params.tolerance,
        replace=params.replace,
        threads=params.threads,
    )
    try:
        found = export(params.model, params.dest, params.to, settings)
    except ExportFailed as error:
        print(f"itkit export: failed: {shown(str(error))}", file=sys.stderr)
        return 1
    print(
        f"{shown(str(params.dest))}: {params.to}, the same as the original: probabilities differ by "
        f"{found.max_abs:.1e} at most, logits by {found.max_rel:.1e} of their range; {found.changed_voxels} of "
        f"{found.voxels} voxels change their class"
    )
    return 0


TOOL = Tool("itkit export", ExportParams, run, "itkit export run/model exported --to onnx")
