"""One training at a time in a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from itkit.core.errors import ParamsError
from itkit.io.disk import writing
from itkit.io.json_files import read_json
from itkit.io.locks import close_in_children, is_in_place, try_lock
from itkit.training.status import STATUS_FILE

LOCK_FILE = ".lock"


class RunLock:
    """The lock of a run folder: held until it is closed, or the process ends.

    Where a file system has no locks, it refuses nothing.

    Parameters
    ----------
    run
        The folder.
    other
        What else the user can do than wait.
    """

    def __init__(self, run: Path, other: str = "choose another folder (-o)") -> None:
        self.run, self.other = run, other
        self._file: IO[bytes] | None = None

    @property
    def is_held(self) -> bool:
        """Whether this process may write into the folder."""
        return self._file is not None

    def take(self) -> None:
        """Take the lock of a folder that is there.

        Raises
        ------
        ParamsError
            When another training has it.
        WriteError
            When the folder can't be written.
        """
        while self._file is None:
            with writing(self.run):
                file = (self.run / LOCK_FILE).open("ab")
            if try_lock(file) == "taken":
                file.close()
                raise ParamsError(
                    f"{self.run}: another training writes into this folder{_who(self.run)}; "
                    f"wait until it has ended, or {self.other}"
                )
            if not is_in_place(file):  # its last holder has just removed it
                file.close()
                continue
            close_in_children(file)  # loader workers outlive a killed training by seconds
            self._file = file

    def close(self) -> None:
        """Let others have the folder."""
        if self._file is not None:
            (self.run / LOCK_FILE).unlink(missing_ok=True)
            self._file.close()
            self._file = None


def _who(run: Path) -> str:
    """Return the process that trains, as far as the folder says it."""
    status = read_json(run / STATUS_FILE)
    if not isinstance(status, dict) or status.get("state") != "training":
        return ""
    return f" (process {status.get('pid')} on {status.get('host')})"
