"""Exported networks as files: ONNX, OpenVINO, TorchScript, TensorRT; each holds the description of the network.

How each format holds the text of ``model.json``: as the metadata property ``itkit_model`` (ONNX), as the runtime
information ``itkit_model`` (OpenVINO), as the extra file ``itkit_model`` (TorchScript). A TensorRT engine has no room
for it; ``model.json`` lies beside it.
"""

from __future__ import annotations

import errno
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from itkit.core.errors import ModelError, ParamsError
from itkit.core.extras import require, require_torch
from itkit.deploy.normalisation import rewrite_normalisations
from itkit.inference.model_folder import CHECKPOINT_ENTRY

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from itkit.inference.model_folder import ModelFacts

METADATA = CHECKPOINT_ENTRY
AXES = {3: ("depth", "height", "width"), 2: ("height", "width")}
"""Names of the axes whose length is free in a dynamic export, ZYX; the first axis is ``batch``."""
_GIB = 1 << 30
Format = Literal["onnx", "openvino", "tensorrt", "torchscript", "bundle"]


@dataclass(frozen=True)
class Shapes:
    """Which inputs an export takes.

    Parameters
    ----------
    example
        Voxels of a window, ZYX or YX: the only size of a static export.
    is_dynamic
        Whether it takes any size that the network takes, and any number of windows.
    larger
        A second size for a dynamic export to prove itself on.
    """

    example: tuple[int, ...]
    is_dynamic: bool = False
    larger: tuple[int, ...] = ()


