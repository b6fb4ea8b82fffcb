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
from typing import Any, Final

from arbiter.observe.sinks import RETRY, Target, Unsent

GATHER: Final = 0.1
"""Seconds between two writes while there are lines."""
BATCH: Final = 64
"""Lines after which they are put aside as a batch, which is written in one piece."""
EARLY: Final = 128 * 1024
"""Bytes at which they are not gathered any longer."""


def _made(lines: Sequence[str]) -> Sequence[str]:
    return lines


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _fitting(lines: Sequence[str], room: int) -> tuple[bytes, int]:
    """Of some lines those that fit into so many bytes, and how many do not: a long one costs no short one."""
    batch = bytearray()
    lost = 0
    for line in map(_encoded, lines):
        if len(batch) + len(line) <= room:
            batch += line
        else:
            lost += 1
    return bytes(batch), lost


class Writer:
    """The buffer of one worker and the thread that empties it.

    targets: where the lines go; most: bytes that are kept while a target does not take them; told:
    called, in the thread, with a problem ("" when it is over) and the number of lines lost to it.

    Whoever has a line, or what `make` makes one of, does `lines.append(line)` (one step, needs no lock),
    `seal()` when there are `BATCH` of them, and `wake()` if `idle`.
    """

    def __init__(self, targets: Sequence[Target], most: int, told: Callable[[str, int], None]) -> None:
        self.lines: list[Any] = []
        self.make: Callable[[Sequence[Any]], Sequence[str]] = _made
        """Makes lines of what `lines` has; fewer, if some cannot be made."""
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
        self._making = threading.Lock()
        """Held while lines are made and put aside, so that they stay in order; no request waits for it."""
        self._lock = threading.Lock()
        self._bell = threading.Semaphore(0)
        self._batches: deque[bytes] = deque()
        self._held = 0
        self._problem = ""
        self._waiters: list[threading.Event] = []
        self._errands: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None

    def _forked(self) -> None:
        """A process the application has forked has neither our thread nor a right to our lines."""
        self._start_anew()

    # -- the requests' side

    def seal(self, *, wait: bool = False) -> bool:
        """Make lines of what is here and put them aside as a batch; False if nothing was here.

        Somebody may be doing just that: `wait` until they have, else leave it to the next who comes.
        """
        if not self._making.acquire(blocking=wait):
            return True
        try:
            some = self.lines[:]
            del self.lines[: len(some)]
            self._put_aside(self.make(some))
        finally:
            self._making.release()
        return bool(some)

    def _put_aside(self, lines: Sequence[str]) -> None:
        """Keep the lines, or, while there are others, those for which there is room; the rest is lost."""
        if not lines:
            return
        batch = _encoded("".join(lines))
        with self._lock:
            before = self._held
            if before and before + len(batch) > self._most:
                batch, lost = _fitting(lines, self._most - before)
                self.lost += lost
                if not batch:
                    return
            self._batches.append(batch)
            self._held += len(batch)
        if before < EARLY <= self._held:
            self._bell.release()

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
        self.seal(wait=True)
        return self.lost + sum(batch.count(b"\n") for batch in list(self._batches))

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
        some = self.seal(wait=True)
        busy = bool(some or self._batches or waiters or errands)
        self._write()
        for errand in errands:
            errand()
        if errands and self._problem:
            self._write()  # a fresh file may have mended it
        for waiter in waiters:
            waiter.set()
        return busy

    def _write(self) -> None:
        while self._batches:
            batch = self._batches[0]
            try:
                self._send(batch)
            except Unsent as error:
                self._written(batch, error.rest)
                if not self._problem:
                    self._problem = error.problem
                    self._told(error.problem, 0)
                return
            self._written(batch, b"")
            if self._problem or self.lost:
                lost, self.lost, self._problem = self.lost, 0, ""
                self._told("", lost)

    def _send(self, batch: bytes) -> None:
        """To the first target, and what that one took to the others, so that none gets a line twice."""
        first, *others = self._targets
        try:
            first.send(batch, self._pressed)
        except Unsent as error:
            batch = batch[: len(batch) - len(error.rest)]
            raise
        finally:
            for target in others:
                target.send(batch, self._pressed)

    def _pressed(self) -> bool:
        """Whether somebody waits for the thread, which must not wait itself then."""
        return self._stopping or bool(self._waiters) or bool(self._errands)

    def _written(self, batch: bytes, rest: bytes) -> None:
        """The first batch is written, but for `rest`."""
        with self._lock:
            self._held -= len(batch) - len(rest)
            if rest:
                self._batches[0] = rest
            else:
                self._batches.popleft()
