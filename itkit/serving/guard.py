"""One guard around a web application: what it refuses, the application never sees.

It is pure ASGI and needs no package. Each request passes these questions, in this order:

1. Is it meant for this server? Exactly one ``Host`` header, and one of ours; else 421. A page of another site that
   points its own name to this address (DNS rebinding) ends here.
2. Does it come from a page of ours, or from no page? ``Origin`` absent or own, ``Sec-Fetch-Site`` absent, ``none`` or
   ``same-origin``; else 403. There are no CORS headers, ever.
3. Does it know the secret? By cookie, by ``Authorization: Bearer``, or (if allowed) as the first part of the path; else
   401. All are compared in constant time.
4. If it changes something: a header that no form of a foreign page can send, and JSON (or what is allowed for a path;
   a ``DELETE`` may have no body at all); else 403 or 415.
5. Is its body small enough, also when its length is not announced, and does it arrive in time? Else 413 or 408.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a page of ours may load: files of this server, and pictures that it draws. Nothing inline, no ``eval``."""

_SAFE = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    b"cache-control": b"no-store",
}
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
_READS = {"GET", "HEAD"}
_OWN_HEADERS = {b"x-itkit", b"x-requested-with"}
_MOST_QUERY_BYTES = 8192
_MOST_HEADER_BYTES = 1 << 15


@dataclass(frozen=True)
class Bodies:
    """What requests that change something may carry.

    Attributes
    ----------
    types
        Content types, without parameters.
    most_bytes
        Largest body.
    seconds
        Longest pause between two pieces of a body.
    """

    types: frozenset[str] = frozenset({"application/json"})
    most_bytes: int = 1 << 20
    seconds: float = 20.0


@dataclass(frozen=True)
class Rules:
    """Whom a guard lets in.

    Attributes
    ----------
    hosts
        Accepted ``Host`` headers, e.g. ``127.0.0.1:8123``, in lower case.
    secret
        The token, or the password.
    cookie
        Name of the cookie that carries it.
    schemes
        Schemes of own pages; ``https`` when a proxy in front of the server adds it.
    user_header
        Name of a header, in lower case, in which a proxy names the user that it has checked. If given, a request needs
        it in place of the secret.
    in_path
        Whether the first part of the path may be the secret, for clients that can send neither cookie nor header. The
        application finds it in ``root_path``.
    in_query
        Whether ``GET /?token=...`` gives the cookie.
    bodies
        What requests may carry.
    uploads
        Exceptions, by the beginning of the path.
    login
        Path of the page that asks for the password; whoever opens another page without it is sent there.
    open_paths
        Paths that need no secret: that page, and what it consists of.
    policy
        Content security policy of responses that have none of their own.
    """

    hosts: frozenset[str]
    secret: str
    cookie: str
    schemes: frozenset[str] = frozenset({"http"})
    user_header: str = ""
    in_path: bool = False
    in_query: bool = True
    bodies: Bodies = Bodies()
    uploads: Mapping[str, Bodies] = field(default_factory=dict)
    login: str = ""
    open_paths: frozenset[str] = frozenset()
    policy: str = POLICY

    def bodies_of(self, path: str) -> Bodies:
        """Return what a request to a path may carry."""
        fitting = [start for start in self.uploads if path.startswith(start)]
        return self.uploads[max(fitting, key=len)] if fitting else self.bodies


