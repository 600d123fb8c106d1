"""Downloads from a server on this machine that is cut off, busy, forgetful or wrong."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from itkit.core.errors import DownloadError, WriteError
from itkit.io.download import Patience, download, part_of, read_url

BODY = bytes(range(256)) * 400
DIGEST = hashlib.sha256(BODY).hexdigest()
QUICK = Patience(pause_s=0.001)
ONCE = Patience(attempts=1)
pytestmark = pytest.mark.net


class Server(ThreadingHTTPServer):
    """Serves one body; may cut answers short, ignore ranges, or fail."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag, self.cuts, self.failures, self.requests = BODY, '"one"', [], [], []
        self.checks_version, self.lie, self.announces_length = True, None, True

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
        fresh = self.headers.get("If-Range", None if server.checks_version else server.etag) == server.etag
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and fresh else 0
        whole = len(server.body)
        if start >= whole:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{whole}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.body[start:]
        self.send_response(206 if start else 200)
        if server.announces_length:
            self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", server.lie or f"bytes {start}-{whole - 1}/{whole}")
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sub" / "file.bin"


def left(path):
    return sorted(file.name for file in path.parent.iterdir())


def test_a_file_gets_its_name_when_it_is_whole(server, path):
    seen = []
    download(server.url, path, sha256=DIGEST, size=len(BODY), progress=lambda *state: seen.append(state))
    assert path.read_bytes() == BODY
    assert left(path) == ["file.bin"]
    assert seen[-1] == (len(BODY), len(BODY))
    assert [state[0] for state in seen] == sorted(state[0] for state in seen)


def test_a_cut_connection_is_resumed_where_it_ended(server, path):
    server.cuts = [1000, 500]
    download(server.url, path, sha256=DIGEST, patience=QUICK)
    assert path.read_bytes() == BODY
    assert server.requests == [None, "bytes=1000-", "bytes=1500-"]


def test_a_later_call_resumes(server, path):
    server.cuts = [700]
    with pytest.raises(DownloadError, match=r"700 of 102400 bytes came; 700 bytes are kept"):
        download(server.url, path, patience=ONCE)
    assert not path.exists()
    assert part_of(path).read_bytes() == BODY[:700]
    download(server.url, path, patience=ONCE)
    assert path.read_bytes() == BODY
    assert server.requests == [None, "bytes=700-"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, path):
    server.cuts = [700]
    with pytest.raises(DownloadError):
        download(server.url, path, patience=ONCE)
    server.body, server.etag = b"other" * 100, '"two"'
    download(server.url, path, patience=ONCE)
    assert path.read_bytes() == b"other" * 100


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_pieces_of_an_unnamed_version_are_joined_only_when_the_caller_checks_them(server, path, etag):
    server.etag, server.checks_version = etag, False
    server.cuts = [700]
    download(server.url, path, patience=QUICK)
    assert server.requests == [None, None]
    server.requests.clear()
    server.cuts = [700]
    download(server.url, path, patience=QUICK, resume_unnamed=True)
    assert server.requests == [None, "bytes=700-"]
    assert path.read_bytes() == BODY


@pytest.mark.parametrize(
    "lie", ["bytes 0-102399/102400", "bytes 701-102399/102400", "bytes 700-900/102400", "700", "bytes 700-x/y"]
)
def test_an_answer_that_belongs_elsewhere_is_never_appended(server, path, lie):
    server.cuts, server.lie = [700], lie
    download(server.url, path, patience=QUICK)
    assert path.read_bytes() == BODY
    assert server.requests == [None, "bytes=700-", None]


def test_a_whole_part_only_gets_its_name(server, path):
    server.cuts = [700]
    with pytest.raises(DownloadError):
        download(server.url, path, patience=ONCE)
    part_of(path).write_bytes(BODY)
    download(server.url, path, sha256=DIGEST, patience=ONCE)
    assert path.read_bytes() == BODY
    assert server.requests == [None, f"bytes={len(BODY)}-"]


def test_a_part_that_is_too_long_is_forgotten(server, path):
    server.cuts = [700]
    with pytest.raises(DownloadError):
        download(server.url, path, patience=ONCE)
    part_of(path).write_bytes(BODY + b"more")
    download(server.url, path, patience=QUICK)
    assert path.read_bytes() == BODY


def test_a_wrong_digest_or_size_is_refused_and_the_file_that_was_there_stays(server, path):
    path.parent.mkdir()
    path.write_bytes(b"old")
    with pytest.raises(DownloadError, match=f"SHA-256 is {DIGEST}, expected 0000"):
        download(server.url, path, sha256="0" * 64, patience=QUICK)
    with pytest.raises(DownloadError, match="holds 102400 bytes, expected 5"):
        download(server.url, path, size=5, patience=QUICK)
    assert len(server.requests) == 2
    assert path.read_bytes() == b"old"
    assert left(path) == ["file.bin"]
    download(server.url, path, sha256=DIGEST[:8].upper())
    assert path.read_bytes() == BODY


def test_the_callers_size_finds_an_end_that_the_server_does_not_announce(server, path):
    server.announces_length, server.cuts = False, [700]
    download(server.url, path, size=len(BODY), patience=QUICK)
    assert path.read_bytes() == BODY
    assert server.requests == [None, "bytes=700-"]


def test_a_busy_server_is_asked_again_and_a_refusal_is_final(server, path):
    server.failures = [503, 429]
    download(server.url, path, patience=QUICK)
    server.failures = [404, 404]
    with pytest.raises(DownloadError, match="HTTP 404"):
        download(server.url, path, patience=QUICK)
    assert len(server.requests) == 4


def test_messages_do_not_show_what_a_query_holds(server, path):
    server.failures = [403]
    with pytest.raises(DownloadError, match="HTTP 403") as caught:
        download(f"{server.url}?key=secret", path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "x"])
def test_only_web_addresses_are_asked(url, path):
    with pytest.raises(DownloadError, match="expected a web address"):
        download(url, path, patience=QUICK)


def test_nobody_listening_is_said_after_all_attempts(path):
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:9/x: .*refused"):
        download("http://127.0.0.1:9/x", path, patience=QUICK)


def test_a_folder_that_can_not_be_written_is_not_tried_again(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="can't be written"):
        download(server.url, tmp_path / "file" / "x", patience=QUICK)
    part_of(tmp_path / "y").mkdir()
    with pytest.raises(WriteError, match="can't be written"):
        download(server.url, tmp_path / "y", patience=QUICK)
    assert len(server.requests) == 1


def test_a_full_disk_is_not_a_fault_of_the_connection(server, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    part_of(tmp_path / "x").symlink_to("/dev/full")
    with pytest.raises(WriteError, match="No space left"):
        download(server.url, tmp_path / "x", patience=QUICK)
    assert len(server.requests) == 1


def test_a_cut_answer_is_asked_for_again(server):
    server.cuts = [10]
    assert read_url(server.url, patience=QUICK) == BODY
    assert len(server.requests) == 2
