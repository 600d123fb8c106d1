"""Files of weights: what is read from them, and that nothing in them is ever executed."""

import argparse
import collections
import io
import json
import os
import pathlib
import pickle
import struct
import sys
import types
import warnings
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from itkit.core.errors import WeightsError
from itkit.models.checkpoints import read_checkpoint, read_content, read_weights
from itkit.models.checkpoints.unpickler import Placeholder, unpickle

FORMATS = pytest.mark.parametrize(("zipped", "protocol"), [(True, 2), (True, 5), (False, 2), (False, 4)])


def save(content, folder, name="weights.pth", zipped=True, protocol=2):
    torch.save(content, folder / name, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    return folder / name


def odd_tensors():
    """Return tensors of many types and layouts, two of which share their values."""
    base = torch.arange(24.0).reshape(4, 6)
    return {
        "plain": base,
        "view": base.t()[1:3],
        "expanded": torch.arange(3).expand(2, 3),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(3.5),
        "half": torch.randn(5).half(),
        "bfloat": torch.randn(2, 2).bfloat16(),
        "bool": torch.tensor([True, False]),
        "int8": torch.tensor([-3, 4], dtype=torch.int8),
        "complex": torch.randn(3, dtype=torch.complex64),
        "float8": torch.randn(4).to(torch.float8_e4m3fn),
        "parameter": nn.Parameter(torch.randn(2)),
    }


@FORMATS
def test_tensors_come_out_as_torch_saved_them(tmp_path, zipped, protocol):
    tensors = odd_tensors()
    read = read_weights(save(tensors, tmp_path, zipped=zipped, protocol=protocol))
    assert list(read) == list(tensors)
    for key, value in tensors.items():
        assert (read[key].dtype, read[key].shape) == (value.dtype, value.shape)
        assert torch.equal(read[key].to(torch.complex128), value.to(torch.complex128))
    assert read["plain"].untyped_storage().data_ptr() == read["view"].untyped_storage().data_ptr()


class Helper:
    """Any class of a training code."""

    def __init__(self):
        self.history = [1, 2]


class MyDict(dict):
    """A configuration of a training code."""


def training_objects():
    """Return what training codes keep beside weights, and what a reader that builds plain values makes of it."""
    kept = {
        "args": argparse.Namespace(lr=0.1, roi=(96, 96, 64)),
        "simple": types.SimpleNamespace(a=1),
        "ordered": collections.OrderedDict(b=2, a=1),
        "default": collections.defaultdict(list, a=[1]),
        "counter": collections.Counter("aab"),
        "deque": collections.deque([1, 2], maxlen=4),
        "set": {1, 2},
        "bytes": b"\xff\x00",
        "complex": 1 + 2j,
        "size": torch.Size([2, 3]),
        "device": torch.device("cuda", 1),
        "scalar": np.float32(0.5),
        "array": np.arange(6, dtype=">i2").reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "words": np.array(["liver", "spleen"]),
    }
    made = {
        **kept,
        "args": {"lr": 0.1, "roi": (96, 96, 64)},
        "simple": {"a": 1},
        "deque": [1, 2],
        "device": "cuda:1",
    }
    return kept, made


@FORMATS
def test_plain_values_beside_the_weights_are_read(tmp_path, zipped, protocol):
    kept, made = training_objects()
    path = save({"state_dict": {"a.b": torch.ones(2)}, **kept}, tmp_path, zipped=zipped, protocol=protocol)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.entry, list(checkpoint.weights)) == ("state_dict", ["a.b"])
    for key, value in made.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(checkpoint.data[key], value)
        else:
            assert checkpoint.data[key] == value, key


@FORMATS
def test_objects_of_classes_become_placeholders(tmp_path, zipped, protocol):
    objects = {
        "helper": Helper(),
        "config": MyDict(a=1),
        "path": pathlib.PurePosixPath("/x"),
        "call": print,
        "none": None,
    }
    path = save({"model": {"w": torch.ones(1)}, **objects}, tmp_path, zipped=zipped, protocol=protocol)
    data = read_checkpoint(path).data
    assert data["helper"].path.endswith("Helper")
    assert data["helper"].state == {"history": [1, 2]}
    assert data["config"].entries == {"a": 1}
    assert "PurePosixPath" in data["path"].path
    assert repr(data["call"]) == "<builtins.print>"


