"""One call from a network to an exported file that has proved itself, or to a report that says how it failed."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from itkit.core.arguments import expect_choice
from itkit.core.errors import LayoutError, ModelError, ParamsError
from itkit.core.extras import require, require_torch
from itkit.core.text import some
from itkit.core.version import VERSION
from itkit.deploy.bundle import BUNDLE_FILES, run_bundle, write_bundle
from itkit.deploy.parity import TOLERANCE, Difference, Parity, compare, summarise
from itkit.deploy.parity_page import parity_page
from itkit.deploy.sample import Window, sample_images, sample_windows
from itkit.deploy.sources import Source, find_source
from itkit.deploy.writers import (
    Format,
    Shapes,
    require_tensorrt,
    run_tensorrt,
    run_torchscript,
    write_onnx,
    write_openvino,
    write_tensorrt,
    write_torchscript,
)
from itkit.inference.backends import onnx_network, openvino_network
from itkit.inference.model_folder import MODEL_JSON
from itkit.io.disk import commit_files, hidden_beside, left_by_dead_runs, sync_files
from itkit.io.json_files import json_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMATS: tuple[Format, ...] = get_args(Format)
PARITY_JSON, PARITY_HTML = "parity.json", "parity.html"
_FAILED = "failed_"
"""Begins the names of the reports of an export that has failed, where an earlier one lies that did not."""
_FILES: Mapping[Format, tuple[str, ...]] = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "torchscript": ("model.ts",),
    "tensorrt": ("model.engine", MODEL_JSON),
    "bundle": BUNDLE_FILES,
}
_NEEDED: Mapping[Format, tuple[tuple[str, str], ...]] = {
    "onnx": (("onnx", "onnx"), ("onnxscript", "onnx"), ("onnxruntime", "onnx")),
    "openvino": (("onnx", "onnx"), ("onnxscript", "onnx"), ("openvino", "openvino")),
    "tensorrt": (("onnx", "onnx"), ("onnxscript", "onnx")),
    "bundle": (("monai", "train"),),
}


class ExportFailed(ModelError):  # noqa: N818 - what it is called at the command line
    """An exported network does not compute what the original computes; the report lies in the destination."""


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """How a network is exported.

    Attributes
    ----------
    options, in_channels, num_classes, spatial_dims
        What a network of the registry is built with; not for a trained model.
    patch_size
        Voxels of a window, ZYX; by default that of the trained model.
    dynamic
        Whether the export takes windows of any size that the network takes, and any number of them.
    sample
        The user's image for the comparison, one file a channel; by default, the CT of a torso.
    tolerance
        What the largest difference of the logits relative to their range, the mean difference of the softmax, and the
        share of changed voxels may be.
    replace
        Whether an earlier export in the destination is replaced.
    seed
        Seed of the initial weights of a network of the registry.
    threads
        Threads that compute.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    in_channels: int | None = None
    num_classes: int | None = None
    spatial_dims: int | None = None
    patch_size: Sequence[int] | None = None
    dynamic: bool = False
    sample: Sequence[Path] = ()
    tolerance: float = TOLERANCE
    replace: bool = False
    seed: int = 0
    threads: int = 1


def export(model: Path | str, dest: Path | str, to: Format, settings: ExportSettings | None = None) -> Parity:
    """Export a network, and compare it with the original on windows of a real image.

    Parameters
    ----------
    model
        A model folder, a run of ``itkit train``, a checkpoint, or the name of a network of ``itkit models``.
    dest
        Folder to write: the exported files, ``parity.json`` and ``parity.html``.
    to
        What to export to.
    settings
        How.

    Returns
    -------
    Parity
        What the comparison has found.

    Raises
    ------
    ExportFailed
        When the export computes something else; the reports are there, the exported file is not.
    ModelError, WeightsError
        When the network can't be built or exported.
    LayoutError
        When the destination holds an export already.
    ParamsError, MissingExtraError
        When a setting is impossible, or a package or a GPU is missing.
    CaseError
        When the sample can't be read or prepared.
    OSError
        When the destination can't be written.
    """
    expect_choice(to, FORMATS, "itkit export: --to")
    settings, dest = settings or ExportSettings(), Path(dest)
    require_torch("itkit export")
    for package, extra in _NEEDED.get(to, ()):
        require(package, extra=extra, why=f"itkit export --to {to}")
    if to == "tensorrt":
        require_tensorrt()
    source = find_source(
        model,
        options=settings.options,
        in_channels=settings.in_channels,
        num_classes=settings.num_classes,
        spatial_dims=settings.spatial_dims,
        patch_size=settings.patch_size,
    )
    names = (*_FILES[to], PARITY_JSON, PARITY_HTML)
    _require_free(dest, names, settings)
    start = time.perf_counter()
    try:
        with _staging(dest) as stage:
            return _export(source, dest, to, settings, stage, names, start)
    except OSError as error:
        if error.filename is None:
            error.filename = str(dest)  # a full disk names no file
        raise


