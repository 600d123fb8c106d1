"""The API of `itkit-web`: what programs rely on."""

import contextlib
import json
import os
import re
import signal
import sys
import threading
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
import pytest
from helpers import wait_until
from serving.raw import request

from itkit.catalogue import CATALOGUE
from itkit.core.errors import BusyError, ItkitError, ReadError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.engine.pipeline import read_pipeline
from itkit.forms.command import Command
from itkit.io.anything import read as read_volume_or_series
from itkit.io.dcm_toolkit import write_series
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.testing.phantoms import noise, write_dataset
from itkit.web.volumes import Shelf
from web.servers import TOKEN, serving, started

pytestmark = pytest.mark.net
SERIES = {"CT": 5, "MR": 7}
PLAN = "[dataset]\npath = {0!r}\nchannels = ['CT']\nlabels = {{ 1 = 'liver' }}\n[preprocess]\nspacing = [1, 1, 1]\n"
PLAN += "[network]\nname = 'unet'\n[training]\npatch_size = [8, 16, 16]\n"
RESAMPLE = {"mode": "dataset", "source": "raw", "spacing": [2, 2, 2]}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web") / "root"
    folder.mkdir()
    write_dataset(folder / "raw", 3)
    (folder / "raw" / "image" / "broken.mha").write_bytes(b"ObjectType = Image\n")
    (folder / "raw" / "label" / "broken.mha").write_bytes(b"ObjectType = Image\n")
    outside = folder.parent / "outside"
    write_dataset(outside, 1)
    (folder / "link").symlink_to(outside)
    oblique = Geometry((5, 6, 7), (3.0, 1.0, 0.5), (1.0, 2.0, 3.0), (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0))
    values = np.random.default_rng(4).normal(size=(5, 6, 7)).astype("float32") * 1e5
    write_volume(Volume(values, oblique), folder / "float.nii.gz")
    for modality, depth in SERIES.items():
        scan = noise(Geometry((depth, 6, 8), (2.0, 1.0, 1.5)), seed=depth)
        write_series(scan, folder / "scans" / modality, description=f"{modality} of <b>", modality=modality)
    write_series(noise(Geometry((4, 6, 8), (2.0, 1.0, 1.5))), outside / "scan", description="not ours")
    for path in (outside / "scan").iterdir():
        (folder / "scans" / f"linked-{path.name}").symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def web(root):
    with serving(root, root.parent / "state") as server:
        yield server


def test_one_of_several_dicom_series_is_chosen_and_none_from_outside(web, root):
    answer = web.get("/api/series", path="scans").json()
    found = {one["modality"]: one for one in answer["series"]}
    assert {name: one["slices"] for name, one in found.items()} == SERIES
    assert found["MR"]["description"] == "MR of <b>"
    for modality, one in found.items():
        chosen = {"path": "scans", "series": one["key"]}
        volume = read_volume_or_series(root / "scans" / modality)
        grid = web.get("/api/volume", **chosen).json()
        assert (grid["size_zyx"], grid["origin_xyz"]) == ([*volume.shape_zyx], [*volume.geometry.origin_xyz])
        sent = np.frombuffer(web.get("/api/volume/data", **chosen, level=0).content, "<i2")
        assert np.array_equal(sent, volume.array_zyx.ravel())
    for status, query in (
        (422, {"path": "scans"}),
        (422, {"path": "scans", "series": "0" * 16}),
        (404, {"path": "../outside/scan"}),
        (404, {"path": "link/scan"}),
    ):
        for url in ("/api/volume", "/api/volume/data"):
            assert web.get(url, **query).status_code == status
    assert web.get("/api/series", path="../outside/scan").status_code == 404
    assert web.get("/api/volume", path="scans/CT").json()["size_zyx"] == [5, 6, 8]