class _Refused(Exception):  # noqa: N818 - it never leaves this module
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Guard:
    """An application that hands what it accepts to another one.

    Parameters
    ----------
    app
        The application behind it.
    rules
        Whom it lets in.
    """

    def __init__(self, app: Application, rules: Rules) -> None:
        self.app = app
        self.rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = _Answer(send, self.rules.policy)
        headers = _by_name(scope["headers"])
        try:
            way = self._let_in(scope, headers)
            if way == "query":
                await answer.redirect("/", self.cookie_header(scope))
                return
            inner = self._below_secret(scope) if way == "path" else scope
            bodies = self.rules.bodies_of(_route(inner))
            _check_length(headers, bodies)
            if scope["method"] not in _READS:
                # nothing is sent that could be of a type; only a page of ours, or who knows the secret, gets this far
                is_bare = not _has_body(headers) and (scope["method"] == "DELETE" or way == "bearer")
                _check_write(headers, bodies, needs_header=way in ("cookie", "open"), is_bare=is_bare)
        except _Refused as refused:
            is_page = scope["method"] == "GET" and b"text/html" in b",".join(headers.get(b"accept", []))
            if refused.status == 401 and is_page and self.rules.login:
                await answer.redirect(self.rules.login)
            else:
                await answer.refuse(refused, is_page=is_page)
            return
        body = _Body(receive, bodies, answer)
        await self.app(inner, body.receive, answer.send)
        if answer.refused is not None and not answer.is_begun:
            await answer.refuse(answer.refused)

    def cookie_header(self, scope: Scope) -> bytes:
        """Return the ``Set-Cookie`` header that lets a browser in."""
        secure = "; Secure" if "https" in self.rules.schemes or scope.get("scheme") == "https" else ""
        return (
            f"{self.rules.cookie}={cookie_value(self.rules.secret)}; Path=/; HttpOnly; SameSite=Strict{secure}".encode()
        )

    def _let_in(self, scope: Scope, headers: Mapping[bytes, list[bytes]]) -> str:
        """Return the way by which a request proves that it may come in."""
        host = self._check_addresses(scope, headers)
        path, method = scope["path"], scope["method"]
        if method not in _METHODS:
            raise _Refused(405, f"no method {method[:20]!r} here")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > _MOST_HEADER_BYTES:
            raise _Refused(431, f"headers of more than {_MOST_HEADER_BYTES} bytes")
        if len(scope["query_string"]) > _MOST_QUERY_BYTES:
            raise _Refused(414, f"a query of more than {_MOST_QUERY_BYTES} bytes")
        if "\0" in path or "\\" in path or not path.startswith("/") or ".." in path.split("/"):
            raise _Refused(404, "no such path")
        if self.rules.user_header:
            users = headers.get(self.rules.user_header.encode(), [])
            if len(users) != 1 or not users[0].strip():
                raise _Refused(401, "the proxy in front of this server has named no user")
            return "cookie"
        if method == "GET" and path == "/" and self._knows_query(scope["query_string"]):
            return "query"
        if self._knows_bearer(headers):
            return "bearer"
        if self._knows_cookie(headers):
            return "cookie"
        if self.rules.in_path and _is_same(path.split("/")[1], self.rules.secret):
            return "path"
        if path in self.rules.open_paths:
            return "open"
        raise _Refused(401, f"no access to {host} without its secret: open the address that the server has printed")

    def _check_addresses(self, scope: Scope, headers: Mapping[bytes, list[bytes]]) -> str:
        hosts = headers.get(b"host", [])
        host = hosts[0].decode("latin-1").lower() if len(hosts) == 1 else ""
        if host not in self.rules.hosts:
            raise _Refused(421, "this server has another name: open the address that it has printed")
        own = {f"{scheme}://{host}" for scheme in self.rules.schemes}
        origins = headers.get(b"origin", [])
        if len(origins) > 1 or any(origin.decode("latin-1").lower() not in own for origin in origins):
            raise _Refused(403, "a page of another site may not use this server")
        sites = headers.get(b"sec-fetch-site", [])
        if len(sites) > 1 or any(site not in (b"same-origin", b"none") for site in sites):
            raise _Refused(403, "a page of another site may not use this server")
        return host

    def _knows_bearer(self, headers: Mapping[bytes, list[bytes]]) -> bool:
        given = headers.get(b"authorization", [])
        if len(given) != 1:
            return False
        kind, _, secret = given[0].decode("latin-1").partition(" ")
        return kind.lower() == "bearer" and _is_same(secret.strip(), self.rules.secret)

    def _knows_query(self, query: bytes) -> bool:
        if not self.rules.in_query or b"token=" not in query or query.count(b"&") > 20:
            return False
        return _is_same(dict(parse_qsl(_text(query))).get("token", ""), self.rules.secret)

    def _knows_cookie(self, headers: Mapping[bytes, list[bytes]]) -> bool:
        pairs = [part.strip().partition("=") for line in headers.get(b"cookie", []) for part in _text(line).split(";")]
        values = [value for name, _, value in pairs if name == self.rules.cookie]
        return len(values) == 1 and (
            _is_same(values[0], cookie_value(self.rules.secret)) or _is_same(values[0], self.rules.secret)
        )

    def _below_secret(self, scope: Scope) -> Scope:
        prefix = "/" + scope["path"].split("/")[1]
        path = scope["path"] if scope["path"] != prefix else f"{prefix}/"  # the address as it is printed
        return {**scope, "path": path, "root_path": scope.get("root_path", "") + prefix}


def cookie_value(secret: str) -> str:
    """Return the value of the cookie: a digest, so that any password fits and none stands in a browser's files.

    Examples
    --------
    >>> len(cookie_value("päss word"))
    64
    """
    return hmac.new(secret.encode(), b"itkit cookie", hashlib.sha256).hexdigest()


