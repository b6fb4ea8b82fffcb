"""`arbiterctl`'s end of the control socket: find the arbiter, ask, hear the answers.

Neighbours: `places` knows where sockets lie, `session` what goes over them; `cli.ctl` shows the answers. Its
one rule: it talks to an arbiter of this user or of root, and never to whoever else has put a socket in the
way; every wait has an end, but for those that the operator asked to last.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from arbiter.control import places
from arbiter.control import session as wire
from arbiter.control.session import Fault, FaultKind, Frames
from arbiter.errors import ControlError, ControlStatus

PATIENCE = 10.0
"""Seconds until an answer must have come."""


@dataclass(frozen=True, slots=True)
class Found:
    """An arbiter that answers."""

    path: str
    name: str
    pid: int


class Client:
    """One connection. Raises `ControlError` when the arbiter cannot be reached or talks nonsense."""

    def __init__(self, path: str, *, trusted: bool = False, patience: float = PATIENCE) -> None:
        self.path = path
        self._patience = patience
        self._frames = Frames(wire.MAX_ANSWER)
        self._waiting: list[dict[str, Any]] = []
        self._next = 1
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(patience)
        try:
            self._socket.connect(path)
            if not trusted:
                _check_owner(self._socket, path)
        except OSError as error:
            self._socket.close()
            raise _unreachable(path, error) from error
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def ask(self, word: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a word. Raises `Fault` if it is not obeyed."""
        for kind, what in self.follow(word, **arguments):
            if kind == "result":
                return what
        raise ControlError(f"{self.path}: the arbiter has hung up", status=ControlStatus.GONE)

    def follow(
        self, word: str, *, lasting: bool = False, **arguments: Any
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """("progress", what) any number of times, then ("result", what); ends early if the arbiter ends.

        lasting: there is no time by which the next must have come. Raises `Fault` if it is not obeyed.
        """
        number, self._next = self._next, self._next + 1
        given = {name: value for name, value in arguments.items() if value is not None}
        self._socket.settimeout(None if lasting else self._patience)
        try:
            with contextlib.suppress(BrokenPipeError):  # it may have said why before it hung up
                self._socket.sendall(wire.request(number, word, given))
            while (message := self._read()) is not None:
                if message.get("id") not in (number, 0):
                    continue
                if "progress" in message:
                    yield "progress", message["progress"]
                elif "result" in message:
                    yield "result", message["result"]
                    return
                else:
                    raise _fault(message)
        except TimeoutError as error:
            text = f"{self.path}: no answer in {self._patience:g} s: the arbiter's loop does not turn"
            raise ControlError(text, status=ControlStatus.TIMEOUT) from error
        except OSError as error:
            raise _unreachable(self.path, error) from error

    def _read(self) -> dict[str, Any] | None:
        while not self._waiting:
            data = self._socket.recv(65536)
            if not data:
                return None
            try:
                self._waiting += self._frames.feed(data)
            except Fault as fault:
                raise ControlError(f"{self.path}: this is no arbiter: {fault}") from fault
        return self._waiting.pop(0)


def _fault(message: dict[str, Any]) -> Fault:
    said = message.get("fault")
    said = said if isinstance(said, dict) else {}
    try:
        kind = FaultKind(said.get("kind"))
    except ValueError:
        kind = FaultKind.FAILED
    return Fault(kind, str(said.get("message", "no reason given")))


def _unreachable(path: str, error: OSError) -> ControlError:
    if isinstance(error, PermissionError):
        return ControlError(
            f"{path}: permission denied. Ask as the user that arbiter runs as, or have yourself named in "
            "control_operators (and the socket's mode let you in).",
            status=ControlStatus.FORBIDDEN,
        )
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return ControlError(f"{path}: no arbiter serves this socket", status=ControlStatus.NOT_FOUND)
    return ControlError(f"{path}: {error.strerror or error}", status=ControlStatus.GONE)


def _check_owner(sock: socket.socket, path: str) -> None:
    """Refuse a socket that somebody else serves, in whatever directory it was found."""
    if sys.platform != "linux" or os.geteuid() == 0:
        return
    _, uid, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid not in (0, os.geteuid()):
        raise ControlError(
            f"{path} is served by user {uid}, neither you nor root. If that is meant, name it with --socket.",
            status=ControlStatus.FORBIDDEN,
        )


def locate(environ: Mapping[str, str], cwd: str, name: str | None, pidfile: str | None) -> str:
    """The socket of the arbiter that is meant: the only one there is, the one of that name, or the one whose
    pidfile this is. Raises `ControlError` when there is none, or more than one.
    """
    if pidfile is not None:
        return _by_pidfile(environ, cwd, pidfile)
    live, refused = _live(places.found(environ, os.geteuid(), cwd))
    chosen = [one for one in live if name is None or one.name == name or places.safe_name(one.name) == name]
    if len(chosen) == 1:
        return chosen[0].path
    if len(chosen) > 1:
        listed = "\n".join(f"  {one.name} (pid {one.pid}): --socket {one.path}" for one in chosen)
        raise ControlError(
            f"{len(chosen)} arbiters run here; say which with --name or --socket:\n{listed}",
            status=ControlStatus.AMBIGUOUS,
        )
    there = ", ".join(one.name for one in live)
    if live:
        raise ControlError(
            f"no arbiter is called {name!r}; there are: {there}", status=ControlStatus.NOT_FOUND
        )
    if refused:
        raise refused[0]
    raise ControlError(
        "no arbiter is found. Name its --socket or --pidfile; an arbiter says at its start where its control "
        "socket is.",
        status=ControlStatus.NOT_FOUND,
    )


def _by_pidfile(environ: Mapping[str, str], cwd: str, pidfile: str) -> str:
    try:
        with open(pidfile, encoding="ascii", errors="replace") as file:
            pid = file.read(32).strip()
    except OSError as error:
        raise ControlError(f"{pidfile}: {error.strerror}", status=ControlStatus.NOT_FOUND) from error
    paths = [places.neighbour(os.path.abspath(pidfile)), *places.found(environ, os.geteuid(), cwd)]
    for one in _live(paths)[0]:
        if str(one.pid) == pid:
            return one.path
    raise ControlError(f"no arbiter with pid {pid} ({pidfile}) is found", status=ControlStatus.NOT_FOUND)


def _live(paths: list[str]) -> tuple[list[Found], list[ControlError]]:
    """Who answers at these paths, and why others do not."""
    live, refused = [], []
    for path in paths:
        try:
            with Client(path, patience=2.0) as client:
                said = client.ask("ping")
                live.append(Found(path, str(said["name"]), int(said["pid"])))
        except ControlError as error:
            if error.status is not ControlStatus.NOT_FOUND:
                refused.append(error)
        except (Fault, KeyError, ValueError) as error:
            refused.append(ControlError(f"{path}: {error}", status=ControlStatus.FORBIDDEN))
    unique: dict[int, Found] = {}
    for one in live:
        unique.setdefault(one.pid, one)
    return list(unique.values()), refused
