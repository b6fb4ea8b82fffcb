"""What a socket did not take at once: bytes in memory, then in a temporary file, and parts of files.

Neighbours: a `Connection` makes one when a send comes up short; whoever owns the connection (the thread
that runs the application, afterwards the loop) flushes it. Its one rule: memory is bounded whatever the
peer's pace: past `MEMORY` bytes go to an unlinked temporary file, and past `SPOOL` the producer has to
wait, so that a slow reader holds neither memory nor, for all answers of ordinary size, the worker.
"""

from __future__ import annotations

import io
import os
import socket
import stat
import tempfile
from collections import deque
from typing import Any, Final

MEMORY: Final = 256 * 1024
"""Bytes of one answer that may wait in memory."""
SPOOL: Final = 64 * 1024 * 1024
"""Bytes of one answer that may wait in a temporary file; past it the application's thread waits."""
BLOCK: Final = 256 * 1024
"""Most bytes handed to one send or sendfile; keeps one fast reader from holding the loop."""
ROUNDS: Final = 8
"""Blocks sent to one socket before the others have their turn."""


class FilePart:
    """A stretch of a file that this object owns (a duplicate of the application's descriptor)."""

    __slots__ = ("direct", "fd", "left", "offset")

    def __init__(self, fd: int, offset: int, left: int, direct: bool = True) -> None:
        self.fd = fd
        self.offset = offset
        self.left = left
        self.direct = direct and hasattr(os, "sendfile")

    def send(self, sock: socket.socket) -> int:
        """Send some of it; BlockingIOError when the socket is full, OSError when the connection is broken.

        Raises EOFError when the file has become shorter than it was when it was measured.
        """
        count = min(self.left, BLOCK)
        sent = self._sendfile(sock, count) if self.direct else -1
        if sent < 0:
            data = os.pread(self.fd, count, self.offset)
            if not data:
                raise EOFError("the file became shorter while it was being sent")
            sent = sock.send(data)
        self.offset += sent
        self.left -= sent
        return sent

    def _sendfile(self, sock: socket.socket, count: int) -> int:
        """As `os.sendfile`; -1 where this file or system cannot (sendfile(2): EINVAL, ENOSYS ...)."""
        try:
            sent = os.sendfile(sock.fileno(), self.fd, self.offset, count)
        except (BlockingIOError, ConnectionError, InterruptedError):
            raise
        except OSError:
            # Whatever it was, read + send will do the same work or meet the error itself.
            self.direct = False
            return -1
        if sent == 0:
            raise EOFError("the file became shorter while it was being sent")
        return sent

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def part_of(file: Any, direct: bool = True) -> FilePart | None:
    """Take hold of a file's bytes from its current offset to its end; None if it is not plainly a file on
    disk.

    The descriptor is duplicated, so the application may close its own at once. Only the standard library's
    own files qualify: gzip.GzipFile and its like have a `fileno()`, too, but it leads to other bytes than
    `read()`. direct: whether sendfile may be used.
    """
    inner = file if isinstance(file, io.IOBase) else getattr(file, "file", None)
    raw = inner.raw if isinstance(inner, (io.BufferedReader, io.BufferedRandom)) else inner
    if type(raw) is not io.FileIO or inner is None:
        return None
    try:
        if isinstance(inner, io.BufferedRandom):
            inner.flush()
        offset = inner.tell()
        status = os.fstat(inner.fileno())
        if not stat.S_ISREG(status.st_mode):
            return None
        return FilePart(os.dup(inner.fileno()), offset, max(0, status.st_size - offset), direct)
    except (OSError, ValueError):  # ValueError: closed
        return None


class Spool(FilePart):
    """Bytes on their way through an unlinked temporary file, which can grow while it is being sent."""

    __slots__ = ()

    def __init__(self, directory: str | None) -> None:
        """Raise OSError when there is no place for temporary files."""
        with tempfile.TemporaryFile(dir=directory, buffering=0, prefix="arbiter-") as file:
            super().__init__(os.dup(file.fileno()), 0, 0)

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Write at the end; raises OSError when the disk is full, what was written in part is then
        forgotten.
        """
        end = self.offset + self.left
        with memoryview(data) as view:
            written = 0
            while written < len(view):
                written += os.pwrite(self.fd, view[written:], end + written)
        self.left += written


class Outbox:
    """What is still to be sent on one connection, in order.

    directory: where temporary files go (None: the system's choice).
    """

    __slots__ = ("_directory", "_parts", "_sent", "memory", "spooled")

    def __init__(self, directory: str | None = None) -> None:
        self.memory = 0
        """Bytes that wait in memory."""
        self.spooled = 0
        """Bytes that wait in a temporary file."""
        self._directory = directory
        self._parts: deque[bytes | bytearray | memoryview | FilePart] = deque()
        self._sent = 0
        """How much of the first part is out already, when it is a part in memory."""

    def __bool__(self) -> bool:
        return bool(self._parts)

    @property
    def left(self) -> int:
        """Bytes that are still to be sent."""
        return self.memory + sum(part.left for part in self._parts if isinstance(part, FilePart))

    @property
    def full(self) -> bool:
        """The producer has to wait before it may add more: neither memory nor the disk takes it."""
        return self.memory > MEMORY

    def add(self, data: bytes | memoryview) -> None:
        """Keep bytes to send."""
        last = self._parts[-1] if self._parts else None
        beyond = isinstance(last, Spool) or self.memory + len(data) > MEMORY
        if beyond and self.spooled + len(data) <= SPOOL:
            try:
                self._spool(last).append(data)
            except OSError:
                pass  # no disk: what came is held in memory, and `full` makes the producer wait
            else:
                self.spooled += len(data)
                return
        self.memory += len(data)
        if isinstance(last, bytearray) and len(last) < BLOCK:
            last += data  # many small chunks would weigh more than their bytes
        else:
            self._parts.append(data if len(data) >= BLOCK else bytearray(data))

    def _spool(self, last: bytes | bytearray | memoryview | FilePart | None) -> Spool:
        if isinstance(last, Spool):
            return last
        spool = Spool(self._directory)
        self._parts.append(spool)
        return spool

    def add_file(self, part: FilePart) -> None:
        """Keep a stretch of a file to send; the outbox closes it."""
        self._parts.append(part)

    def flush(self, sock: socket.socket, rounds: int = ROUNDS) -> int:
        """Send what the socket takes, at most `rounds` blocks; the number of bytes sent.

        Raises OSError when the connection is broken, EOFError when a file cannot give what it promised. It
        returns when all is sent, when the socket is full, or when it has been the others' turn for long
        enough.
        """
        total = 0
        parts = self._parts
        while parts and rounds > 0:
            rounds -= 1
            part = parts[0]
            try:
                if isinstance(part, FilePart):
                    sent = part.send(sock) if part.left else 0
                    total += sent
                    if isinstance(part, Spool):
                        self.spooled -= sent
                    if not part.left:
                        part.close()
                        parts.popleft()
                else:
                    total += self._send_memory(sock, part)
            except BlockingIOError:
                break
        return total

    def _send_memory(self, sock: socket.socket, part: bytes | bytearray | memoryview) -> int:
        # The view must be gone before a bytearray may grow again.
        with memoryview(part) as whole, whole[self._sent : self._sent + BLOCK] as view:
            sent = sock.send(view)
        self.memory -= sent
        self._sent += sent
        if self._sent == len(part):
            self._sent = 0
            self._parts.popleft()
        return sent

    def close(self) -> None:
        """Forget everything and give files back."""
        for part in self._parts:
            if isinstance(part, FilePart):
                part.close()
        self._parts.clear()
        self.memory = 0
