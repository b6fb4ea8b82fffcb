"""Who is slow, who is stuck, and in which way.

Neighbours: `arbiter` asks between two waits; the scoreboard and `procfs` have the facts; `policy` decides.
Its one rule: only workers that serve are judged, by the monotonic clock, and only for time in which the
arbiter was awake itself; a worker that others keep from running (starved, stopped, traced) is left alone
and named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from arbiter.link.scoreboard import Lane, Row, Word
from arbiter.supervisor import events as ev
from arbiter.supervisor.book import FOREVER
from arbiter.supervisor.procfs import Sample, sample

SLOWEST: Final = 5.0
"""Seconds between two looks at most; an idle arbiter wakes no oftener."""
FASTEST: Final = 0.05
RECHECK: Final = 1.0
"""Seconds until a worker that was let off is looked at again."""
FOREWARNING: Final = 1.0
"""Seconds before a deadline at which the first of two samples of the processor is taken."""
IDLE_BEAT: Final = 5.0
"""Seconds between two heartbeats of a worker at most."""
MOSTLY: Final = 0.5
"""The share of the time between two samples that makes a worker spinning, or starved."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds; 0 turns a limit off."""

    timeout: float
    """Of a loop that does not turn, and of a request in a sync or threaded worker unless `request` is set."""
    slow: float
    """Until a request is told of."""
    request: float = 0.0
    """Of a request in a sync or threaded worker. An asgi worker minds this limit itself."""
    threads: int = 1
    """How many requests a threaded worker has in work at most; a number, not seconds."""

    @property
    def limits(self) -> list[float]:
        """Those that are set."""
        return [limit for limit in (self.timeout, self.slow, self.request) if limit]


class Watched(NamedTuple):
    """A worker that serves."""

    key: int
    pid: int
    kind: str
    row: Row


@dataclass(frozen=True, slots=True)
class Finding:
    """The longest something has taken in one worker."""

    age: float
    limit: float
    what: str
    others: int
    """Threads of the worker's that still answer."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a worker did between two samples, in seconds."""

    span: float
    waited: float
    """Runnable, without a processor: time that does not count against it."""
    cpu: float

    @property
    def manner(self) -> str:
        """In one word."""
        return "spinning" if self.cpu > MOSTLY * (self.span - self.waited) else "blocked"


