"""Pre-training of a plan's network on images without labels; ``network.weights`` takes what it has learnt."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from itkit.core.errors import CaseError, ItkitError, LayoutError, ModelError, ParamsError, WriteError
from itkit.core.text import counted, some
from itkit.dataset.folder import CaseFiles
from itkit.inference.model_folder import build_network
from itkit.io.disk import hidden_beside, is_full, write_error, writing
from itkit.io.json_files import read_json, write_json
from itkit.models.checkpoints import torch_bytes, write_safetensors
from itkit.models.moco.encoders import encoder_weights, zoo_encoder
from itkit.models.moco.pretraining import Recipe
from itkit.models.moco.pretraining import pretrain as contrast
from itkit.models.moco.views import RandomViews
from itkit.training.networks import network_facts
from itkit.training.patches import TrainingPatches
from itkit.training.plan_file import Plan
from itkit.training.prepared import PreparedCase, PreparedFolder
from itkit.training.run_files import contents_of, noted_contents, require_same_contents
from itkit.training.run_lock import RunLock
from itkit.training.sources import find_source
from itkit.training.status import told_status, write_status

LOGGER = logging.getLogger(__name__)
WEIGHTS_FILE, FACTS_FILE, LOG_FILE, STATE_FILE = (
    "encoder.safetensors",
    "pretrain.json",
    "metrics.jsonl",
    "pretrain.ckpt",
)
_SIDE = {2: 64, 3: 32}
"""Longest side of a view, voxels."""
_BATCH = {2: 64, 3: 16}
_QUEUE = 1024
_GROUPS = 4
_MARGIN = 1.25
"""Sides of the patch that two views are cut from, as a multiple of theirs."""
_SCALE = (0.5, 0.9)
_KEEP_EVERY = 100
Event = Mapping[str, Any]


def pretrain(
    plan: Plan,
    run: Path | str,
    *,
    base: Path | str = ".",
    device: str = "cpu",
    progress: Callable[[Event], None] | None = None,
) -> Path:
    """Pre-train the encoder of a plan's network by momentum contrast (MoCo v2, arXiv:2003.04297).

    Views of random patches are told apart from those of others; labels are not looked at, and need not be there. The
    number of steps is that of the plan (``steps_per_epoch`` times ``epochs``).

    Parameters
    ----------
    plan
        The plan: dataset, preparation, network, patch, steps, seed.
    run
        Folder of the run. It receives ``encoder.safetensors``, which ``network.weights`` takes, ``pretrain.json``,
        ``metrics.jsonl`` and ``status.json``. An interrupted run goes on from its last hundred steps, with the weights
        of an undisturbed one.
    base
        Folder to which paths of the plan are relative.
    device
        ``"cpu"``, or a GPU such as ``"cuda"``.
    progress
        Called with each event: ``start``, ``prepared`` and ``step``, as those of ``itkit train``.

    Returns
    -------
    Path
        File with the weights of the encoder.

    Raises
    ------
    CaseError
        When images can't be prepared; each is named.
    LayoutError
        When there is no image.
    ModelError
        When the network has no encoder that can be pre-trained.
    ParamsError
        When the folder holds a pre-training of another plan, or another process writes into it.
    WriteError
        When the folder can't be written, for instance because the disk is full.
    """
    run = Path(run)
    with writing(run):
        run.mkdir(parents=True, exist_ok=True)
    with closing(RunLock(run)) as lock:
        lock.take()
        try:
            return _pretrain(plan, run, Path(base), device, progress or (lambda _: None))
        except OSError as error:
            if not is_full(error):
                raise
            raise write_error(run, error) from error


def _pretrain(plan: Plan, run: Path, base: Path, device: str, emit: Callable[[Event], None]) -> Path:
    """Pre-train, when the folder is this process's own."""
    facts = network_facts(plan)
    dims, training = facts.spatial_dims, plan.training
    view = view_size(plan)
    steps = training.steps_per_epoch * training.epochs
    recipe = Recipe(steps=steps, batch=_BATCH[dims], groups=_GROUPS, queue=_QUEUE, seed=training.seed)
    key = {"plan": _plain(plan), "view": list(view)}
    state = _state(run, key)
    done = _finished(run, key)
    start = steps if done is not None else 0 if state is None else state["step"]
    notes = [] if not start else [f"goes on from step {start} of {steps}"]
    emit(
        {
            "event": "start",
            "operation": "itkit train",
            "total": steps,
            "to_do": steps - start,
            "notes": notes,
            "dest": str(run),
        }
    )
    cases = _prepared(plan, run, base, emit)
    contents = contents_of({case.case_id: case for case in cases})
    if before := noted_contents(done or state):
        require_same_contents(run, before, contents)
    if done is not None:
        write_status(run, "finished", steps)
        return run / WEIGHTS_FILE
    sides = [1] * (3 - len(view)) + [math.ceil(side * _MARGIN) for side in view]
    z, y, x = sides
    flat, count = len(view) == 2, steps * recipe.batch
    patches = TrainingPatches(cases, (z, y, x), count, foreground=0, seed=training.seed, augmentation=None, flat=flat)

    def images(step: int) -> Tensor:
        return torch.stack([patch["image"] for patch in patches[step * recipe.batch : (step + 1) * recipe.batch]])

    def keep(content: dict[str, Any]) -> None:
        staged = hidden_beside(run / STATE_FILE)
        try:
            staged.write_bytes(torch_bytes({**content, "key": json.dumps(key), "contents": contents}))
            staged.replace(run / STATE_FILE)
        finally:
            staged.unlink(missing_ok=True)

    log = _Log(run / LOG_FILE, start, steps, recipe.batch, emit)
    options = {**plan.network.options}
    try:
        encoder = zoo_encoder(facts.name, in_channels=facts.in_channels, spatial_dims=dims, **options)
        with told_status(run, steps):
            moco = contrast(
                encoder,
                images,
                RandomViews(size=view, scale=_SCALE),
                recipe,
                log,
                device=device,
                state=state,
                keep=keep,
                keep_every=_KEEP_EVERY,
            )
    except (TypeError, ValueError) as error:
        if isinstance(error, ItkitError):
            raise
        raise ModelError(f"{facts.name}: can't be pre-trained: {error}") from error
    path = run / WEIGHTS_FILE
    staged = hidden_beside(path)
    write_safetensors(staged, {name: tensor.cpu().contiguous() for name, tensor in encoder_weights(moco).items()})
    staged.replace(path)
    write_json(run / FACTS_FILE, {**key, "contents": contents, "method": "moco v2", "steps": steps, "last": log.last})
    (run / STATE_FILE).unlink(missing_ok=True)
    return path


