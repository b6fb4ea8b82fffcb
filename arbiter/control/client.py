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
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from arbiter.control import places
from arbiter.control import session as wire
from arbiter.control.session import Fault, FaultKind, Frames
from arbiter.errors import ControlError, ControlStatus

PATIENCE = 10.0
"""Seconds until an answer must have come."""
PROBE = 5.0
"""Seconds given to each arbiter there is to say its name."""
_PAUSES = (0.02, 0.5)
"""Seconds between two attempts at an arbiter that has no room, at first and at most."""


@dataclass(frozen=True, slots=True)
class Found:
    """An arbiter that is there. silence: what to say of one that does not answer; its pid is not known."""

    path: str
    name: str
    pid: int
    silence: ControlError | None = None

    def __str__(self) -> str:
        return f"{self.name} ({'does not answer' if self.silence else f'pid {self.pid}'})"


class Client:
    """One connection. Raises `ControlError` when the arbiter cannot be reached or talks nonsense.

    trusted: the path was named, so whoever serves it is meant. patience: seconds an answer may take.
    """

    def __init__(self, path: str, *, trusted: bool = False, patience: float = PATIENCE) -> None:
        self.path = path
        self._trusted = trusted
        self._patience = patience
        self._next = 1
        self._connect()

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

        lasting: there is no time by which the next must have come, as long as the arbiter answers pings.
        Raises `Fault` if the word is not obeyed.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        until, (pause, longest) = time.monotonic() + self._patience, _PAUSES
        while True:
            begun = False
            try:
                for step in self._converse(word, given, lasting):
                    begun = True
                    yield step
                return
            except Fault as fault:
                # An arbiter without room has heard nothing, so that to ask again is safe whatever the word.
                if fault.kind is not FaultKind.FULL or begun or time.monotonic() + pause > until:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, longest)
            self.close()
            self._connect()

    def _connect(self) -> None:
        self._frames = Frames(wire.MAX_ANSWER)
        self._waiting: list[dict[str, Any]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # With a timeout of Python's own connect would fail at once when the queue is full. The kernel's
            # waits for room, in turn with others.
            seconds, rest = divmod(self._patience, 1)
            timeval = struct.pack("@ll", int(seconds), int(rest * 1e6))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
            self._socket.connect(self.path)
            self._socket.settimeout(self._patience)
            if not self._trusted:
                _check_owner(self._socket, self.path)
        except BlockingIOError as error:
            self._socket.close()
            text = f"{self.path}: no room in its queue in {self._patience:g} s: it hangs, or others crowd it"
            raise ControlError(text, status=ControlStatus.TIMEOUT) from error
        except OSError as error:
            self._socket.close()
            raise _unreachable(self.path, error) from error
        except BaseException:
            self._socket.close()
            raise

    def _converse(
        self, word: str, given: dict[str, Any], lasting: bool
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        number, probe = self._number(), 0
        try:
            self._send(number, word, given)
            while True:
                try:
                    message = self._read()
                except TimeoutError:
                    if not lasting or probe:
                        raise
                    probe = self._number()
                    self._send(probe, "ping", {})
                    continue
                if message is None:
                    return
                if probe and message.get("id") == probe:
                    probe = 0
                elif message.get("id") not in (number, 0):
                    continue
                elif "progress" in message:
                    yield "progress", message["progress"]
                elif "result" in message:
                    yield "result", message["result"]
                    return
                else:
                    raise _fault(message)
        except TimeoutError as error:
            raise self._silent() from error
        except OSError as error:
            raise _unreachable(self.path, error) from error

    def _number(self) -> int:
        number, self._next = self._next, self._next + 1
        return number

    def _send(self, number: int, word: str, given: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have said why it hung up
            self._socket.sendall(wire.request(number, word, given))

    def _silent(self) -> ControlError:
        text = f"{self.path}: no answer in {self._patience:g} s: the arbiter {_state(self._socket)}"
        return ControlError(text, status=ControlStatus.TIMEOUT)

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


_STATES: Final = {
    b"T": "is stopped (SIGSTOP); `kill -CONT` lets it go on",
    b"t": "is stopped by a debugger",
    b"D": "is held by the kernel: a disk, or a network file system, does not answer",
}


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


def _state(sock: socket.socket) -> str:
    """Why the process at the other end says nothing, as far as the kernel tells."""
    try:
        pid, _, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        with open(f"/proc/{pid}/stat", "rb") as file:
            state = file.read().rpartition(b") ")[2][:1]
    except (OSError, AttributeError, struct.error):
        return "does not turn its loop"
    return f"(pid {pid}) {_STATES.get(state, 'does not turn its loop')}"


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

    One that does not answer counts, by the name of its socket: it may be the one that is meant, and a word
    for it must not go to another.
    """
    if pidfile is not None:
        return _by_pidfile(environ, cwd, pidfile)
    found, refused = _look_for(places.found(environ, os.geteuid(), cwd))
    chosen = [one for one in found if name is None or name in (one.name, places.safe_name(one.name))]
    if len(chosen) == 1:
        if chosen[0].silence is not None:
            raise chosen[0].silence
        return chosen[0].path
    if len(chosen) > 1:
        listed = "\n".join(f"  {one}: --socket {one.path}" for one in chosen)
        raise ControlError(
            f"{len(chosen)} arbiters run here; say which with --name or --socket:\n{listed}",
            status=ControlStatus.AMBIGUOUS,
        )
    if found:
        there = ", ".join(one.name for one in found)
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
    found, refused = _look_for(paths)
    for one in found:
        if str(one.pid) == pid:
            return one.path
    because = [*(one.silence for one in found if one.silence), *refused]
    if because:
        raise because[0]
    raise ControlError(f"no arbiter with pid {pid} ({pidfile}) is found", status=ControlStatus.NOT_FOUND)


def _look_for(paths: list[str]) -> tuple[list[Found], list[ControlError]]:
    """Who is at these paths, and why one may not talk to others."""
    found, refused = [], []
    for path in dict.fromkeys(os.path.realpath(path) for path in paths):
        try:
            with Client(path, patience=PROBE) as client:
                said = client.ask("ping")
                found.append(Found(path, str(said["name"]), int(said["pid"])))
        except ControlError as error:
            if error.status is ControlStatus.TIMEOUT:
                found.append(Found(path, os.path.basename(path).removesuffix(places.SUFFIX), 0, error))
            elif error.status is not ControlStatus.NOT_FOUND:
                refused.append(error)
        except (Fault, KeyError, ValueError) as error:  # you may not; or it is no arbiter
            refused.append(ControlError(f"{path}: {error}", status=ControlStatus.FORBIDDEN))
    unique: dict[int | str, Found] = {}
    for one in found:
        unique.setdefault(one.pid or one.path, one)
    return list(unique.values()), refused
