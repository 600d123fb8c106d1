"""The cache of weight files; the downloader itself is tested in tests/io/test_download.py."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from itkit.core.errors import WeightsError
from itkit.models import download

BODY = bytes(range(256)) * 40
pytestmark = pytest.mark.net


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        if self.path.endswith("missing"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.requests = []
        running.url = f"http://127.0.0.1:{running.server_address[1]}/some%20model.pth"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_file_comes_once_and_stays(server, tmp_path):
    seen = []
    path = download.fetch(server.url, cache_dir=tmp_path, progress=lambda *state: seen.append(state))
    assert path.read_bytes() == BODY
    assert path.name.endswith("some_model.pth")
    assert download.fetch(server.url, cache_dir=tmp_path) == path
    assert len(server.requests) == 1
    assert seen[-1] == (len(BODY), len(BODY))
    assert not list(tmp_path.glob("*.part*"))


def test_a_missing_file_is_told_with_its_address(server, tmp_path):
    with pytest.raises(WeightsError, match=r"/missing: HTTP 404"):
        download.fetch(server.url.replace("some%20model.pth", "missing"), cache_dir=tmp_path)


def test_a_wrong_digest_is_refused_and_not_kept(server, tmp_path):
    with pytest.raises(WeightsError, match="SHA-256"):
        download.fetch(server.url, cache_dir=tmp_path, sha256="0" * 64)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_a_cached_file_with_another_digest_is_fetched_again(server, tmp_path):
    path = download.fetch(server.url, cache_dir=tmp_path)
    path.write_bytes(b"damaged")
    digest = hashlib.sha256(BODY).hexdigest()
    assert download.fetch(server.url, cache_dir=tmp_path, sha256=digest).read_bytes() == BODY


def test_nobody_listening_is_told_with_the_url(tmp_path):
    with pytest.raises(WeightsError, match=r"http://127\.0\.0\.1:9/x"):
        download.fetch("http://127.0.0.1:9/x", cache_dir=tmp_path, attempts=1)


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
