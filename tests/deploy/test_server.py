"""`itkit serve` over HTTP: what goes in, what comes back, jobs, refusals, and what is left on the disk."""

import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from helpers import wait_until as until
from serving.raw import request, running

from itkit.cli import umbrella
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.deploy.server import app as server_app
from itkit.deploy.server import served as serving
from itkit.deploy.server.app import Settings, create_app, uploads
from itkit.deploy.server.jobs import Desk, Job
from itkit.deploy.server.served import load_models
from itkit.deploy.server.uploads import own_name
from itkit.deploy.server.workroom import Workroom, remove_abandoned
from itkit.inference.predicting import InferenceSettings
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.serving.guard import Guard, Rules
from itkit.serving.sockets import own_hosts

from .small_onnx import LABELS, closest, write_small_onnx

TOKEN = "secret-of-the-tests"
GRID = Geometry((21, 30, 26), (2.5, 0.8, 0.9), (-3.0, 40.0, 5.0), (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))


def ct(seed=0, grid=GRID):
    return Volume(np.random.default_rng(seed).integers(-1024, 900, grid.size_zyx).astype(np.int16), grid)


def file_of(volume, folder, name="ct.nii.gz"):
    write_volume(volume, folder / name)
    return (folder / name).read_bytes()


class Server:
    """A server in a thread."""

    def __init__(self, folder, scratch, models=("liver.onnx",), **settings):
        for name in models:
            write_small_onnx(folder / name)
        self.scratch = scratch
        self.models = load_models([folder / name for name in models], InferenceSettings())
        self.settings = Settings(**settings)
        self.desk = Desk(most_waiting=3)

    def app(self, port):
        rules = Rules(
            hosts=own_hosts("127.0.0.1", port), secret=TOKEN, cookie="x", in_path=True, in_query=False,
            uploads=uploads(self.settings), open_paths=frozenset({"/health"}),
        )  # fmt: skip
        self.room = Workroom(self.scratch)
        return Guard(create_app(self.models, self.room, self.desk, self.settings), rules)

    def left(self):
        return sorted(path.name for path in self.room.folder.iterdir() if path.name != "lock")

    @contextlib.contextmanager
    def slowly(self):
        """Make the networks wait until the block ends."""
        go = threading.Event()
        before = {name: served.predictor.models[0].network for name, served in self.models.items()}
        for served in self.models.values():
            loaded = served.predictor.models[0]
            object.__setattr__(loaded, "network", lambda windows, net=loaded.network: go.wait(120) and net(windows))
        try:
            yield go
        finally:
            go.set()
            for name, served in self.models.items():
                object.__setattr__(served.predictor.models[0], "network", before[name])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("scratch"))
    with running(made.app) as port:
        made.port = port
        made.url = f"http://127.0.0.1:{port}/{TOKEN}"
        yield made
    assert list(made.scratch.iterdir()) == []


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=120) as made:
        yield made


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.mha", "ct.nrrd"])
def test_a_volume_gives_a_label_map_on_its_grid(server, client, tmp_path, name):
    image = ct()
    answer = client.post("/infer", files={"file": (name, file_of(image, tmp_path, name))})
    assert answer.status_code == 200, answer.text
    extension = name[2:]
    assert answer.headers["content-disposition"] == f'attachment; filename="label{extension}"'
    assert json.loads(answer.headers["x-itkit-labels"]) == {str(value): text for value, text in LABELS.items()}
    (tmp_path / f"label{extension}").write_bytes(answer.content)
    found = read_volume(tmp_path / f"label{extension}", "label")
    assert found.geometry.same_grid(image.geometry)
    np.testing.assert_array_equal(found.array_zyx, closest(image.array_zyx))
    until(lambda: server.left() == [])


