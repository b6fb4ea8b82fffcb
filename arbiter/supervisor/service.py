"""A small server inside the arbiter's poll loop: a listener, and connections that cannot hurt.

Neighbours: `plane` and `exporter` speak their protocols over it; `watch` says when something can be read or
written. Its one rule: everything a peer can grow is bounded (connections, bytes in and out, silence), so
that ten thousand hostile ones leave the arbiter's memory flat and its loop responsive.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from arbiter.supervisor import events as ev
from arbiter.supervisor.book import FOREVER
from arbiter.supervisor.watch import Watch

CHUNK: Final = 16384
"""Bytes read of one connection at a time."""
BURST: Final = 16
"""Connections accepted at a time; then others have their turn."""
BACKED_UP: Final = 65536
"""Bytes waiting to be sent to one peer, above which nothing more is read from it."""
_buffer: Final = memoryview(bytearray(CHUNK))
"""All connections are read through it: a large piece allocated for each would leave holes in the heap."""
PAUSE: Final = 0.5
"""Seconds without accepting after the system had no descriptor for a connection."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of everything. Bytes and seconds."""

    connections: int
    out: int
    """Waiting to be sent to one peer."""
    out_all: int
    """Waiting to be sent to all of them."""
    stalled: float
    """How long a peer may take nothing of what waits for it."""
    farewell: bytes
    """Said to a peer for which there is no room."""


class Handler(Protocol):
    """One connection's protocol."""

    precious: bool
    """Somebody waits for something here: not to be closed to make room."""

    def received(self, data: bytes) -> Iterable[ev.Event]:
        """Bytes have come; may write to and close the connection."""
        ...

    def ended(self) -> None:
        """The connection is closed, whoever closed it."""
        ...


class Connection:
    """One peer. `deadline` (monotonic s) is when silence has lasted too long."""

    def __init__(self, service: Service, sock: socket.socket, now: float) -> None:
        self.sock = sock
        self.handler: Handler | None = None
        self.deadline = FOREVER
        self.since = now
        """When it was last heard."""
        self.out = bytearray()
        self.closing = False
        self.closed = False
        self.stalled_at = FOREVER
        self._service = service

    def send(self, data: bytes) -> None:
        """Have bytes sent. A peer that lets too much pile up is cut off."""
        if not self.closed and not self.closing:
            self._service.send(self, data)

    def finish(self) -> None:
        """Close when all is sent."""
        self.closing = True
        if not self.out:
            self._service.close(self)


