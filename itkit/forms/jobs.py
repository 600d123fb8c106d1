"""A command as a child process: its events, its words for people, and its end, without an orphan.

The child leads a process group of its own. To stop it, the group gets what Ctrl-C sends, so that the run ends as it
does on a terminal: what is finished stays, and the same command goes on from there. Only if that takes too long, the
group is ended harder. When the child has ended, whatever is left of its group is ended too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from itkit.core.bounded import parse_json
from itkit.forms.command import Command

GRACE_S = 20.0
"""How long a run may take to end by itself after Ctrl-C: it finishes what it is writing."""
_HARDER_S = 3.0
_LEFT_S = 2.0
_LONGEST_LINE = 1 << 24
_ON_POSIX = os.name == "posix"

Event = dict[str, Any]


def event_in(line: str) -> Event | None:
    """Return the event that a line of a command's output holds, or ``None`` for a line for people.

    Examples
    --------
    >>> event_in('{"event": "case", "case": "a"}'), event_in("3 done"), event_in("[1]")
    ({'event': 'case', 'case': 'a'}, None, None)
    """
    if not line.startswith("{"):
        return None
    try:
        value = parse_json(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("event"), str) else None


class Child:
    """A running command. Its callbacks are called from threads of this object, never two at once.

    Parameters
    ----------
    command
        What to run.
    plan
        Whether to run it with ``--dry-run``.
    folder
        The folder in which relative paths are meant; by default the present one.
    on_event
        Called with each event.
    on_text
        Called with each line for people.
    on_end
        Called once, last of all, with the exit code, when no process of the command is left.

    Raises
    ------
    OSError
        When the process can't be started.
    """

    def __init__(
        self,
        command: Command,
        *,
        plan: bool = False,
        folder: Path | None = None,
        on_event: Callable[[Event], None] = lambda _: None,
        on_text: Callable[[str], None] = lambda _: None,
        on_end: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.command = command
        self.exit_code: int | None = None
        self.is_stopping = False
        self._tell = threading.Lock()
        self._on_event, self._on_text, self._on_end = on_event, on_text, on_end
        self._ended = threading.Event()
        self._stop_lock = threading.Lock()
        self._process = _start(command.words(plan=plan), command.environment(), folder)
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (self._process.stdout, self._process.stderr)
        ]
        for reader in self._readers:
            reader.start()
        threading.Thread(target=self._wait, daemon=True).start()

    @property
    def pid(self) -> int:
        """The number of the process, and of its group."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the command, or a process that it started, is still there."""
        return not self._ended.is_set()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait until no process of the command is left; return its exit code, or ``None`` if that takes longer."""
        self._ended.wait(timeout_s)
        return self.exit_code if self._ended.is_set() else None

    def stop(self, *, grace_s: float = GRACE_S) -> None:
        """Let the command end as after Ctrl-C, and end it harder if it is still there after ``grace_s``; do not wait.

        A second call changes nothing.
        """
        with self._stop_lock:
            if self.is_stopping or not self.is_running:
                return
            self.is_stopping = True
        self._interrupt()
        threading.Thread(target=self._insist, args=(grace_s,), daemon=True).start()

    def _interrupt(self) -> None:
        if not _ON_POSIX:
            self._process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM))
        elif signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # the child ignores it then, too; workers are its own
            self._process.send_signal(signal.SIGTERM)
        else:
            _signal_group(self.pid, signal.SIGINT)

    def _insist(self, grace_s: float) -> None:
        if self._ended.wait(grace_s):
            return
        with self._tell:
            self._on_text(f"still running {grace_s:g} s after it was stopped; it is ended now")
        _signal_group(self.pid, signal.SIGTERM) if _ON_POSIX else self._process.terminate()
        if not self._ended.wait(_HARDER_S):
            _signal_group(self.pid, _KILL) if _ON_POSIX else self._process.kill()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(_LONGEST_LINE):
                text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
                event = event_in(text)
                with self._tell:
                    if event is not None:
                        self._on_event(event)
                    elif text:
                        self._on_text(text)

    def _wait(self) -> None:
        code = self._process.wait()
        if _ON_POSIX:
            _end_group(self.pid)
        for reader in self._readers:
            reader.join(_LEFT_S)
        with self._tell:
            self.exit_code = code
            self._ended.set()
            self._on_end(code)


def _start(words: list[str], environment: dict[str, str], folder: Path | None) -> subprocess.Popen[bytes]:
    more: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        more = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return subprocess.Popen(
        words,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; return whether the group still exists."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


def _end_group(group: int) -> None:
    """End what a process whose end was awaited has left of its group: helpers get a moment, workers are killed.

    It returns when the group is gone, or when the system has had another moment to end what was killed.
    """
    if not _is_gone(group, _LEFT_S):
        _signal_group(group, _KILL)
        _is_gone(group, _LEFT_S)


def _is_gone(group: int, seconds: float) -> bool:
    """Wait until a group is gone, at most so long; return whether it is."""
    until = time.monotonic() + seconds
    while _signal_group(group, 0):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
