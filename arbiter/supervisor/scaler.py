"""Samples what there is to do, and has the rule say how many workers that needs.

Neighbours: `autoscale` is the rule, `guards` say whether there is room, `queues` how many connections wait;
`scaling` decides. Its one rule: an arbiter without load is not woken: as long as nothing is connected and
nothing waits, the listeners themselves are watched, and the first connection starts the clock.

Requests in work are not counted at a moment, which says little when they are short, but over the last
seconds: the scoreboard's durations, with those under way added, grow by a second for each second that a
request keeps a worker. Workers of an event loop have room for many requests; they are busy as far as they
compute, or when their loop is late.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from arbiter.link.scoreboard import Word
from arbiter.supervisor import events as ev
from arbiter.supervisor.autoscale import Autoscale, Load, Room
from arbiter.supervisor.book import FOREVER, Child, Phase
from arbiter.supervisor.guards import Guards, Use
from arbiter.supervisor.ledger import Living
from arbiter.supervisor.queues import Queue, queue_of
from arbiter.supervisor.states import SERVING
from arbiter.supervisor.view import View
from arbiter.supervisor.watch import Watch

INTERVAL: Final = 0.5
"""Seconds between two looks while there is something to do."""
FIRST: Final = 0.25
"""Seconds from the first connection to the first look: what waits then has not come this moment."""
IDLE: Final = 2.0
"""Seconds between two looks while there are only connections at rest."""
QUIET: Final = 5.0
"""Seconds between two looks while there are none, and workers may be given up."""
WINDOW: Final = 2.0
"""Seconds of which averages are taken."""
LATE: Final = 0.1
"""Seconds by which an event loop is late that has too much to do."""


class Sums(NamedTuple):
    """What has added up until `now` (monotonic s): seconds that requests kept workers, requests, seconds of
    processors, seconds of pressure on them.
    """

    now: float
    spent: float
    done: int
    cpu: float
    pressure: float | None


class Scaler:
    """See the module's text."""

    def __init__(
        self,
        view: View,
        watch: Watch,
        guards: Guards | None = None,
        queue: Callable[..., Queue | None] = queue_of,
    ) -> None:
        self._view = view
        self._watch = watch
        self._guards = guards or Guards()
        self._queue = queue
        self._rule: Autoscale | None = None
        self._due = FOREVER
        self._looks: deque[Sums] = deque()
        self._known: dict[int, tuple[float, int, float]] = {}
        """Of each worker by key: what it had spent, done and computed when last looked at."""
        self._service = math.inf
        self._queued = 0
        """Connections that waited at the last look."""
        self._quiet = False
        self._armed: list[int] = []
        self._came = False

    # -- when

    @property
    def due(self) -> float:
        """When to call `look` (monotonic s)."""
        if (self._rule is not None) != self._on:
            return 0.0
        if self._quiet:
            least, _ = self._view.book.bounds
            return self._due if len(self._view.book.slots) > least else FOREVER
        return self._due

    @property
    def _on(self) -> bool:
        book = self._view.book
        held = book.pinned or book.paused or book.phase is not Phase.SERVING
        return bool(book.rules.most) and not held

    def arm(self) -> None:
        """The arbiter is about to wait: without load, a connection is to wake it."""
        if not self._quiet:
            return
        for listener in self._view.current().listeners:
            fd = listener.socket.fileno()
            if fd >= 0:
                self._watch.add_reader(fd, self._connected)
                self._armed.append(fd)

    def disarm(self) -> None:
        """It has waited: what it does now may close them."""
        for fd in self._armed:
            self._watch.remove_reader(fd)
        self._armed.clear()

    def _connected(self) -> tuple[ev.Event, ...]:
        self._came = True
        return ()

    # -- looks

    def look(self, now: float) -> list[ev.Event]:
        """What the load needs, if that is another number than there is; nothing if it is not yet time."""
        if not self._on:
            self._rule, self._due, self._quiet, self._view.needed = None, FOREVER, False, 0
            return []
        least, most = self._view.book.bounds
        if self._rule is None:
            self._rule = Autoscale(least, most, now)
            self._looks.clear()
            self._known.clear()
            self._due = now
        elif self._came:
            self._quiet, self._came = False, False
            sums = self._sample(now)
            self._looks.clear()  # averages of what has begun do not go back into the silence
            self._looks.append(sums)
            self._due = now + FIRST
            return []
        if now < self.due:
            return []
        self._rule.least, self._rule.most = least, most
        return self._judge(self._rule, now)

    def _judge(self, rule: Autoscale, now: float) -> list[ev.Event]:
        have = len(self._view.book.slots)
        before = self._looks[-1] if self._looks else None
        sums = self._sample(now)
        queues = [
            self._queue(listener.socket)
            for listener in self._view.current().listeners
            if listener.socket.fileno() >= 0
        ]
        queued = sum(queue.length for queue in queues if queue)
        idle = before is not None and sums.spent == before.spent and not queued
        self._quiet = idle and all(queues) and not self._connections()
        self._due = now + (QUIET if self._quiet else IDLE if idle else INTERVAL)
        load, use = self._load(queued)
        verdict = rule.look(load, have, lambda more: self._room(more, have, use))
        self._view.needed = rule.needed
        if verdict is None:
            return []
        loads = {worker.key: worker.row.in_flight for worker in self._view.living()}
        return [ev.Needed(verdict.workers, verdict.why, verdict.limit, loads)]

    def _serving(self) -> list[tuple[Child, Living]]:
        children = self._view.book.children
        found = [(children[worker.key], worker) for worker in self._view.living()]
        return [(child, worker) for child, worker in found if child.state in SERVING]

    def _connections(self) -> int:
        return sum(worker.row[Word.CONNECTIONS] for worker in self._view.living())

    def _room(self, more: int, have: int, use: Use) -> Room:
        pids = [child.pid for child, _ in self._serving()]
        return self._guards.room(more, have, pids, use)

    def _sample(self, now: float) -> Sums:
        """Add up what the workers have done since the look before."""
        last = self._looks[-1] if self._looks else Sums(now, 0.0, 0, 0.0, None)
        spent, done, cpu = last.spent, last.done, last.cpu
        known = {}
        for child, worker in self._serving():
            born = worker.row[Word.STARTED_NS] / 1e9
            since = now - max(last.now, born)
            places = self._places(child.kind)
            before = self._known.get(worker.key)
            mine = (
                worker.row.spent_ns(int(now * 1e9)) / 1e9,
                worker.row[Word.REQUESTS],
                self._view.glance(worker.pid)[1],
            )
            known[worker.key] = mine
            if before is not None:
                # A request that ends while its worker is looked at may be counted twice, or not at all.
                spent += min(max(0.0, mine[0] - before[0]), since * places)
                done += max(0, mine[1] - before[1])
                cpu += max(0.0, mine[2] - before[2])
        self._known = known
        sums = Sums(now, spent, done, cpu, self._guards.pressure_total())
        self._looks.append(sums)
        while len(self._looks) > 2 and self._looks[1].now <= now - WINDOW:
            self._looks.popleft()
        return sums

    def _load(self, queued: int) -> tuple[Load, Use]:
        """What there was to do in the window, and what it took."""
        first, last = self._looks[0], self._looks[-1]
        span = last.now - first.now
        if span <= 0:
            return Load(last.now, 0.0, queued), Use(0.0, 0.0)
        serving = self._serving()
        kind = serving[0][0].kind if serving else "sync"
        places = self._places(kind)
        spent, done, cpu = (last.spent - first.spent), last.done - first.done, (last.cpu - first.cpu) / span
        if done:
            self._service = spent / done
        elif spent > 0:
            self._service = math.inf
        busy = spent / span / places
        if kind == "threaded":
            busy = max(busy, cpu)
        elif kind == "asgi":
            busy = max(busy, cpu, self._late([worker for _, worker in serving], queued))
        self._queued = queued
        pressure = None
        if first.pressure is not None and last.pressure is not None:
            pressure = min(1.0, (last.pressure - first.pressure) / span)
        return Load(last.now, busy, queued, self._service, places), Use(busy, cpu, pressure)

    def _late(self, serving: list[Living], queued: int) -> int:
        """How many event loops have too much to do. None of them accepts what waits from look to look."""
        if queued and self._queued:
            return len(serving)
        return sum(1 for worker in serving if worker.row[Word.LOOP_LAG_NS] > LATE * 1e9)

    def _places(self, kind: str) -> int:
        """Requests that a worker of this kind works on at once."""
        config = self._view.current().config
        return {"threaded": config.threads, "asgi": config.worker_connections}.get(kind, 1)