class Service:
    """See the module's text. `handle` makes the handler of a new connection, None to turn it away."""

    def __init__(
        self,
        watch: Watch,
        listener: socket.socket,
        bounds: Bounds,
        handle: Callable[[Connection, float], Handler | None],
        clock: Callable[[], float],
    ) -> None:
        self.listener = listener
        self.accepted = 0
        self.evicted = 0
        self._watch = watch
        self._bounds = bounds
        self._handle = handle
        self._clock = clock
        self._connections: dict[int, Connection] = {}
        self._waiting = 0
        self._paused_until = FOREVER
        watch.add_reader(listener.fileno(), self._accept)

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def due(self) -> float:
        """When to call `look` (monotonic s)."""
        deadlines = (min(one.deadline, one.stalled_at) for one in self._connections.values())
        return min(self._paused_until, min(deadlines, default=FOREVER))

    def look(self, now: float) -> None:
        """Close who has been silent, or has taken nothing, for too long."""
        if now >= self._paused_until:
            self._paused_until = FOREVER
            self._watch.interest(self.listener.fileno(), read=True, write=False)
        for one in list(self._connections.values()):
            if now >= one.deadline or now >= one.stalled_at:
                self.close(one)

    def stop(self) -> None:
        """Close everything."""
        for one in list(self._connections.values()):
            with contextlib.suppress(OSError):  # what is left to say is said, as far as it goes at once
                one.sock.send(one.out)
            self.close(one)
        self._watch.remove_reader(self.listener.fileno())
        self.listener.close()

    def abandon(self) -> None:
        """In a forked child: none of it is its own."""
        for one in self._connections.values():
            one.sock.close()
        self.listener.close()

    # -- from one arbiter to the next

    def connections(self) -> list[Connection]:
        """Those that go on."""
        return [one for one in self._connections.values() if not one.closing and one.handler is not None]

    def adopt(self, fd: int, out: bytes) -> Connection | None:
        """A connection that the arbiter before this one has accepted, with what it still had to send."""
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        now = self._clock()
        one = self._connections[fd] = Connection(self, sock, now)
        self._watch.add_reader(fd, lambda: self._ready(one))
        one.handler = self._handle(one, now)
        if one.handler is None:
            one.finish()
            return None
        if out:
            self.send(one, out)
        return one

    # -- connections

    def _accept(self) -> Iterator[ev.Event]:
        for _ in range(BURST):
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                    self._paused_until = self._clock() + PAUSE
                    self._watch.interest(self.listener.fileno(), read=False, write=False)
                    return
                continue  # that one has gone already
            sock.setblocking(False)
            yield from self._take(sock)

    def _take(self, sock: socket.socket) -> Iterator[ev.Event]:
        self.accepted += 1
        now = self._clock()
        if len(self._connections) >= self._bounds.connections and not self._make_room():
            self._say_farewell(sock)
            sock.close()
            return
        one = Connection(self, sock, now)
        self._connections[sock.fileno()] = one
        self._watch.add_reader(sock.fileno(), lambda: self._ready(one))
        one.handler = self._handle(one, now)
        if one.handler is None:
            one.finish()
            return
        yield from self._ready(one)  # most have said something already

    def _make_room(self) -> bool:
        """Close the connection that has been silent longest, of those that nobody waits for."""
        idle = [one for one in self._connections.values() if not (one.handler and one.handler.precious)]
        if not idle:
            return False
        self.evicted += 1
        longest = min(idle, key=lambda one: one.since)
        if not longest.out:  # else it would be read as part of what is being sent
            self._say_farewell(longest.sock)
        self.close(longest)
        return True

    def _say_farewell(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.send(self._bounds.farewell)

    def _ready(self, one: Connection) -> Iterator[ev.Event]:
        if one.closed:
            return
        if one.out:
            self._flush(one)
        if one.closed or one.closing or len(one.out) > BACKED_UP:
            return
        try:
            size = one.sock.recv_into(_buffer)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        data = bytes(_buffer[:size])
        if not data:
            self.close(one)
        elif one.handler is not None:
            one.since = self._clock()
            yield from one.handler.received(data)

    def send(self, one: Connection, data: bytes) -> None:
        """See `Connection.send`."""
        one.out += data
        self._waiting += len(data)
        self._flush(one)
        if not one.closed and (len(one.out) > self._bounds.out or self._waiting > self._bounds.out_all):
            self.close(one)

    def _flush(self, one: Connection) -> None:
        try:
            sent = one.sock.send(one.out) if one.out else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close(one)
            return
        if sent:
            del one.out[:sent]
            self._waiting -= sent
        if not one.out:
            one.stalled_at = FOREVER
            if one.closing:
                self.close(one)
                return
        elif sent or one.stalled_at == FOREVER:
            one.stalled_at = self._clock() + self._bounds.stalled
        self._watch.interest(
            one.sock.fileno(),
            read=not one.closing and len(one.out) <= BACKED_UP,
            write=bool(one.out),
        )

    def close(self, one: Connection) -> None:
        """Let a connection go, now."""
        if one.closed:
            return
        one.closed = True
        self._waiting -= len(one.out)
        one.out.clear()
        self._watch.remove_reader(one.sock.fileno())
        del self._connections[one.sock.fileno()]
        one.sock.close()
        handler, one.handler = one.handler, None  # no cycle: ten thousand are freed as they go
        if handler is not None:
            handler.ended()