def test_the_page_opens_with_the_token(web):
    reply = request(web.port, "GET", f"/?token={TOKEN}")
    cookie = reply.headers["set-cookie"].split(";")[0]
    assert cookie.startswith(f"itkit_{web.port}=")
    page = request(web.port, "GET", "/", f"Cookie: {cookie}")
    assert page.status == 200
    assert b'<script type="module" src="/static/main.js"' in page.body


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ({"host": "Host: evil.example"}, 421),
        ({"lines": ["Origin: https://evil.example"]}, 403),
        ({"lines": ["Sec-Fetch-Site: cross-site"]}, 403),
        ({"token": False}, 401),
        ({"path": "/api/volume?path=../outside/image/case_0.mha"}, 404),
        ({"path": "/api/volume/data?path=/etc/passwd&level=0"}, 404),
        ({"path": "/api/browse?path=link"}, 404),
        ({"path": "/api/file?path=../secret.json"}, 404),
        ({"path": "/static/../app.py"}, 404),
        ({"path": "/static/%2e%2e%2fapp.py"}, 404),
        ({"path": "/docs"}, 404),
        ({"path": "/openapi.json"}, 404),
        ({"path": "/api/operations/rm"}, 404),
        ({"path": "/api/jobs/../../x"}, 404),
        ({"path": "/api/jobs/itk_check", "method": "POST", "size": 5_000_000}, 413),
    ],
)
def test_hostile_requests_are_refused(web, lines, status):
    own = [f"Authorization: Bearer {TOKEN}"] if lines.get("token", True) else []
    more = ["Content-Type: application/json", f"Content-Length: {lines['size']}"] if "size" in lines else []
    reply = request(
        web.port,
        lines.get("method", "GET"),
        lines.get("path", "/api/operations"),
        *own,
        *more,
        *lines.get("lines", []),
        host=lines.get("host"),
    )
    assert reply.status == status
    assert not [name for name in reply.headers if name.startswith("access-control")]


def test_every_operation_has_a_form_that_the_page_draws_from_its_model(web):
    listed = web.get("/api/operations").json()
    assert [one["name"] for one in listed if not one["is_tool"]][: len(CATALOGUE)] == list(CATALOGUE)
    form = web.get("/api/operations/itk_resample").json()
    spacing = next(one for one in form["form"]["fields"] if one["name"] == "spacing")
    assert (spacing["kind"], spacing["axes"], spacing["unit"]) == ("triplet", "ZYX", "mm")
    assert form["form"]["groups"] == ["", "Grid", "Output"]
    assert form["schema"]["properties"]["spacing"]["description"] == spacing["help"]
    names = {one["name"] for one in form["options"]["fields"]}
    assert "existing" in names
    assert not names & {"config", "progress", "dry_run"}


def test_a_job_runs_tells_its_events_and_its_result_can_be_looked_at(web):
    job = web.job("itk_resample", params={**RESAMPLE, "dest": "out"})
    facts = web.end_of(job)
    assert (facts["state"], facts["exit_code"], facts["dest_shown"]) == ("failed", 1, "out")
    status = {row["case"]: row["status"] for row in facts["cases"]}
    assert sorted(status.values()) == ["done", "done", "done", "failed"]
    assert "broken" in next(row["case"] for row in facts["cases"] if row["status"] == "failed")
    told = web.get(f"/api/jobs/{job}/events")
    assert told.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in told.text.splitlines() if line.startswith("data: ")]
    assert (events[0]["event"], events[-1]["event"], events[-1]["exit_code"]) == ("start", "summary", 1)
    assert sum(event["event"] == "case" for event in events) == 4
    assert {"resample_configs.json", "series_meta.json"} <= {one["name"] for one in facts["reports"]}
    case = next(row["case"] for row in facts["cases"] if row["status"] == "done")
    found = web.get("/api/volume", path=f"out/image/{case}.mha").json()
    ours = read_volume(web.root / "out" / "image" / f"{case}.mha")
    assert found["spacing_zyx"] == list(ours.spacing_zyx) == [2, 2, 2]
    assert found["partners"] == {"label": f"out/label/{case}.mha"}
    assert any(one["job"] == job for one in web.get("/api/jobs").json())


def test_a_plan_writes_nothing(web):
    answer = web.post("/api/plan/itk_resample", params={**RESAMPLE, "dest": "never"}).json()
    facts = web.end_of(answer["job"])
    assert facts["plan"]
    assert {row["status"] for row in facts["cases"]} == {"planned"}
    assert facts["cases"][0]["outputs"][0].endswith(".mha")
    assert not (web.root / "never").exists()
    assert answer["job"] not in [one["job"] for one in web.get("/api/jobs").json()]