def test_a_network_saved_as_a_whole_gives_its_weights_without_its_class(tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.BatchNorm2d(2), nn.Dropout()))
    network.register_buffer("scratch", torch.zeros(2), persistent=False)
    for content in (network, {"epoch": 3, "model": network}):
        read = read_weights(save(content, tmp_path))
        assert list(read) == list(network.state_dict())
        assert all(torch.equal(read[key], value) for key, value in network.state_dict().items())


def test_pickles_of_other_codes_hold_tensors_and_arrays(tmp_path):
    path = tmp_path / "model.pkl"
    weight = torch.randn(2, 3)
    for content in ({"model": {"a": weight, "b": weight.numpy()}}, {"a": weight, "b": weight.numpy().astype(">f4")}):
        path.write_bytes(pickle.dumps(content))
        read = read_weights(path)
        assert torch.equal(read["a"], weight)
        assert torch.equal(read["b"], weight)


def test_archives_of_arrays_are_read(tmp_path):
    path = tmp_path / "R50.npz"
    np.savez(path, **{"conv/kernel": np.ones((2, 3), np.float32), "bias": np.zeros(1), "meta": np.array([{}])})
    assert {key: tuple(value.shape) for key, value in read_weights(path).items()} == {
        "conv/kernel": (2, 3),
        "bias": (1,),
    }
    raw = bytearray(path.read_bytes())
    raw[raw.index(np.ones(6, np.float32).tobytes())] ^= 1
    path.write_bytes(raw)
    with pytest.raises(WeightsError, match=r"R50\.npz: .*'conv/kernel' can't be read"):
        read_weights(path)


def nnunet_v2(state):
    """Return a checkpoint with the entries that nnU-Net's trainer writes."""
    plans = {"configurations": {"3d_fullres": {"patch_size": [64, 96, 96], "spacing": np.array([2.5, 0.8, 0.8])}}}
    return {
        "network_weights": state,
        "optimizer_state": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.01}]},
        "grad_scaler_state": {"scale": 65536.0},
        "logging": {"mean_fg_dice": [np.float64(0.5)], "ema_fg_dice": [np.float32(0.25)]},
        "_best_ema": np.float64(0.7),
        "current_epoch": 1000,
        "init_args": {
            "plans": plans,
            "configuration": "3d_fullres",
            "fold": 0,
            "dataset_json": {"labels": {"background": 0}},
            "device": torch.device("cuda"),
        },
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }


def test_nnunet_checkpoints_give_weights_and_plans(tmp_path):
    checkpoint = read_checkpoint(save(nnunet_v2({"encoder.w": torch.ones(1)}), tmp_path, "checkpoint_final.pth"))
    assert (checkpoint.entry, list(checkpoint.weights)) == ("network_weights", ["encoder.w"])
    arguments = checkpoint.data["init_args"]
    assert arguments["plans"]["configurations"]["3d_fullres"]["patch_size"] == [64, 96, 96]
    np.testing.assert_array_equal(arguments["plans"]["configurations"]["3d_fullres"]["spacing"], [2.5, 0.8, 0.8])
    assert checkpoint.data["trainer_name"] == "nnUNetTrainer"
    assert checkpoint.data["_best_ema"] == 0.7


def test_nnunet_of_the_first_version_gives_weights_and_plans(tmp_path):
    model = {
        "epoch": 1000,
        "state_dict": collections.OrderedDict({"seg_outputs.0.weight": torch.ones(1)}),
        "optimizer_state_dict": {"state": {}, "param_groups": []},
        "lr_scheduler_state_dict": None,
        "plot_stuff": ([0.5], [np.float64(0.4)], [], []),
        "best_stuff": (np.float32(0.1), None, None),
    }
    path = save(model, tmp_path, "model_final_checkpoint.model", zipped=False)
    assert list(read_weights(path)) == ["seg_outputs.0.weight"]
    plans = collections.OrderedDict(patch_size=np.array([128, 128]), stages={0: {"pool": [[2, 2]]}})
    beside = {
        "init": ("plans.pkl", 0, "out", None, False, 0, True, False, True),
        "name": "nnUNetTrainerV2",
        "plans": plans,
    }
    (tmp_path / "model_final_checkpoint.model.pkl").write_bytes(pickle.dumps(beside))
    data = read_content(tmp_path / "model_final_checkpoint.model.pkl")
    assert data["plans"]["patch_size"].tolist() == [128, 128]
    assert data["init"][0] == "plans.pkl"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"meta": {"epoch": 3}, "state_dict": state, "message_hub": {"log": Helper()}, "optimizer": {}},
        lambda state: {"state_dict": state, "pytorch-lightning_version": "2.4", "hyper_parameters": MyDict(lr=1)},
        lambda state: {"module": state, "ds_config": {}},
        lambda state: {"ema": {"shadow": state}, "epoch": 1},
        lambda state: {"state": {"student": state, "optimizer": {"0": torch.zeros(1)}}},
        lambda state: {f"module._orig_mod.{key}": value for key, value in state.items()},
        lambda state: {key.replace("a.", "a._fsdp_wrapped_module."): value for key, value in state.items()},
    ],
    ids=["mmengine", "lightning", "deepspeed", "ema", "other names", "compiled", "sharded"],
)
def test_weights_are_found_wherever_they_stand(tmp_path, wrap):
    state = {"a.weight": torch.ones(1), "a.bias": torch.zeros(1)}
    assert list(read_weights(save(wrap(state), tmp_path))) == list(state)


