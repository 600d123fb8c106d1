"""Loader workers: what each one works on is known, so that a lost one is told with its case and its reason."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from itkit.core.errors import CaseError

_PIDS = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")
_EXIT_CODE = re.compile(r"exit code (-?\d+)")
_SIGNAL = re.compile(r"killed by signal: ([^.]+)\.")
_ENDING_S = 5.0
_ADVICE = {
    "SIGKILL": "as a rule the system does this when memory runs out: lower training.workers or training.patch_size",
    "SIGBUS": "as a rule shared memory (/dev/shm) is full: make it larger, or lower training.workers",
    "SIGSEGV": "a fault in a library, or damaged memory: try training.workers=0 to see where",
}


class Watched(Dataset[Any]):
    """Patches by number; each loader worker notes which it works on, where the main process can read it.

    Parameters
    ----------
    patches
        The patches.
    workers
        Number of loader workers.
    """

    def __init__(self, patches: Any, workers: int) -> None:
        self.patches = patches
        self.board: Tensor = torch.full((max(1, workers), 2), -1, dtype=torch.int64).share_memory_()
        self.processes: dict[int | None, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "processes": {}}

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, number: int) -> Any:
        worker = get_worker_info()
        if worker is not None:
            self.board[worker.id] = torch.tensor([os.getpid(), number])
        return self.patches[number]

    def note_processes(self) -> None:
        """Keep the processes of the workers, which know how they end; before they get their first patch."""
        self.processes = {child.pid: child for child in multiprocessing.active_children()}

    def exit_code(self, pids: Sequence[int]) -> int | None:
        """Return the exit code of the first of some workers that has ended by a fault; negative for a signal."""
        ends = [self.processes[pid].exitcode for pid in pids if pid in self.processes]
        return next((code for code in ends if code), None)

    def lost(self) -> list[int]:
        """Return the process ids of the workers that have ended by a fault.

        Such an end is waited for: the connections of a process close shortly before it ends.
        """
        until, ended = time.monotonic() + _ENDING_S, list[int]()
        while self.processes and not ended and time.monotonic() < until:
            with contextlib.suppress(RuntimeError):  # torch raises it here when the system tells of the end
                time.sleep(0.01)
                ended = [pid for pid, process in self.processes.items() if pid is not None and process.exitcode]
        return ended

    def working_on(self, pid: int) -> int | None:
        """Return the number of the patch that a worker has begun last."""
        found = [number for own, number in self.board.tolist() if own == pid]
        return found[0] if found else None


def outlive_first_sigterm(_worker: int) -> None:
    """Let a loader worker ignore the first SIGTERM of others, which schedulers send to all processes of a job.

    The main process gets it as well, and ends after its step, for which it needs the patches. A worker ends when the
    main process tells it, also by SIGTERM, or is gone. Only Linux says who sends a signal; elsewhere nothing changes.
    """
    if sys.platform == "linux":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # also in all threads that begin later
        creator = multiprocessing.parent_process()  # a fork server is its parent, too, but does not end it
        pid = os.getppid() if creator is None else creator.pid
        threading.Thread(target=_await_sigterm, args=(pid,), daemon=True).start()


def _await_sigterm(parent: int | None) -> None:
    for _ in ("first", "second"):
        if signal.sigwaitinfo({signal.SIGTERM}).si_pid == parent:
            os._exit(0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.kill(os.getpid(), signal.SIGTERM)


def explained(error: BaseException, watched: Watched | None, case_of: Callable[[int], str]) -> CaseError | None:
    """Return what a lost loader worker means; ``None`` if the error is another one.

    Parameters
    ----------
    error
        What torch has raised.
    watched
        What the workers were working on.
    case_of
        Returns the case of a patch.
    """
    chain = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    texts = [str(one) for one in chain if isinstance(one, RuntimeError)]
    pids = [int(pid) for text in texts for found in _PIDS.findall(text) for pid in found.split(",")]
    if watched is not None and not pids and isinstance(error, (ConnectionError, EOFError)):
        pids = watched.lost()  # torch asked a worker for its batch in the moment in which it ended
    if not pids or watched is None:
        return None
    numbers = {number for pid in pids if (number := watched.working_on(pid)) is not None and number >= 0}
    places = [f"{case_of(number)}: patch {number}" for number in sorted(numbers)]
    where = ", ".join(places) or f"loader worker {pids[0]}"
    return CaseError(f"{where}: the loader worker {_reason(' '.join(texts), watched.exit_code(pids))}")


def _reason(text: str, code: int | None) -> str:
    if code is not None:
        return f"was ended by {_named(code=-code)}" if code < 0 else f"ended with exit code {code}"
    if found := _SIGNAL.search(text):
        return f"was ended by {_named(found[1])}"
    if found := _EXIT_CODE.search(text):
        code = int(found[1])
        return f"was ended by {_named(code=-code)}" if code < 0 else f"ended with exit code {code}"
    return "ended without a word; training.workers=0 shows why"


def _named(description: str = "", *, code: int | None = None) -> str:
    """Return a signal's number and name, with advice.

    Examples
    --------
    >>> _named("Killed").partition(":")[0]
    'signal 9 (SIGKILL)'
    """
    for one in signal.Signals:
        if one == code or (description and signal.strsignal(one) == description):
            advice = _ADVICE.get(one.name)
            return f"signal {int(one)} ({one.name})" + (f": {advice}" if advice else "")
    return f"signal {code}" if code is not None else f"a signal ({description})"