def _require_free(dest: Path, names: Sequence[str], settings: ExportSettings) -> None:
    if dest.exists() and not dest.is_dir():
        raise LayoutError(f"destination {dest} is a file; give a folder")
    there = [name for name in names if (dest / name).exists()]
    if there and not settings.replace:
        raise LayoutError(f"destination {dest} holds {some(there)} already; choose another folder, or --replace")


@contextmanager
def _staging(dest: Path) -> Iterator[Path]:
    """Make a hidden folder in the destination for files until all are complete."""
    is_new = not dest.exists()
    dest.mkdir(parents=True, exist_ok=True)
    for left in left_by_dead_runs(dest):
        shutil.rmtree(left, ignore_errors=True)
    stage = hidden_beside(dest / "stage")
    stage.mkdir()
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if is_new and not any(dest.iterdir()):
            dest.rmdir()


def _export(
    source: Source,
    dest: Path,
    to: Format,
    settings: ExportSettings,
    stage: Path,
    names: Sequence[str],
    start: float,
) -> Parity:
    facts = source.facts
    images = sample_images(facts, settings.sample)
    network = source.load(seed=settings.seed)
    shapes = _shapes(source, network, settings)
    windows = sample_windows(facts, images, facts.patch_size)
    if shapes.is_dynamic:
        larger = (1, *shapes.larger) if facts.network.spatial_dims == 2 else shapes.larger
        windows += sample_windows(facts, images, larger)[:1]
    expected = [_original(network, _batch(window, facts.network.spatial_dims)) for window in windows]
    expected_classes = facts.network.num_classes
    if any(one.shape[1] != expected_classes for one in expected):
        raise ModelError(
            f"{source.name}: the network gives {expected[0].shape[1]} channels instead of logits of "
            f"{expected_classes} classes; it can't be exported as a segmentation network"
        )
    run = _write(network, source, to, stage, shapes, settings)
    pairs = zip(expected, windows, strict=True)
    found: list[Difference] = [compare(one, run(_batch(window, facts.network.spatial_dims))) for one, window in pairs]
    parity = summarise(found, to, tolerance=settings.tolerance)
    files = [stage / name for name in _FILES[to]]
    about = {
        "sizes taken": "any that the network takes" if shapes.is_dynamic else "the window's alone",
        "weights": "those of training" if source.folder is not None else "initial (nobody has trained them)",
        "compared on": some([str(path) for path in settings.sample]) or "CT of a torso, which comes with ITKIT",
        "made by": f"ITKIT {VERSION}",
    }
    values = {
        **parity.to_json(),
        "model": source.name,
        "format": to,
        "dynamic": shapes.is_dynamic,
        "trained": source.folder is not None,
        "itkit": VERSION,
        "versions": _versions(to),
        "bytes": sum(path.stat().st_size for path in files),
        "seconds": round(time.perf_counter() - start, 1),
    }
    (stage / PARITY_JSON).write_text(json_text(values), encoding="utf-8")
    page = parity_page(source.name, facts, parity, windows, files=files, about=about)
    (stage / PARITY_HTML).write_text(page, encoding="utf-8")
    if not parity.ok:
        moves = [(name, _FAILED + name if _is_taken(dest) else name) for name in (PARITY_JSON, PARITY_HTML)]
    else:
        moves = [(name, name) for name in (*reversed(_FILES[to]), PARITY_JSON, PARITY_HTML)]
    sync_files([stage / staged for staged, _ in moves])
    if parity.ok:
        _make_way(dest, to, names, settings)
    commit_files([(stage / staged, dest / final) for staged, final in moves])
    if not parity.ok:
        raise ExportFailed(
            f"{source.name}: the export to {to} differs by {parity.max_rel:.1e} of the logits' range and by "
            f"{parity.mean_abs:.1e} of a mean probability, and {parity.changed_voxels} of {parity.voxels} voxels "
            f"change their class; at most {parity.tolerance:g} is allowed of each. No model is kept; "
            f"{dest / moves[1][1]} shows where it differs"
        )
    return parity


