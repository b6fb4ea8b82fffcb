"""Which workers have become too old or too large.

Neighbours: `arbiter` asks between two waits; `policy` replaces who is named, successor first, a few at a
time. Its one rule: memory means a worker's own pages (USS); what it shares with the others would not come
back by replacing it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from arbiter.link.scoreboard import Word
from arbiter.supervisor import events as ev
from arbiter.supervisor.book import FOREVER
from arbiter.supervisor.health import Watched
from arbiter.supervisor.procfs import memory_kib

INTERVAL: Final = 5.0
"""Seconds between two looks; reading one worker's memory costs about a millisecond."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds and bytes; 0: no bound."""

    age: float
    memory: int
    memory_hard: int


class Recycler:
    """Looks at ages and sizes."""

    def __init__(self, measure: Callable[[int], dict[str, int]] = memory_kib) -> None:
        self.due = 0.0
        """The time (monotonic s) of the next look."""
        self._measure = measure
        self._named: set[tuple[int, bool]] = set()

    def look(self, watched: Iterable[Watched], bounds: Bounds, now: float) -> list[ev.Event]:
        """Who is to be replaced, each told once; nothing if it is not yet time."""
        if now < self.due:
            return []
        self.due = now + INTERVAL if any((bounds.age, bounds.memory, bounds.memory_hard)) else FOREVER
        found: list[ev.Event] = []
        seen: set[int] = set()
        for worker in watched:
            seen.add(worker.key)
            event = self._judge(worker, bounds, now)
            if event is not None and (worker.key, event.urgent) not in self._named:
                self._named.add((worker.key, event.urgent))
                found.append(event)
        self._named = {mark for mark in self._named if mark[0] in seen}
        return found

    def _judge(self, worker: Watched, bounds: Bounds, now: float) -> ev.WantsOut | None:
        if bounds.memory or bounds.memory_hard:
            size = self._measure(worker.pid).get("uss", 0) * 1024
            if bounds.memory_hard and size > bounds.memory_hard:
                return ev.WantsOut(worker.key, _too_large("max_worker_memory_hard", size), urgent=True)
            if bounds.memory and size > bounds.memory:
                return ev.WantsOut(worker.key, _too_large("max_worker_memory", size))
        age = now - worker.row[Word.STARTED_NS] / 1e9
        if bounds.age and age > bounds.age:
            return ev.WantsOut(worker.key, f"max_worker_age: {age:.0f} s old")
        return None


def _too_large(setting: str, size: int) -> str:
    return f"{setting}: {size / 2**20:.0f} MiB of its own"
