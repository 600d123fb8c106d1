import json
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from torch import nn

from itkit.core.errors import WeightsError
from itkit.models import create_model, load_pretrained
from itkit.models.checkpoints import read_weights
from itkit.models.decoders import EncoderDecoder, UNetDecoder

TINY = {"n_channels": 2, "exp_r": 2, "block_counts": (1,) * 9}


class Encoder(nn.Module):
    """Two strided convolutions with norms."""

    def __init__(self, dims=2, channels=3):
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.stem = nn.Sequential(conv(channels, 4, 3, 2, 1), norm(4))
        self.deep = nn.Sequential(conv(4, 6, 3, 2, 1), norm(6))

    def forward(self, image):
        first = self.stem(image)
        return [first, self.deep(first)]


def small(**changes):
    return create_model("mednext_s", **{"num_classes": 3, **TINY, **changes})


def save(content, folder, name="weights.pth"):
    torch.save(content, folder / name)
    return folder / name


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{key}": value for key, value in state.items()}, "optimizer": {"lr": [0.1]}},
        lambda state: {"model_state": {f"module._orig_mod.{key}": value for key, value in state.items()}},
        lambda state: {"network_weights": state, "logging": {"dice": [np.float64(0.5)]}, "init_args": {"fold": "0"}},
        lambda state: {"state_dict": {f"network.{key}": value for key, value in state.items()}},
    ],
    ids=["plain", "state_dict", "model+module", "model_state+compiled", "nnunet", "lightning"],
)
def test_wrappers_and_prefixes_are_seen_through(tmp_path, wrap):
    source, target = small(), small()
    report = load_pretrained(target, save(wrap(source.state_dict()), tmp_path), strict=True)
    assert report.complete
    assert not report.adapted
    assert len(report.matched) == len(source.state_dict())
    for key, value in target.state_dict().items():
        torch.testing.assert_close(value, source.state_dict()[key])


def test_an_entry_can_be_named(tmp_path):
    source, target = small(), small()
    path = save({"model": small().state_dict(), "ema": {"shadow": source.state_dict()}}, tmp_path)
    load_pretrained(target, path, entry="ema.shadow")
    torch.testing.assert_close(target.stem.weight, source.stem.weight)
    with pytest.raises(WeightsError, match=r"'teacher'.*'model', 'ema'"):
        load_pretrained(target, path, entry="teacher")


def test_a_head_of_other_classes_stays_new_or_gets_the_first_classes(tmp_path):
    source = small(num_classes=5)
    path = save(source.state_dict(), tmp_path)
    target = small(num_classes=3)
    before = target.out_0.conv_out.weight.detach().clone()
    report = load_pretrained(target, path, strict=True)
    assert {item.key for item in report.adapted} == {"out_0.conv_out.weight", "out_0.conv_out.bias"}
    assert "5 classes" in report.adapted[0].how
    torch.testing.assert_close(target.out_0.conv_out.weight, before)
    load_pretrained(target, path, head="copy")
    torch.testing.assert_close(target.out_0.conv_out.weight, source.out_0.conv_out.weight[:, :3])
    torch.testing.assert_close(target.out_0.conv_out.bias, source.out_0.conv_out.bias[:3])


@pytest.mark.parametrize(("given", "wanted", "word"), [(3, 1, "summed"), (1, 4, "shared out"), (3, 2, "averaged")])
def test_input_channels_keep_the_response_to_equal_channels(tmp_path, given, wanted, word):
    source, target = small(in_channels=given), small(in_channels=wanted)
    report = load_pretrained(target, save(source.state_dict(), tmp_path), strict=True)
    assert [item.key for item in report.adapted] == ["stem.weight"]
    assert word in report.adapted[0].how
    image = torch.randn(1, 1, 32, 16, 16)
    with torch.no_grad():
        want = source.eval()(image.expand(-1, given, -1, -1, -1))
        got = target.eval()(image.expand(-1, wanted, -1, -1, -1))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("inflate", ["mean", "centre"])
def test_a_2d_encoder_fills_a_3d_one_that_acts_alike_on_equal_planes(tmp_path, inflate):
    flat = Encoder(2).eval()
    for module in flat.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
    solid = EncoderDecoder(Encoder(3), UNetDecoder([4, 6], 2, 3, width=4)).eval()
    report = load_pretrained(solid, save({"state_dict": flat.state_dict()}, tmp_path), inflate=inflate)
    assert report.added == "encoder."
    assert {item.key for item in report.adapted} == {"encoder.stem.0.weight", "encoder.deep.0.weight"}
    assert all(key.startswith("decoder.") for key in report.missing)
    image = torch.randn(1, 3, 16, 20)
    with torch.no_grad():
        want = flat(image)[0]
        got = solid.encoder(image.unsqueeze(2).expand(-1, -1, 9, -1, -1))[0]
    torch.testing.assert_close(got[:, :, 2], want, rtol=1e-4, atol=1e-5)


def test_the_encoder_of_a_whole_network_file_is_found(tmp_path):
    source = EncoderDecoder(Encoder(2), UNetDecoder([4, 6], 2, 2, width=4))
    target = Encoder(2)
    report = load_pretrained(target, save(source.state_dict(), tmp_path))
    assert report.removed == "encoder."
    assert not report.missing
    assert all(key.startswith("decoder.") for key in report.unexpected)
    torch.testing.assert_close(target.deep[0].weight, source.encoder.deep[0].weight)