# what must never run


class Attack:
    """An object that leaves a file when a reader calls what it asks for."""

    def __init__(self, reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def attacks(marker):
    """Return objects that would write a file, by many ways."""
    write = f"open({str(marker)!r}, 'w').close()"
    return {
        "system": Attack((os.system, (f"touch {marker}",))),
        "exec": Attack((exec, (write,))),
        "eval": Attack((eval, (write,))),
        "popen": Attack((os.popen, (f"touch {marker}",))),
        "open": Attack((open, (str(marker), "w"))),
        "import": Attack((__import__, ("antigravity",))),
        "state": Attack(
            (collections.OrderedDict, (), {"__class__": Attack}, None, iter([("k", Attack((exec, (write,))))]))
        ),
        "getattr": Attack((getattr, ("os", "system"))),
        "torch": Attack((torch.load, (str(marker),))),
        "map": Attack((map, (exec, [write]))),
    }


@FORMATS
@pytest.mark.parametrize(
    "way", ["system", "exec", "eval", "popen", "open", "import", "state", "getattr", "torch", "map"]
)
def test_nothing_of_a_file_is_executed(tmp_path, zipped, protocol, way, monkeypatch):
    marker = tmp_path / "executed"
    content = {"state_dict": {"w": torch.ones(1)}, "hook": attacks(marker)[way]}
    path = save(content, tmp_path, zipped=zipped, protocol=protocol)
    before = set(sys.modules)
    monkeypatch.setattr(os, "system", lambda _: pytest.fail("something was executed"))
    checkpoint = read_checkpoint(path)
    assert list(checkpoint.weights) == ["w"]
    assert not marker.exists()
    assert "antigravity" not in set(sys.modules) - before


def test_attacks_in_the_old_opcodes_and_in_plain_pickles_run_nothing(tmp_path):
    marker = tmp_path / "executed"
    script = f"touch {marker}"
    by_hand = [
        f"cos\nsystem\n(S'{script}'\ntR.".encode(),  # GLOBAL, REDUCE
        f"(S'{script}'\nios\nsystem\n.".encode(),  # INST
        f"(cos\nsystem\nS'{script}'\no.".encode(),  # OBJ
        f"\x80\x02cos\nsystem\nX{chr(len(script))}\x00\x00\x00{script}\x85\x81.".encode("latin-1"),  # NEWOBJ
        f"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c{chr(len(script))}{script}\x85R.".encode("latin-1"),  # STACK_GLOBAL
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02cbuiltins\nexec\n(X\x01\x00\x00\x001t}b.",  # BUILD on a name
    ]
    for content in by_hand:
        found = unpickle(io.BytesIO(content))
        assert not callable(found)
        path = tmp_path / "x.pth"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"x\.pth"):
            read_weights(path)
    assert not marker.exists()


def test_no_message_advises_to_give_up_safety(tmp_path):
    (tmp_path / "x.pth").write_bytes(pickle.dumps(Attack((os.system, ("true",)))))
    with pytest.raises(WeightsError) as caught:
        read_weights(tmp_path / "x.pth")
    assert "weights_only" not in str(caught.value)
    assert f"an object of {os.system.__module__}.system, which is not built" in str(caught.value)