def view_size(plan: Plan) -> tuple[int, ...]:
    """Return the size of a view: at most 64 (2-D) or 32 (3-D) voxels a side, as the network takes it."""
    facts = network_facts(plan)
    most = _SIDE[facts.spatial_dims]
    sides = [min(side, most) for side in plan.training.patch_size[3 - facts.spatial_dims :]]
    network: Any = build_network(facts, "plan")
    return tuple(network.input_size(sides))


def _plain(plan: Plan) -> dict[str, Any]:
    """Return what of a plan decides the result."""
    values = plan.model_dump(mode="json", include={"dataset", "preprocess", "network", "training"})
    values["network"].pop("weights")
    kept = ("patch_size", "steps_per_epoch", "epochs", "seed")
    values["training"] = {name: values["training"][name] for name in kept}
    return values


def _state(run: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what an interrupted run has kept.

    Raises
    ------
    ParamsError
        When it was one of another plan.
    """
    path = run / STATE_FILE
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        there, state["step"] = json.loads(state["key"]), int(state["step"])
    except Exception as error:  # noqa: BLE001 - a damaged file fails in many ways; nothing but time is lost
        LOGGER.warning("%s: damaged, pre-training begins anew: %s", path, error)
        return None
    if there != json.loads(json.dumps(key)):
        raise ParamsError(f"{run}: a pre-training of another plan; choose another folder")
    return state


def _finished(run: Path, key: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what is known of a pre-training that has ended; its weights are not made again.

    Raises
    ------
    ParamsError
        When it was one of another plan.
    """
    facts = read_json(run / FACTS_FILE)
    if not isinstance(facts, dict) or not (run / WEIGHTS_FILE).is_file() or (run / STATE_FILE).is_file():
        return None
    if {name: facts.get(name) for name in key} != json.loads(json.dumps(key)):
        raise ParamsError(f"{run}: a pre-training of another plan; choose another folder")
    return facts


def _prepared(plan: Plan, run: Path, base: Path, emit: Callable[[Event], None]) -> list[PreparedCase]:
    """Prepare all images."""
    root = base / plan.dataset.path
    source = find_source(root)
    found = source.cases.values()
    prepared = PreparedFolder(run.parent / "prepared", plan)
    cases, wrong = [], []
    for number, case in enumerate(found, 1):
        try:
            image = CaseFiles(case.case_id, case.images, None)
            cases.append(prepared.prepare(image, channels=source.channels, needs_label=False))
        except WriteError:
            raise
        except (ItkitError, OSError, MemoryError) as error:
            wrong.append(f"{case.case_id}: {error}")
        emit({"event": "prepared", "case": case.case_id, "number": number, "total": len(found)})
    if wrong:
        raise CaseError(f"mend or remove {counted(wrong, 'case')}:\n  {some(wrong, most=20, separator=chr(10) + '  ')}")
    if not cases:
        raise LayoutError(f"{root}: no image was found")
    return cases


class _Log:
    """Writes and tells the loss of each step."""

    def __init__(self, path: Path, start: int, steps: int, batch: int, emit: Callable[[Event], None]) -> None:
        self.path, self.steps, self.batch, self.emit = path, steps, batch, emit
        self.last: dict[str, float] = {}
        self.begin, self.start = time.monotonic(), start
        kept = path.read_text(encoding="utf-8").splitlines()[:start] if path.is_file() else []
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def __call__(self, step: int, loss: float, found: float) -> None:
        """Log a step: the loss, and the share of queries that found their key."""
        if not math.isfinite(loss):
            raise ModelError(f"the loss is {loss} at step {step}; try another network or another intensity scheme")
        self.last = {"train_loss": loss, "found": found}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step + 1, **self.last}) + "\n")
        each = (time.monotonic() - self.begin) / (step + 1 - self.start)
        self.emit(
            {
                "event": "step",
                "step": step + 1,
                "epoch": 0,
                "train_loss": loss,
                "patches_per_s": self.batch / max(each, 1e-9),
                "memory_bytes": None,
                "seconds_left": each * (self.steps - step - 1),
            }
        )


__all__ = ["pretrain", "view_size"]