@pytest.mark.parametrize(("header", "extension"), [("ct.mhd", ".mha"), ("ct.nhdr", ".nrrd")])
@pytest.mark.parametrize("as_archive", [False, True])
def test_a_volume_of_two_files(client, tmp_path, header, extension, as_archive):
    image = ct(2)
    (tmp_path / "there").mkdir()
    write_volume(image, tmp_path / "there" / header)
    files = sorted((path.name, path.read_bytes()) for path in (tmp_path / "there").iterdir())
    assert len(files) == 2
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        for name, data in files:
            opened.writestr(f"x/{name}", data)
    sent = [("file", ("a.zip", archive.getvalue()))] if as_archive else [("file", pair) for pair in files]
    answer = client.post("/infer", files=sent)
    assert answer.status_code == 200, answer.text
    (tmp_path / f"label{extension}").write_bytes(answer.content)
    found = read_volume(tmp_path / f"label{extension}", "label")
    assert found.geometry.same_grid(image.geometry)
    np.testing.assert_array_equal(found.array_zyx, closest(image.array_zyx))


def test_bytes_without_a_form_and_another_format(client, tmp_path):
    image = ct(1)
    answer = client.post(
        "/infer?name=x.mha&format=nrrd&model=liver",
        content=file_of(image, tmp_path, "x.mha"),
        headers={"content-type": "application/octet-stream"},
    )
    assert answer.status_code == 200, answer.text
    (tmp_path / "l.nrrd").write_bytes(answer.content)
    np.testing.assert_array_equal(read_volume(tmp_path / "l.nrrd", "label").array_zyx, closest(image.array_zyx))


def test_what_there_is(client, server):
    (model,) = client.get("/models").json()["models"]
    assert (model["name"], model["backend"], model["patch_size"]) == ("liver", "onnx", [16, 24, 20])
    assert [label["name"] for label in model["labels"]] == list(LABELS.values())
    assert not any("/" in str(value) for value in model.values())
    health = client.get(f"http://127.0.0.1:{server.port}/health")
    assert (health.status_code, health.json()["status"]) == (200, "ok")
    assert client.get(server.url).json() == client.get("/").json()
    assert client.get("/").json()["models"] == ["liver"]  # what a browser shows that opens the printed address


