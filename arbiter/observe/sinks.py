"""Files, pipes and terminals that lines go to.

Neighbours: `logs` opens them and hands records to `Sink.write`; the access log's thread hands lines to
`Sink.send`. Its one rule: a write never harms the process. What cannot be written is counted, not raised, and
nobody waits for a reader: pipes, terminals and sockets are written to without blocking.

A standard stream is shared with the shell, with other processes and with the application, for whom O_NONBLOCK
would be an unpleasant surprise. On Linux a description of our own is therefore opened through /proc; a
socket takes MSG_DONTWAIT with each write; where neither can be done, poll says whether there is room.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import time
from collections.abc import Callable
from typing import Final, Protocol

from arbiter.errors import FilesError

STANDARD: Final = {
    **dict.fromkeys(("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"), 1),
    **dict.fromkeys(("/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"), 2),
}
"""Other names of the standard streams; not opened by them, as a socket cannot be, nor another user's pipe."""

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
RETRY: Final = 0.5
"""Seconds a thread waits for a reader, and between two attempts to write to what cannot be written to."""


class Target(Protocol):
    """Where the access log's thread puts lines."""

    def send(self, data: bytes, stopping: Callable[[], bool]) -> None:
        """Take whole lines; may wait, but not long once `stopping()`.

        Raises `Unsent` with what it could not take.
        """


class Unsent(Exception):
    """Lines could not be written: `rest` is what is left of them, `problem` why."""

    def __init__(self, rest: bytes, problem: str) -> None:
        super().__init__(problem)
        self.rest = rest
        self.problem = problem


class Sink:
    """One log file, or a standard stream ("-"); several processes may write to the same one.

    path: as in the setting of the name `setting`; standard: the descriptor that "-" means.
    Raises `FilesError` when the file cannot be opened; a later `reopen` that fails keeps the old one.
    """

    def __init__(self, path: str, standard: int, setting: str) -> None:
        self.path = path
        self.dropped = 0
        """Records that could not be written since the last that could."""
        self.owner: tuple[int, int] | None = None
        self._setting = setting
        self._standard = STANDARD.get(path, standard)
        self._is_file = path != "-" and path not in STANDARD
        self._rest = b""
        self._fd = self._open()
        self._inspect()

    # -- opening

    def _open(self) -> int:
        try:
            if self._is_file:
                return _open_file(self.path)
            return _own(self._standard)
        except OSError as error:
            raise FilesError(
                f"{self._setting} = {self.path!r}: the log cannot be opened: {error.strerror}. "
                "Name a file in a directory that exists and that this user may write to, or '-'."
            ) from error

    def _inspect(self) -> None:
        mode = os.fstat(self._fd).st_mode
        self._socket: socket.socket | None = None
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(self._fd))
        waits = stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
        self._poll: select.poll | None = None
        if waits and os.get_blocking(self._fd):
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLOUT)

    def fileno(self) -> int:
        """The descriptor lines are written to; it stays the same when the file is reopened."""
        return self._fd

    def isatty(self) -> bool:
        """Whether people are watching."""
        return os.isatty(self._fd)

    def give_to(self, uid: int, gid: int) -> None:
        """Hand the file, and those opened in its place, to the workers' user, who must be able to open it."""
        self.owner = uid, gid
        self._chown(self._fd)

    def _chown(self, fd: int) -> None:
        if self.owner is not None and self._is_file and os.geteuid() == 0:
            os.fchown(fd, *self.owner)

    def reopen(self) -> None:
        """Follow a rotation: the same path, the file that is there now. Raises `FilesError`."""
        if not self._is_file:
            return
        fd = self._open()
        try:
            self._chown(fd)
            os.dup2(fd, self._fd, inheritable=False)
        finally:
            os.close(fd)
        self._rest = b""

    def reattach(self) -> None:
        """A standard stream has been redirected (a daemon's to /dev/null): follow it."""
        if self._is_file:
            return
        fd = self._open()
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)
        self._inspect()

    def close(self) -> None:
        """Give the descriptors back."""
        if self._socket is not None:
            self._socket.close()
        os.close(self._fd)

    # -- writing

    def write(self, text: str) -> bool:
        """Append one or more whole lines if it can be done now; False, and counted, if not."""
        data = text.encode("utf-8", "backslashreplace")
        try:
            if self._rest:  # of a record that was cut in the middle
                self._rest = self._push(self._rest)
            rest = data if self._rest else self._push(data)
        except OSError:
            rest = data
        if rest and len(rest) == len(data):
            self.dropped += 1
            return False
        self._rest = self._rest or rest
        self.dropped = 0
        return True

    def _push(self, data: bytes) -> bytes:
        """Write what can be written; what is left. Raises OSError if nothing could."""
        begun = False
        view = memoryview(data)
        while view:
            try:
                view = view[self._write_some(view) :]
            except BlockingIOError:
                break
            except OSError:
                if not begun:
                    raise
                break
            begun = True
        return bytes(view)

    def _write_some(self, view: memoryview) -> int:
        if self._socket is not None:
            return self._socket.send(view, socket.MSG_DONTWAIT)
        if self._poll is not None:
            if not self._poll.poll(0):
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            view = view[: select.PIPE_BUF]  # for so much there is room
        return os.write(self._fd, view)

    def send(self, data: bytes, stopping: Callable[[], bool]) -> None:
        """As `write`, by a thread that may wait: for a disk as long as it takes, a reader `RETRY` seconds.

        Raises `Unsent`.
        """
        view = memoryview(data)
        patience = 0.0
        while view:
            try:
                view = view[self._write_some(view) :]
            except BlockingIOError:
                now = time.monotonic()
                patience = patience or now + RETRY
                if stopping() or now > patience:
                    raise Unsent(bytes(view), "its reader does not keep up") from None
                room = select.poll()
                room.register(self._fd, select.POLLOUT)
                room.poll(RETRY * 200)  # milliseconds: a fifth, so that `stopping` is seen
            except OSError as error:
                raise Unsent(bytes(view), error.strerror or str(error)) from None


def _open_file(path: str) -> int:
    try:
        return os.open(path, _FLAGS)
    except FileNotFoundError:
        # Apart, for in a sticky directory O_CREAT may be forbidden for another user's file that is there
        # (fs.protected_regular), also to root.
        return os.open(path, _FLAGS | os.O_CREAT, 0o640)


def _own(standard: int) -> int:
    """A descriptor of our own for a standard stream; non-blocking where that is nobody else's business."""
    mode = os.fstat(standard).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        try:
            return os.open(f"/proc/self/fd/{standard}", _FLAGS)
        except OSError:
            pass  # no /proc, or another user's
    return os.dup(standard)
