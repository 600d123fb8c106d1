"""A client of ``itkit serve`` that needs Python's own library alone, as Slicer's Python has it."""

import contextlib
import http.client
import json
import os
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

_PIECE = 1 << 20


class ServerError(Exception):
    """The server can't be reached, or refuses; the message is for the user."""


class Cancelled(Exception):
    """The user does not want the result any more."""


@dataclass(frozen=True)
class Label:
    """A class of a network: value in the label map, name, and colour (0 to 1)."""

    value: int
    name: str
    colour: tuple

    @classmethod
    def of(cls, values):
        """Read what the server says of a class."""
        red, green, blue = (part / 255 for part in values["color"])
        return cls(int(values["value"]), str(values["name"]), (red, green, blue))


@dataclass(frozen=True)
class Model:
    """A network of the server."""

    name: str
    channels: tuple
    labels: tuple

    @property
    def title(self):
        """What a list shows: name and the image that it wants."""
        return f"{self.name} ({', '.join(self.channels)}; {len(self.labels)} classes)"


@dataclass(frozen=True)
class Result:
    """A label map, its classes, and what the user should know."""

    path: Path
    labels: tuple
    notes: tuple


class Client:
    """The server at an address, as ``itkit serve`` prints it.

    Parameters
    ----------
    address
        ``http://127.0.0.1:PORT/TOKEN``.
    timeout
        Seconds to wait for an answer; progress arrives at least every 15 s.
    """

    def __init__(self, address, timeout=60.0):
        try:
            parts = urlsplit(address.strip())
        except ValueError as error:
            raise ServerError(f"this is no address: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ServerError("expected the address that itkit serve prints, http://127.0.0.1:PORT/TOKEN")
        try:
            self._port = parts.port
        except ValueError as error:
            raise ServerError(f"the address has no possible port: {error}") from error
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._path, self._timeout = parts.hostname, quote(parts.path.rstrip("/"), safe="/%"), timeout

    def models(self):
        """Return the networks of the server."""
        text = self._text("GET", "/models")
        try:
            return [
                Model(one["name"], tuple(one["channels"]), tuple(Label.of(label) for label in one["labels"]))
                for one in json.loads(text)["models"]
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise ServerError(
                f"what answers at {self._host}:{self._port} is not itkit serve; copy the line that it prints"
            ) from error

    def segment(self, model, files, folder, progress=None, cancelled=None):
        """Send an image, wait for its label map, and write it to a folder.

        Parameters
        ----------
        model
            Name of the network.
        files
            Files of the image, one a channel.
        folder
            Folder to write to.
        progress
            Called with the finished part (0 to 1) and a text.
        cancelled
            A `threading.Event`; when it is set, the job ends on the server, too.

        Raises
        ------
        ServerError
            When the server refuses or fails.
        Cancelled
            When it was cancelled.
        """
        cancelled = cancelled or threading.Event()
        tell = progress or (lambda share, text: None)
        tell(0.0, "sending the image")
        job = self._send(model, files, cancelled)
        try:
            state = self._wait(job, tell, cancelled)
        except BaseException:
            self._forget(job)
            raise
        if state["state"] != "done":
            raise ServerError(state.get("message") or "the job was cancelled on the server")
        tell(1.0, "receiving the result")
        path = Path(folder) / "label.nii.gz"
        self._fetch(f"/jobs/{quote(job)}/result", path)
        return Result(path, tuple(Label.of(label) for label in state["labels"]), tuple(state.get("notes", ())))

    def _connect(self):
        return self._kind(self._host, self._port, timeout=self._timeout)

    def _text(self, method, path):
        connection = self._connect()
        try:
            connection.request(method, self._path + path)
            return self._checked(connection.getresponse()).read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"the server at {self._host}:{self._port} does not answer ({error})") from error
        finally:
            connection.close()

    def _checked(self, answer):
        if answer.status in (200, 202):
            return answer
        text = answer.read(1 << 16).decode("utf-8", "replace")
        try:
            said = json.loads(text)["detail"]
        except (ValueError, KeyError, TypeError):
            said = text[:200] or answer.reason
        if answer.status == 401:
            said = "the address has the wrong token; copy the line that itkit serve prints"
        raise ServerError(str(said))

    def _send(self, model, files, cancelled):
        """Send a form, piece by piece, and return the id of the job."""
        boundary = f"itkit-{secrets.token_hex(16)}"
        fields = {"model": model, "wait": "false", "format": ".nii.gz"}
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        ]
        for number, file in enumerate(map(Path, files)):
            extension = "".join(file.suffixes[-2:]) if file.suffix == ".gz" else file.suffix
            parts.append(
                f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{number}{extension}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n".encode()
            )
            parts += [file, b"\r\n"]
        parts.append(f"--{boundary}--\r\n".encode())
        length = sum(part.stat().st_size if isinstance(part, Path) else len(part) for part in parts)
        connection = self._connect()
        try:
            connection.putrequest("POST", f"{self._path}/infer")
            connection.putheader("Content-Type", f"multipart/form-data; boundary={boundary}")
            connection.putheader("Content-Length", str(length))
            connection.endheaders()
            try:
                for piece in _pieces(parts):
                    if cancelled.is_set():
                        raise Cancelled
                    connection.send(piece)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the server has refused before the end; it says why
            return json.loads(self._checked(connection.getresponse()).read())["job"]
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"the image can't be sent to {self._host}:{self._port} ({error})") from error
        finally:
            connection.close()

    def _wait(self, job, tell, cancelled):
        """Follow the events of a job to its end, and return the last one."""
        connection = self._connect()
        try:
            connection.request("GET", f"{self._path}/jobs/{quote(job)}/events")
            answer = self._checked(connection.getresponse())
            state = None
            for line in iter(answer.readline, b""):
                if cancelled.is_set():
                    raise Cancelled
                if not line.startswith(b"data: "):
                    continue
                state = json.loads(line[6:])
                before = state.get("before")
                tell(state["progress"], f"waiting for {before} other jobs" if before else state["state"])
            if state is None:
                raise ServerError("the server has ended the connection")
            return state
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"the connection to the server is lost ({error})") from error
        finally:
            connection.close()

    def _forget(self, job):
        with contextlib.suppress(ServerError):  # it forgets by itself after a while
            self._text("DELETE", f"/jobs/{quote(job)}")

    def _fetch(self, path, file):
        """Write an answer to a file: whole, or not at all."""
        hidden = file.with_name(f".{file.name}.{os.getpid()}")
        connection = self._connect()
        try:
            connection.request("GET", self._path + path)
            answer = self._checked(connection.getresponse())
            with hidden.open("wb") as opened:
                while piece := answer.read(_PIECE):
                    opened.write(piece)
            hidden.replace(file)
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"the result can't be received ({error})") from error
        finally:
            connection.close()
            hidden.unlink(missing_ok=True)


def _pieces(parts):
    for part in parts:
        if not isinstance(part, Path):
            yield part
            continue
        with part.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece


class Task(threading.Thread):
    """A segmentation that runs beside the window.

    The window asks `state` from a timer, so that no widget is touched from another thread.
    """

    def __init__(self, client, model, files, folder):
        super().__init__(daemon=True)
        self._work = (client, model, files, folder)
        self._cancelled = threading.Event()
        self._state = (0.0, "beginning")
        self.result = None
        self.error = ""

    @property
    def state(self):
        """The finished part from 0 to 1, and a text."""
        return self._state

    def cancel(self):
        """End it, on the server too."""
        self._cancelled.set()

    def run(self):
        client, model, files, folder = self._work
        try:
            self.result = client.segment(model, files, folder, self._note, self._cancelled)
        except Cancelled:
            self.error = "cancelled"
        except ServerError as error:
            self.error = str(error)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"

    def _note(self, share, text):
        self._state = (share, text)