def test_wrong_values_are_named_beside_their_fields(web):
    body = {"params": {**RESAMPLE, "dest": "out", "spacing": ["2", "x", "-3"]}, "options": {"workers": "0"}}
    for path in ("/api/jobs/itk_resample", "/api/plan/itk_resample"):
        answer = web.post(path, **body)
        assert answer.status_code == 422
        assert "Spacing Y" in answer.json()["problems"]["spacing"]
        assert "Workers" in answer.json()["option_problems"]["workers"]
    checked = web.post("/api/check/itk_resample", params={**RESAMPLE, "dest": "out"}).json()
    assert checked["problems"] == {}
    assert checked["command"].startswith("itk_resample dataset ")
    assert web.post("/api/jobs/itk_resample", params={"mode": {"a": 1}}).status_code == 422
    assert web.post("/api/jobs/itk_resample", nonsense=1).status_code == 422


def test_presets_in_toml_and_json_are_read(web):
    def values(text, file):
        return web.post("/api/preset/itk_resample", text=text, file=file)

    wanted = {"mode": "dataset", "spacing": [2, 1.5, -1], "mp": True}
    assert values('mode = "dataset"\nspacing = [2, 1.5, -1]\nmp = true', "a.TOML").json()["values"] == wanted
    assert values(json.dumps({"operation": "itk_resample", "params": wanted}), "run.json").json()["values"] == wanted
    for text, file, words in (
        ("spacin = 1", "a.toml", "a.toml: unknown parameter 'spacin'; did you mean"),
        ('{"operation": "itk_orient", "params": {}}', "b.json", "b.json: describes a run of itk_orient"),
        ("{", "b.json", "b.json: "),
        ("dest = 2020-01-01", "a.toml", ""),
    ):
        answer = values(text, file)
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith(words)


@pytest.mark.parametrize("path", ["/etc", "../outside", "link", "link/image", "~/x", "raw/../../outside"])
def test_paths_of_a_job_stay_below_the_root(web, path):
    for params in ({**RESAMPLE, "source": path, "dest": "o"}, {**RESAMPLE, "dest": path}):
        status = web.post("/api/jobs/itk_resample", params=params).status_code
        assert status == (404 if path != "~/x" else status)  # a folder called ~ lies below the root
    assert (
        web.post("/api/jobs/itk_enhance", params={"source": "raw", "dest": "e", "steps": [f"match {path}"]}).status_code
        == 404
    )
    assert (
        web.post(
            "/api/jobs/itk_enhance", params={"source": "raw", "dest": "e", "within": path, "steps": ["n4"]}
        ).status_code
        == 404
    )
    assert not (web.root.parent / "outside" / ".itkit").exists()


def test_a_folder_with_a_link_to_the_outside_is_not_worked_on(web):
    folder = web.root / "linked"
    folder.mkdir()
    (folder / "near").symlink_to(web.root / "raw")
    given = {"mode": "image", "spacing": [2, 2, 2]}
    as_source, as_dest = {**given, "source": "linked", "dest": "o"}, {**given, "source": "raw/image", "dest": "linked"}
    assert web.post("/api/check/itk_resample", params=as_dest).status_code == 200
    (folder / "image").symlink_to(web.root.parent / "outside" / "image")
    for params in (as_source, as_dest):
        answer = web.post("/api/jobs/itk_resample", params=params)
        assert (answer.status_code, "linked/image is a link" in answer.json()["detail"]) == (404, True)


def test_what_the_page_sets_itself_can_not_be_given(web):
    for options in ({"config": "raw/x.toml"}, {"progress": "none"}, {"dry_run": True}):
        assert web.post("/api/jobs/itk_resample", params={**RESAMPLE, "dest": "o"}, options=options).status_code == 422


def test_a_user_of_the_page_can_not_choose_to_whom_the_server_connects(web):
    for address in ("evil.example:8786", "tcp://10.0.0.7:8786", ["evil:1"]):
        answer = web.post("/api/jobs/itk_resample", params={**RESAMPLE, "dest": "o"}, options={"dask": address})
        assert answer.status_code == 422
        assert "terminal" in answer.json()["option_problems"]["dask"]
    given = {"dest": "o", "collection": "X", "server": "https://evil.example/nbia"}
    assert "terminal" in web.post("/api/check/tcia_download", params=given).json()["problems"]["server"]
    fields = web.get("/api/operations/tcia_download").json()["form"]["fields"]
    given["server"] = next(one["default"] for one in fields if one["is_address"])
    assert web.post("/api/check/tcia_download", params=given).json()["problems"] == {}


