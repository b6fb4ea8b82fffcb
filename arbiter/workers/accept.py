"""When a worker takes connections from its listeners, and when it leaves them to its siblings.

Neighbours: all three dispatchers use it: the plain loop and the asyncio loop each lend it a
`ListenerWatch`; `gate` knows what the siblings have. Its one rule: a connection is taken only by a worker
that can serve it. A few are taken per wake-up, none above the bound; what is not taken waits in the kernel's
queue, where any sibling may take it, and is woken for it: the wake-up was spent on this worker alone.

Linux keeps waiters with EPOLLEXCLUSIVE in the order in which they registered and always wakes the first idle
one: measured with eight workers, one of them got 88 % of the connections. A worker that takes its listener
out and puts it back every `ROTATE` accepts goes to the end of that line: 12.2 to 12.6 % each. (nginx does so
too.) One that has more connections than a sibling goes there at once, and one that has far more steps back
for some milliseconds. Never before it has taken something: the wake-up was its own, and nobody else has had
one; and never from an empty queue.
"""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias

from arbiter.link.relay import Relay
from arbiter.observe.logs import Log
from arbiter.workers.gate import LOOK, Gate, Turn

ROTATE: Final = 16
"""Accepts after which a listener is registered anew."""
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 1.0
"""Seconds without accepting after the system refused a descriptor; doubled from the first to the longest."""

_ABORTED_IN_A_ROW: Final = 64
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_UNUSABLE: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP})


Source: TypeAlias = socket.socket | Relay


