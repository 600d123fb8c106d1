"""Try and measure networks: ONNX, torch.compile, forward time, training memory.

``python docs/measure_models.py onnx compile time memory [--only NAME...] [--again]`` keeps what it finds in
``docs/models/measured.json``, from which ``docs/generate_models.py`` renders the pages; a test compares the flags of
the cards with it. A network that is there already is left out unless ``--again`` is given, so that a run that was
stopped goes on; ``--missing`` lists what is not there or ended in an error, and runs nothing. Each trial is a process
of its own, and ends after ``--limit-s`` seconds with an error that says so. ONNX and compilation run the quick
configurations, one network a builder (minutes each); time and memory are of the published configurations.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "docs" / "models" / "measured.json"
SIDES = {2: 512, 3: 96}
CLASSES = 14
LIMIT_S = 3600


def kinds(names: list[str]) -> list[str]:
    """Return the first network of each builder and set of options; sizes of one network differ in numbers only."""
    from itkit.models import model_card

    first: dict[Any, str] = {}
    for name in names:
        card = model_card(name)
        first.setdefault((card.builder, frozenset(card.options), frozenset(card.tiny), card.unused), name)
    return list(first.values())


def difference(found: Any, wanted: Any) -> float:
    """Return the greatest deviation relative to the greatest value."""
    return float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))


def quick(name: str, dims: int) -> tuple[Any, Any]:
    """Return the quick configuration in evaluation mode, and an image that needs padding where it may."""
    import torch

    from itkit.testing.model_contract import awkward_size, build

    return build(name, dims).eval(), torch.randn(1, 1, *awkward_size(name, dims))


def try_onnx(name: str, dims: int) -> dict[str, Any]:
    """Export, run with ONNX Runtime, compare."""
    import onnxruntime
    import torch

    network, image = quick(name, dims)
    with torch.no_grad():
        wanted = network(image)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        torch.onnx.export(network, (image,), path, dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    return {"difference": difference(torch.from_numpy(found), wanted)}


def try_compile(name: str, dims: int) -> dict[str, Any]:
    """Compile with torch's default backend (C++), compare, and count breaks of the graph."""
    import torch

    network, image = quick(name, dims)
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    with torch.no_grad():
        wanted = network(image)
        found = torch.compile(network)(image)
    breaks = torch._dynamo.utils.counters["graph_break"].total()
    return {"difference": difference(found, wanted), "graph_breaks": breaks}


def training_bytes(name: str, dims: int, size: tuple[int, ...]) -> int:
    """Return the peak of all tensors in a training step of one image in float32, on tensors without storage.

    Weights, gradients and what the backward pass keeps count; the optimiser's state and a library's workspace do not.
    """
    import weakref

    import torch
    from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_iter

    from itkit.models import create_model

    class Storages(TorchDispatchMode):
        """Sums the storages that are alive after each operation."""

        def __init__(self) -> None:
            super().__init__()
            self.alive: dict[int, tuple[Any, int]] = {}
            self.now = self.peak = 0

        def add(self, tensor: torch.Tensor) -> None:
            storage = tensor.untyped_storage()
            if id(storage) not in self.alive:
                key, count = id(storage), storage.nbytes()
                self.alive[key] = (weakref.ref(storage, lambda _, key=key: self.free(key)), count)
                self.now += count
                self.peak = max(self.peak, self.now)

        def free(self, key: int) -> None:
            self.now -= self.alive.pop(key)[1]

        def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = operation(*args, **(kwargs or {}))
            for value in tree_iter(found):
                if isinstance(value, torch.Tensor):
                    self.add(value)
            return found

    def built() -> Any:
        return create_model(name, num_classes=CLASSES, spatial_dims=dims).train()

    fake = FakeTensorMode(allow_non_fake_inputs=True)
    state: dict[str, torch.Tensor] = {}
    try:
        with fake:
            network = built()
    except DataDependentOutputException:  # its builder reads values of tensors, which need storage
        network = built()
        for key, value in (*network.named_parameters(), *network.named_buffers()):
            state[key] = fake.from_tensor(value.detach()).requires_grad_(value.requires_grad)
    with fake, Storages() as storages:
        for value in state.values() if state else (*network.parameters(), *network.buffers()):
            storages.add(value)
        torch.func.functional_call(network, state, (torch.randn(1, 1, *size),)).square().mean().backward()
    return storages.peak