def write_onnx(network: nn.Module, facts: ModelFacts, file: Path, shapes: Shapes) -> None:
    """Write an ONNX file.

    Parameters
    ----------
    network
        The network, in evaluation mode.
    facts
        Its description.
    file
        The file; what is there is replaced.
    shapes
        Which inputs it takes.

    Raises
    ------
    ModelError
        When the network can't be traced, or not with sizes that are free.
    MissingExtraError
        When a package is missing.
    """
    torch = require_torch("itkit export")
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, extra="onnx", why="itkit export")
    from torch.export import Dim

    dims, example = None, torch.zeros(1, facts.network.in_channels, *shapes.example)
    if shapes.is_dynamic:
        names = AXES[facts.network.spatial_dims]
        dims = ({0: Dim("batch"), **{2 + axis: Dim(name) for axis, name in enumerate(names)}},)
        example = torch.zeros(2, *example.shape[1:])  # an axis of length 1 would be taken for a constant
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                input_names=["image"],
                output_names=["logits"],
                dynamic_shapes=dims,
                verbose=False,
            )
    except Exception as error:
        free = " with free sizes (--dynamic)" if shapes.is_dynamic else ""
        raise ModelError(f"{facts.network.name}: can't be traced for ONNX{free}: {last_words(error)}") from error
    rewrite_normalisations(program.model)
    program.model.metadata_props[METADATA] = facts.to_json()
    program.model.producer_name = "itkit"
    program.save(file, external_data=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what tracing says about itself: deprecated functions of torch that torch calls, missing torchvision."""
    names = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    before = [(logging.getLogger(name), logging.getLogger(name).level) for name in names]
    for logger, _ in before:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in before:
            logger.setLevel(level)


def last_words(error: BaseException) -> str:
    """Return what is useful in the message of an error of torch: the cause, in one line."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return (lines[0] if lines else type(cause).__name__)[:300]


def write_openvino(onnx_file: Path, facts: ModelFacts, file: Path) -> None:
    """Write an OpenVINO model (``.xml``, and ``.bin`` beside it) from an ONNX file; its weights stay 32-bit floats.

    Raises
    ------
    OSError
        When it can't be written.
    """
    openvino = require("openvino", extra="openvino", why="itkit export --to openvino")
    with quiet():
        model = openvino.convert_model(str(onnx_file))
        model.set_rt_info(facts.to_json(), [METADATA])
        try:
            openvino.save_model(model, str(file), compress_to_fp16=False)
        except RuntimeError as error:  # a stream has failed; OpenVINO does not say why
            raise OSError(errno.EIO, f"OpenVINO can't write {file.name}; is the disk full?") from error


def write_torchscript(network: nn.Module, facts: ModelFacts, file: Path, shapes: Shapes) -> None:
    """Write a TorchScript file, traced with windows of the given size; PyTorch alone runs it.

    Raises
    ------
    ModelError
        When the network can't be traced.
    OSError
        When it can't be written.
    """
    torch = require_torch("itkit export")
    example = torch.zeros(1, facts.network.in_channels, *shapes.example)
    with quiet():
        module = traced(network, example, facts.network.name)
    write_script(module, file, {METADATA: facts.to_json()})


def write_script(module: Any, file: Path, inside: Mapping[str, str]) -> None:
    """Write a traced module with texts inside; PyTorch's own writer would end the process when the disk is full.

    Raises
    ------
    OSError
        When it can't be written.
    """
    torch = require_torch("itkit export")
    content = io.BytesIO()
    with quiet():
        torch.jit.save(module, content, _extra_files=dict(inside))
    file.write_bytes(content.getbuffer())


def traced(network: nn.Module, example: Any, name: str) -> Any:
    """Trace a network with an example.

    Raises
    ------
    ModelError
        When it can't be traced.
    """
    torch = require_torch("itkit export")
    try:
        with quiet(), torch.no_grad():
            return torch.jit.trace(network.eval(), example, check_trace=False)
    except Exception as error:
        raise ModelError(f"{name}: can't be traced for TorchScript: {last_words(error)}") from error


def run_torchscript(file: Path, windows: NDArray[Any]) -> NDArray[Any]:
    """Return the logits of a TorchScript file for windows ``(N, C, ...)``."""
    torch = require_torch("itkit export")
    with quiet(), torch.no_grad():
        module = torch.jit.load(str(file), map_location="cpu")
        result: NDArray[Any] = module(torch.from_numpy(windows)).numpy()
    return result


def require_tensorrt() -> Any:
    """Return the module ``tensorrt`` on a machine with a GPU.

    Raises
    ------
    ParamsError
        When this machine has no GPU.
    MissingExtraError
        When TensorRT is not installed.
    """
    torch = require_torch("itkit export --to tensorrt")
    if not torch.cuda.is_available():
        raise ParamsError(
            "--to tensorrt: this machine has no NVIDIA GPU; an engine is built on the kind of GPU that will run it. "
            "Export with --to onnx here, and build the engine there"
        )
    return require("tensorrt", extra="nvidia", why="itkit export --to tensorrt")


def write_tensorrt(onnx_file: Path, facts: ModelFacts, file: Path, shapes: Shapes, *, most_batch: int = 4) -> None:
    """Build a TensorRT engine from an ONNX file, for the GPU of this machine.

    Sums are 32-bit floats: TF32 is switched off, so that the engine computes what the original computes.

    Raises
    ------
    ModelError
        When TensorRT refuses the network; the message holds its first complaint.
    ParamsError, MissingExtraError
        When there is no GPU, or no TensorRT.
    """
    trt = require_tensorrt()
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    flag = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)  # the only kind since TensorRT 10
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_file.read_bytes()):
        said = parser.get_error(0).desc() if parser.num_errors else "no reason given"
        raise ModelError(f"{facts.network.name}: TensorRT can't read the network: {said}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 4 * _GIB)
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    if shapes.is_dynamic:
        least, usual, most = _profile(shapes, facts.network.in_channels, most_batch)
        profile = builder.create_optimization_profile()
        profile.set_shape("image", least, usual, most)
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ModelError(f"{facts.network.name}: TensorRT can't build an engine for this GPU; its log says why")
    file.write_bytes(bytes(engine))


def _profile(shapes: Shapes, channels: int, most_batch: int) -> tuple[Sequence[int], ...]:
    """Return the smallest, the usual and the largest input of an engine with free sizes."""
    largest = shapes.larger or shapes.example
    return (1, channels, *shapes.example), (1, channels, *shapes.example), (most_batch, channels, *largest)


def run_tensorrt(file: Path, windows: NDArray[Any]) -> NDArray[Any]:
    """Return the logits of an engine for windows ``(N, C, ...)``.

    Raises
    ------
    ModelError
        When the engine is for another GPU or another version of TensorRT.
    """
    trt, torch = require_tensorrt(), require_torch("itkit export --to tensorrt")
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    engine = runtime.deserialize_cuda_engine(file.read_bytes())
    if engine is None:
        raise ModelError(f"{file}: no engine of this TensorRT {trt.__version__} for this GPU")
    context = engine.create_execution_context()
    found = []
    for window in windows:
        given = torch.from_numpy(window[None].copy()).cuda()
        context.set_input_shape("image", tuple(given.shape))
        answer = torch.empty(tuple(context.get_tensor_shape("logits")), dtype=torch.float32, device="cuda")
        context.set_tensor_address("image", given.data_ptr())
        context.set_tensor_address("logits", answer.data_ptr())
        stream = torch.cuda.current_stream()
        if not context.execute_async_v3(stream.cuda_stream):
            raise ModelError(f"{file}: TensorRT can't run the engine; its log says why")
        stream.synchronize()
        found.append(answer.cpu())
    result: NDArray[Any] = torch.cat(found).numpy()
    return result