class Health:
    """Looks at the rows, no oftener than there is something to see."""

    def __init__(self, now: float, look_at: Callable[[int], Sample | None] = sample) -> None:
        self.due = now
        """The time (monotonic s) of the next look."""
        self._look_at = look_at
        self._last = now
        self._awake_since = 0.0
        self._samples: dict[int, tuple[float, Sample]] = {}
        self._slow_told: dict[int, set[tuple[int, int]]] = {}
        self._let_off: dict[int, str] = {}

    def look(self, watched: Iterable[Watched], patience: Patience, now: float) -> list[ev.Event]:
        """What is slow, overdue or notable at `now` (monotonic s); nothing if it is not yet time."""
        if now < self.due:
            return []
        if now > max(self.due, self._last + SLOWEST) + 2.0:
            self._awake_since = now  # we slept (suspend, SIGSTOP): nobody's silence before now means anything
        self._last = now
        # What begins right after this look must be seen once before it is late.
        limits = patience.limits
        self.due = now + min(SLOWEST, *limits) if limits else FOREVER
        found: list[ev.Event] = []
        seen = set()
        for worker in watched:
            seen.add(worker.key)
            if patience.slow:
                found.extend(self._slow(worker, patience.slow, now))
            if patience.timeout or patience.request:
                found.extend(self._stuck(worker, patience, now))
        for memory in (self._samples, self._slow_told, self._let_off):
            for key in set(memory) - seen:
                del memory[key]
        return found

    def in_work(self, worker: Watched, patience: Patience, now: float) -> ev.InWork:
        """What a worker that was stuck and drains still has to do at `now` (monotonic s). Who is connected
        to it and is not waiting for a late request may be sending one, or be taking its answer.
        """
        lanes = worker.row.lanes()
        late = sum(1 for age, limit, _ in self._ages(lanes, patience, now) if limit and age >= limit)
        requests = tuple((lane.text, now - lane.since_ns / 1e9) for lane in lanes)
        return ev.InWork(worker.key, requests, max(0, worker.row[Word.CONNECTIONS] - late))

    def _ages(self, lanes: list[Lane], patience: Patience, now: float) -> list[tuple[float, float, Lane]]:
        """Each request's age and limit, in seconds; a limit of 0 is none."""
        base = patience.request or patience.timeout
        return [(self._age(lane.since_ns, now), base and base + lane.extra_ns / 1e9, lane) for lane in lanes]

    def _age(self, since_ns: int, now: float) -> float:
        return now - max(since_ns / 1e9, self._awake_since)

    def _come_back(self, when: float, now: float) -> None:
        self.due = min(self.due, max(when, now + FASTEST))

    # -- slow requests

    def _slow(self, worker: Watched, limit: float, now: float) -> Iterable[ev.Event]:
        told = self._slow_told.setdefault(worker.key, set())
        lanes = worker.row.lanes()
        told &= {(lane.number, lane.since_ns) for lane in lanes}
        for lane in lanes:
            mark = (lane.number, lane.since_ns)
            age = self._age(lane.since_ns, now)
            left = limit + lane.extra_ns / 1e9 - age
            if left > 0:
                self._come_back(now + left, now)
            elif mark not in told:
                told.add(mark)
                yield ev.Slow(worker.key, lane.text, age)

    # -- stuck workers

    def _stuck(self, worker: Watched, patience: Patience, now: float) -> Iterable[ev.Event]:
        finding = self._longest(worker, patience, now)
        if finding is None:
            return
        left = finding.limit - finding.age
        if left > 0:
            self._let_off.pop(worker.key, None)
            if left > FOREWARNING:
                self._samples.pop(worker.key, None)
                self._come_back(now + left - FOREWARNING, now)
            else:
                self._first_sample(worker, now)
                self._come_back(now + left, now)
            return
        current = self._look_at(worker.pid)
        if current is not None and current.held:
            self._come_back(now + RECHECK, now)
            yield from self._let_be(worker, finding, "traced" if current.traced else "stopped")
            return
        window = self._window(worker, current, now)
        if window is None:
            self._come_back(now + RECHECK / 2, now)  # no earlier sample to compare with
            return
        left += window.waited
        if left <= 0:
            what = f"{finding.what}; it is {window.manner}"
            yield ev.Overdue(worker.key, finding.age, what, finding.others)
            return
        self._come_back(now + left, now)
        if window.waited > MOSTLY * window.span:
            yield from self._let_be(worker, finding, "starved")

    def _let_be(self, worker: Watched, finding: Finding, manner: str) -> Iterable[ev.Event]:
        if self._let_off.get(worker.key) != manner:
            self._let_off[worker.key] = manner
            yield ev.LetOff(worker.key, f"{finding.what}, but it is {manner}: left alone")

    def _longest(self, worker: Watched, patience: Patience, now: float) -> Finding | None:
        """What is nearest to (or furthest beyond) its limit: a request, or the worker's own loop."""
        lanes = worker.row.lanes()
        findings = []
        if patience.timeout and (worker.kind != "sync" or not lanes):  # a sync one does not beat in a request
            findings.append(self._silence(worker, lanes, patience.timeout, now))
        if worker.kind != "asgi" and lanes:
            findings.append(self._latest(worker, lanes, patience, now))
        return min(findings, key=lambda finding: finding.limit - finding.age, default=None)

    def _silence(self, worker: Watched, lanes: list[Lane], timeout: float, now: float) -> Finding:
        """Of the worker's loop."""
        silent = self._age(worker.row[Word.BEAT_NS], now)
        doing = f" at {lanes[0].text!r}" if lanes else ""
        busy = worker.row[Word.CONNECTIONS] > 0 or bool(lanes)
        # An asgi worker with connections beats each second, every other worker at least each IDLE_BEAT.
        limit = timeout if busy and worker.kind == "asgi" else timeout + IDLE_BEAT
        what = f"its loop has not turned for {silent:.1f} s{doing} (timeout = {timeout:g} s)"
        return Finding(silent, limit, what, 0)

    def _latest(self, worker: Watched, lanes: list[Lane], patience: Patience, now: float) -> Finding:
        """The request with the least time left, and how many threads are not late with theirs."""
        name, base = "timeout", patience.timeout
        if patience.request:
            name, base = "request_timeout", patience.request
        ages = self._ages(lanes, patience, now)
        age, limit, lane = min(ages, key=lambda one: one[1] - one[0])
        more = f", extended by {lane.extra_ns / 1e9:g} s" if lane.extra_ns else ""
        what = f"{lane.text!r} has taken {age:.1f} s ({name} = {base:g} s{more})"
        late = sum(1 for age, limit, _ in ages if age >= limit)
        return Finding(age, limit, what, max(0, patience.threads - late) if worker.kind == "threaded" else 0)

    def _first_sample(self, worker: Watched, now: float) -> None:
        if worker.key not in self._samples:
            one = self._look_at(worker.pid)
            if one is not None:
                self._samples[worker.key] = (now, one)

    def _window(self, worker: Watched, current: Sample | None, now: float) -> Window | None:
        """How a late worker has spent the time since its first sample; None if that cannot be said yet."""
        if current is None:
            return Window(RECHECK, 0.0, 0.0)  # no /proc: taken for blocked
        since, before = self._samples.setdefault(worker.key, (now, current))
        span = now - since
        if span < min(RECHECK / 2, FASTEST):
            return None
        cpu = current.cpu - before.cpu
        # The waiting of several threads adds up to more than there was; whatever ran did not wait.
        return Window(span, max(0.0, min(span - cpu, current.waited - before.waited)), cpu)
