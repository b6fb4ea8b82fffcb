"""What a worker without an event loop sleeps in: a set of descriptors and a byte that ends the sleep.

Neighbours: `core` polls it; pool threads re-arm their connections in it; `accept` puts the listeners in.
Its one rule: every method but `poll` may be called from any thread, and takes effect on a poll that is
already asleep. epoll does that by itself; `PollSet` does it for systems without epoll (macOS, BSD) and
speaks the same masks, so that nothing above knows which of the two it has.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Sequence
from typing import Final, Protocol

READ: Final = 0x001
WRITE: Final = 0x004
FAILED: Final = 0x008 | 0x010
"""EPOLLERR | EPOLLHUP: reported unasked; the next send or recv says what it was."""
ONESHOT: Final = 1 << 30
"""Reported once, then silent until `modify`: the connection belongs to whoever took the event."""
EXCLUSIVE: Final = 1 << 28 if hasattr(select, "EPOLLEXCLUSIVE") else 0
"""Of several processes that wait for one listener, wake one (Linux 4.5); only for `register`."""


class Poller(Protocol):
    """`select.epoll`'s own methods, as far as they are used here; timeout in seconds, negative = for ever."""

    def register(self, fd: int, eventmask: int = ..., /) -> None: ...

    def modify(self, fd: int, eventmask: int, /) -> None: ...

    def unregister(self, fd: int, /) -> None: ...

    def poll(self, timeout: float = ..., maxevents: int = ..., /) -> Sequence[tuple[int, int]]: ...

    def close(self) -> None: ...


def new_poller() -> Poller:
    """Return this system's best poller."""
    if hasattr(select, "epoll"):
        return select.epoll()  # close-on-exec by default
    return PollSet()


class Waker:
    """A descriptor that becomes readable when another thread calls `wake`."""

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)

    def fileno(self) -> int:
        """The end to poll."""
        return self._receiver.fileno()

    def wake(self) -> None:
        """End the sleep; safe from any thread, and after `close`."""
        with contextlib.suppress(OSError):  # full: it will wake anyhow; closed: nobody sleeps any more
            self._sender.send(b"\0")

    def clear(self) -> None:
        """Take in all calls of `wake` so far."""
        with contextlib.suppress(OSError):
            while len(self._receiver.recv(4096)) == 4096:
                pass

    def close(self) -> None:
        """Give the descriptors back."""
        self._receiver.close()
        self._sender.close()


class PollSet:
    """`select.poll` with epoll's face: ONESHOT, and changes from other threads that end a running poll.

    ONESHOT and EXCLUSIVE are ours to interpret: poll(2) knows neither. EXCLUSIVE has no counterpart and is
    left out; a listener's event may then reach several workers, all but one of which find nothing to
    accept.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._oneshot: set[int] = set()
        self._lock = threading.Lock()
        self._waker = Waker()
        self._poller: int | None = None
        """The thread that is asleep in poll."""
        self._poll.register(self._waker.fileno(), READ)

    def register(self, fd: int, eventmask: int = READ | WRITE, /) -> None:
        """As `select.epoll.register`."""
        self.modify(fd, eventmask)

    def modify(self, fd: int, eventmask: int, /) -> None:
        """As `select.epoll.modify`; a oneshot descriptor is armed again."""
        with self._lock:
            if eventmask & ONESHOT:
                self._oneshot.add(fd)
            else:
                self._oneshot.discard(fd)
            self._poll.register(fd, eventmask & (READ | WRITE))
        self._changed()

    def unregister(self, fd: int, /) -> None:
        """As `select.epoll.unregister`, but to be called before the descriptor is closed."""
        with self._lock:
            self._oneshot.discard(fd)
            with contextlib.suppress(KeyError):
                self._poll.unregister(fd)
        self._changed()

    def _changed(self) -> None:
        if self._poller not in (None, threading.get_ident()):
            self._waker.wake()

    def poll(self, timeout: float = -1, maxevents: int = -1, /) -> Sequence[tuple[int, int]]:
        """As `select.epoll.poll`; may return early with nothing when another thread changed the set."""
        self._poller = threading.get_ident()
        try:
            found = self._poll.poll(None if timeout < 0 else timeout * 1000)
        finally:
            self._poller = None
        events = []
        with self._lock:
            for fd, mask in found:
                if fd == self._waker.fileno():
                    self._waker.clear()
                elif mask & select.POLLNVAL:
                    # Closed without unregister: epoll forgets such a descriptor by itself.
                    self._oneshot.discard(fd)
                    with contextlib.suppress(KeyError):
                        self._poll.unregister(fd)
                else:
                    events.append((fd, mask))
        if 0 < maxevents < len(events):
            del events[maxevents:]
        with self._lock:
            for fd, _mask in events:
                if fd in self._oneshot:
                    self._poll.register(fd, 0)
        return events

    def close(self) -> None:
        """Give the descriptors back."""
        self._waker.close()
