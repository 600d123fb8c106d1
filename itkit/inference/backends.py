"""What computes a trained network: PyTorch, ONNX Runtime or OpenVINO, behind one interface.

A backend turns a model on disk into a function of windows: ``(N, C, Z, Y, X)`` (``(N, C, Y, X)`` for a 2-D network)
to logits ``(N, K, …)``: torch tensors, which `itkit.models.windows.SlidingWindow` takes, or numpy arrays, which
`itkit.inference.array_windows.ArrayWindows` takes. Only the backend ``torch`` needs torch.

An exported model is a folder with ``model.onnx``, or ``model.xml`` and ``model.bin``. Its description is the file
``model.json`` beside them, or the text of that file inside the model: the metadata property ``itkit_model`` (ONNX), the
runtime information ``itkit_model`` (OpenVINO).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from itkit.core.bounded import parse_json
from itkit.core.errors import ModelError, ParamsError
from itkit.core.extras import require, require_torch
from itkit.inference.model_folder import (
    CHECKPOINT_ENTRY,
    MODEL_JSON,
    MODEL_WEIGHTS,
    ModelFolder,
    parse_facts,
    read_facts,
    read_model,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

BackendName = Literal["torch", "onnx", "openvino"]
Backend = Literal["auto", "torch", "onnx", "openvino"]
"""A backend, or the one that a model's file is for."""
Network = Callable[["Tensor"], "Tensor"]
ArrayNetwork = Callable[["NDArray[Any]"], "NDArray[Any]"]
"""Windows ``(N, C, ...)`` to logits ``(N, K, ...)``, as numpy arrays."""
FILES: dict[BackendName, str] = {"onnx": "model.onnx", "openvino": "model.xml"}
"""File of an exported model, by backend."""
METADATA = CHECKPOINT_ENTRY
"""Name under which an exported model holds the content of its ``model.json``."""
DEVICE = r"^(auto|cpu|cuda(:[0-9]+)?)$"
"""Pattern of the names of devices."""


def device_name(text: str) -> str:
    """Return the name of a device, if it is one.

    Raises
    ------
    ValueError
        When it is not.
    """
    if not re.fullmatch(DEVICE, text):
        raise ValueError(f"expected auto, cpu, cuda or cuda:N; got {text!r}")
    return text


def backend_of(path: Path | str, wanted: Backend = "auto") -> BackendName:
    """Return what is to compute a model: what is wanted, or what its file is for.

    Parameters
    ----------
    path
        The model; a folder is for PyTorch, if it has ``model.safetensors`` or no exported model.
    wanted
        What the user wants.

    Examples
    --------
    >>> backend_of("exported/model.onnx"), backend_of("run/model"), backend_of("model.xml", "openvino")
    ('onnx', 'torch', 'openvino')
    """
    if wanted != "auto":
        return wanted
    path = Path(path)
    for name, file in FILES.items():
        if path.suffix.lower() == Path(file).suffix:
            return name
        if (path / file).is_file() and not (path / MODEL_WEIGHTS).exists():
            return name
    return "torch"


def find_model(path: Path | str, backend: Backend = "auto") -> ModelFolder:
    """Find and check a trained network for a backend; its weights are not read yet.

    Parameters
    ----------
    path
        For ``torch`` what `itkit.inference.model_folder.read_model` takes; for the others the folder that ``itkit
        export`` has written, or the ``.onnx`` or ``.xml`` file in it.
    backend
        What is to compute it.

    Raises
    ------
    ModelError
        When there is no such model, or its description is malformed.
    MissingExtraError
        When the backend is not installed.
    """
    chosen = backend_of(path, backend)
    if chosen == "torch":
        return read_model(path)
    path, name = Path(path), FILES[chosen]
    file = path / name if path.is_dir() else path
    if not path.exists():
        raise ModelError(f"{path}: there is no such file or folder; itkit export --to {chosen} writes a model")
    if not file.is_file() or file.suffix.lower() != Path(name).suffix:
        raise ModelError(f"{path}: expected a folder with {name}; itkit export --to {chosen} writes one")
    if text := _onnx_metadata(file) if chosen == "onnx" else _openvino_metadata(file):
        try:
            values = parse_json(text)
        except ValueError as error:
            raise ModelError(f"{file}: its {METADATA} is not readable: {error}") from error
        return ModelFolder(file.parent, parse_facts(values, file), file)
    beside = file.with_name(MODEL_JSON)
    if beside.is_file():
        return ModelFolder(file.parent, read_facts(beside), file)
    raise ModelError(f"{file}: holds no {METADATA} and has no {MODEL_JSON} beside it; export it with itkit export")


def _onnx_metadata(file: Path) -> str:
    return str(_onnx_session(file, threads=1, device="cpu").get_modelmeta().custom_metadata_map.get(METADATA, ""))


def _openvino_metadata(file: Path) -> str:
    openvino = require("openvino", extra="openvino", why="--backend openvino")
    try:
        model = openvino.Core().read_model(file)
    except RuntimeError as error:
        raise _unreadable(file, error) from error
    return str(model.get_rt_info([METADATA]).value) if model.has_rt_info([METADATA]) else ""