def test_names_that_are_not_utf8_are_listed(web):
    (web.root / "odd").mkdir()
    Path(os.fsdecode(os.fsencode(web.root / "odd") + b"/k\xf6ln.txt")).touch()
    entries = web.get("/api/browse", path="odd").json()["entries"]
    assert [one["name"] for one in entries] == [r"k\xf6ln.txt"]


def test_deleting_needs_the_typed_name_of_the_folder(web):
    write_dataset(web.root / "doomed", 2)
    params = {"mode": "delete", "source": "doomed", "min_size": [1000, 1, 1]}
    params = {("sample_folder" if name == "source" else name): value for name, value in params.items()}
    fields = {one["name"] for one in web.get("/api/operations/itk_check").json()["form"]["fields"]}
    params = {(name if name in fields else "source"): value for name, value in params.items()}
    for confirm in ("", "raw", "yes"):
        answer = web.post("/api/jobs/itk_check", params=params, confirm=confirm)
        assert (answer.status_code, answer.json()["confirm"]) == (409, "doomed")
    assert web.post("/api/jobs/itk_check", params={**params, "yes": True}).status_code == 409
    assert len(list((web.root / "doomed" / "image").iterdir())) == 2
    assert web.end_of(web.job("itk_check", params=params, confirm="doomed"))["exit_code"] == 0
    assert not list((web.root / "doomed" / "image").iterdir())
    answer = web.post("/api/jobs/itk_resample", params={**RESAMPLE, "dest": "out"}, options={"prune": True})
    assert (answer.status_code, answer.json()["confirm"]) == (409, "out")


def test_voxels_arrive_as_int16_and_keep_their_values(web, root):
    case = next(path.name for path in (root / "raw" / "image").iterdir() if "broken" not in path.name)
    for path in (f"raw/image/{case}", f"raw/label/{case}", "float.nii.gz"):
        answer = web.get("/api/volume/data", path=path, level=0)
        facts = json.loads(answer.headers["x-itkit-voxels"])
        sent = np.frombuffer(answer.content, "<i2").reshape(facts["shape"])
        ours = read_volume(root / path, "label" if "/label/" in path else "image").array_zyx
        error = np.abs(sent * facts["slope"] + facts["inter"] - ours).max()
        assert error <= (facts["slope"] / 2 * 1.01 if path == "float.nii.gz" else 0)
        if "/label/" in path:
            assert facts["classes"] == {str(v): int((ours == v).sum()) for v in np.unique(ours) if v}
        part = web.get("/api/volume/data", path=path, axis=1, index=3)
        assert np.array_equal(np.frombuffer(part.content, "<i2"), sent[:, 3].ravel())
    assert web.get("/api/volume/data", path="float.nii.gz", level=3).status_code == 404
    assert web.get("/api/volume/data", path="float.nii.gz", axis=0, index=5).status_code == 404
    assert web.get("/api/volume", path="raw/image/broken.mha").status_code == 422


def test_coarser_levels_share_the_first_voxel(web, root):
    values = np.arange(100 * 97 * 5, dtype="int16").reshape(5, 97, 100)
    write_volume(Volume(values, Geometry((5, 97, 100), (1.0, 1.0, 1.0))), root / "fine.mha")
    level = web.get("/api/volume", path="fine.mha").json()["levels"][1]
    assert (level["factors_zyx"], level["size_zyx"]) == ([1, 2, 2], [5, 49, 50])
    sent = np.frombuffer(web.get("/api/volume/data", path="fine.mha", level=1).content, "<i2").reshape(5, 49, 50)
    assert np.array_equal(sent, values[:, ::2, ::2])


def test_a_report_is_shown_in_a_sandbox(web, root):
    (root / "page.html").write_text("<script>alert(1)</script>")
    answer = web.get("/api/file", path="page.html")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "allow-same-origin" not in answer.headers["content-security-policy"]
    assert web.get("/api/file", path="float.nii.gz").status_code == 404


