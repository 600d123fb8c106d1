import hashlib
import re
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from itkit.core.errors import ItkitError, MissingExtraError, WeightsError
from itkit.models import Weights, create_model, list_models, load_pretrained, model_card
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
    report = load_pretrained(target, path)
    assert {item.key for item in report.adapted} == {"out_0.conv_out.weight", "out_0.conv_out.bias"}
    assert "5 classes" in report.adapted[0].how
    assert report.random == ("out_0.conv_out.weight", "out_0.conv_out.bias")
    assert not report.complete
    with pytest.raises(WeightsError, match=r"(?s)strict is set.*left as initialised for 3"):
        load_pretrained(target, path, strict=True)
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
    with pytest.raises(WeightsError, match="resize_kernels=True resizes it; build"):
        load_pretrained(target, path)
    report = load_pretrained(target, path, partial=True)
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


def mismatched(report):
    return {item.key for item in report.mismatched}


def test_a_network_of_other_width_is_not_taken_for_one_with_another_head(tmp_path):
    source = create_model("mednext_s", num_classes=16, **{**TINY, "n_channels": 8})
    target = create_model("mednext_s", num_classes=16, **{**TINY, "n_channels": 16})
    with pytest.raises(WeightsError, match=r"only [\d.]+% of the network's tensors.*partial=True"):
        load_pretrained(target, save(source.state_dict(), tmp_path))
    report = load_pretrained(target, tmp_path / "weights.pth", partial=True)
    assert not report.adapted
    assert {"stem.weight", "out_0.conv_out.weight", "enc_block_0.0.conv2.weight"} <= mismatched(report)


def test_every_share_below_95_percent_is_told_and_below_half_refused(tmp_path, caplog):
    state = small().state_dict()
    target = small()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    for kept, outcome in ((1.0, "silent"), (0.97, "silent"), (0.9, "told"), (0.3, "refused")):
        some = {key: state[key] for key in list(state)[: round(kept * len(state))]}
        path = save(some, tmp_path)
        caplog.clear()
        if outcome == "refused":
            with pytest.raises(WeightsError, match=r"of its parameters come from the file.*partial=True"):
                load_pretrained(target, path)
            assert load_pretrained(target, path, partial=True).share_tensors == pytest.approx(kept, abs=0.01)
            continue
        report = load_pretrained(target, path)
        assert report.complete == (kept == 1)
        assert ("initial values" in caplog.text) == (min(report.share_tensors, report.share_parameters) < 0.95)
        assert (outcome == "told") == bool(caplog.text)
    assert any(not torch.equal(value, before[key]) for key, value in target.state_dict().items())


def test_weights_of_another_configuration_are_refused_though_most_names_fit(tmp_path):
    tiny = model_card("unet").tiny
    source, target = (create_model("unet", spatial_dims=dims, **tiny) for dims in (3, 2))
    path = save(source.state_dict(), tmp_path)
    with pytest.raises(
        WeightsError, match=r"of another configuration: 9\d.\d% of the network's parameters.*first enc.*\("
    ):
        load_pretrained(target, path)
    report = load_pretrained(target, path, partial=True)
    assert report.share_tensors > 0.5 > report.share_parameters
    assert report.share_mismatched > 0.9


@pytest.mark.parametrize(
    ("dtype", "said"), [(torch.int8, "int8, as of a quantised"), (torch.complex64, "complex numb")]
)
def test_values_of_other_kinds_are_told_where_nothing_fits(tmp_path, dtype, said):
    state = {key: value.to(dtype) for key, value in small().state_dict().items()}
    with pytest.raises(WeightsError, match=rf"none of its .*{said}"):
        load_pretrained(small(), save(state, tmp_path))


@pytest.mark.parametrize("given", [{"strict": "yes"}, {"partial": 1}, {"prefix": 3}])
def test_arguments_of_a_wrong_type_are_named(tmp_path, given):
    with pytest.raises(ItkitError, match=f"load_pretrained: {next(iter(given))}: expected"):
        load_pretrained(small(), save(small().state_dict(), tmp_path), **given)
    with pytest.raises(WeightsError, match="a folder"):
        load_pretrained(small(), tmp_path)


def test_a_refused_load_changes_nothing(tmp_path):
    target = small()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    state = small().state_dict()
    with pytest.raises(WeightsError, match="partial=True"):
        load_pretrained(target, save({key: state[key] for key in list(state)[:20]}, tmp_path))
    for key, value in target.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("prefix", ["model.", "net.model.", "segmenter.backbone.network.", "a.b.c.d."])
def test_any_prefix_of_a_training_module_is_found(tmp_path, prefix):
    source, target = small(), small()
    state = {f"{prefix}{key}": value for key, value in source.state_dict().items()}
    extra = {"criterion.weight": torch.ones(3), "metric.total": torch.zeros(1)}
    path = save({"state_dict": state | extra, "hyper_parameters": {"lr": 0.1}, "callbacks": {}}, tmp_path, "last.ckpt")
    report = load_pretrained(target, path)
    assert report.removed == prefix
    assert set(report.unexpected) == set(extra)
    assert not report.random
    torch.testing.assert_close(target.stem.weight, source.stem.weight)


