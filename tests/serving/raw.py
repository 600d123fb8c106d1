"""Requests as bytes, where a client would tidy them up; and a server in a thread."""

import contextlib
import json
import socket
import threading
import time

from itkit.serving.sockets import bind, make_server, port_of


@contextlib.contextmanager
def running(make_app, host="127.0.0.1"):
    """Serve ``make_app(port)`` on a free port of the loopback; yield the port."""
    listening = bind(host, 0)
    port = port_of(listening)
    started = threading.Event()
    server = make_server(make_app(port), on_start=started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    assert started.wait(120)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join(120)
        listening.close()


class Reply:
    """Status, headers (by lower-case name) and body of a response."""

    def __init__(self, data):
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1]) if first else 0
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    def json(self):
        return json.loads(self.body)


def send(port, data, *, seconds=90):
    """Send bytes, and return what comes back until the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        with contextlib.suppress(OSError):  # it may have answered already
            connection.sendall(data)
        received = b""
        end = time.monotonic() + seconds
        with contextlib.suppress(ConnectionError, TimeoutError):
            while time.monotonic() < end and (piece := connection.recv(65536)):
                received += piece
    return Reply(received)


def request(port, method="GET", path="/", *lines, host=None, body=b"", **more):
    """Send a request with the given header lines."""
    name = f"Host: 127.0.0.1:{port}" if host is None else host
    kept = [line for line in (f"{method} {path} HTTP/1.1", name, *lines, "Connection: close") if line]
    return send(port, "\r\n".join(kept).encode("latin-1") + b"\r\n\r\n" + body, **more)