def test_a_job_tells_its_progress(client, tmp_path, server):
    started = client.post(
        "/infer/", files={"file": ("ct.mha", file_of(ct(), tmp_path, "ct.mha"))}, data={"wait": "false"}
    )
    assert started.status_code == 202
    job = started.json()["job"]
    assert started.url.join(started.headers["location"]) == f"{server.url}/jobs/{job}"
    with client.stream("GET", f"/jobs/{job}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    assert events[-1]["state"] == "done"
    assert events[-1]["progress"] == 1
    shares = [event["progress"] for event in events]
    assert shares == sorted(shares)
    label = closest(ct().array_zyx)
    voxels = {one["value"]: one["voxels"] for one in client.get(f"/jobs/{job}").json()["labels"]}
    assert voxels == {value: int((label == value).sum()) for value in LABELS}
    assert client.get(f"/jobs/{job}/result").status_code == 200
    until(lambda: server.left() == [])
    assert client.get(f"/jobs/{job}").status_code == 404


def test_a_job_that_ends_while_it_is_told_is_told_again(server, client, tmp_path, monkeypatch):
    body = {"files": {"file": ("ct.mha", file_of(ct(), tmp_path, "ct.mha"))}, "data": {"wait": "false"}}
    to_json = Job.to_json
    with server.slowly() as go:
        job = client.post("/infer", **body).json()["job"]
        until(lambda: client.get(f"/jobs/{job}").json()["state"] == "running")

        def and_end(self, waiting=None):
            told = to_json(self, waiting)
            go.set()
            until(lambda: self.is_over)
            return told

        monkeypatch.setattr(Job, "to_json", and_end)
        with client.stream("GET", f"/jobs/{job}/events") as stream:
            states = [json.loads(line[6:])["state"] for line in stream.iter_lines() if line.startswith("data: ")]
    assert states == ["running", "done"]
    assert client.delete(f"/jobs/{job}").status_code == 200
    until(lambda: server.left() == [])


def test_two_clients_wait_for_each_other_and_the_queue_has_an_end(server, client, tmp_path):
    body = {"files": {"file": ("ct.mha", file_of(ct(), tmp_path, "ct.mha"))}, "data": {"wait": "false"}}
    with server.slowly():
        jobs = [client.post("/infer", **body).json()["job"]]
        until(lambda: client.get(f"/jobs/{jobs[0]}").json()["state"] == "running")
        jobs += [client.post("/infer", **body).json()["job"] for _ in range(3)]
        states = [client.get(f"/jobs/{job}").json() for job in jobs]
        assert [state["state"] for state in states] == ["running", "waiting", "waiting", "waiting"]
        assert [state.get("before") for state in states] == [None, 1, 2, 3]
        refused = client.post("/infer", **body)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "10"
        assert client.delete(f"/jobs/{jobs[2]}").status_code == 200
    for job in (jobs[0], jobs[1], jobs[3]):
        until(lambda job=job: client.get(f"/jobs/{job}").json()["state"] == "done")
        assert client.get(f"/jobs/{job}/result").status_code == 200
    until(lambda: server.left() == [])


def test_a_client_that_leaves_stops_its_job(server, client, tmp_path):
    body = file_of(ct(), tmp_path, "ct.mha")
    with server.slowly() as go:
        head = f"POST /{TOKEN}/infer?name=ct.mha HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        head += f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head.encode() + body)
            until(lambda: server.desk.counts()["running"] == 1)
        until(lambda: any(job.is_unwanted for job in list(server.desk._jobs.values())))
        go.set()
        until(lambda: server.left() == [])
    assert client.post("/infer", files={"file": ("ct.mha", body)}).status_code == 200


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("file", ("ct.nii.gz", b"no volume"))], "label|read|NIfTI|gzip|header"),
        ([("file", ("ct.nii.gz", b""))], "empty"),
        ([("file", ("ct.mhd", b"ObjectType = Image"))], "send both files, or .mha"),
        ([("file", ("ct.mhd", b"ObjectType = Image")), ("file", ("a.raw", b"1"))], "names 0 files with voxels"),
        ([("file", ("a.zip", b"PK no archive"))], "archive can't be unpacked"),
        ([("file", ("IM1", b"no dicom at all"))], "no series of images .*the name of a volume has to end in .mha"),
        ([("other", ("ct.mha", b"x"))], "no file was sent"),
        ([("file", ("ct.nii", b"x"))], "^0000.nii: truncated"),
    ],
)
def test_bad_images_are_named_and_leave_nothing(server, client, files, message):
    answer = client.post("/infer", files=files)
    assert answer.status_code == 422
    assert re.search(message, answer.json()["detail"]), answer.json()
    assert str(server.scratch) not in answer.text
    assert "/input/" not in answer.text
    until(lambda: server.left() == [])


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_archive_is_said_to_be_one(server, client, method):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as opened:
        opened.writestr("ct.nii.gz", os.urandom(2000))
    damaged = bytearray(archive.getvalue())
    damaged[60:900] = b"\xff" * 840
    answer = client.post("/infer", files={"file": ("a.zip", bytes(damaged))})
    assert (answer.status_code, "archive can't be unpacked" in answer.text) == (422, True), answer.text


def test_malformed_forms_are_the_clients_fault(server, client):
    for boundary in ("", "; boundary=" + "a" * 5000, "; boundary=a"):
        kind = {"content-type": f"multipart/form-data{boundary}"}
        answer = client.post("/infer", content=b"--a\r\n\r\nx", headers=kind)
        assert answer.status_code == 400, answer.text
    answer = client.post("/infer/liver", files={"file": ("ct.mha", b"x")}, data={"params": "[" * 60_000})
    assert (answer.status_code, answer.json()["detail"]) == (400, "params: it is nested too deeply")
    until(lambda: server.left() == [])


