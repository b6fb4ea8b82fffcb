"""What a worker has been told: by signals, and by the death of its arbiter.

Neighbours: `process` makes it, the dispatchers watch `fileno()` in their loops and act on `stop`. Its one
rule: a signal handler only notes the number and wakes the loop; what it means is decided here, in `read`,
where there is a state that can be acted on.

TERM drains; a second TERM, INT or QUIT leaves at once; USR1 reopens the logs. When the lifeline ends, the
arbiter is gone: the worker drains for at most `ORPHAN_GRACE` seconds, so that none outlives its arbiter and
the port is free again.
"""

from __future__ import annotations

import enum
import os
import selectors
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

ORPHAN_GRACE: Final = 0.8
"""Seconds an orphaned worker may spend on the requests it has."""

HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1)
IGNORED: Final = (
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGPIPE,
)


class Stop(enum.IntEnum):
    """How the worker should end; only ever rises."""

    NO = 0
    DRAIN = 1
    """Accept what is queued, answer what has begun, until `Orders.deadline`."""
    QUIT = 2
    """Leave at once; what is running is cut and logged."""


class Orders:
    """The worker's standing orders.

    arbiter: the process id of the arbiter; when the parent is another, the arbiter is gone.
    lifeline: read end of the arbiter's lifeline pipe; end of file means that the arbiter is gone.
    graceful_timeout: seconds between DRAIN and its deadline.
    reopen: called for SIGUSR1.
    closing: whether the arbiter is stopping, and with it all workers.
    """

    def __init__(
        self,
        arbiter: int,
        lifeline: int,
        graceful_timeout: float,
        reopen: Callable[[], None],
        closing: Callable[[], bool] = lambda: False,
    ) -> None:
        self._arbiter = arbiter
        self.stop = Stop.NO
        self.orphaned = False
        self.deadline = float("inf")
        self._graceful_timeout = graceful_timeout
        self._reopen = reopen
        self._closing = closing
        self.leaving: Callable[[], None] | None = None
        """Called by the handler of TERM, INT and QUIT, for a dispatcher whose loop does not turn while the
        application runs: it may set a flag, no more.
        """
        self.quitting: Callable[[], None] | None = None
        """Called, once, when the order is to leave at once, before anybody acts on it."""
        self.bereft: Callable[[int], None] | None = None
        """Called, once, when the arbiter is found to be gone, with its process id."""
        self._lifeline = lifeline
        self._noted: deque[int] = deque()
        self._wakeup_read, self._wakeup_write = socket.socketpair()
        self._wakeup_read.setblocking(False)
        self._wakeup_write.setblocking(False)
        # One descriptor for every loop to watch: a selector is itself selectable on Linux and BSD.
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakeup_read, selectors.EVENT_READ)
        if lifeline >= 0:
            self._selector.register(lifeline, selectors.EVENT_READ)

    def install(self) -> None:
        """Take over this process's signals; call in the main thread, after the fork."""
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in HANDLED:
            signal.signal(number, self._note)
        # The wakeup descriptor closes the gap between the interpreter's last look at its signals and the
        # system call that waits. uvloop puts its own in place while it runs, hence the byte sent in `_note`.
        signal.set_wakeup_fd(self._wakeup_write.fileno(), warn_on_full_buffer=False)

    def _note(self, number: int, frame: object) -> None:
        self._noted.append(number)
        if number == signal.SIGTERM and os.getppid() != self._arbiter:
            # Orphaned (PR_SET_PDEATHSIG). Should the loop not get its turn, the kernel's timer ends it all.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, ORPHAN_GRACE + 0.1)
        try:
            self._wakeup_write.send(b"\0")
        except OSError:
            pass  # full: the loop will wake all the same
        if self.leaving is not None and number != signal.SIGUSR1:
            self.leaving()

    def fileno(self) -> int:
        """Readable when `read()` has something to do."""
        return self._selector.fileno()

    def read(self) -> Stop:
        """Take in what has arrived; never blocks."""
        try:
            self._wakeup_read.recv(4096)
        except BlockingIOError:
            pass
        while self._noted:
            self.take(self._noted.popleft())
        if self._lifeline >= 0 and not self.orphaned and self._arbiter_gone():
            self._orphan()
        return self.stop

    def _orphan(self) -> None:
        if not self.orphaned:
            self.orphaned = True
            if self._lifeline >= 0:
                self._selector.unregister(self._lifeline)
            self.drain(ORPHAN_GRACE)
            if self.bereft is not None:
                self.bereft(self._arbiter)

    def take(self, number: int) -> None:
        """Obey one signal."""
        if number == signal.SIGTERM:
            if os.getppid() != self._arbiter:
                self._orphan()
            elif self.stop is Stop.NO:
                self.drain(self._graceful_timeout)
            else:
                self._quit()
        elif number in (signal.SIGINT, signal.SIGQUIT):
            self._quit()
        elif number == signal.SIGUSR1:
            self._reopen()

    def _quit(self) -> None:
        if self.stop is not Stop.QUIT:
            self.stop = Stop.QUIT
            if self.quitting is not None:
                self.quitting()

    @property
    def last(self) -> bool:
        """Nobody else will serve what is queued on the listeners: a drain empties the queue first.

        A worker that is only replaced leaves the queue to its successor, so that what comes after a reload is
        served by the new code.
        """
        return self.orphaned or self._closing()

    def drain(self, seconds: float) -> None:
        """Begin to drain, or bring the end nearer."""
        self.deadline = min(self.deadline, time.monotonic() + seconds)
        self.stop = max(self.stop, Stop.DRAIN)

    def _arbiter_gone(self) -> bool:
        try:
            return os.read(self._lifeline, 1) == b""
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Give the descriptors back (tests; a worker simply exits)."""
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(-1)
        self._selector.close()
        self._wakeup_read.close()
        self._wakeup_write.close()