def measured_size(name: str, dims: int) -> tuple[int, ...]:
    """Return the size that time and memory are measured at."""
    from itkit.models import model_card

    card = model_card(name)
    side = card.options.get("image_size", SIDES[dims]) if card.fixed_size else SIDES[dims]
    return (side,) * dims if isinstance(side, int) else tuple(side)


def try_time(name: str, dims: int) -> dict[str, Any]:
    """Measure a forward pass of one image on one CPU core, in CPU seconds, so that other work counts little."""
    import torch

    from itkit.models import create_model

    torch.set_num_threads(1)
    size = measured_size(name, dims)
    network = create_model(name, num_classes=CLASSES, spatial_dims=dims).eval()
    image = torch.randn(1, 1, *size)
    with torch.no_grad():
        network(torch.randn(1, 1, *(max(side // 4, 1) for side in size)) if network.image_size is None else image)
        start = time.process_time()
        network(image)
    return {"size": list(size), "forward_s": round(time.process_time() - start, 3)}


def try_memory(name: str, dims: int) -> dict[str, Any]:
    """Measure the memory of a training step."""
    size = measured_size(name, dims)
    return {"size": list(size), "training_bytes": training_bytes(name, dims, size)}


TRIALS = {"onnx": try_onnx, "compile": try_compile, "time": try_time, "memory": try_memory}


def one(trial: str, name: str, dims: int, limit_s: float = LIMIT_S) -> dict[str, Any]:
    """Run a trial in a process of its own: it may leave something behind, need all memory, or never end."""
    command = [sys.executable, __file__, "--one", trial, name, str(dims)]
    start = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_s, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return {"error": f"no result after {limit_s:g} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode == 0 and lines:
        took = {"seconds": round(time.monotonic() - start)} if trial in {"onnx", "compile"} else {}
        return {**json.loads(lines[-1]), **took}
    tail = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return {"error": (tail[-1] if tail else f"exit {done.returncode}")[:300]}


def wanted(trial: str, names: list[str], only: list[str]) -> list[str]:
    """Return what a trial is for, each as name and number of axes."""
    from itkit.models import model_card

    whole = trial in {"time", "memory"}  # of every published configuration, in its usual number of axes
    chosen = only or (names if whole else kinds(names))
    return [f"{name}/{dims}" for name in chosen for dims in model_card(name).spatial_dims[: 1 if whole else None]]


def read(path: Path) -> dict[str, Any]:
    """Read what was found so far."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def keep(path: Path, trial: str, results: dict[str, Any]) -> None:
    """Add results; the file is read again each time, so that two runs of this script do not undo each other."""
    measured = read(path)
    measured[trial] = dict(sorted({**measured.get(trial, {}), **results}.items()))
    path.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Run the trials that are asked for."""
    from itkit.models import list_models

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", nargs="+", help="onnx, compile, time, memory")
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--into", type=Path, default=MEASURED, help="another file than measured.json")
    parser.add_argument("--missing", action="store_true", help="list what is missing or ended in an error")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="seconds that a trial may take")
    parser.add_argument("--one", action="store_true", help="one trial in this process: TRIAL NAME DIMS")
    given = parser.parse_args()
    if given.one:
        trial, name, dims = given.trials
        print(json.dumps(TRIALS[trial](name, int(dims))))  # noqa: T201 - a program
        return
    work = read(MEASURED)["networks"]
    names = sorted(list_models(plugins=False), key=lambda name: work.get(name, {}).get("operations", 0))
    for trial in given.trials:
        for key in wanted(trial, names, given.only):
            found = read(given.into).get(trial, {}).get(key)
            if given.missing:
                if found is None or "error" in found:
                    print(trial, key, "missing" if found is None else found["error"])  # noqa: T201 - a program
            elif given.again or found is None:
                name, _, dims = key.partition("/")
                facts = one(trial, name, int(dims), given.limit_s)
                keep(given.into, trial, {key: facts})
                print(trial, key, facts, flush=True)  # noqa: T201 - a program


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
