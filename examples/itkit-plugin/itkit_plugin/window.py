"""``itk_window``: images clipped to a range of values; labels are copied."""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import model_validator

from itkit.core.fields import Positional
from itkit.core.operation import Context, Operation, Outcome, Plan
from itkit.core.params import Params, VolumeExtension
from itkit.core.volume import Case, Volume
from itkit.io.layouts import find_dataset, require_destination, require_folder
from itkit.process.plans import pair_jobs


class WindowParams(Params):
    """Clip the images of a dataset to a range of values."""

    source: Annotated[Path, Positional("source")]
    """Dataset to read: image/ and label/."""
    dest: Annotated[Path, Positional("dest")]
    """Folder to write."""
    low: float = -160
    """Lowest value that is kept; what is below becomes it."""
    high: float = 240
    """Highest value that is kept; what is above becomes it."""
    ext: VolumeExtension = ".mha"
    """Format of the output files."""

    @model_validator(mode="after")
    def _a_range(self) -> "WindowParams":
        if self.low >= self.high:
            raise ValueError(f"--low {self.low:g} is not below --high {self.high:g}")
        return self


def window(volume: Volume, low: float, high: float) -> Volume:
    """Clip an image to a range; its type is kept."""
    return volume.with_array(np.clip(volume.array_zyx, low, high).astype(volume.dtype))


def plan(params: WindowParams) -> Plan:
    """List the pairs of the dataset."""
    require_destination(params.dest, require_folder(params.source))
    pairs = find_dataset(params.source)
    return Plan(tuple(pair_jobs(pairs, params.dest, params.ext)), pairs.unpaired, params.dest)


def window_case(case: Case, params: WindowParams, context: Context) -> Outcome:
    """Clip the images of one case."""
    del context
    clipped = case.map(lambda volume: window(volume, params.low, params.high) if volume.kind == "image" else volume)
    return Outcome((clipped,))


OPERATION = Operation(
    "itk_window", WindowParams, plan, window_case, example="itk_window raw windowed --low -160 --high 240"
)