def test_of_two_networks_in_a_file_prefix_names_one(tmp_path, caplog):
    student, teacher, target = small(), small(), small()
    both = {f"student.{key}": value for key, value in student.state_dict().items()}
    both |= {f"teacher.{key}": value for key, value in teacher.state_dict().items()}
    path = save({"state_dict": both}, tmp_path)
    for prefix in ("teacher", "teacher."):
        assert load_pretrained(target, path, prefix=prefix).removed == "teacher."
    torch.testing.assert_close(target.stem.weight, teacher.stem.weight)
    assert not caplog.text
    assert load_pretrained(target, path).removed == "student."
    assert "the weights after student. are loaded, prefix='teacher.' takes the others" in caplog.text
    with pytest.raises(WeightsError, match=r"begins with 'pupil\.'; the names begin with student, teacher"):
        load_pretrained(target, path, prefix="pupil")


def test_weights_that_are_not_numbers_are_refused(tmp_path, caplog):
    state = small().state_dict()
    state["stem.bias"][0] = float("inf")
    load_pretrained(small(), save(state, tmp_path))
    assert "1 of 2 values of stem.bias are nan or infinite" in caplog.text
    state["stem.weight"].fill_(float("nan"))
    target = small()
    with pytest.raises(WeightsError, match=r"all values of stem\.weight are nan"):
        load_pretrained(target, save(state, tmp_path))
    assert torch.isfinite(target.stem.weight).all()


def test_quantised_weights_are_no_weights(tmp_path):
    state = small().state_dict()
    state["stem.weight"] = torch.ones_like(state["stem.weight"], dtype=torch.int8)
    report = load_pretrained(small(), save(state, tmp_path))
    assert mismatched(report) == {"stem.weight"}
    assert "int8" in str(report)


def test_counters_that_old_files_lack_start_from_zero(tmp_path):
    source, target = Encoder(), Encoder()
    target.stem[1].num_batches_tracked.fill_(7)
    state = {key: value for key, value in source.state_dict().items() if "num_batches" not in key}
    assert load_pretrained(target, save(state, tmp_path), strict=True).complete
    assert target.stem[1].num_batches_tracked == 0


def unetr(image_size, **options):
    return create_model(
        "unetr", image_size=image_size, **{"feature_size": 2, "hidden_size": 4, "mlp_dim": 4, "num_heads": 2, **options}
    )