def choose_device(wanted: str = "auto", backend: BackendName = "torch") -> str:
    """Return the device that a name means: ``auto`` is the GPU, if there is one that the backend can use.

    Raises
    ------
    ParamsError
        When there is no such device.
    MissingExtraError
        When the backend is not installed.
    """
    if wanted == "cpu" or (backend == "openvino" and wanted == "auto"):
        return "cpu"
    if backend == "openvino":
        raise ParamsError(f"--backend openvino computes on the CPU; got --device {wanted}")
    if backend == "onnx":
        has_cuda = "CUDAExecutionProvider" in _onnxruntime().get_available_providers()
        if wanted != "auto" and not has_cuda:
            raise ParamsError(f"--device {wanted}: this ONNX Runtime has no CUDA; install onnxruntime-gpu, or use cpu")
        return ("cuda" if has_cuda else "cpu") if wanted == "auto" else wanted
    torch = require_torch("a trained network")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return "cuda" if count else "cpu"
    number = int(wanted.partition(":")[2] or 0)
    if number >= count:
        raise ParamsError(f"--device {wanted}: this machine has {count or 'no'} CUDA device{'s' if count > 1 else ''}")
    return wanted


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network that is ready to compute.

    Parameters
    ----------
    model
        Where it comes from.
    network
        The function of windows: of tensors for the backend ``torch``, of numpy arrays for the others.
    device
        Where it computes, as torch calls it.
    backend
        What computes it.
    """

    model: ModelFolder
    network: Network | ArrayNetwork
    device: str
    backend: BackendName = "torch"


def load_model(
    path: Path | str | ModelFolder, backend: Backend = "auto", *, device: str = "auto", threads: int = 1
) -> LoadedModel:
    """Load a trained network.

    Parameters
    ----------
    path
        The model; see `find_model`.
    backend
        What computes it.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    threads
        Threads of ONNX Runtime and OpenVINO; those of torch are a setting of the process.

    Raises
    ------
    ModelError, WeightsError, ParamsError
        When the model or the device can't be used.
    MissingExtraError
        When the backend is not installed.
    """
    model = path if isinstance(path, ModelFolder) else find_model(path, backend)
    name = backend_of(model.weights, backend)
    chosen = choose_device(device, name)
    if name == "torch":
        return LoadedModel(model, model.load(chosen), chosen)
    if name == "onnx":
        return LoadedModel(model, onnx_network(model.weights, threads=threads, device=chosen), chosen, name)
    return LoadedModel(model, openvino_network(model.weights, threads=threads), chosen, name)


def _onnxruntime() -> Any:
    runtime = require("onnxruntime", extra="onnx", why="--backend onnx")
    runtime.disable_telemetry_events()  # on Windows, where no variable of the environment does it
    return runtime


def _onnx_session(file: Path, *, threads: int, device: str) -> Any:
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # errors reach us as exceptions
    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu":
        number = int(device.partition(":")[2] or 0)
        providers = [("CUDAExecutionProvider", {"device_id": number}), *providers]
    try:
        return runtime.InferenceSession(str(file), options, providers=providers)
    except Exception as error:
        raise ModelError(f"{file}: not readable as an ONNX model ({str(error).splitlines()[0][:200]})") from error


def onnx_network(file: Path, *, threads: int = 1, device: str = "cpu") -> ArrayNetwork:
    """Return the function that computes an ONNX file; it needs no torch.

    Raises
    ------
    ModelError
        When the file can't be read.
    MissingExtraError
        When ONNX Runtime is not installed.
    """
    return partial(_run_onnx, _onnx_session(file, threads=threads, device=device))


def _run_onnx(session: Any, windows: NDArray[Any]) -> NDArray[Any]:
    entry = session.get_inputs()[0]
    most = entry.shape[0] if isinstance(entry.shape[0], int) else len(windows)
    firsts = range(0, len(windows), most)
    try:
        parts = [session.run(None, {entry.name: windows[first : first + most]})[0] for first in firsts]
    except Exception as error:  # ONNX Runtime has no common class of its errors
        raise _not_computed("ONNX Runtime", windows, error) from error
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _openvino_model(file: Path, threads: int) -> Any:
    openvino = require("openvino", extra="openvino", why="--backend openvino")
    # without the hint, processors with bfloat16 compute in it, and results differ by a hundredth
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    try:
        return openvino.Core().compile_model(str(file), "CPU", settings)
    except RuntimeError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: RuntimeError) -> ModelError:
    lines = [line for line in str(error).splitlines() if line.strip()]
    said = lines[-1].strip() if lines else type(error).__name__
    return ModelError(f"{file}: not readable as an OpenVINO model ({said[:200]})")


def openvino_network(file: Path, *, threads: int = 1) -> ArrayNetwork:
    """Return the function that computes an OpenVINO model in 32-bit floats; it needs no torch.

    Raises
    ------
    ModelError
        When the file can't be read.
    MissingExtraError
        When OpenVINO is not installed.
    """
    return partial(_run_openvino, _openvino_model(file, threads))


def _run_openvino(model: Any, windows: NDArray[Any]) -> NDArray[Any]:
    shape = model.input(0).get_partial_shape()
    most = shape[0].get_length() if shape[0].is_static else len(windows)
    firsts = range(0, len(windows), most)
    try:
        parts = [model(np.ascontiguousarray(windows[first : first + most]))[0].copy() for first in firsts]
    except RuntimeError as error:
        raise _not_computed("OpenVINO", windows, error) from error
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _not_computed(what: str, windows: NDArray[Any], error: Exception) -> ModelError:
    said = " ".join(str(error).split()) or type(error).__name__
    return ModelError(f"{what} can't compute windows {windows.shape} with this model: {said[:300]}")