class ListenerWatch(Protocol):
    """What a loop lends the acceptor."""

    def watch(self, source: Source) -> None:
        """Call `Acceptor.ready(source)` whenever a listener, or the relay, is readable."""

    def unwatch(self, source: Source) -> None:
        """Cease to."""

    def forget(self, source: Source) -> None:
        """Cease to, for good: the listener is about to be closed."""

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call once, after so many seconds."""


class Acceptor:
    """The accept policy of one worker.

    adopt: given each new connection (non-blocking, close-on-exec, TCP_NODELAY) with its peer's address and
    its
        listener; returns whether another one may follow within the same wake-up.
    room: how many more connections the worker would take now; asked before every accept. At 0 the listeners
        are left alone until `resume` is called.
    few: most accepts per wake-up.
    gate: what the siblings have; None when there are none.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        watch: ListenerWatch,
        adopt: Callable[[socket.socket, Any, socket.socket], bool],
        room: Callable[[], int],
        log: Log,
        gate: Gate | None = None,
        *,
        few: int = 4,
    ) -> None:
        self.listeners = list(listeners)
        self.watching = False
        self.closed = False
        self._started = False
        self._watch = watch
        self._adopt = adopt
        self._room = room
        self._log = log
        self._gate = gate
        self._relay = gate.relay if gate is not None and gate.relay.fileno() >= 0 else None
        self._few = few
        self._waits = select.poll()
        """Tells whether connections wait, without a wake-up of anybody."""
        self._since_rotation = 0
        self._pause = 0.0
        self._pausing = False

    def start(self) -> None:
        """Begin to accept."""
        self._started = True
        for listener in self.listeners:
            listener.setblocking(False)
            listener.set_inheritable(False)
            if listener.family != socket.AF_UNIX:
                # Accepted sockets inherit it (Linux, BSD): one system call here instead of one each.
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._waits.register(listener, select.POLLIN)
        self.resume()

    def resume(self) -> None:
        """Watch the listeners (again), unless not yet started, closed, pausing for want of descriptors, or
        watching.
        """
        if self.watching or self.closed or self._pausing or not self._started:
            return
        self.watching = True
        if self._gate is not None:
            self._gate.accepting(True)
        for source in self._sources():
            self._watch.watch(source)

    def suspend(self) -> None:
        """Leave new connections to the siblings until `resume`."""
        if self._gate is not None:
            self._gate.accepting(False)  # which a worker that has stepped back has not said
        self._unwatch()

    def _unwatch(self) -> None:
        if self.watching:
            self.watching = False
            for source in self._sources():
                self._watch.unwatch(source)

    def _sources(self) -> list[Source]:
        return [*self.listeners, self._relay] if self._relay is not None else [*self.listeners]

    def offer(self) -> None:
        """What is queued may have to wait for this worker: an idle sibling had better take it."""
        if self._gate is not None:
            self._gate.pass_on()

    def ready(self, source: Source) -> None:
        """Take a few connections: the loop saw a listener readable, or a sibling says that one is."""
        if isinstance(source, Relay):
            source.take()
            for listener in self.listeners:
                self._take(listener)
        else:
            self._take(source)

    def look(self) -> None:
        """Take what waits though nobody has come for it; to be called now and then.

        The kernel's one wake-up for a connection is spent on a worker even if that is stopped before it has
        run, and the connection would wait for the next one to come.
        """
        if self.watching and self._waits.poll(0):
            for listener in self.listeners:
                self._take(listener)

    def _take(self, listener: socket.socket) -> None:
        if not self.watching:
            self.offer()  # the loop saw it before this worker was full, or told to go
            return
        for _ in range(self._few):
            if self._room() <= 0:
                self._full()
                return
            accepted = self._accept(listener)
            if accepted is None:
                return
            self._since_rotation += 1
            goes_on = self._adopt(*accepted, listener)
            if self._yields() or not goes_on:
                return

    def _full(self) -> None:
        """Leave the queue to others, and tell them."""
        self.suspend()
        if self._room() > 0:
            self.resume()  # a thread made room before it could see that nobody was watching
        else:
            self.offer()

    def _yields(self) -> bool:
        """Let siblings go first, where it is their turn; whether nothing more is to be taken now."""
        if not self.watching:
            return True  # what was taken has changed everything
        turn = self._gate.after_accept() if self._gate is not None else Turn.OWN
        if turn is Turn.THEIRS and self._waits.poll(0):
            self._step_back()
            return True
        if turn is not Turn.OWN or self._since_rotation >= ROTATE:
            self._rotate()
        return False

    def _step_back(self) -> None:
        """Leave what waits to those who have fewer, for as long as the gate says."""
        self._pausing = True
        self._unwatch()
        self._watch.later(LOOK, self._look_again)

    def _look_again(self) -> None:
        if not self.closed and self._gate is not None and self._gate.stay_back(bool(self._waits.poll(0))):
            self._watch.later(LOOK, self._look_again)
        else:
            self._pause_over()

    def _rotate(self) -> None:
        self._since_rotation = 0
        for listener in self.listeners:
            self._watch.unwatch(listener)
            self._watch.watch(listener)

    def _accept(self, listener: socket.socket) -> tuple[socket.socket, Any] | None:
        """Accept one connection; None when there is none or none can be had now."""
        for _ in range(_ABORTED_IN_A_ROW):
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError):
                return None  # a sibling was faster
            except OSError as error:
                if error.errno in _EXHAUSTED or error.errno in _UNUSABLE:
                    self._exhausted(error)
                    return None
                continue  # that connection is gone already (ECONNABORTED, EPROTO, EPERM ...: accept(2))
            if self._pause:
                self._pause = 0.0
                self._log.warning("accepting connections again", event="accept.again")
            sock.setblocking(False)
            return sock, address
        return None

    def _exhausted(self, error: OSError) -> None:
        if not self._pause:
            self._log.error(
                "cannot accept connections: %s. They wait in the listener's queue; trying again every "
                "%.1f to %.0f s. Raise the limit on open files (ulimit -n, LimitNOFILE=) or lower "
                "worker_connections.",
                error.strerror,
                FIRST_PAUSE,
                LONGEST_PAUSE,
                event="accept.paused",
            )
        self._pause = min(LONGEST_PAUSE, self._pause * 2) if self._pause else FIRST_PAUSE
        self._rest(self._pause)
        self.offer()

    def _rest(self, seconds: float) -> None:
        """Accept nothing for so long."""
        self.suspend()
        self._pausing = True
        self._watch.later(seconds, self._pause_over)

    def _pause_over(self) -> None:
        self._pausing = False
        if self.closed:
            return
        if self._room() > 0:
            self.resume()
        else:
            self._full()

    def drain(self, most: int) -> int:
        """Take what is queued, at most `most` connections, then close this process's listeners; how many
        came.

        The arbiter and the siblings hold the same sockets open: closing our copies loses nothing for them. A
        worker that has not begun to accept does not begin now.
        """
        self.suspend()
        taken = 0
        for listener in self.listeners:
            while self._started and taken < most:
                accepted = self._accept(listener)
                if accepted is None:
                    break
                taken += 1
                self._adopt(*accepted, listener)
        self.close()
        return taken

    def close(self) -> None:
        """Close this process's listeners."""
        self.suspend()
        if not self.closed and self._started:
            self.offer()
        self.closed = True
        for source in self._sources():
            if source.fileno() >= 0:
                self._watch.forget(source)
        for listener in self.listeners:
            listener.close()
