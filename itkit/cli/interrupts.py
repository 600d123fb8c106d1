"""Ctrl-C and SIGTERM, from a command's first instant to its last: the exit code is 130, and there is no traceback.

Python raises ``KeyboardInterrupt`` wherever it is, also inside the machinery of imports, which prints it and goes on.
So a command ends at once while it only imports (it has written nothing yet), and raises only during its run.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # typing and contextlib would be imported before any signal is handled
if TYPE_CHECKING:
    from typing import Any

INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def end_at_once(prog: str) -> None:
    """Let signals end this process from now on, with one line; meant for the time before a run begins."""

    def end(number: int, frame: object) -> None:
        del number, frame
        try:
            os.write(2, f"{prog}: interrupted\n".encode())
        finally:
            os._exit(INTERRUPTED)

    _set(end)


def ignore() -> None:
    """Ignore signals from now on; meant for the time when everything is done and Python only ends."""
    _set(signal.SIG_IGN)


class raised:  # noqa: N801 - used as a function
    """Let signals raise ``KeyboardInterrupt`` while a ``with`` block runs, so that it can tidy up.

    Python prints and forgets what is raised in a callback; `again` raises such an interrupt once more.
    """

    def __enter__(self) -> raised:
        """Set the handlers."""
        self.is_lost = False
        self._hook = sys.unraisablehook
        sys.unraisablehook = self._note
        self._before = _set(_interrupt)
        return self

    def __exit__(self, *reason: object) -> None:
        """Set the earlier handlers again."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._hook

    def again(self) -> None:
        """Raise ``KeyboardInterrupt`` if one was lost.

        Raises
        ------
        KeyboardInterrupt
            Once for each that was lost.
        """
        if self.is_lost:
            self.is_lost = False
            raise KeyboardInterrupt

    def _note(self, unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is KeyboardInterrupt:
            self.is_lost = True
        else:
            self._hook(unraisable)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _set(handler: Any) -> dict[signal.Signals, Any]:
    """Set the handler of both signals and return the earlier ones; a signal that the caller ignores stays ignored."""
    before = {}
    for number in _SIGNALS:
        earlier = signal.getsignal(number)
        if earlier is not signal.SIG_IGN and earlier is not None:
            try:
                signal.signal(number, handler)
            except ValueError:  # only the main thread may
                break
            before[number] = earlier
    return before
