"""Lines on their way from a worker's requests to its access log.

Neighbours: `access` appends lines here, in whatever thread serves the request; `sinks` and `syslog` take
them out of the process. Its one rule: a request never waits for a disk, a pipe or a lock of this module. What
cannot be written is kept, up to a bound, then dropped and counted; the count is told when writing works
again.

A thread of the worker's does the writing, since nothing else can wait for a file: O_NONBLOCK means nothing to
a disk. It sleeps until there is a line, which it writes at once, and then writes every `GATHER` seconds, in
one piece, all that has come, until nothing has. The arbiter, which forks, has no such thread.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from arbiter.observe.sinks import RETRY, Target, Unsent

GATHER: Final = 0.1
"""Seconds between two writes while there are lines."""
BATCH: Final = 128
"""Lines after which they are put aside as a batch; the size is looked at then."""


class Writer:
    """The buffer of one worker and the thread that empties it.

    targets: where the lines go; most: characters that are kept while a target does not take them; told:
    called, in the thread, with a problem ("" when it is over) and the number of lines lost to it.

    Whoever has a line does `lines.append(line)` (one step, needs no lock), `seal()` when there are `BATCH`
    of them, and `wake()` if `idle`.
    """

    def __init__(self, targets: Sequence[Target], most: int, told: Callable[[str, int], None]) -> None:
        self.lines: list[str] = []
        self.idle = True
        """The thread sleeps, or is not there yet."""
        self.lost = 0
        self._targets = list(targets)
        self._most = most
        self._told = told
        self._stopping = False
        self._start_anew()
        os.register_at_fork(after_in_child=self._forked)

    def _start_anew(self) -> None:
        self.lines.clear()
        self.lost = 0
        self.idle = True
        self._lock = threading.Lock()
        self._bell = threading.Semaphore(0)
        self._batches: deque[str] = deque()
        self._held = 0
        self._problem = ""
        self._waiters: list[threading.Event] = []
        self._errands: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None

    def _forked(self) -> None:
        """A process the application has forked has neither our thread nor a right to our lines."""
        self._start_anew()

    # -- the requests' side

    def seal(self) -> None:
        """Put the lines aside as a batch, or count them as lost if there is no room."""
        with self._lock:
            lines = self.lines
            count = len(lines)
            batch = "".join(lines[:count])
            del lines[:count]
            if not count:
                return
            if self._held + len(batch) > self._most:
                self.lost += count
            else:
                self._batches.append(batch)
                self._held += len(batch)

    def wake(self) -> None:
        """There are lines, and the thread sleeps."""
        self.idle = False
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="arbiter-access-log", daemon=True)
                    self._thread.start()
        self._bell.release()

    def flush(self, timeout: float) -> bool:
        """Have everything written that is here now; wait for it at most so many seconds. False: it is not."""
        if self._stopping or (self._thread is None and not self.lines):
            return not self._held
        done = threading.Event()
        self._waiters.append(done)
        self.wake()
        return done.wait(timeout) and not self._held

    def run_after_flush(self, errand: Callable[[], None]) -> None:
        """Have `errand` (reopening the file) done by the thread, after the lines that are here now."""
        if self._thread is None:
            errand()
            return
        self._errands.append(errand)
        self.wake()

    def close(self, timeout: float) -> int:
        """Write what is left and end the thread; how many lines could not be written in time."""
        written = self.flush(timeout)
        self._stopping = True
        self._bell.release()
        if self._thread is not None:
            self._thread.join(timeout if written else 0.0)
        self.seal()
        return self.lost + sum(batch.count("\n") for batch in list(self._batches))

    # -- the thread's side

    def _run(self) -> None:
        bell = self._bell
        while not self._stopping:
            bell.acquire()
            self.idle = False
            while not self._stopping:
                if self._turn():
                    if not self._pressed():
                        bell.acquire(timeout=RETRY if self._problem else GATHER)
                    continue
                self.idle = True
                # A line that came before the thread called itself idle has not rung the bell.
                if not self.lines and not self._pressed():
                    break
                self.idle = False

    def _turn(self) -> bool:
        """Write what there is, once; False if there was nothing to do."""
        waiters, self._waiters = self._waiters, []
        errands, self._errands = self._errands, []
        self.seal()
        busy = bool(self._batches or waiters or errands)
        self._write()
        for errand in errands:
            errand()
        if errands and self._problem:
            self._write()  # a fresh file may have mended it
        for waiter in waiters:
            waiter.set()
        return busy

    def _write(self) -> None:
        count = len(self._batches)
        if not count:
            return
        try:
            self._send("".join(self._batches))
        except Unsent as error:
            self._written(count, error.rest)
            if not self._problem:
                self._problem = error.problem
                self._told(error.problem, 0)
            return
        self._written(count, "")
        if self._problem or self.lost:
            lost, self.lost, self._problem = self.lost, 0, ""
            self._told("", lost)

    def _send(self, text: str) -> None:
        """To the first target, and what that one took to the others, so that none gets a line twice."""
        first, *others = self._targets
        try:
            first.send(text, self._pressed)
        except Unsent as error:
            text = text[: len(text) - len(error.rest)]
            raise
        finally:
            for target in others:
                target.send(text, self._pressed)

    def _pressed(self) -> bool:
        """Whether somebody waits for the thread, which must not wait itself then."""
        return self._stopping or bool(self._waiters) or bool(self._errands)

    def _written(self, count: int, rest: str) -> None:
        """The first `count` batches are written, but for `rest`."""
        with self._lock:
            for _ in range(count):
                self._held -= len(self._batches.popleft())
            if rest:
                self._batches.appendleft(rest)
                self._held += len(rest)
