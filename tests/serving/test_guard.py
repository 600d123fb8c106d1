"""Hostile requests against a real server on the loopback: none reaches the application."""

import json

import pytest

from itkit.serving.guard import Bodies, Guard, Rules, cookie_value
from itkit.serving.sockets import own_hosts
from serving.raw import request, running, send

pytestmark = pytest.mark.net
SECRET = "s3cret-of-this-server"
BEARER = f"Authorization: Bearer {SECRET}"
JSON = "Content-Type: application/json"
seen = []


async def echo(scope, receive, send_back):
    """Say what of a request arrives; an application that also answers when its body was cut."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send_back({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    seen.append(scope["path"])
    body = json.dumps({"path": scope["path"], "root": scope["root_path"], "size": size}).encode()
    headers = [(b"content-length", str(len(body)).encode()), (b"access-control-allow-origin", b"*")]
    await send_back({"type": "http.response.start", "status": 200, "headers": headers})
    await send_back({"type": "http.response.body", "body": body})


def rules_for(port, **more):
    upload = Bodies(frozenset({"application/octet-stream"}), 50_000, 1)
    bodies = Bodies(most_bytes=1000, seconds=0.5)
    return Rules(
        own_hosts("127.0.0.1", port), SECRET, f"itkit_{port}", bodies=bodies, uploads={"/upload": upload}, **more
    )


@pytest.fixture(scope="module")
def port():
    with running(lambda port: Guard(echo, rules_for(port, in_path=True))) as number:
        yield number


@pytest.fixture(autouse=True)
def nothing_seen():
    seen.clear()


def cookie(port):
    return f"Cookie: other=1; itkit_{port}={cookie_value(SECRET)}"


@pytest.mark.parametrize(
    "host",
    ["evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:{port}.evil.example", "127.0.0.1:{port}@evil",
     "[::1]:1", "127.0.0.2:{port}", "0.0.0.0:{port}", "user@127.0.0.1:{port}", ""],
)  # fmt: skip
def test_other_names_are_refused(port, host):
    """DNS rebinding: the address is ours, the name is not."""
    assert request(port, "GET", "/", BEARER, host="Host: " + host.format(port=port)).status == 421
    assert not seen


@pytest.mark.parametrize("host", ["", "Host: 127.0.0.1:{port}\r\nHost: 127.0.0.1:{port}", "X: y\r\n Host: a"])
def test_no_name_and_two_names_are_refused(port, host):
    assert request(port, "GET", "/", BEARER, host=host.format(port=port)).status in (400, 421)
    assert not seen


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_own_names_are_known(port, name):
    assert request(port, "GET", "/", BEARER, host=f"Host: {name}:{port}").status == 200


@pytest.mark.parametrize(
    "line",
    ["Origin: https://evil.example", "Origin: null", "Origin: http://127.0.0.1", "Origin: http://127.0.0.1:{port}.evil",
     "Origin: https://127.0.0.1:{port}", "Origin: http://localhost:{port}", "Origin: ",
     "Origin: http://127.0.0.1:{port}\r\nOrigin: http://evil", "Sec-Fetch-Site: cross-site",
     "Sec-Fetch-Site: same-site", "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site"],
)  # fmt: skip
def test_pages_of_other_sites_are_refused(port, line):
    for method in ("GET", "POST", "OPTIONS"):
        assert request(port, method, "/", BEARER, JSON, line.format(port=port)).status == 403
    assert not seen


@pytest.mark.parametrize(
    "line", ["Origin: http://127.0.0.1:{port}", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"]
)
def test_own_pages_are_welcome(port, line):
    assert request(port, "GET", "/", BEARER, line.format(port=port)).status == 200


@pytest.mark.parametrize(
    "line",
    ["", "Authorization: Bearer", "Authorization: Bearer s3cret", f"Authorization: Basic {SECRET}",
     f"Authorization: Bearer {SECRET}x", f"{BEARER}\r\n{BEARER}", "Authorization: Bearer \xff\xfe",
     f"Cookie: itkit_1={cookie_value(SECRET)}", "Cookie: itkit_{port}=",
     "Cookie: itkit_{port}=x; itkit_{port}=" + SECRET],
)  # fmt: skip
def test_nobody_comes_in_without_the_secret(port, line):
    reply = request(port, "GET", "/", line.format(port=port))
    assert reply.status == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert SECRET not in str(reply.headers) + reply.body.decode()
    assert not seen


@pytest.mark.parametrize(
    "path", ["/?token=", "/?token=x", f"/other?token={SECRET}", f"/?Token={SECRET}", f"/{SECRET}x/"]
)
def test_a_wrong_token_in_an_address_is_refused(port, path):
    assert request(port, "GET", path).status == 401


def test_the_printed_address_gives_a_cookie_and_leaves_the_token_behind(port):
    reply = request(port, "GET", f"/?token={SECRET}", "Sec-Fetch-Site: none")
    assert (reply.status, reply.headers["location"]) == (303, "/")
    name, *flags = reply.headers["set-cookie"].split("; ")
    assert name == f"itkit_{port}={cookie_value(SECRET)}"
    assert set(flags) == {"Path=/", "HttpOnly", "SameSite=Strict"}
    assert request(port, "GET", "/", f"Cookie: {name}").json()["path"] == "/"
    assert request(port, "POST", f"/?token={SECRET}", JSON).status == 401


def test_a_request_that_changes_something_needs_a_header_and_json(port):
    own = cookie(port)
    assert request(port, "POST", "/", own, JSON, "Content-Length: 2", body=b"{}").status == 403
    assert request(port, "POST", "/", own, JSON, "X-Itkit: 1", "Content-Length: 2", body=b"{}").json()["size"] == 2
    assert request(port, "POST", "/", BEARER, JSON, "Content-Length: 2", body=b"{}").status == 200
    for kind in ("", "Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded",
                 "Content-Type: multipart/form-data; boundary=application/json", f"{JSON}\r\n{JSON}"):  # fmt: skip
        assert request(port, "POST", "/", own, kind, "X-Itkit: 1", "Content-Length: 2", body=b"{}").status == 415
    assert request(port, "POST", "/", own, f"{JSON}; charset=utf-8", "X-Itkit: 1", "Content-Length: 0").status == 200
    assert request(port, "POST", "/", BEARER).status == 200  # nothing sent: of no type
    assert request(port, "POST", "/", BEARER, "Content-Length: 2", body=b"{}").status == 415
    assert request(port, "POST", "/", own, "X-Itkit: 1").status == 415
    assert request(port, "TRACE", "/", own).status == 405
    assert request(port, "OPTIONS", "/", own).status == 405


def test_a_body_is_limited_announced_or_not(port):
    start = len(seen)
    assert request(port, "POST", "/", BEARER, JSON, "Content-Length: 1001", body=b"x" * 1001).status == 413
    assert request(port, "POST", "/", BEARER, JSON, "Content-Length: 99999999999999999999").status in (400, 413)
    pieces = b"200\r\n" + b"x" * 512 + b"\r\n"
    assert (
        request(port, "POST", "/", BEARER, JSON, "Transfer-Encoding: chunked", body=pieces * 2 + b"0\r\n\r\n").status
        == 413
    )
    whole = request(port, "POST", "/", BEARER, JSON, "Transfer-Encoding: chunked", body=pieces + b"0\r\n\r\n")
    assert whole.json()["size"] == 512
    assert (
        request(port, "POST", "/", BEARER, JSON, "Content-Length: 4\r\nContent-Length: 5", body=b"{}  ").status == 400
    )
    assert len(seen) <= start + 2  # the whole body, and the cut one whose answer is dropped


def test_uploads_have_limits_of_their_own(port):
    binary = "Content-Type: application/octet-stream"
    assert request(port, "POST", "/upload/x", BEARER, binary, "Content-Length: 40000", body=b"x" * 40_000).status == 200
    assert request(port, "POST", "/upload/x", BEARER, binary, "Content-Length: 60000", body=b"x" * 60_000).status == 413
    assert request(port, "POST", "/upload/x", BEARER, JSON, "Content-Length: 2", body=b"{}").status == 415


def test_a_body_that_never_ends_is_given_up(port):
    assert request(port, "POST", "/", BEARER, JSON, "Content-Length: 100", body=b"{").status == 408


@pytest.mark.parametrize("path", ["/../etc/passwd", "/a/%2e%2e/b", "/a\\b", "/a%00b", "http://evil.example/", "/%5c"])
def test_odd_paths_are_refused(port, path):
    assert request(port, "GET", path, BEARER).status == 404
    assert not seen


def test_long_addresses_and_headers_are_refused(port):
    assert request(port, "GET", "/?" + "a" * 9000, BEARER).status == 414
    assert request(port, "GET", "/?token=x&" + "a=1&" * 1000).status == 401
    assert request(port, "GET", "/", BEARER, "X-Long: " + "a" * 100_000).status in (400, 431)
    assert send(port, b"\x16\x03\x01\x02\x00\x01\x00\xff\r\n\r\n").status == 400
    assert not seen


def test_a_websocket_is_refused(port):
    lines = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ]
    assert request(port, "GET", "/", *lines).status == 401


def test_the_secret_in_the_path_lets_a_client_without_headers_in(port):
    """As the MONAI Label client of 3D Slicer: the address of its server holds the secret."""
    reply = request(port, "GET", f"/{SECRET}/info/")
    assert reply.json() == {"path": f"/{SECRET}/info/", "root": f"/{SECRET}", "size": 0}
    binary = ["Content-Type: application/octet-stream", "Content-Length: 3"]
    assert request(port, "PUT", f"/{SECRET}/upload/x", *binary, body=b"abc").json()["size"] == 3
    assert request(port, "GET", f"/{SECRET}/info/", host="Host: evil").status == 421


def test_every_answer_is_safe_to_show(port):
    for reply in (request(port, "GET", "/", BEARER), request(port, "GET", "/"), request(port, host="Host: evil")):
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert "unsafe" not in reply.headers["content-security-policy"]
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["x-frame-options"] == "DENY"
        assert reply.headers["cache-control"] == "no-store"
        assert not [name for name in reply.headers if name.startswith("access-control")]
        assert "server" not in reply.headers


def test_a_person_is_told_in_words_and_a_program_in_json(port):
    page = request(port, "GET", "/", "Accept: text/html,*/*")
    assert page.headers["content-type"].startswith("text/plain")
    assert b"open the address that the server has printed" in page.body
    assert "secret" in request(port, "GET", "/").json()["detail"]


def test_a_proxy_names_the_users_that_it_has_checked():
    make = lambda port: Guard(echo, rules_for(port, user_header="x-forwarded-user", in_query=False))  # noqa: E731
    with running(make) as port:
        user = "X-Forwarded-User: ann"
        assert request(port, "GET", "/", user).status == 200
        assert request(port, "GET", "/", BEARER).status == 401
        assert request(port, "GET", "/", user, user).status == 401
        assert request(port, "GET", "/", "X-Forwarded-User: ").status == 401
        assert request(port, "POST", "/", user, JSON, "Content-Length: 2", body=b"{}").status == 403
        assert request(port, "POST", "/", user, JSON, "X-Itkit: 1", "Content-Length: 2", body=b"{}").status == 200


def test_a_page_asks_for_the_password_where_there_is_one():
    make = lambda port: Guard(  # noqa: E731
        echo, rules_for(port, in_query=False, login="/login", open_paths=frozenset({"/login"}))
    )
    with running(make) as port:
        page = request(port, "GET", "/", "Accept: text/html")
        assert (page.status, page.headers["location"], "set-cookie" in page.headers) == (303, "/login", False)
        assert request(port, "GET", "/login").status == 200
        assert request(port, "POST", "/login", JSON, "Content-Length: 2", body=b"{}").status == 403
        assert request(port, "GET", f"/?token={SECRET}").status == 401
        assert request(port, "GET", "/api/jobs").status == 401


def test_nothing_of_a_request_is_logged(port, capfd, caplog):
    request(port, "GET", f"/?token={SECRET}")
    request(port, "GET", "/", BEARER)
    captured = capfd.readouterr()
    assert SECRET not in captured.out + captured.err + caplog.text
