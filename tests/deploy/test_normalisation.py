"""Normalisations in exported networks: as near to 64-bit floats as they can be, in both runtimes, with any size."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxscript import ir

from itkit.deploy.normalisation import rewrite_normalisations
from itkit.inference.backends import openvino_network

HEAD = '<ir_version: 10, opset_import: ["" : 20]>'
SIZE = (40, 48, 56)


def plain(sizes):
    """Instance normalisation with weights, as torch exports it."""
    return f"""{HEAD} network (float[1, 8, {sizes}] image) => (float[1, 8, {sizes}] made)
    <float[8] scale = {{1, 1.1, 0.9, 1, -1, 1, 2, 1}}, float[8] bias = {{0, 1, 2, 3, 4, 5, 6, -7}}> {{
        made = InstanceNormalization <epsilon = 0.001> (image, scale, bias)
    }}"""


def grouped(sizes, row):
    """Normalisation over two groups of channels, which torch exports as two long rows."""
    return (
        f"""{HEAD} network (float[1, 8, {sizes}] image) => (float[1, 8, {sizes}] made)
    <int64[3] rows = {{0, 2, -1}}, float[2] scale = {{1, 1}}, float[2] bias = {{0, 0}}> {{
        row = Reshape (image, rows)
        normal = InstanceNormalization (row, scale, bias)
        size = Shape (image)
        made = Reshape (normal, size)
    }}""",
        {"row": row, "normal": row},
    )


def exact(image, groups, epsilon, scale=1.0, bias=0.0):
    rows = image.astype(np.float64).reshape(groups, -1)
    rows = (rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.var(1, keepdims=True) + epsilon)
    scale, bias = (np.broadcast_to(np.asarray(value, float), groups)[:, None] for value in (scale, bias))
    return (rows * scale + bias).reshape(image.shape)


def graph(text, shapes=None):
    model = ir.from_onnx_text(text)
    for node in model.graph:
        for value in node.outputs:
            if shapes and value.name in shapes:
                value.shape = ir.Shape(shapes[value.name])
    return model


@pytest.mark.parametrize("sizes", [SIZE, ("depth", "height", "width")])
@pytest.mark.parametrize("kind", ["instance", "group"])
def test_means_of_many_voxels_lose_nothing(kind, sizes, tmp_path, capfd):
    named, is_free = ", ".join(map(str, sizes)), isinstance(sizes[0], str)
    image = np.random.default_rng(0).normal(30, 1, (1, 8, *SIZE)).astype(np.float32)
    if kind == "instance":
        model = graph(plain(named))
        wanted = exact(image, 8, 0.001, [1, 1.1, 0.9, 1, -1, 1, 2, 1], [0, 1, 2, 3, 4, 5, 6, -7])
    else:
        text, shapes = grouped(named, (1, 2, "length" if is_free else 4 * np.prod(SIZE).item()))
        model = graph(text, shapes)
        wanted = exact(image, 2, 1e-5)

    def errors():
        file = tmp_path / "model.onnx"
        ir.save(model, file)
        onnx.checker.check_model(file, full_check=True)
        found = onnxruntime.InferenceSession(file).run(None, {"image": image})[0], openvino_network(file)(image)
        return [float(np.abs(one - wanted).max()) for one in found]

    before = errors()
    assert rewrite_normalisations(model) == 1
    assert "InstanceNormalization" not in [node.op_type for node in model.graph]
    after = errors()
    assert max(after) < 1e-5 < max(before)
    assert capfd.readouterr().err == ""  # no initializer is left that nothing uses


def test_a_row_whose_length_nothing_tells_stays():
    model = graph(
        f"""{HEAD} network (float[1, 4, length] image, float[4] scale, float[4] bias) => (float[1, 4, length] made) {{
            made = InstanceNormalization (image, scale, bias)
        }}"""
    )
    assert rewrite_normalisations(model) == 0
    assert [node.op_type for node in model.graph] == ["InstanceNormalization"]
