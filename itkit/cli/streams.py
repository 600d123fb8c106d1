"""Standard streams that whoever starts a command has closed, or that can't take every character."""

from __future__ import annotations

import io
import os
import sys


def open_closed_streams() -> None:
    r"""Give each standard stream that is closed the null device, so that no file of ours takes its number.

    Without it, Python has ``None`` in the stream's place, and what a library prints may land in an output file.
    A stream whose encoding lacks a character, such as that of a pipe on Windows, gets ``\u2026`` in its place; by
    default, the command would end there.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is the stream's own
            os.set_inheritable(opened, opened == number)
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(opened, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - a number
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(errors="backslashreplace")