def test_clients_that_watch_are_counted(server, client, tmp_path, monkeypatch):
    monkeypatch.setattr(server_app, "_MOST_STREAMS", 1)
    form = {"file": ("ct.mha", file_of(ct(), tmp_path, "ct.mha"))}
    with server.slowly():
        job = client.post("/infer?wait=false", files=form).json()["job"]
        with client.stream("GET", f"/jobs/{job}/events") as watching:
            lines = watching.iter_lines()
            assert next(lines).startswith("event:")
            assert client.get(f"/jobs/{job}/events").status_code == 503
    client.delete(f"/jobs/{job}")
    until(lambda: server.left() == [])


@pytest.mark.parametrize(
    ("path", "status"),
    [("/infer?model=../../etc/passwd", 404), ("/infer?format=exe", 422), ("/infer/nobody", 404)],
)
def test_models_and_formats_that_are_not_there(server, client, tmp_path, path, status):
    answer = client.post(path, files={"file": ("ct.mha", file_of(ct(), tmp_path, "ct.mha"))})
    assert answer.status_code == status
    until(lambda: server.left() == [])


def test_an_upload_of_two_gib_is_refused_before_it_is_sent(server):
    lines = ("Content-Type: application/octet-stream", f"Content-Length: {2 << 30}")
    assert request(server.port, "POST", f"/{TOKEN}/infer", *lines).status == 413
    assert server.left() == []


def test_strangers_stay_outside(server):
    path = f"/{TOKEN}/models"
    assert request(server.port, "GET", path).status == 200
    assert request(server.port, "GET", path, host="Host: evil.example").status == 421
    assert request(server.port, "GET", path, "Origin: http://evil.example").status == 403
    assert request(server.port, "GET", "/wrong/models").status == 401
    assert request(server.port, "GET", "/models").status == 401
    assert request(server.port, "GET", f"/{TOKEN}/../etc/passwd").status == 404
    assert (
        request(server.port, "POST", f"/{TOKEN}/infer", "Content-Type: text/plain", "Content-Length: 0").status == 415
    )


def test_an_upload_that_breaks_off_leaves_nothing(server):
    head = f"POST /{TOKEN}/infer?name=a.mha HTTP/1.1\r\nHost: 127.0.0.1:{server.port}"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            f"{head}\r\nContent-Type: application/octet-stream\r\nContent-Length: 100000\r\n\r\n".encode() + b"x" * 5000
        )
        until(lambda: server.left() != [])
    until(lambda: server.left() == [])