def _is_taken(dest: Path) -> bool:
    """Whether an export of any format lies there, whose reports are to stay."""
    return any((dest / name).exists() for files in _FILES.values() for name in files)


def _make_way(dest: Path, to: Format, names: Sequence[str], settings: ExportSettings) -> None:
    """Remove what is replaced, so that files of two exports are never mixed, whenever the process is killed.

    Raises
    ------
    LayoutError
        When another process has meanwhile exported to the destination.
    """
    _require_free(dest, names, settings)
    for name in (PARITY_JSON, PARITY_HTML):
        (dest / name).unlink(missing_ok=True)
        (dest / (_FAILED + name)).unlink(missing_ok=True)
    if len(_FILES[to]) > 1:
        for name in _FILES[to]:
            (dest / name).unlink(missing_ok=True)


def _shapes(source: Source, network: Any, settings: ExportSettings) -> Shapes:
    facts = source.facts
    size = tuple(facts.window_size)
    fit = getattr(network, "input_size", None)
    if not settings.dynamic:
        return Shapes(size)
    if getattr(network, "image_size", None) is not None:
        raise ParamsError(f"--dynamic: {facts.network.name} takes one size alone, {network.image_size}; drop it")
    network.pad = False  # sizes are checked where the file is used; padding would fix them
    if fit is not None:
        fit(size)  # raises an error that names the sizes that fit
    divisor = getattr(network, "divisor", (1,) * len(size))
    return Shapes(size, is_dynamic=True, larger=tuple(side + step for side, step in zip(size, divisor, strict=True)))


def _batch(window: Window, dims: int) -> NDArray[np.float32]:
    array = window.array_czyx[None]
    return array[:, :, 0] if dims == 2 else array


def _original(network: Any, windows: NDArray[np.float32]) -> NDArray[np.float32]:
    torch = require_torch("itkit export")
    with torch.no_grad():
        made = network(torch.from_numpy(windows))
    output = made[0] if isinstance(made, list | tuple) else made
    result: NDArray[np.float32] = output.float().numpy()
    return result


def _write(
    network: Any, source: Source, to: Format, stage: Path, shapes: Shapes, settings: ExportSettings
) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
    """Write the exported files, and return the function that computes them."""
    facts = source.facts
    file = stage / _FILES[to][0]
    if to == "torchscript":
        write_torchscript(network, facts, file, shapes)
        return lambda windows: run_torchscript(file, windows)
    if to == "bundle":
        write_bundle(network, facts, stage)
        return lambda windows: run_bundle(stage, windows)
    onnx_file = stage / "model.onnx"
    write_onnx(network, facts, onnx_file, shapes)
    if to == "onnx":
        return onnx_network(file, threads=settings.threads)
    if to == "openvino":
        write_openvino(onnx_file, facts, file)
        return openvino_network(file, threads=settings.threads)
    write_tensorrt(onnx_file, facts, file, shapes)
    (stage / MODEL_JSON).write_text(facts.to_json(), encoding="utf-8")
    return lambda windows: run_tensorrt(file, windows)


def _versions(to: Format) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("torch", "onnx", "onnxruntime", "onnxscript", "openvino", "tensorrt", "monai"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    wanted = {"torch", *(package for package, _ in _NEEDED.get(to, ())), to, *(["monai"] if to == "bundle" else [])}
    return {name: text for name, text in found.items() if name in wanted}


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """Return options of a network from texts ``name=value``; values are JSON, or else text.

    Raises
    ------
    ParamsError
        When a text has no ``=``, or a name is given twice.

    Examples
    --------
    >>> parse_options(["n_channels=8", "block_counts=[1, 1]", "norm=group"])
    {'n_channels': 8, 'block_counts': [1, 1], 'norm': 'group'}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ParamsError(f"--network-option: expected name=value; got {text!r}")
        if name in found:
            raise ParamsError(f"--network-option: {name} is given twice")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