def _body_of(refused: _Refused, *, is_page: bool) -> tuple[bytes, bytes]:
    """Return content type and body of a refusal: a sentence for people, or JSON."""
    if not is_page:
        return b"application/json", json.dumps({"detail": refused.message}).encode()
    sentence = refused.message[:1].upper() + refused.message[1:]
    return b"text/plain; charset=utf-8", f"{sentence}.\n".encode()


class _Answer:
    """The way back: adds the headers that every response carries."""

    def __init__(self, send: Send, policy: str) -> None:
        self._send = send
        self._policy = policy.encode()
        self.is_begun = False
        self.refused: _Refused | None = None

    async def send(self, message: Message) -> None:
        if self.refused is not None and not self.is_begun:
            return  # what the application says of a body that was cut is of no interest
        if message["type"] == "http.response.start":
            self.is_begun = True
            message = {**message, "headers": self._safe(message.get("headers", []))}
        await self._send(message)

    async def refuse(self, refused: _Refused, *, is_page: bool = False) -> None:
        status = refused.status
        kind, body = _body_of(refused, is_page=is_page)
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        if status in (408, 413):
            headers.append((b"connection", b"close"))  # what is left of the body is not read
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        await self._write(status, headers, body)

    async def redirect(self, to: str, cookie: bytes = b"") -> None:
        headers = [(b"location", to.encode()), (b"content-length", b"0")]
        await self._write(303, [*headers, *([(b"set-cookie", cookie)] if cookie else [])], b"")

    async def _write(self, status: int, headers: Headers, body: bytes) -> None:
        self.is_begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": self._safe(headers)})
        await self._send({"type": "http.response.body", "body": body})

    def _safe(self, headers: Headers) -> Headers:
        kept = [(name, value) for name, value in headers if not name.lower().startswith(b"access-control-")]
        names = {name.lower() for name, _ in kept}
        added = {**_SAFE, b"content-security-policy": self._policy}
        return [*kept, *((name, value) for name, value in added.items() if name not in names)]


class _Body:
    """The body of a request: counted while it arrives."""

    def __init__(self, receive: Receive, bodies: Bodies, answer: _Answer) -> None:
        self._receive = receive
        self._bodies = bodies
        self._answer = answer
        self._bytes = 0
        self._is_whole = False

    async def receive(self) -> Message:
        if self._is_whole:
            return await self._receive()  # this waits until the client leaves
        if self._answer.refused is not None:
            return {"type": "http.disconnect"}
        try:
            message = await asyncio.wait_for(self._receive(), self._bodies.seconds)
        except asyncio.TimeoutError:
            self._answer.refused = _Refused(408, f"no more of the body for {self._bodies.seconds:g} s")
            return {"type": "http.disconnect"}
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            self._is_whole = not message.get("more_body", False)
            if self._bytes > self._bodies.most_bytes:
                self._answer.refused = _too_large(self._bodies)
                return {"type": "http.disconnect"}
        return message


def _too_large(bodies: Bodies) -> _Refused:
    return _Refused(413, f"the body has more than {bodies.most_bytes} bytes, the most that is taken")


def _has_body(headers: Mapping[bytes, list[bytes]]) -> bool:
    """Return whether a request announces a body, or its type."""
    if headers.get(b"content-type") or headers.get(b"transfer-encoding"):
        return True
    return headers.get(b"content-length", [b"0"]) != [b"0"]


def _check_write(
    headers: Mapping[bytes, list[bytes]], bodies: Bodies, *, needs_header: bool, is_bare: bool = False
) -> None:
    if needs_header and not any(headers.get(name) for name in _OWN_HEADERS):
        raise _Refused(403, "a request that changes something needs the header X-Itkit: 1")
    if is_bare:
        return
    kinds = [_text(kind).split(";")[0].strip().lower() for kind in headers.get(b"content-type", [])]
    if len(kinds) != 1 or kinds[0] not in bodies.types:
        raise _Refused(415, f"expected the content type {' or '.join(sorted(bodies.types))}")


def _check_length(headers: Mapping[bytes, list[bytes]], bodies: Bodies) -> None:
    lengths = headers.get(b"content-length", [])
    if len(lengths) > 1 or any(not length.isdigit() for length in lengths):
        raise _Refused(400, "the length of the body is no number")
    if lengths and (len(lengths[0]) > 18 or int(lengths[0]) > bodies.most_bytes):
        raise _too_large(bodies)


def _route(scope: Scope) -> str:
    return str(scope["path"]).removeprefix(scope.get("root_path", "")) or "/"


def _by_name(headers: Headers) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value)
    return found


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _is_same(given: str, wanted: str) -> bool:
    """Compare in a time that tells neither content nor length."""
    digests = [hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest() for text in (given, wanted)]
    return bool(wanted) and hmac.compare_digest(*digests)