def test_a_file_that_asks_for_the_system_is_told(tmp_path, caplog):
    hooks = {"a": [{"b": Attack((os.system, ("true",)))}], "c": Attack((eval, ("1",))), "d": Helper()}
    read_weights(save({"state_dict": {"w": torch.ones(1)}, "callbacks": hooks}, tmp_path))
    system = f"{os.system.__module__}.system"
    assert f"asks to call builtins.eval, {system} when it is read; nothing was called" in caplog.text
    assert "Helper" not in caplog.text
    caplog.clear()
    read_weights(save({"state_dict": {"w": torch.ones(1)}, "args": argparse.Namespace(path=pathlib.Path())}, tmp_path))
    assert not caplog.text


def nested_tuple(depth):
    """Return opcodes of a tuple whose two parts are the same tuple, over and over: 2**depth leaves."""
    return b"\x80\x02)" + b"2\x86" * depth


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02}" + nested_tuple(80)[2:] + b"K\x01s.",  # as a key: its hash would take forever
        b"\x80\x02}X\x01\x00\x00\x00a" + nested_tuple(80)[2:] + b"s.",  # as a value
        b"\x80\x04\x8f(" + nested_tuple(80)[2:] + b"\x90.",  # in a set
        b"\x80\x02]" + b"]" * 100_000 + b"a" * 100_000 + b".",  # nested deeply
        b"\x80\x02}q\x00X\x0a\x00\x00\x00state_dicth\x00s.",  # in itself
        b"\x80\x02r\xff\xff\xff\xff.",
        b"\x80\x02cbuiltins\nbytearray\n\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85R.",  # a huge allocation
    ],
    ids=["key", "value", "set", "deep", "circle", "memo", "allocation"],
)
def test_bombs_end_in_an_error_and_soon(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.pth"):
        read_weights(tmp_path / "x.pth")


def rebuilt(tmp_path, change):
    """Return a saved file whose pickle has been changed."""
    save({"w": torch.arange(6.0).reshape(2, 3)}, tmp_path)
    with zipfile.ZipFile(tmp_path / "weights.pth") as old, zipfile.ZipFile(tmp_path / "changed.pth", "w") as new:
        for info in old.infolist():
            content = old.read(info)
            new.writestr(info.filename, change(content) if info.filename.endswith("data.pkl") else content)
    return tmp_path / "changed.pth"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"K\x02K\x03\x86", b"K\x02K\x09\x86"),  # a shape that is larger than the storage
        (b"K\x03K\x01\x86", b"K\x7fK\x01\x86"),  # a stride that leads out
        (b"K\x02K\x03\x86", b"J\xff\xff\xff\xffK\x03\x86"),  # a negative side
        (b"FloatStorage", b"LongStorages"),  # another type
    ],
)
def test_tensors_that_reach_beyond_their_values_are_refused(tmp_path, old, new):
    def change(content):
        assert old in content
        return content.replace(old, new)

    with pytest.raises(WeightsError, match=r"changed\.pth"):
        read_weights(rebuilt(tmp_path, change))


def test_a_type_that_needs_more_bytes_than_there_are_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="holds 24 bytes instead of 48"):
        read_weights(rebuilt(tmp_path, lambda content: content.replace(b"FloatStorage", b"LongStorage")))


def test_damage_inside_a_file_is_noticed(tmp_path):
    path = save({"w": torch.arange(6.0)}, tmp_path)
    raw = bytearray(path.read_bytes())
    at = raw.index(struct.pack("<2f", 4.0, 5.0))
    raw[at] ^= 1
    path.write_bytes(raw)
    with pytest.raises(WeightsError, match="another checksum"):
        read_weights(path)


