"""A one-way stream of messages from a worker to its arbiter, over a socket pair.

Neighbours: carries `messages`. Its one rule: the arbiter's end never blocks and never trusts a length; the
worker's end waits at most `SEND_PATIENCE`, because an arbiter that does not read must not hang its workers.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Final

from arbiter.link.messages import Message, decode, encode

_LENGTH: Final = struct.Struct("!I")
MAX_MESSAGE: Final = 256 * 1024
SEND_PATIENCE: Final = 5.0
"""Seconds."""
REPORT_LIMIT: Final = 64 * 1024
"""Characters of a traceback that are worth sending."""

MAX_FDS: Final = 2
"""Descriptors taken with one message; the kernel closes any more."""


class Sender:
    """The worker's end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        end.settimeout(SEND_PATIENCE)

    def send(self, message: Message, fds: Sequence[int] = ()) -> bool:
        """Send one message, and descriptors with it; False when the arbiter is gone or does not read."""
        body = encode(message)
        data = _LENGTH.pack(len(body)) + body
        try:
            if fds:
                data = data[socket.send_fds(self._end, [data], list(fds)) :]
            self._end.sendall(data)
        except OSError:
            return False
        return True

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()


class Receiver:
    """The arbiter's end. `held`: the beginning of a message, of what another receiver has read here."""

    def __init__(self, end: socket.socket, held: bytes = b"") -> None:
        self._end = end
        end.setblocking(False)
        self._held = held
        self.closed = False
        self.take_fds: Callable[[list[int]], None] = _close_all
        """Given the descriptors that come with a message; they are closed if nobody wants them."""

    def fileno(self) -> int:
        return self._end.fileno()

    @property
    def end(self) -> socket.socket:
        """The socket, by which a mold is also told."""
        return self._end

    @property
    def held(self) -> bytes:
        """The beginning of a message whose rest has not come."""
        return self._held

    def receive(self) -> list[Message]:
        """What has arrived; sets `closed` at the end of the stream or on garbage (ValueError is raised
        once).
        """
        try:
            data, fds, _, _ = socket.recv_fds(self._end, 65536, MAX_FDS)
            for fd in fds:
                os.set_inheritable(fd, False)  # recv_fds() takes flags and does not use them
            if fds:
                self.take_fds(fds)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return []
        self._held += data
        messages: list[Message] = []
        while len(self._held) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._held)
            if length > MAX_MESSAGE:
                self.closed = True
                raise ValueError(f"a message of {length} bytes")
            end = _LENGTH.size + length
            if len(self._held) < end:
                break
            body, self._held = self._held[_LENGTH.size : end], self._held[end:]
            messages.append(decode(body))
        return messages

    def close(self) -> None:
        self._end.close()


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def channel() -> tuple[Receiver, socket.socket]:
    """The arbiter's end, and the worker's end to be wrapped in a `Sender` after the fork."""
    ours, theirs = socket.socketpair()
    return Receiver(ours), theirs
