"""How fast a network is: seconds a window, and volumes a minute, for each thing that can compute it."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from itkit.core.errors import ItkitError
from itkit.core.extras import require_torch
from itkit.core.volume import Volume
from itkit.deploy.sample import sample_images, sample_windows
from itkit.inference.backends import BackendName, LoadedModel, backend_of, load_model
from itkit.inference.predicting import InferenceSettings, Predictor

_NEEDED: dict[BackendName, tuple[str, ...]] = {
    "torch": ("torch",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}


@dataclass(frozen=True)
class Speed:
    """What was measured of a model and a backend.

    Attributes
    ----------
    model
        Its path.
    backend, device, threads
        What computed it, and where.
    window_ms
        Median time of one window, ms.
    window_ms_least
        Shortest time of one window, ms.
    volume_s
        Median time of a whole volume: prepared, all windows, put back on its grid; s.
    volumes_per_minute
        60 divided by it.
    windows
        Windows of the volume.
    size
        Voxels of the volume, ZYX.
    fault
        Why there are no numbers.
    """

    model: str
    backend: str
    device: str = ""
    threads: int = 1
    window_ms: float | None = None
    window_ms_least: float | None = None
    volume_s: float | None = None
    volumes_per_minute: float | None = None
    windows: int | None = None
    size: tuple[int, ...] = ()
    fault: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the numbers for a JSON file."""
        return asdict(self)


def bench(
    model: Path,
    *,
    backends: Sequence[BackendName] = (),
    sample: Sequence[Path] = (),
    overlap: float = 0.5,
    repeats: int = 3,
    device: str = "auto",
    threads: int = 1,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Speed]:
    """Measure a model with each backend.

    Parameters
    ----------
    model
        A trained model, which is exported to a temporary folder for the other backends; or an exported one, which its
        own backend alone computes.
    backends
        What computes it; by default all that are installed.
    sample
        The user's image, one file a channel; by default, the CT of a torso.
    overlap
        Part of a window that the next one covers again.
    repeats
        How often is measured, after a first time that does not count.
    device, threads
        Where, and with how many threads.
    tell
        Called with what is done.

    Raises
    ------
    ModelError, MissingExtraError
        When the model can't be used at all.
    """
    own = backend_of(model)
    wanted = list(backends) or ([own] if own != "torch" else [name for name in _NEEDED if _is_installed(name)])
    found = []
    with tempfile.TemporaryDirectory(prefix="itkit-bench-") as scratch:
        for name in wanted:
            try:
                path = model if name == own else _exported(model, name, Path(scratch), tell)
                tell(f"{name}: measuring")
                loaded = load_model(path, name, device=device, threads=threads)
                speed = _measure(loaded, sample, overlap, repeats, threads)
                found.append(replace(speed, model=str(model)))
            except ItkitError as error:
                found.append(Speed(str(model), name, threads=threads, fault=str(error)))
            except MemoryError:
                fault = "not enough memory for the sample at this network's spacing; --sample takes another one"
                found.append(Speed(str(model), name, threads=threads, fault=fault))
    return found


def _is_installed(name: BackendName) -> bool:
    return all(find_spec(package) is not None for package in _NEEDED[name])


def _exported(model: Path, name: BackendName, scratch: Path, tell: Callable[[str], None]) -> Path:
    from itkit.core.errors import ModelError
    from itkit.deploy.exporting import export

    if backend_of(model) != "torch" or name == "torch":
        raise ModelError(f"{model}: an exported model; only {backend_of(model)} computes it")
    tell(f"{name}: exporting")
    export(model, scratch / name, "onnx" if name == "onnx" else "openvino")
    return scratch / name


def _measure(loaded: LoadedModel, sample: Sequence[Path], overlap: float, repeats: int, threads: int) -> Speed:
    facts = loaded.model.facts
    images = sample_images(facts, sample)
    window = sample_windows(facts, images, facts.patch_size)[0].array_czyx[None]
    batch = window[:, :, 0] if facts.network.spatial_dims == 2 else window
    run = _runner(loaded, batch, threads)
    windows = _times(run, max(5, repeats))
    predictor = Predictor((loaded,), InferenceSettings(overlap=overlap))
    counts: list[int] = []
    volumes = _times(lambda: counts.append(_predicted(predictor, images, threads)), repeats)
    whole = statistics.median(volumes)
    return Speed(
        "",
        loaded.backend,
        loaded.device,
        threads,
        round(1000 * statistics.median(windows), 3),
        round(1000 * min(windows), 3),
        round(whole, 3),
        round(60 / whole, 3),
        counts[-1],
        images[0].geometry.size_zyx,
    )


def _predicted(predictor: Predictor, images: Sequence[Volume], threads: int) -> int:
    return predictor.predict(images, threads=threads).windows


def _runner(loaded: LoadedModel, batch: Any, threads: int) -> Callable[[], Any]:
    """Return the function that computes one window, and waits for its end."""
    if loaded.backend != "torch":
        return lambda: loaded.network(batch)
    torch = require_torch("itkit bench")
    torch.set_num_threads(threads)
    tensor = torch.from_numpy(batch).to(loaded.device)

    def run() -> None:
        with torch.no_grad():
            loaded.network(tensor)
        if loaded.device != "cpu":
            torch.cuda.synchronize()

    return run


def _times(run: Callable[[], Any], repeats: int) -> list[float]:
    run()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return found
