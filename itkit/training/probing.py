"""What a network costs on this machine: training steps of a plan, measured at two sizes and extrapolated.

The steps run in a process of their own, so that its memory is that of the training, and a size that does not fit ends
that process and not the one that plans.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from itkit.core.errors import ModelError, ParamsError
from itkit.core.extras import require_torch
from itkit.training.plan_file import Plan

_SHORT_S = 0.5
"""A step that takes less than this is repeated twice, and the quickest counts."""
_LONG_S = 5.0
"""A step that takes longer is not repeated."""
_PREFIX = "itkit-probe "


class Size(NamedTuple):
    """Patches of a step: how many, and their voxels, ZYX."""

    batch: int
    patch_zyx: tuple[int, int, int]

    @property
    def voxels(self) -> int:
        """Voxels of all patches."""
        return self.batch * int(np.prod(self.patch_zyx))


class Run(NamedTuple):
    """Cost of a training step.

    Attributes
    ----------
    voxels
        Voxels of all patches.
    seconds
        Time of the step: forward, loss, backward, optimiser.
    forward_seconds
        Time of the network alone, without gradients, as in validation.
    nbytes
        Largest memory that is in use at once: that of the process before the step, and the tensors of the step.
    peak_bytes
        Largest memory of the whole process (CPU), or what torch has reserved (GPU): with what lies between tensors and
        is not in use.
    """

    voxels: int
    seconds: float
    forward_seconds: float
    nbytes: int
    peak_bytes: int = 0


@dataclass(frozen=True)
class Machine:
    """The network, and where it is trained.

    Parameters
    ----------
    device
        ``"cpu"`` or ``"cuda"``.
    name
        The device in words.
    memory
        Bytes that are free on it; 0 where that is not known (CPU).
    bf16
        Whether it computes in bf16.
    """

    device: str
    name: str
    memory: int
    bf16: bool

    @property
    def is_cpu(self) -> bool:
        """Whether the network is trained on a CPU."""
        return self.device == "cpu"


@dataclass(frozen=True)
class Facts:
    """What a network takes.

    Parameters
    ----------
    parameters
        How many it has.
    divisor, minimum
        Numbers whose multiples the sides are, and shortest sides, one for each of its axes.
    image_size
        The only size that it takes; ``None`` if it takes any.
    """

    parameters: int
    divisor: tuple[int, ...]
    minimum: tuple[int, ...]
    image_size: tuple[int, ...] | None


@dataclass(frozen=True)
class Cost:
    """Cost of a step at any size: a line through two measured ones.

    Parameters
    ----------
    small, large
        The measured steps.

    Examples
    --------
    >>> cost = Cost(Run(1000, 1.0, 0.2, 5000), Run(3000, 2.0, 0.6, 9000))
    >>> cost.seconds(5000), cost.nbytes(5000)
    (3.0, 13000)

    To the memory in use, what the process holds beside it in the larger step is added.
    """

    small: Run
    large: Run

    def seconds(self, voxels: int) -> float:
        """Return the time of a training step, s."""
        return self._at(voxels, "seconds")

    def forward_seconds(self, voxels: int) -> float:
        """Return the time of a forward pass, s."""
        return self._at(voxels, "forward_seconds")

    def nbytes(self, voxels: int) -> int:
        """Return the largest memory of a step, bytes."""
        unused = max(0, self.large.peak_bytes - self.large.nbytes)
        return int(self._at(voxels, "nbytes")) + unused

    def _at(self, voxels: int, name: str) -> float:
        low, high = getattr(self.small, name), getattr(self.large, name)
        slope = max(0.0, (high - low) / (self.large.voxels - self.small.voxels))
        found = max(low, high) + slope * (voxels - self.large.voxels)  # noise must not make a larger step cheaper
        return float(max(found, min(low, high) * min(1.0, voxels / self.small.voxels)))


class Prober:
    """Measures steps of plans in a process of its own; a context manager.

    Parameters
    ----------
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    ParamsError
        When there is no such device.
    MissingExtraError
        When torch is not installed.
    """

    def __init__(self, device: str = "auto") -> None:
        self.device = device
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Prober:
        require_torch("measuring a network")
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def machine(self) -> Machine:
        """Return where the network is trained."""
        return Machine(**self._ask({}))

    def facts(self, plan: Plan) -> Facts:
        """Return what the network of a plan takes.

        Raises
        ------
        ModelError
            When it is unknown, or an option is wrong.
        """
        found = self._ask({"plan": plan.model_dump(mode="json")})
        size = found["image_size"]
        divisor, minimum = tuple(found["divisor"]), tuple(found["minimum"])
        return Facts(found["parameters"], divisor, minimum, None if size is None else tuple(size))

    def run(self, plan: Plan, sizes: Sequence[Size]) -> list[Run]:
        """Measure training steps of some sizes, the smallest first.

        Raises
        ------
        ModelError
            When the network can't be trained, or does not fit into memory.
        """
        return [Run(**run) for run in self._ask({"plan": plan.model_dump(mode="json"), "sizes": sizes})["runs"]]

    def patch_seconds(self, plan: Plan) -> float:
        """Return the time that a loader needs for one augmented patch, s."""
        return float(self._ask({"plan": plan.model_dump(mode="json"), "patch": True})["seconds"])

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "itkit.training.probing", self.device],
                env={**os.environ, "KINETO_LOG_LEVEL": "99"},  # torch's profiler talks
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps(question) + "\n")
            child.stdin.flush()
        except BrokenPipeError:
            pass
        for line in child.stdout:  # networks of other packages may print
            if line.startswith(_PREFIX):
                return _answer(json.loads(line.removeprefix(_PREFIX)))
        code = child.wait()
        self._child = None
        reason = f"signal {-code}: as a rule, there was no memory left" if code < 0 else f"exit code {code}"
        raise ModelError(f"the network can't be measured: the process that tried a step has ended ({reason})")


def _answer(found: dict[str, Any]) -> dict[str, Any]:
    if "error" in found:
        raise (ParamsError if found["kind"] == "ParamsError" else ModelError)(found["error"])
    return found


def serve(device: str, questions: IO[str], answers: IO[str]) -> None:
    """Answer questions, one a line, as `Prober` asks them."""
    for line in questions:
        try:
            found = _reply(device, json.loads(line))
        except Exception as error:  # noqa: BLE001 - networks of other packages fail in any way; the reason is passed on
            found = {"error": _said(error), "kind": type(error).__name__}
        answers.write(f"{_PREFIX}{json.dumps(found)}\n")
        answers.flush()


def _said(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    is_ours = isinstance(error, ParamsError | ModelError)
    return text if is_ours else f"a training step fails: {type(error).__name__}: {text}"


def _reply(device: str, question: Mapping[str, Any]) -> dict[str, Any]:
    if "plan" not in question:
        return machine_of(device).__dict__
    plan = Plan.model_validate(question["plan"])
    if question.get("patch"):
        return {"seconds": loading_seconds(plan)}
    if "sizes" not in question:
        return facts_of(plan).__dict__
    sizes = [Size(batch, tuple(patch)) for batch, patch in question["sizes"]]
    return {"runs": [run._asdict() for run in measure(plan, sizes, machine_of(device).device)]}


def machine_of(device: str) -> Machine:
    """Return what a device is.

    Raises
    ------
    ParamsError
        When it is not there.
    """
    torch = require_torch("measuring a network")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return Machine("cpu", f"CPU, {torch.get_num_threads()} threads", 0, bf16=False)
    if not torch.cuda.is_available():
        raise ParamsError("--device cuda: torch finds no GPU; use --device cpu, or plan where you train")
    return Machine("cuda", torch.cuda.get_device_name(), torch.cuda.mem_get_info()[0], torch.cuda.is_bf16_supported())


def facts_of(plan: Plan) -> Facts:
    """Return what the network of a plan takes."""
    from itkit.inference.model_folder import build_network
    from itkit.models.segmenter import count_parameters
    from itkit.training.networks import network_facts

    network: Any = build_network(network_facts(plan), "plan")
    return Facts(count_parameters(network), network.divisor, network.minimum_size, network.image_size)


def measure(plan: Plan, sizes: Sequence[Size], device: str) -> list[Run]:
    """Measure training steps of some sizes in this process, the smallest first.

    Parameters
    ----------
    plan
        The plan: network, loss, optimiser, precision.
    sizes
        Patches of each step.
    device
        ``"cpu"`` or ``"cuda"``.
    """
    torch = require_torch("measuring a network")
    from itkit.inference.model_folder import build_network
    from itkit.training.networks import network_facts, plan_loss
    from itkit.training.optimising import make_optimizer

    torch.manual_seed(0)
    facts = network_facts(plan)
    network = build_network(facts, "plan").to(device).train()
    loss_of = plan_loss(plan, facts)
    optimizer = make_optimizer(plan.training, network.parameters())
    types = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}
    precision = types[plan.training.precision]

    def step(image: Any, label: Any) -> None:
        with torch.autocast(device, precision, enabled=precision is not None):
            loss = loss_of(network(image), label)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def forward(image: Any) -> None:
        with torch.no_grad(), torch.autocast(device, precision, enabled=precision is not None):
            network(image)

    runs: list[Run] = []
    for size in sizes:
        patch = size.patch_zyx[3 - facts.spatial_dims :]
        image, label = None, None
        _forget_peak(torch, device)
        image = torch.randn(size.batch, facts.in_channels, *patch, device=device)
        label = torch.randint(facts.num_classes, (size.batch, *patch), device=device)
        nbytes = _in_use(torch, device, step, image, label)  # the first step also chooses algorithms
        _forget_peak(torch, device)
        seconds = _quickest(torch, device, step, image, label)
        peak = _peak(torch, device)
        network.eval()
        ahead = _quickest(torch, device, forward, image)
        network.train()
        runs.append(Run(size.voxels, seconds, ahead, nbytes, max(nbytes, peak)))
    return runs


def _quickest(torch: Any, device: str, work: Any, *arguments: Any) -> float:
    found = _timed(torch, device, work, *arguments)
    more = 2 if found < _SHORT_S else 1 if found < _LONG_S else 0
    return min([found, *(_timed(torch, device, work, *arguments) for _ in range(more))])


def _timed(torch: Any, device: str, work: Any, *arguments: Any) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work(*arguments)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _forget_peak(torch: Any, device: str) -> None:
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc: give back what the step before has freed
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):  # proc(5): reset the peak of this process; else that of a smaller step is below
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _in_use(torch: Any, device: str, work: Any, *arguments: Any) -> int:
    """Do a step, and return the memory that was in use at its most expensive moment, bytes.

    On a CPU, torch's profiler counts the tensors: the memory of the process also has what the allocator keeps, which
    hardly depends on the size of small steps.
    """
    if device == "cuda":
        work(*arguments)
        return int(torch.cuda.max_memory_allocated())
    before = _status("VmRSS:") or _peak(torch, device)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work(*arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    tensors = [int(event["args"]["Total Allocated"]) for event in events if event["name"] == "[memory]"]
    return before + max(tensors, default=0)


def _status(key: str) -> int | None:
    """Return a number of proc(5), bytes; ``None`` where there is no such file."""
    try:
        words = Path("/proc/self/status").read_text(encoding="ascii").split()
        return int(words[words.index(key) + 1]) * 1024
    except (OSError, ValueError):
        return None


def _peak(torch: Any, device: str) -> int:
    """Return the largest memory since `_forget_peak`, bytes."""
    if device == "cuda":
        return int(torch.cuda.max_memory_reserved())
    peak = _status("VmHWM:")
    if peak is None:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        peak = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
    return peak


def loading_seconds(plan: Plan) -> float:
    """Return the time for one augmented patch out of a volume in memory, s; on one core, as in a loader's worker.

    It is the mean of some, after a first one, which imports what it needs.
    """
    torch = require_torch("measuring a network")
    from itkit.core.boxes import index
    from itkit.training.augmenting import Augmentation
    from itkit.training.patches import cut

    augmentation = Augmentation(plan.augment)
    size = plan.training.patch_size
    rng = np.random.default_rng(0)
    whole = [min(2 * side, side + 64) for side in size]
    image = rng.standard_normal((len(plan.dataset.channels), *whole), dtype=np.float32)
    label = np.zeros(whole, np.uint8)
    start = index([(large - side) // 2 for large, side in zip(whole, size, strict=True)])

    def one() -> None:
        spatial = augmentation.draw_map(rng, size, plan.preprocess.spacing)
        pixels, _ = cut(image, label, start, spatial)
        augmentation.intensities(pixels, rng)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one()
        begin, count = time.perf_counter(), 0
        while count < 8 or (count < 40 and time.perf_counter() - begin < 1):
            one()
            count += 1
        return (time.perf_counter() - begin) / count
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not disturb the answers
    serve(sys.argv[1], sys.stdin, channel)