def processes_with(text):
    """Return the processes in whose command line a text stands; others come and go meanwhile."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [path] if text in path.read_text(errors="replace") else []
    return found


def test_a_stopped_job_ends_cleanly_and_leaves_no_process(tmp_path):
    root = tmp_path / "root"
    write_dataset(root / "raw", 200)  # it takes long, also on a quick machine
    long = {**RESAMPLE, "dest": "out", "spacing": [0.02, 0.25, 0.25]}
    with started(root, tmp_path / "state") as web:
        job = web.job("itk_resample", params=long, options={"workers": 2})
        waiting = web.job("itk_resample", params={**RESAMPLE, "dest": "later"})
        web.once(job, lambda facts: facts["counts"].get("done"))
        assert web.post(f"/api/jobs/{waiting}/stop").json()["state"] == "stopped"
        web.post(f"/api/jobs/{job}/stop")
        facts = web.end_of(job)
        assert facts["state"] == "stopped"
        assert not (root / "later").exists()
        # its terminal is closed while a job runs: the job ends, too
        web.once(web.job("itk_resample", params=long), lambda facts: facts["counts"].get("done"))
        web.close(signal.SIGHUP)
    assert not processes_with(str(root))


def test_a_server_that_starts_again_shows_what_was_done(tmp_path):
    root = tmp_path / "root"
    write_dataset(root / "raw", 2)
    with started(root, tmp_path / "state") as web:
        assert web.address == f"http://127.0.0.1:{web.port}/?token={TOKEN}"
        job = web.job("itk_resample", params={**RESAMPLE, "dest": "out"})
        before = web.end_of(job)
        (kept,) = (tmp_path / "state").rglob(f"{job}.json")
        wait_until(lambda: json.loads(kept.read_text())["state"] == "done")  # written down a moment after it is told
        web.close(signal.SIGKILL)
    with started(root, tmp_path / "state") as web:
        after = web.get(f"/api/jobs/{job}").json()
        assert after["state"] == "done"
        assert after["cases"] == before["cases"]
        assert web.get(f"/api/jobs/{job}/events").text.count("data: ") == 6
        web.close()
    with started(root, tmp_path / "other state") as web:  # nothing but the manifest remembers
        wait_until(lambda: web.get("/api/jobs").json())
        found = web.get("/api/jobs").json()
        assert [(one["operation"], one["state"], one["counts"]) for one in found] == [
            ("itk_resample", "done", {"done": 2})
        ]
        facts = web.get(f"/api/jobs/{found[0]['job']}").json()
        assert facts["cases"][0]["outputs"][0].startswith(str(root / "out"))


def test_other_machines_need_a_password(tmp_path):
    from itkit.cli.umbrella import main

    assert main(["web", "--root", str(tmp_path), "--host", "0.0.0.0", "--no-browser"]) == 2
    password = tmp_path / "password"
    password.write_text("correct horse battery\n")
    words = ["web", "--root", str(tmp_path), "--token", "x", "--password-file", str(password)]
    assert main(words) == 2


def test_a_password_opens_the_page_and_nothing_else_does(tmp_path):
    (tmp_path / "root").mkdir()
    password = tmp_path / "password"
    password.write_text("correct horse battery\n")
    with serving(tmp_path / "root", tmp_path / "state", password_file=password) as web:
        client = httpx.Client(base_url=web.origin, trust_env=False, timeout=120)
        own = {"x-itkit": "1"}
        sent = client.get("/", headers={"accept": "text/html"})
        assert (sent.status_code, sent.headers["location"]) == (303, "/login")
        page = client.get("/login").text
        for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
            assert client.get(path).status_code == 200
        assert client.get("/static/main.js").status_code == 401
        assert client.get("/?token=correct horse battery").status_code == 401
        for body in ({"password": "wrong"}, {"password": ""}, {"password": [1]}, {}, []):
            assert client.post("/login", json=body, headers=own).status_code in (401, 422)
        for text in ('{"password": "\\ud800"}', "[" * 60_000):
            answer = client.post("/login", content=text, headers={**own, "content-type": "application/json"})
            assert answer.status_code == 422
        assert client.post("/login", json={"password": "correct horse battery"}).status_code == 403
        assert client.get("/api/jobs").status_code == 401
        right = client.post("/login", json={"password": "correct horse battery"}, headers=own)
        assert right.status_code == 200
        assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(right.headers["set-cookie"].split("; "))
        assert "correct" not in right.headers["set-cookie"]
        assert client.get("/api/jobs").json() == []
        client.close()


def test_tools_stand_beside_operations_and_only_they_have_no_plan(web):
    listed = {one["name"]: one for one in web.get("/api/operations").json()}
    assert listed["itkit train"]["is_tool"]
    assert not listed["itk_check"]["is_tool"]
    found = web.get("/api/operations/itkit train").json()
    names = [field["name"] for field in found["form"]["fields"]]
    assert {"plan", "values", "fold"} <= set(names)
    assert not {"progress", "watch"} & set(names)
    assert found["options"]["fields"] == []
    assert "plan" in web.post("/api/check/itkit train", params={}).json()["problems"]
    assert web.post("/api/plan/itkit train", params={"plan": "plan.toml"}).status_code == 422
    assert web.get("/api/operations/itkit serve").status_code == 404
    assert web.post("/api/jobs/itkit train", params={"plan": "p.toml"}, options={"workers": 2}).status_code == 422


def test_a_training_reads_nothing_outside_the_root_because_its_plan_says_so(web):
    plan = web.root / "plan.toml"
    given = {"plan": "plan.toml"}
    for name, status in (("raw", 200), ("../outside", 404), ("link", 404), (str(web.root.parent), 404)):
        plan.write_text(PLAN.format(name))
        assert web.post("/api/check/itkit train", params=given).status_code == status, name
    plan.write_text(PLAN.format("raw"))
    for value in ("dataset.path=link", "split.file=../outside/splits.json", "network.weights=link/w.safetensors"):
        answer = web.post("/api/jobs/itkit train", params={**given, "values": [value]})
        assert answer.status_code == 404, value
    assert web.post("/api/check/itkit train", params={**given, "values": ["--out=x"]}).json()["problems"]


def test_the_curves_of_a_training_are_those_of_its_log(web):
    run = web.root / "run"
    (run / "overlays").mkdir(parents=True)
    steps = [{"step": step, "epoch": 0, "train_loss": 1 / step, "learning_rate": 0.1, "seconds": 1} for step in (1, 4)]
    log = run / "metrics.jsonl"
    log.write_text("".join(json.dumps(one) + "\n" for one in steps))
    (run / "overlays" / "case.png").write_bytes(b"\x89PNG")
    (run / "overlays" / "far.png").symlink_to(web.root.parent / "outside" / "image" / "case_00.mha")
    found = web.get("/api/training", path="run").json()
    assert found["state"] == "run: step 4, epoch 0, loss 0.25"
    loss, dice = found["plots"]
    assert (loss["curves"][0]["points"][0][1], dice["curves"]) == (0.0, [])  # the largest loss lies at the top
    assert [one["text"] for one in loss["x"]] == ["1", "2", "3", "4"]
    assert [one["path"] for one in found["pictures"]] == ["run/overlays/case.png"]
    with log.open("a") as file:
        file.write(json.dumps({"step": 4, "epoch": 0, "val_dice": 0.5, "classes": {"liver": {"dice": 0.5}}}) + "\n")
    found = web.get("/api/training", path="run").json()
    assert [one["name"] for one in found["plots"][1]["curves"]] == ["mean", "liver"]
    assert "best Dice 0.5000" in found["state"]
    assert web.get("/api/browse", path="run").json()["is_training"]
    log.unlink()
    log.symlink_to(web.root.parent / "outside" / "image" / "case_00.mha")
    assert web.get("/api/training", path="run").status_code == 404
    assert web.get("/api/training", path="../outside").status_code == 404


def test_a_start_is_a_chain_of_jobs_and_a_pipeline(web, monkeypatch):
    shown = web.get("/api/starts").json()
    assert {one["key"] for one in shown["starts"]} >= {"dicom", "volumes", "public", "dataset"}
    assert "convert_kits23" in {one["name"] for one in shown["converters"]}
    given = {"source": "raw", "work": "made"}
    found = web.post("/api/starts/dataset", **given).json()
    (web.root / "pipeline.toml").write_text(found["pipeline"])
    steps = read_pipeline(web.root / "pipeline.toml")
    assert [step.command for step in steps] == [one["command"] for one in found["steps"]]
    assert web.post("/api/starts/dataset/run", source="link", work="made").status_code == 404
    assert web.post("/api/starts/dataset/run", source="raw", work="../outside").status_code == 404
    assert web.post("/api/starts/nothing", **given).status_code == 404
    assert web.post("/api/starts/public/run", **given, converter="itk_check delete").status_code == 404

    def ends_with(codes):
        words = iter([[sys.executable, "-c", f"raise SystemExit({code})"] for code in codes])
        monkeypatch.setattr(Command, "words", lambda self, plan=False: next(words))
        answer = web.post("/api/starts/dataset/run", **given)
        assert answer.status_code == 202
        return [web.end_of(job) for job in answer.json()["jobs"]]

    ends = ends_with([0, 1, 0, 0])  # 1: some cases failed; the others go on
    assert [one["state"] for one in ends] == ["done", "failed", "done", "done"]
    assert all(a["finished"] <= b["started"] for a, b in pairwise(ends))
    ends = ends_with([0, 2])
    assert [one["state"] for one in ends] == ["done", "failed", "stopped", "stopped"]
    assert ends[2]["message"] == "not run, since itk_orient before it ended early"


def test_a_saved_pipeline_is_shown_run_and_goes_on_where_it_was_left(web):
    file = web.root / "saved" / "chain.toml"
    file.parent.mkdir()
    step = '[[step]]\nrun = "itk_orient"\nparams = { source = "../raw", dest = "made", orient = "RAS" }\n'
    file.write_text(step)
    entry = next(one for one in web.get("/api/browse", path="saved").json()["entries"] if one["name"] == file.name)
    assert entry["is_pipeline"]
    shown = web.post("/api/starts/pipeline", source="saved/chain.toml").json()["steps"]
    assert [one["command"] for one in shown] == [one.command for one in read_pipeline(file)]
    for expected in ("done", "skipped"):
        jobs = web.post("/api/starts/pipeline/run", source="saved/chain.toml").json()["jobs"]
        assert expected in web.end_of(jobs[0])["counts"]
    assert web.post("/api/starts/pipeline", source="../chain.toml").status_code == 404
    for wrong, status in (
        ("[[step]]\nrun = 3\n", 422),
        (step.replace('"made"', '"../../outside/made"'), 404),
        (step + "options = { prune = true }\n", 422),
        (step + 'options = { dask = "10.0.0.1:8786" }\n', 422),
    ):
        file.write_text(wrong)
        answer = web.post("/api/starts/pipeline/run", source="saved/chain.toml")
        assert answer.status_code == status, wrong
    file.write_text("".join(step.replace("[[step]]", f'[[step]]\nname = "{number}"') for number in range(51)))
    assert web.post("/api/starts/pipeline/run", source="saved/chain.toml").status_code == 429


def _refuse(go_on):
    go_on.wait(120)
    raise ReadError("it was not meant to be read")


def test_voxels_in_memory_wait_for_no_other_file(root, monkeypatch):
    shelf, go_on = Shelf(), threading.Event()
    known = shelf.voxels(root / "float.nii.gz", "image")
    monkeypatch.setattr("itkit.web.volumes.read", lambda *_, **__: _refuse(go_on))
    path = root / "raw" / "image" / "case_00.nii.gz"

    def ask():
        with contextlib.suppress(ItkitError):
            shelf.voxels(path, "image")

    others = [threading.Thread(target=ask) for _ in range(6)]
    for other in others:
        other.start()
    wait_until(lambda: not shelf._places._value)
    assert shelf.voxels(root / "float.nii.gz", "image") is known
    with pytest.raises(BusyError):
        shelf.voxels(path, "image")
    go_on.set()
    for other in others:
        other.join()


def test_a_projection_has_the_largest_values_of_all_voxels(web, root):
    volume = read_volume(root / "float.nii.gz")
    for axis in range(3):
        reply = web.get("/api/volume/data", path="float.nii.gz", axis=axis, project=True)
        facts = json.loads(reply.headers["x-itkit-voxels"])
        most = np.frombuffer(reply.content, "<i2").reshape(facts["shape"])
        expected = volume.array_zyx.max(axis=axis)
        assert np.abs(most * facts["slope"] + facts["inter"] - expected).max() <= facts["slope"]
