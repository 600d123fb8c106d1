"""The NBIA downloader against a server on this machine."""

import hashlib
import io
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import pytest
from synthetic import convert, release

from itkit.core.errors import LayoutError, ParamsError
from itkit.dataset.TCGA.download import OPERATION
from itkit.dataset.TCGA.nbia import Server
from itkit.engine.api import run

pytestmark = pytest.mark.net


class Archive(BaseHTTPRequestHandler):
    """A small NBIA: rows and zips from the server's ``series``; faults from its ``faults``, used up one by one."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlparse(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        self.server.asked.append((url.path, query, self.headers.get("Range")))
        if url.path.endswith("getSeries"):
            rows = [row for row, _ in self.server.series.values()
                    if all(row[key] == value for key, value in query.items())]  # fmt: skip
            self._answer(json.dumps(rows).encode() if rows else b"")
            return
        _, data = self.server.series[query["SeriesInstanceUID"]]
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault == "busy":
            self._answer(b"", 503)
        elif fault == "forbidden":
            self._answer(b"", 403)
        elif fault == "cut":
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        elif fault == "garbage":
            self._answer(data[:-30] + bytes(30))
        else:
            self._part(data)

    def _part(self, data):
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if not self.server.can_continue or not start:
            self._answer(data)
        elif start >= len(data):
            self._answer(b"", 416)
        else:
            self._answer(data[start:], 206, f"bytes {start}-{len(data) - 1}/{len(data)}")

    def _answer(self, data, status=200, content_range=None):
        self.send_response(status)
        if content_range:
            self.send_header("Content-Range", content_range)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


def packed(files, sums=None):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        rows = sums or {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
        archive.writestr("md5hashes.csv", "".join(f"{name},{md5}\n" for name, md5 in rows.items()))
    return data.getvalue()


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Archive)
    server.asked, server.faults, server.can_continue = [], [], True
    server.series = {}
    one = release("tcga")
    for case in one.truth["cases"]:
        for path in [case["image_sources"][0], *case["label_sources"]]:
            folder = one.source / path if (one.source / path).is_dir() else (one.source / path).parent
            uid = case["case"] if path == case["image_sources"][0] else case["annotation_series"]
            modality = case["modality"] if path == case["image_sources"][0] else case["annotation"]
            row = {"SeriesInstanceUID": uid, "StudyInstanceUID": "1.2.3", "PatientID": case["patient"],
                   "Collection": "TCGA-KIRC", "Modality": modality, "ImageCount": 1}  # fmt: skip
            files = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
            server.series[uid] = (row, packed(files))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def download(server, dest, **values):
    url = f"http://127.0.0.1:{server.server_address[1]}"
    values = values if {"series", "manifest"} & values.keys() else {"collection": "TCGA-KIRC", **values}
    return run(OPERATION, dest=dest, server=url, pause=0.01, **values)


def fetched(server):
    return sum(path.endswith("getImageWithMD5Hash") for path, _, _ in server.asked)


def statuses(result):
    return sorted({record.status for record in result.records})


def test_a_collection_is_downloaded_and_converted(server, tmp_path):
    one = release("tcga")
    result = download(server, tmp_path / "down")
    assert statuses(result) == ["done"]
    assert len(result.records) == len(server.series)
    assert not list((tmp_path / "down" / ".itkit" / "tmp").iterdir())
    convert("tcga", tmp_path / "down", tmp_path / "out")
    assert one.problems(tmp_path / "out") == []
    found = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert {facts["collection"] for facts in found["cases"].values()} == {"TCGA-KIRC"}
    assert not any("download complete" in text for texts in found["warnings"].values() for text in texts)


def test_what_is_there_is_not_downloaded_again(server, tmp_path):
    download(server, tmp_path)
    first = fetched(server)
    assert statuses(download(server, tmp_path)) == ["skipped"]
    assert fetched(server) == first
    lost = next(tmp_path.rglob("*.dcm"))
    lost.unlink()
    assert sorted(record.status for record in download(server, tmp_path).records).count("done") == 1
    assert lost.exists()


def test_modalities_and_manifests_select(server, tmp_path):
    result = download(server, tmp_path, modality=("SEG",))
    assert [record.status for record in result.records] == ["done"]
    uids = list(server.series)[:2]
    manifest = tmp_path / "some.tcia"
    manifest.write_text("manifestVersion=3.0\nListOfSeriesToDownload=\n" + "\n".join([*uids, "1.2.3.4"]) + "\n")
    events = []
    result = run(OPERATION, dest=tmp_path / "b", manifest=manifest, pause=0.01, on_event=events.append,
                 server=f"http://127.0.0.1:{server.server_address[1]}")  # fmt: skip
    assert [record.case_id for record in result.records] == sorted(uids)
    assert any("1.2.3.4" in note for note in events[0]["notes"])


@pytest.mark.parametrize("can_continue", [True, False])
def test_a_cut_connection_is_continued_or_begun_anew(can_continue, server, tmp_path):
    server.can_continue = can_continue
    server.faults = ["busy", "cut"]
    uid = next(iter(server.series))
    assert statuses(download(server, tmp_path, series=(uid,))) == ["done"]
    ranges = [wanted for path, _, wanted in server.asked if path.endswith("getImageWithMD5Hash")]
    half = len(server.series[uid][1]) // 2
    assert ranges == [None, None, f"bytes={half}-"]


@pytest.mark.parametrize("can_continue", [True, False])
def test_a_continued_file_has_the_bytes_that_were_sent(can_continue, server, tmp_path):
    server.can_continue, server.faults = can_continue, ["cut"]
    uid, (_, data) = next(iter(server.series.items()))
    connection = Server(f"http://127.0.0.1:{server.server_address[1]}", pause_s=0.01)
    connection.download("getImageWithMD5Hash", {"SeriesInstanceUID": uid}, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == data


def test_a_run_that_gave_up_is_continued_by_the_next(server, tmp_path):
    server.faults = ["cut"]
    uid = next(iter(server.series))
    result = download(server, tmp_path, series=(uid,), retries=0)
    assert result.exit_code == 1
    assert not list(tmp_path.rglob("*.dcm"))
    assert statuses(download(server, tmp_path, series=(uid,), retries=0)) == ["done"]
    assert server.asked[-1][2] == f"bytes={len(server.series[uid][1]) // 2}-"


def test_a_complete_archive_that_was_not_unpacked_is_fetched_anew(server, tmp_path):
    uid = next(iter(server.series))
    (tmp_path / ".itkit" / "tmp").mkdir(parents=True)
    (tmp_path / ".itkit" / "tmp" / f"{uid}.zip").write_bytes(server.series[uid][1])
    assert statuses(download(server, tmp_path, series=(uid,))) == ["done"]


def test_damage_is_found_by_the_archive_or_the_sums(server, tmp_path):
    uid = next(iter(server.series))
    server.faults = ["garbage"]
    result = download(server, tmp_path, series=(uid,))
    assert result.exit_code == 1
    assert "damaged archive" in result.records[0].message
    row, _ = server.series[uid]
    server.series[uid] = row, packed({"1-1.dcm": b"what came"}, {"1-1.dcm": hashlib.md5(b"what was sent").hexdigest()})
    result = download(server, tmp_path, series=(uid,))
    assert "wrong or missing: 1-1.dcm" in result.records[0].message
    assert not list(tmp_path.rglob("*.dcm"))


def test_names_in_an_archive_stay_inside(server, tmp_path):
    uid = next(iter(server.series))
    row, _ = server.series[uid]
    server.series[uid] = {**row, "PatientID": "../../up", "Collection": "/etc"}, packed({"../../../evil.dcm": b"x"})
    assert statuses(download(server, tmp_path / "a" / "b", series=(uid,))) == ["done"]
    files = list(tmp_path.rglob("*.dcm"))
    assert len(files) == 1
    assert (tmp_path / "a" / "b") in files[0].parents


def test_files_without_a_checksum_are_named(server, tmp_path):
    uid = next(iter(server.series))
    row, _ = server.series[uid]
    server.series[uid] = row, packed({"1-1.dcm": b"a", "1-2.dcm": b"b"}, {"1-1.dcm": hashlib.md5(b"a").hexdigest()})
    (record,) = download(server, tmp_path, series=(uid,)).records
    assert record.status == "done"
    assert record.warnings == ("no checksum came with 1 file: 1-2.dcm; not checked",)


def test_an_archive_that_becomes_larger_than_announced_is_refused(server, tmp_path):
    uid = next(iter(server.series))
    row, _ = server.series[uid]
    bomb = packed({"1-1.dcm": bytes(20 << 20)})
    server.series[uid] = {**row, "FileSize": 4000}, bomb
    (record,) = download(server, tmp_path, series=(uid,)).records
    assert record.status == "failed"
    assert "unpacks to 20971" in record.message
    assert "(--largest raises)" in record.message
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 1 << 20
    assert statuses(download(server, tmp_path, series=(uid,), largest=0.03)) == ["done"]


def test_a_table_of_checksums_that_is_too_large_is_not_read(server, tmp_path):
    uid = next(iter(server.series))
    row, _ = server.series[uid]
    server.series[uid] = row, packed({"1-1.dcm": b"a", "more.csv": b"," * (65 << 20)})
    (record,) = download(server, tmp_path, series=(uid,)).records
    assert "table of checksums has 68157440 bytes" in record.message


@pytest.mark.parametrize("answer", [b"[" * 200_000, b"<html>maintenance</html>", b"\xff\xfe"])
def test_an_answer_that_is_no_list_of_series_is_named(server, tmp_path, answer, monkeypatch):
    monkeypatch.setattr(Archive, "do_GET", lambda self: self._answer(answer))
    with pytest.raises(LayoutError, match=r"getSeries: expected JSON; got .*: it "):
        download(server, tmp_path)


def test_refusals_are_not_repeated(server, tmp_path):
    server.faults = ["forbidden"]
    result = download(server, tmp_path, series=(next(iter(server.series)),))
    assert "HTTP 403" in result.records[0].message
    assert fetched(server) == 1


def test_nothing_to_do_and_nobody_there_are_said(server, tmp_path):
    with pytest.raises(ParamsError, match="--collection, --manifest or --series"):
        run(OPERATION, dest=tmp_path)
    with pytest.raises(LayoutError, match="no such series"):
        download(server, tmp_path, collection="NOWHERE")
    (tmp_path / "empty.tcia").write_text("ListOfSeriesToDownload=\n")
    with pytest.raises(LayoutError, match="lists no series"):
        download(server, tmp_path, manifest=tmp_path / "empty.tcia")
    with pytest.raises(LayoutError, match="refused"):
        run(OPERATION, dest=tmp_path, series=("1.2",), server="http://127.0.0.1:9", retries=0)


def test_a_dry_run_downloads_nothing(server, tmp_path):
    assert statuses(download(server, tmp_path / "x", dry_run=True)) == ["planned"]
    assert fetched(server) == 0
    assert not (tmp_path / "x").exists()
