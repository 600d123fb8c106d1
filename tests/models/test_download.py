import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from itkit.core.errors import WeightsError
from itkit.models import download

BODY = bytes(range(256)) * 400
pytestmark = pytest.mark.net


class Server(ThreadingHTTPServer):
    """Serves one body; may cut answers short, ignore ranges, or fail."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag, self.cuts, self.failures, self.requests = BODY, '"one"', [], [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/some%20model.pth"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append(wanted)
        if server.failures:
            self.send_error(server.failures.pop(0))
            return
        fresh = self.headers.get("If-Range") == server.etag
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and fresh else 0
        body = server.body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda _seconds: None)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_file_comes_once_and_stays(server, tmp_path):
    path = download.fetch(server.url, cache_dir=tmp_path)
    assert path.read_bytes() == BODY
    assert path.name.endswith("some_model.pth")
    assert download.fetch(server.url, cache_dir=tmp_path) == path
    assert server.requests == [None]
    assert not list(tmp_path.glob("*.part*"))


def test_a_cut_connection_is_taken_up_where_it_ended(server, tmp_path):
    server.cuts = [1000, 500]
    digest = hashlib.sha256(BODY).hexdigest()
    assert download.fetch(server.url, cache_dir=tmp_path, sha256=digest).read_bytes() == BODY
    assert server.requests == [None, "bytes=1000-", "bytes=1500-"]


def test_a_later_call_resumes_and_a_changed_file_starts_anew(server, tmp_path):
    server.cuts = [700]
    with pytest.raises(WeightsError, match="700 bytes are kept"):
        download.fetch(server.url, cache_dir=tmp_path, attempts=1)
    server.body, server.etag = b"other" * 100, '"two"'
    assert download.fetch(server.url, cache_dir=tmp_path).read_bytes() == b"other" * 100
    assert server.requests == [None, "bytes=700-"]


def test_without_an_etag_nothing_is_resumed(server, tmp_path):
    server.etag, server.cuts = "", [700]
    assert download.fetch(server.url, cache_dir=tmp_path).read_bytes() == BODY
    assert server.requests == [None, None]


def test_a_wrong_digest_is_refused_and_not_kept(server, tmp_path):
    with pytest.raises(WeightsError, match="SHA-256"):
        download.fetch(server.url, cache_dir=tmp_path, sha256="0" * 64)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_a_cached_file_with_another_digest_is_fetched_again(server, tmp_path):
    path = download.fetch(server.url, cache_dir=tmp_path)
    path.write_bytes(b"damaged")
    digest = hashlib.sha256(BODY).hexdigest()
    assert download.fetch(server.url, cache_dir=tmp_path, sha256=digest).read_bytes() == BODY


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(server, tmp_path):
    server.failures = [503, 429]
    assert download.fetch(server.url, cache_dir=tmp_path).read_bytes() == BODY
    server.failures = [404, 404]
    with pytest.raises(WeightsError, match="404"):
        download.fetch(server.url + "2", cache_dir=tmp_path)
    assert len(server.requests) == 4


def test_nobody_listening_is_told_with_the_url(tmp_path, monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda _seconds: None)
    with pytest.raises(WeightsError, match=r"http://127\.0\.0\.1:9/x"):
        download.fetch("http://127.0.0.1:9/x", cache_dir=tmp_path, attempts=2)


def test_file_urls_and_paths_are_used_in_place(tmp_path):
    path = tmp_path / "with space.pth"
    path.write_bytes(BODY)
    assert download.fetch(path.as_uri()) == path
    assert download.fetch(str(path), sha256=hashlib.sha256(BODY).hexdigest()) == path
    with pytest.raises(WeightsError, match="no such file"):
        download.fetch(str(tmp_path / "none.pth"))
    with pytest.raises(WeightsError, match="SHA-256"):
        download.fetch(str(path), sha256="0" * 64)


def test_the_cache_folder_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.setenv("ITKIT_CACHE", str(tmp_path))
    assert download.cache_folder() == tmp_path
    monkeypatch.delenv("ITKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert download.cache_folder() == tmp_path / "itkit"