def test_files_without_checksums_are_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        save({"w": torch.arange(3.0)}, tmp_path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_weights(tmp_path / "weights.pth")["w"].tolist() == [0, 1, 2]


# what a file may be instead


def scripted(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises other ways
        torch.jit.script(nn.Linear(2, 2)).save(path)


def truncated(path, zipped):
    save({"w": torch.ones(1000)}, path.parent, path.name, zipped=zipped)
    path.write_bytes(path.read_bytes()[:-900])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "an empty file"),
        (lambda path: path.write_bytes(b"\n<!DOCTYPE html><html><title>Google Drive"), "a web page"),
        (lambda path: path.write_bytes(b"<?xml version='1.0'?><Error><Code>AccessDenied"), "a server's answer"),
        (
            lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:"),
            "a Git LFS pointer",
        ),
        (lambda path: path.write_bytes(b'{"message": "Not Found"}'), "JSON in place of weights"),
        (scripted, "a TorchScript program"),
        (lambda path: truncated(path, zipped=True), "truncated"),
        (lambda path: truncated(path, zipped=False), "truncated"),
        (lambda path: path.write_bytes(pickle.dumps({"a": [1] * 100})[:-50]), "truncated"),
        (lambda path: path.write_bytes(b"\x1f\x8b\x08" + bytes(30)), "packed"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(30)), "HDF5"),
        (lambda path: path.write_bytes(bytes(257) + b"ustar" + bytes(30)), "a tar archive"),
        (lambda path: path.write_bytes(b"not a weight file"), "not a weight file"),
        (lambda path: path.write_bytes(b"PK\x03\x04broken"), "truncated"),
        (lambda path: path.write_bytes(bytes([255] * 4)), "not a weight file"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_files_are_told_apart_by_name(tmp_path, make, message, suffix):
    path = tmp_path / f"bad{suffix}"
    make(path)
    with pytest.raises(WeightsError, match=rf"bad{suffix}: .*{message}"):
        read_weights(path)


def test_tensors_without_values_are_told(tmp_path):
    torch.save({"w": torch.ones(3, device="meta")}, tmp_path / "meta.pth")
    with pytest.raises(WeightsError, match=r"meta\.pth: its tensors were saved on the device meta"):
        read_weights(tmp_path / "meta.pth")


def test_a_zip_archive_of_other_things_says_what_it_holds(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("fold_0/checkpoint_final.pth", b"")
    with pytest.raises(WeightsError, match=r"it holds fold_0/checkpoint_final\.pth; unpack it"):
        read_weights(tmp_path / "x.zip")


@pytest.mark.parametrize("length", [0, 1, 7, 40, 200, 700, 1200])
def test_a_file_that_ends_anywhere_is_an_error_with_its_name(tmp_path, length):
    for zipped in (True, False):
        path = save(odd_tensors(), tmp_path, "cut.pth", zipped=zipped)
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(WeightsError, match=r"cut\.pth: "):
            read_weights(path)


def test_files_without_weights_say_what_they_hold(tmp_path):
    with pytest.raises(WeightsError, match="'epoch'"):
        read_weights(save({"epoch": 1}, tmp_path))
    with pytest.raises(WeightsError, match="a list"):
        read_weights(save([1, 2], tmp_path))
    with pytest.raises(WeightsError, match="no such file"):
        read_weights(tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="a folder"):
        read_weights(tmp_path)


def safetensors(header, *values):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(values)


def test_safetensors_are_read_whatever_they_are_called(tmp_path):
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "F16", "shape": [1], "data_offsets": [24, 26]},
        "c": {"dtype": "F32", "shape": [1], "data_offsets": [26, 30]},
        "d": {"dtype": "I64", "shape": [0], "data_offsets": [30, 30]},
    }
    content = safetensors(header, values.tobytes(), np.array([1.5], "<f2").tobytes(), np.array([2.5], "<f4").tobytes())
    for name in ("x.safetensors", "pytorch_model.bin"):
        (tmp_path / name).write_bytes(content)
        weights = read_weights(tmp_path / name)
        torch.testing.assert_close(weights["a"], torch.from_numpy(values.copy()))
        assert weights["b"].dtype == torch.float16
        assert [weights[key].tolist() for key in "bcd"] == [[1.5], [2.5], []]
    (tmp_path / "cut.safetensors").write_bytes(content[:-3])
    with pytest.raises(WeightsError, match=r"cut\.safetensors: .*truncated: the file ends before the values of 'c'"):
        read_weights(tmp_path / "cut.safetensors")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": "x", "data_offsets": [0, 4]},
        {"dtype": "F32", "data_offsets": [0, 4]},
        [1],
    ],
)
def test_safetensors_that_make_no_sense_are_refused(tmp_path, entry):
    (tmp_path / "x.safetensors").write_bytes(safetensors({"a": entry}, bytes(4)))
    with pytest.raises(WeightsError, match=r"x\.safetensors"):
        read_weights(tmp_path / "x.safetensors")


def test_placeholders_show_a_name_and_nothing_else():
    assert repr(Placeholder("os.system", ("rm -rf",))) == "<os.system, not built>"
