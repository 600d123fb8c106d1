"""Cases are read in a thread, so that the window never waits: first the middle slice, then all, then the projection."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from PyQt6.QtCore import QObject, pyqtSignal

from itkit.core.errors import ItkitError
from itkit.core.thumbnail import middle_slice as drawn_slice
from itkit.engine.resources import available_memory
from itkit.gui.viewer.opening import CaseFiles, header_of, load, middle_slice, what_is_at
from itkit.gui.viewer.slices import projection, turned

_MOST_SHARE = 0.25
"""Share of the free memory that copies may take."""


class Loader(QObject):
    """Reads in threads. Every answer has the number of its request; an answer to an older one is dropped."""

    found = pyqtSignal(int, object)
    """What a path holds."""
    previewed = pyqtSignal(int, object, object)
    """The middle slice, and the grid of the whole."""
    loaded = pyqtSignal(int, object)
    projected = pyqtSignal(int, object)
    turned = pyqtSignal(int, object)
    """Copies of the volumes in another order in memory."""
    failed = pyqtSignal(int, str)
    pictured = pyqtSignal(int, int, object)
    """A small picture of a case of a list, as an RGB array."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.request = 0
        self.reading = 0
        """The number of the newest request to read a case; what only looks at a path leaves it standing."""
        self._pictures = 0
        self._is_closed = False

    def look(self, path: Path) -> int:
        """Find out what a path holds; return the number of the request."""
        return self._start(self._look, path)

    def read(self, files: CaseFiles) -> int:
        """Read a case; return the number of the request."""
        self.reading = self.request + 1
        return self._start(self._read, files)

    def picture(self, cases: tuple[CaseFiles, ...]) -> None:
        """Draw small pictures of cases, one after the other, until other ones are asked for."""
        self._pictures += 1
        threading.Thread(target=self._draw, args=(self._pictures, cases), daemon=True).start()

    def close(self) -> None:
        """Answer nothing from now on."""
        self._is_closed = True
        self.request += 1
        self.reading = 0
        self._pictures += 1

    def _start(self, work: Callable[..., None], *what: object) -> int:
        self.request += 1
        threading.Thread(target=self._work, args=(work, self.request, *what), daemon=True).start()
        return self.request

    def _work(self, work: Callable[..., None], number: int, *what: object) -> None:
        try:
            work(number, *what)
        except Exception as error:
            logging.getLogger(__name__).exception("a fault while %s was read", what[0])
            self._fail(number, f"a fault of ITKIT: {type(error).__name__}: {error}")

    def _is_old(self, number: int) -> bool:
        return self._is_closed or number != self.request

    def _is_left(self, number: int) -> bool:
        """Return whether another case is read by now."""
        return self._is_closed or number != self.reading

    def _look(self, number: int, path: Path) -> None:
        try:
            found = what_is_at(path)
        except (ItkitError, OSError) as error:
            self._fail(number, str(error))
            return
        if not self._is_old(number):
            self.found.emit(number, found)

    def _read(self, number: int, files: CaseFiles) -> None:
        header = header_of(files)
        if header is not None:
            threading.Thread(target=self._preview, args=(number, header), daemon=True).start()
        try:
            loaded = load(files, threads=1)
        except (ItkitError, OSError, MemoryError) as error:
            self._fail(number, str(error) or "not enough memory")
            return
        if self._is_left(number):
            return
        self.loaded.emit(number, loaded)
        if loaded.image is not None:
            most = projection(loaded.image, "coronal")
            if not self._is_left(number):
                self.projected.emit(number, most)
        volumes = [volume for volume in (loaded.image, loaded.label) if volume is not None]
        if _MOST_SHARE * available_memory() > sum(volume.array_zyx.nbytes for volume in volumes):
            copies = {id(volume): turned(volume) for volume in volumes if not self._is_left(number)}
            if not self._is_left(number):
                self.turned.emit(number, copies)

    def _preview(self, number: int, header: object) -> None:
        middle = middle_slice(header)  # type: ignore[arg-type]
        if middle is not None and not self._is_left(number):
            self.previewed.emit(number, middle, header.geometry)  # type: ignore[attr-defined]

    def _fail(self, number: int, message: str) -> None:
        if not (self._is_old(number) and self._is_left(number)):
            self.failed.emit(number, message)

    def _draw(self, number: int, cases: tuple[CaseFiles, ...]) -> None:
        for at, files in enumerate(cases):
            if self._is_closed or number != self._pictures:
                return
            try:
                loaded = load(files)
            except (ItkitError, OSError, MemoryError):
                continue
            volume = loaded.image if loaded.image is not None else loaded.label
            if volume is not None and not self._is_closed and number == self._pictures:
                self.pictured.emit(
                    number, at, drawn_slice(volume.array_zyx, volume.geometry, is_label=volume.kind == "label")
                )
