"""`itkit-web` as users start it, and in a thread of the tests; both on a free port."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
from serving.raw import running

import itkit
from itkit.serving.guard import Guard
from itkit.serving.paths import Root
from itkit.serving.sockets import access_for
from itkit.web.app import create_app
from itkit.web.board import Board
from itkit.web.tool import WebParams, rules_of

TOKEN = "a-token-of-the-tests"
TREE = Path(itkit.__file__).parents[1]


class Web:
    """A client that a running `itkit-web` lets in."""

    def __init__(self, root, port):
        self.root = Path(root)
        self.port = port
        self.origin = f"http://127.0.0.1:{port}"
        headers = {"authorization": f"Bearer {TOKEN}"}
        self.client = httpx.Client(base_url=self.origin, headers=headers, timeout=120, trust_env=False)

    def get(self, where, **query):
        return self.client.get(where, params=query)

    def post(self, where, **body):
        return self.client.post(where, json=body)

    def job(self, name, **body):
        """Start a job; return its id."""
        answer = self.post(f"/api/jobs/{name}", **body)
        assert answer.status_code == 202, answer.text
        return answer.json()["job"]

    def once(self, job, holds, seconds=180):
        """Wait until something holds of what is known of a job; return that."""
        end = time.monotonic() + seconds
        while not holds(facts := self.get(f"/api/jobs/{job}").json()):
            assert time.monotonic() < end, facts
            time.sleep(0.05)
        return facts

    def end_of(self, job):
        """Wait for the end of a job; return what is known of it."""
        return self.once(job, lambda facts: facts["state"] in ("done", "failed", "stopped"))


class Started(Web):
    """`itkit-web` as a process of its own."""

    def __init__(self, root, state, *more):
        environment = {**os.environ, "XDG_STATE_HOME": str(state), "PYTHONPATH": str(TREE)}
        words = ["web", "--root", str(root), "--no-browser", "--token", TOKEN, *more]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "itkit", *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.address = self.process.stdout.readline().strip()
        assert self.address, self.process.stderr.read()
        super().__init__(root, int(self.address.partition("/?")[0].rpartition(":")[2]))

    def close(self, number=signal.SIGINT):
        """End the server; return what it has said to people."""
        self.client.close()
        self.process.send_signal(number)
        _, told = self.process.communicate(timeout=120)
        return told


@contextlib.contextmanager
def started(root, state, *more):
    web = Started(root, state, *more)
    try:
        yield web
    finally:
        if web.process.poll() is None:
            web.close()


@contextlib.contextmanager
def serving(root, state, **options):
    """Serve in a thread of this process."""
    state.mkdir(exist_ok=True)
    board = Board(Root(root), state=state)
    options = options or {"token": TOKEN}
    params = WebParams(root=root, **options)

    def guarded(port):
        access = access_for(
            params.host, token=params.token, password_file=params.password_file, user_header=params.proxy_user_header
        )
        rules = rules_of(params, access, port)
        return Guard(create_app(board, rules), rules)

    with running(guarded) as port:
        web = Web(root, port)
        try:
            yield web
        finally:
            web.client.close()
