"""An ONNX model whose answer is known: each voxel gets the class whose centre its intensity is closest to."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from itkit.inference.model_folder import Intensity, ModelFacts, NetworkFacts

CENTRES = (-1000.0, -100.0, 40.0, 500.0)
LABELS = {1: "fat", 5: "soft tissue", 7: "bone"}


def write_small_onnx(file, *, patch=(16, 24, 20), **changes):
    """Write logits ``c·x - c²/2``: a convolution of one voxel."""
    centres = np.array(CENTRES, np.float32) / 100
    facts = ModelFacts(
        **{
            "network": NetworkFacts(name="thresholds", num_classes=4),
            "channels": ("CT",),
            "labels": LABELS,
            "spacing": (-1, -1, -1),
            "intensity": Intensity(scheme="ct", low=-1024, high=3000, mean=0, sd=100),
            "patch_size": patch,
            **changes,
        }
    )
    node = helper.make_node("Conv", ["image", "weights", "bias"], ["logits"])
    axes = ["depth", "height", "width"]
    graph = helper.make_graph(
        [node],
        "thresholds",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, *axes])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4, *axes])],
        [
            numpy_helper.from_array(centres.reshape(4, 1, 1, 1, 1), "weights"),
            numpy_helper.from_array(-(centres**2) / 2, "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"itkit_model": facts.to_json()})
    onnx.save(model, file)


def closest(array):
    """The expected label map."""
    number = np.abs(array.astype(np.float64)[..., None] - np.array(CENTRES)).argmin(-1)
    return np.array([0, *LABELS])[number]