@pytest.mark.parametrize(
    ("old", "new", "given"),
    [
        ((32, 64, 64), (64, 128, 128), None),
        ((16, 48, 32), (32, 32, 32), (1, 3, 2)),
        ((64, 32, 16), (16, 32, 64), (4, 2, 1)),
    ],
    ids=["the same proportions", "a grid that is named", "as many patches in another arrangement"],
)
def test_positions_of_grids_with_unequal_sides_are_interpolated(tmp_path, old, new, given):
    source, target = unetr(old), unetr(new)
    size = [side // 16 for side in old]
    rows = torch.arange(size[0]).view(-1, 1, 1).expand(size).reshape(1, -1, 1)  # the height of each patch
    source.vit.patch_embedding.position_embeddings.data = rows.repeat(1, 1, 4).float()
    report = load_pretrained(target, save(source.state_dict(), tmp_path), position_grid=given)
    assert [item.how for item in report.adapted] in ([], ["positions interpolated"])
    grid = target.vit.patch_embedding.position_embeddings.detach().reshape(*[side // 16 for side in new], 4)
    expected = torch.nn.functional.interpolate(
        torch.arange(size[0]).view(1, 1, -1).float(), size=new[0] // 16, mode="linear"
    ).flatten()
    torch.testing.assert_close(grid[..., 0], expected.view(-1, 1, 1).expand(grid.shape[:3]))


def test_positions_of_an_unknown_grid_are_not_guessed(tmp_path):
    report = load_pretrained(unetr((32, 32, 32)), save(unetr((16, 48, 32)).state_dict(), tmp_path))
    assert mismatched(report) == {"vit.patch_embedding.position_embeddings"}
    assert "position_grid" in str(report)


def test_a_linear_stem_over_patches_adds_up_its_channels(tmp_path):
    source = unetr((16, 16, 16), in_channels=3, proj_type="perceptron").eval()
    target = unetr((16, 16, 16), in_channels=1, proj_type="perceptron").eval()
    assert load_pretrained(target, save(source.state_dict(), tmp_path), strict=True).complete
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(target(image), source(image.expand(-1, 3, -1, -1, -1)), rtol=1e-4, atol=1e-4)


def test_logits_inside_a_network_follow_the_classes_too(tmp_path):
    tiny = model_card("dconnnet").tiny
    source, target = (create_model("dconnnet", num_classes=classes, **tiny) for classes in (5, 7))
    report = load_pretrained(target, save(source.state_dict(), tmp_path))
    assert not report.mismatched
    assert {"sde_module.reencoder.0.weight", "direc_reencode.0.weight"} <= set(report.random)


def shapes(name, channels, classes, dims, deep):
    card = model_card(name)
    options = {"deep_supervision": True} if deep else {}
    network = create_model(name, in_channels=channels, num_classes=classes, spatial_dims=dims, **card.tiny, **options)
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def test_cards_name_heads_and_stems_exactly():
    seen = set()
    for name in list_models(plugins=False):
        card = model_card(name)
        kind = (card.family, card.builder, card.head, card.stem, tuple(card.options))
        if kind in seen:
            continue
        seen.add(kind)
        for dims, deep in {(dims, card.deep_supervision) for dims in card.spatial_dims}:
            try:
                with torch.device("cpu" if card.built_by else "meta"):  # MONAI reads numbers while it builds
                    here, more, fewer = (shapes(name, *sizes, dims, deep) for sizes in ((3, 5), (3, 7), (2, 5)))
            except MissingExtraError:
                continue
            sized = [key for key in here if here[key]]
            named = {
                patterns: {key for key in sized if any(re.search(pattern, key) for pattern in patterns)}
                for patterns in (card.head, card.stem, card.head_inputs)
            }
            assert {key for key in here if here[key] != more[key]} == named[card.head] | named[card.head_inputs], name
            assert {key for key in here if here[key] != fewer[key]} == named[card.stem], name


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


class Cut(SimpleHTTPRequestHandler):
    """Cuts the first answer in the middle, and resumes."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        content = Path(self.translate_path(self.path)).read_bytes()
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        self.server.ranges.append(asked and int(asked[1]))
        first = int(asked[1]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(content) - first))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        end = len(content) if self.server.ranges[1:] else len(content) // 2
        self.wfile.write(content[first:end])
        self.close_connection = True


@pytest.fixture
def released(tmp_path, monkeypatch):
    """Serve a file of the tiny network, cut once, and keep downloads in the test's own folder."""
    monkeypatch.setenv("ITKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "served").mkdir()
    source = small()
    path = save(source.state_dict(), tmp_path / "served")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Cut, directory=tmp_path / "served")) as server:
        server.ranges = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/{path.name}"
        yield source, url, hashlib.sha256(path.read_bytes()).hexdigest(), server.ranges
        server.shutdown()
        thread.join()


def card_of(*weights):
    return replace(model_card("mednext_s"), weights=weights)


@pytest.mark.net
def test_pretrained_downloads_resumes_and_checks_the_file_of_the_card(released, monkeypatch):
    source, url, digest, ranges = released
    page = Weights(trained_on="BTCV", page="https://example.org")
    file = Weights(trained_on="Phantoms", page="https://example.org", url=url, sha256=digest, licence="CC0-1.0")
    monkeypatch.setattr("itkit.models.registry.model_card", lambda _: card_of(page, file))
    for wanted in (True, "Phantoms"):
        network = small(pretrained=wanted)
        torch.testing.assert_close(network.stem.weight, source.stem.weight)
    assert ranges[0] is None
    assert ranges[1] > 0  # it went on where the connection broke
    assert len(ranges) == 2  # and came once
    with pytest.raises(ValueError, match="expected True or 'Phantoms'; got 'BTCV'"):
        small(pretrained="BTCV")


@pytest.mark.net
def test_pretrained_refuses_a_file_with_another_digest(released, monkeypatch, tmp_path):
    _, url, _, _ = released
    file = Weights(trained_on="Phantoms", page="https://example.org", url=url, sha256="0" * 64)
    monkeypatch.setattr("itkit.models.registry.model_card", lambda _: card_of(file))
    with pytest.raises(WeightsError, match="SHA-256"):
        small(pretrained=True)
    assert not list((tmp_path / "cache").glob("*.pth"))


def test_pretrained_is_refused_by_name_where_nothing_is_released():
    for name in list_models(plugins=False):
        card = model_card(name)
        if not any(weights.url for weights in card.weights):
            with pytest.raises(ValueError, match=rf"{name}: pretrained: .*can't be downloaded"):
                create_model(name, pretrained=True, **card.tiny)


def test_every_set_of_weights_says_what_it_is():
    for name in list_models(plugins=False):
        for weights in model_card(name).weights:
            assert weights.what in {"the whole network", "the encoder"}
            assert weights.licence
            assert not weights.url or weights.url.startswith("https://")


@pytest.mark.parametrize("option", ["head", "inflate"])
def test_unknown_choices_are_refused(option):
    with pytest.raises(ValueError, match=option):
        load_pretrained(small(), "nowhere.pth", **{option: "other"})