def test_a_full_disk_is_said(server, client, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(server_app, "receive", full)
    answer = client.post("/infer", files={"file": ("ct.mha", b"x")})
    assert (answer.status_code, "No space left" in answer.text) == (507, True)
    assert server.left() == []


@pytest.mark.parametrize(
    ("error", "status"), [(OSError(28, "No space left on device"), 507), (MemoryError(), 507), (KeyError("x"), 500)]
)
def test_what_is_no_fault_of_the_image_is_none_of_the_client(server, client, tmp_path, monkeypatch, error, status):
    def fails(*_):
        raise error

    monkeypatch.setattr(serving, "write_result", fails)
    answer = client.post("/infer", files={"file": ("ct.nii.gz", file_of(ct(), tmp_path))})
    assert (answer.status_code, "the server" in answer.json()["detail"]) == (status, True)
    until(lambda: server.left() == [])


def test_a_dicom_series_comes_back_as_a_segmentation(server, client, tmp_path):
    import highdicom
    import pydicom

    from itkit.io.dcm_toolkit import write_series

    grid = Geometry((7, 12, 10), (2.5, 0.8, 0.8), (-3.0, 4.0, 50.0))
    image = ct(4, grid)
    image.array_zyx[2] = -1000  # a slice without any class
    write_series(image, tmp_path / "series")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted((tmp_path / "series").rglob("*"), reverse=True):
            if path.is_file():
                archive.write(path, f"../{path.name}")
    answer = client.post("/infer", files={"file": ("series.zip", packed.getvalue())})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom"
    dataset = pydicom.dcmread(io.BytesIO(answer.content))
    assert dataset.SegmentationType == "LABELMAP"
    assert dataset.file_meta.TransferSyntaxUID == pydicom.uid.JPEGLSLossless
    assert dataset.NumberOfFrames == 7
    expected = closest(image.array_zyx)
    places = [float(frame.PlanePositionSequence[0].ImagePositionPatient[2])
              for frame in dataset.PerFrameFunctionalGroupsSequence]  # fmt: skip
    numbers = np.array([0, *LABELS])[dataset.pixel_array[np.argsort(places)]]
    np.testing.assert_array_equal(numbers, expected)
    seg = highdicom.seg.Segmentation.from_dataset(dataset)
    volume = seg.get_volume(combine_segments=True, relabel=False)
    assert volume.spatial_shape == (7, 12, 10)
    assert [seg.get_segment_description(n).SegmentLabel for n in seg.segment_numbers] == list(LABELS.values())
    source = pydicom.dcmread(next(path for path in (tmp_path / "series").rglob("*") if path.is_file()))
    assert dataset.StudyInstanceUID == source.StudyInstanceUID
    assert dataset.FrameOfReferenceUID == source.FrameOfReferenceUID
    files = [("file", (path.name, path.read_bytes())) for path in (tmp_path / "series").rglob("*") if path.is_file()]
    loose = client.post("/infer", files=files, data={"format": ".nii.gz"})
    (tmp_path / "l.nii.gz").write_bytes(loose.content)
    np.testing.assert_array_equal(read_volume(tmp_path / "l.nii.gz", "label").array_zyx, expected)
    as_files = pydicom.dcmread(io.BytesIO(client.post("/infer", files=files).content))
    np.testing.assert_array_equal(as_files.pixel_array, dataset.pixel_array)
    job = client.post("/infer", files=files, data={"wait": "false"}).json()["job"]
    until(lambda: client.get(f"/jobs/{job}").json()["state"] == "done")
    assert [path.name for path in (server.room.folder / server.left()[0]).iterdir()] == ["label.dcm"]
    client.delete(f"/jobs/{job}")


def test_the_routes_of_monai_label(server, client, tmp_path):
    image = ct(2)
    body = file_of(image, tmp_path)
    assert client.get("/auth/").json() == {"enabled": False}
    info = client.get("/info/").json()
    assert info["models"]["liver"]["labels"] == {text: value for value, text in LABELS.items()}
    session = client.put("/session/", files={"files": ("/home/anna/ct.nii.gz", body)}).json()["session_id"]
    for query, files in (
        (f"?image=x&session_id={session}", {"label": ("unused.txt", b"x")}),
        ("?image=x", {"file": ("/home/anna/ct.nii.gz", body)}),
    ):
        answer = client.post(f"/infer/liver{query}", files=files, data={"params": json.dumps({"a": 1})})
        assert answer.status_code == 200, answer.text
        assert int(answer.headers["content-length"]) == len(answer.content)
        boundary = answer.headers["content-type"].partition("boundary=")[2]
        first, second = answer.content.split(f"--{boundary}".encode())[1:3]
        assert b'name="image"; filename="label.nii.gz"' in second
        params = json.loads(first.partition(b"\r\n\r\n")[2])
        assert params["label_names"] == {text: value for value, text in LABELS.items()}
        (tmp_path / "label.nii.gz").write_bytes(second.partition(b"\r\n\r\n")[2][:-2])
        found = read_volume(tmp_path / "label.nii.gz", "label")
        np.testing.assert_array_equal(found.array_zyx, closest(image.array_zyx))
    unknown = client.post("/infer/liver?image=patient7", data={"params": "{}"}, files={"label": ("x", b"x")})
    assert unknown.status_code == 404
    assert client.delete(f"/session/{session}").status_code == 200
    assert client.get(f"/session/{session}").status_code == 404
    until(lambda: server.left() == [])


def test_names_of_files_are_ours():
    for given in ("../../a.nii.gz", "..\\a.nii.gz", "/etc/passwd", "a\0b.mha", "x" * 5000, ".nii.gz", "a.mha/"):
        assert re.fullmatch(r"0000(\.[a-z0-9.]{1,9})?", own_name(given, 0)), given


@pytest.mark.slow
def test_who_waits_for_a_job_hears_that_the_server_ends(tmp_path):
    made = Server(tmp_path, tmp_path)
    answers = []
    with running(made.app) as port, made.slowly() as go:
        url = f"http://127.0.0.1:{port}/{TOKEN}"
        body = {"file": ("ct.nii.gz", file_of(ct(), tmp_path))}
        waiting = threading.Thread(target=lambda: answers.append(httpx.post(f"{url}/infer", files=body, timeout=30)))
        waiting.start()
        until(lambda: made.desk.counts()["running"] == 1)
        made.desk.end()
        go.set()
        waiting.join(20)
    assert answers[0].status_code == 503
    assert "server is being ended" in answers[0].json()["detail"]


def test_secrets_that_no_address_can_hold_are_refused(tmp_path, capsys):
    (tmp_path / "password").write_text("a/b\n")
    for words in (["--token", "a/b"], ["--token", "ä b"], ["--password-file", str(tmp_path / "password")]):
        assert umbrella.main(["serve", str(tmp_path / "no.onnx"), *words]) == 2
        assert "address" in capsys.readouterr().err


def test_names_of_models_keep_their_letters(server, tmp_path):
    """One system stores a letter with its dots as one character, another one as two."""
    for folder, name in (("a", "L\u00e4ber <1>.onnx"), ("b", "La\u0308ber <1>.onnx")):
        (tmp_path / folder).mkdir()
        write_small_onnx(tmp_path / folder / name)
    found = load_models(sorted(tmp_path.glob("*/*.onnx")), InferenceSettings())
    assert list(found) == ["L\u00e4ber_1", "L\u00e4ber_1_2"]
    one, _ = found.values()
    server.models["L\u00e4ber_1"] = one
    try:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            assert client.get("/models").json()["models"][-1]["name"] == "L\u00e4ber_1"
            for name in ("L\u00e4ber_1", "La\u0308ber_1"):
                files = {"file": ("ct.nii.gz", file_of(ct(), tmp_path))}
                asked = client.post("/infer", files=files, data={"model": name})
                assert asked.status_code == 200
                assert client.post(f"/infer/{quote(name)}", files=files).status_code == 200
    finally:
        del server.models["L\u00e4ber_1"]


def test_the_program_prints_one_address_and_a_kill_leaves_nothing_after_a_restart(tmp_path):
    write_small_onnx(tmp_path / "model.onnx")
    (tmp_path / "scratch").mkdir()
    words = [str(tmp_path / "model.onnx"), "--scratch", str(tmp_path / "scratch"), "--token", TOKEN, "--threads", "1"]
    code = f"import sys; from itkit.cli.umbrella import main; sys.exit(main(['serve', *{words!r}]))"

    def start():
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        address = process.stdout.readline().strip()
        assert re.fullmatch(rf"http://127\.0\.0\.1:\d+/{TOKEN}", address)
        return process, address

    process, address = start()
    body = file_of(ct(), tmp_path)
    assert httpx.put(f"{address}/session/", files={"files": ("a.nii.gz", body)}, timeout=120).status_code == 200
    assert httpx.post(f"{address}/infer", files={"file": ("a.nii.gz", body)}, timeout=120).status_code == 200
    process.kill()
    process.wait()
    process.stdout.close()
    (old,) = (tmp_path / "scratch").iterdir()
    process, address = start()
    (new,) = (tmp_path / "scratch").iterdir()
    assert new != old
    assert remove_abandoned(tmp_path / "scratch") == []  # that of a living server stays
    assert httpx.get(f"{address}/models", timeout=120).status_code == 200
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(120) is not None
    process.stdout.close()
    assert list((tmp_path / "scratch").iterdir()) == []