def test_position_embeddings_follow_the_image_size(tmp_path):
    options = {"feature_size": 2, "hidden_size": 4, "mlp_dim": 4, "num_heads": 2}
    source = create_model("unetr", image_size=32, **options)
    field = torch.arange(2.0).view(1, 2, 1, 1, 1).expand(1, 2, 2, 2, 4).reshape(1, 8, 4)
    source.vit.patch_embedding.position_embeddings.data = field.clone()
    target = create_model("unetr", image_size=(64, 32, 48), layout="1.6", **options)
    report = load_pretrained(target, save(source.state_dict(), tmp_path))
    assert [item.how for item in report.adapted] == ["positions interpolated"]
    grid = target.vit.patch_embedding.position_embeddings.detach().reshape(4, 2, 3, 4)
    torch.testing.assert_close(grid[:, 0, 0, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))
    torch.testing.assert_close(grid[:, 1, 2, 3], grid[:, 0, 0, 0])
    assert all("cross_attn" in key for key in report.missing)


def test_another_release_of_unetr_loads_strictly(tmp_path):
    options = {"image_size": 16, "feature_size": 2, "hidden_size": 4, "mlp_dim": 4, "num_heads": 2}
    source = create_model("unetr", layout="0.6", proj_type="perceptron", **options).eval()
    target = create_model("unetr", **options).eval()
    load_pretrained(target, save({"state_dict": source.state_dict()}, tmp_path), strict=True)
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(target(image), source(image))


def test_kernels_are_resized_only_on_request(tmp_path):
    path = save(small(kernel_size=3).state_dict(), tmp_path)
    target = small(kernel_size=5)
    report = load_pretrained(target, path)
    assert {item.key.rsplit(".", 2)[1] for item in report.mismatched} == {"conv1"}
    report = load_pretrained(target, path, resize_kernels=True, strict=True)
    assert {item.how for item in report.adapted} == {"kernel resized from (3, 3, 3)"}


def test_strict_and_foreign_files_leave_the_network_alone(tmp_path):
    target = small()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    state = small().state_dict()
    del state["stem.bias"]
    state["extra"] = torch.zeros(1)
    with pytest.raises(WeightsError, match=r"(?s)stem\.bias.*extra"):
        load_pretrained(target, save(state, tmp_path), strict=True)
    with pytest.raises(WeightsError, match=r"none of its 1 tensors fits.*foreign\.weight.*stem\.weight"):
        load_pretrained(target, save({"foreign.weight": torch.zeros(3)}, tmp_path))
    for key, value in target.state_dict().items():
        torch.testing.assert_close(value, before[key])


def test_the_report_reads_as_text(tmp_path):
    state = small(in_channels=3).state_dict()
    del state["stem.bias"]
    text = str(load_pretrained(small(), save({**state, "spare": torch.zeros(1)}, tmp_path)))
    assert "stem.weight: 3 input channels summed into 1 (2, 3, 1, 1, 1) -> (2, 1, 1, 1, 1)" in text
    assert "not in the file: stem.bias" in text
    assert "only in the file: spare" in text


class Unsafe:
    def __reduce__(self):
        return print, ("this must never be printed",)


def test_a_file_that_would_run_code_is_refused_with_the_reason(tmp_path, capsys):
    path = save({"state_dict": small().state_dict(), "hook": Unsafe()}, tmp_path)
    with pytest.raises(WeightsError, match=r"refused.*run code.*print"):
        load_pretrained(small(), path)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not a weight file", b"PK\x03\x04broken"])
def test_damaged_files_are_told_by_name(tmp_path, content):
    for suffix in (".pth", ".safetensors"):
        path = (tmp_path / "bad").with_suffix(suffix)
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=f"bad{suffix}"):
            read_weights(path)


def test_files_without_weights_say_what_they_hold(tmp_path):
    with pytest.raises(WeightsError, match="'epoch'"):
        read_weights(save({"epoch": 1}, tmp_path))
    with pytest.raises(WeightsError, match="a list"):
        read_weights(save([1, 2], tmp_path))


def test_safetensors_are_read(tmp_path):
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    halves = np.array([1.5], dtype="<f2")
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "F16", "shape": [1], "data_offsets": [24, 26]},
    }
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + values.tobytes() + halves.tobytes())
    weights = read_weights(path)
    torch.testing.assert_close(weights["a"], torch.from_numpy(values.copy()))
    assert weights["b"].dtype == torch.float16
    assert weights["b"].item() == 1.5


@pytest.mark.net
def test_weights_come_from_a_server(tmp_path):
    source, target = small(), small()
    (tmp_path / "served").mkdir()
    save({"network_weights": source.state_dict()}, tmp_path / "served", "checkpoint_final.pth")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "served")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/checkpoint_final.pth"
        report = load_pretrained(target, url, cache_dir=tmp_path / "cache", strict=True)
        server.shutdown()
        thread.join()
    assert report.source == url
    torch.testing.assert_close(target.stem.weight, source.stem.weight)


@pytest.mark.parametrize("option", ["head", "inflate"])
def test_unknown_choices_are_refused(option):
    with pytest.raises(ValueError, match=option):
        load_pretrained(small(), "nowhere.pth", **{option: "other"})
