"""Servers that lie about sizes, send pages for files, drip, or send elsewhere."""

import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from itkit.core.errors import DownloadError
from itkit.io.download import Patience, download, part_of, read_url

pytestmark = pytest.mark.net
BODY = bytes(range(256)) * 40
TWICE = Patience(attempts=2, pause_s=0.001, timeout_s=5)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked += 1
        self.close_connection = True
        getattr(self, self.path.strip("/"))()

    def send(self, body=BODY, status=200, **headers):
        headers = {"Content-Length": str(len(body)), **{name.replace("_", "-"): text for name, text in headers.items()}}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def good(self):
        self.send()

    def empty(self):
        self.send(b"")

    def page(self):
        self.send(b"\n <!DOCTYPE html><html>maintenance</html>")

    def words(self):
        self.send(Content_Length="abc")

    def huge(self):
        self.send(Content_Length=str(10**15))

    def packed(self):
        self.send(Content_Encoding="gzip")

    def endless(self):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(1 << 16))
        except OSError:
            pass

    def to_a_file(self):
        self.send(b"", 302, Location="file:///etc/hostname")

    def to_ftp(self):
        self.send(b"", 302, Location="ftp://127.0.0.1/x")

    def to_the_good(self):
        self.send(b"", 302, Location=f"http://127.0.0.1:{self.server.server_address[1]}/good")

    def tomorrow(self):
        if self.server.asked == 1:
            self.send(b"", 503, Retry_After="86400")
        else:
            self.send()

    def dripping(self):
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        self.send_header("ETag", '"one"')
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.end_headers()
        try:
            if start:  # the second attempt meets a quicker server
                self.wfile.write(BODY[start:])
                return
            for number in range(len(BODY)):
                self.wfile.write(BODY[number : number + 1])
                self.wfile.flush()
                time.sleep(0.02)
        except OSError:
            pass

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads, running.asked = True, 0
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def url(server):
    return f"http://127.0.0.1:{server.server_address[1]}"


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("empty", "empty file"),
        ("page", "a web page in place of the file"),
        ("words", "'abc' as the length"),
        ("huge", "the connection ended early"),
        ("packed", r"packed \(gzip\)"),
        ("to_a_file", "'file:///etc/hostname' is not allowed"),
        ("to_ftp", "not followed"),
    ],
)
def test_what_is_no_file_is_refused_by_name(url, tmp_path, what, reason):
    with pytest.raises(DownloadError, match=reason):
        download(f"{url}/{what}", tmp_path / "file", patience=TWICE)
    assert not (tmp_path / "file").exists()
    if what in ("empty", "page"):
        assert list(tmp_path.iterdir()) == []


def test_an_empty_file_that_is_expected_is_one(url, tmp_path):
    download(f"{url}/empty", tmp_path / "file", size=0)
    assert (tmp_path / "file").read_bytes() == b""


def test_a_server_may_send_elsewhere_in_the_web(url, tmp_path):
    download(f"{url}/to_the_good", tmp_path / "file", patience=TWICE)
    assert (tmp_path / "file").read_bytes() == BODY


@pytest.mark.parametrize("what", ["good", "huge", "endless"])
def test_no_more_is_taken_than_allowed(url, tmp_path, what):
    with pytest.raises(DownloadError, match="at most 5000 are accepted"):
        download(f"{url}/{what}", tmp_path / "file", patience=TWICE, most=5000)
    assert not part_of(tmp_path / "file").exists() or part_of(tmp_path / "file").stat().st_size <= 5000
    with pytest.raises(DownloadError, match="at most 5000 are accepted"):
        read_url(f"{url}/{what}", patience=TWICE, most=5000)


def test_a_server_that_drips_is_given_up_and_resumed(url, tmp_path):
    patience = Patience(attempts=2, pause_s=0.001, slow_s=0.3)
    download(f"{url}/dripping", tmp_path / "file", patience=patience)
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_server_that_drips_for_ever_is_named(url, tmp_path):
    patience = Patience(attempts=1, pause_s=0.001, slow_s=0.3)
    with pytest.raises(DownloadError, match=r"only \d+ bytes a second came; given up; \d+ bytes are kept"):
        download(f"{url}/dripping", tmp_path / "file", patience=patience)


def test_a_long_pause_is_capped_and_told(url, tmp_path, caplog, monkeypatch):
    slept = []
    monkeypatch.setattr("itkit.io.download.time.sleep", slept.append)
    with caplog.at_level(logging.WARNING):
        download(f"{url}/tomorrow", tmp_path / "file", patience=Patience(attempts=2, longest_pause_s=30.0))
    assert [pause for pause in slept if pause >= 1] == [30.0]  # the server sleeps too, for moments
    assert "HTTP 503" in caplog.text
    assert "waiting 30 s" in caplog.text
