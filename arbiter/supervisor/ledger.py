"""Counters that never fall, and what was lately.

Neighbours: workers count in their rows of the scoreboard; `arbiter` has a row folded in here before it is
cleared; metrics and the control plane read. Its one rule: of every counter there is one sum per slot, dead
workers' shares and living ones', and it only grows.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from arbiter.link.scoreboard import LATENCY_BUCKETS, LATENCY_SHIFT, Row, Word
from arbiter.supervisor.procfs import glance

INTERVAL: Final = 5.0
"""Seconds between two samples."""
SAMPLES: Final = 13
"""Samples kept of each worker: the last minute."""

_LATENCY: Final = int(Word.LATENCY)
_WORDS: Final = _LATENCY + LATENCY_BUCKETS


class Living(NamedTuple):
    """A worker process that has a row."""

    key: int
    slot: int
    pid: int
    row: Row


@dataclass(frozen=True, slots=True)
class Sample:
    """A worker at one moment: monotonic seconds, processor seconds, the words of its row."""

    time: float
    cpu: float
    words: array[int]


@dataclass(frozen=True, slots=True)
class Lately:
    """What a worker did in about the last minute. Rates per second, `p50` and `p99` in seconds (None without
    requests).
    """

    rate: float
    errors: float
    cpu: float
    """Share of one processor."""
    p50: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """A ledger as one arbiter hands it to the next: by slot what the dead have counted and their processor
    seconds, by key those of the living.
    """

    base: dict[int, list[int]]
    base_cpu: dict[int, float]
    cpu: dict[int, float]


class Ledger:
    """See the module's text."""

    def __init__(self, glance_at: Callable[[int], tuple[str, float]] = glance) -> None:
        self.due = 0.0
        """When `sample` has something to do (monotonic s)."""
        self._glance = glance_at
        self._base: dict[int, array[int]] = {}
        self._base_cpu: dict[int, float] = {}
        self._cpu: dict[int, float] = {}
        self._samples: dict[int, deque[Sample]] = {}

    def hand_over(self) -> LedgerRecord:
        """All that counts; samples are taken anew."""
        return LedgerRecord(
            {slot: list(words) for slot, words in self._base.items()}, dict(self._base_cpu), dict(self._cpu)
        )

    def adopt(self, record: LedgerRecord) -> None:
        """Count on where another arbiter has stopped."""
        for slot, words in record.base.items():
            self._base[slot] = array("Q", [*words, *[0] * _WORDS][:_WORDS])
        self._base_cpu.update(record.base_cpu)
        self._cpu.update(record.cpu)

    def bury(self, worker: Living) -> None:
        """A worker has gone: its counts stay."""
        base = self._base.setdefault(worker.slot, array("Q", bytes(8 * _WORDS)))
        words = worker.row.words
        for index in range(_WORDS):
            base[index] += words[index]
        self._base_cpu[worker.slot] = self._base_cpu.get(worker.slot, 0.0) + self._cpu.pop(worker.key, 0.0)
        self._samples.pop(worker.key, None)

    def slots(self, living: Iterable[Living]) -> list[int]:
        """Every slot that has ever had a worker."""
        return sorted({*self._base, *(worker.slot for worker in living)})

    def total(self, word: Word, slot: int, living: Iterable[Living]) -> int:
        """A counter of a slot, over all workers it ever had."""
        base = self._base.get(slot)
        return (base[word] if base else 0) + sum(w.row[word] for w in living if w.slot == slot)

    def cpu(self, slot: int, living: Iterable[Living]) -> float:
        """Processor seconds of a slot, over all workers it ever had."""
        mine = sum(self._look(worker) for worker in living if worker.slot == slot)
        return self._base_cpu.get(slot, 0.0) + mine

    def latency(self, living: Iterable[Living]) -> list[int]:
        """The histogram's counts over all slots and workers."""
        counts = [0] * LATENCY_BUCKETS
        for source in [*self._base.values(), *(worker.row.words for worker in living)]:
            for bucket in range(LATENCY_BUCKETS):
                counts[bucket] += source[_LATENCY + bucket]
        return counts

    def sample(self, living: Iterable[Living], now: float) -> None:
        """Remember how everybody stands, if it is time."""
        if now < self.due:
            return
        self.due = now + INTERVAL
        for worker in living:
            kept = self._samples.setdefault(worker.key, deque(maxlen=SAMPLES))
            kept.append(self._now(worker, now))

    def lately(self, worker: Living, now: float) -> Lately:
        """What a worker has done since the oldest sample of it, or since it began."""
        kept = self._samples.get(worker.key)
        current = self._now(worker, now)
        if kept and now - kept[0].time >= 1.0:
            before = kept[0]
        else:
            born = worker.row[Word.STARTED_NS] / 1e9
            before = Sample(min(born, now - 1.0), 0.0, array("Q", bytes(8 * _WORDS)))
        span = now - before.time
        counts = [
            current.words[index] - before.words[index]
            for index in range(_LATENCY, _LATENCY + LATENCY_BUCKETS)
        ]
        return Lately(
            rate=(current.words[Word.REQUESTS] - before.words[Word.REQUESTS]) / span,
            errors=(current.words[Word.STATUS_5XX] - before.words[Word.STATUS_5XX]) / span,
            cpu=max(0.0, current.cpu - before.cpu) / span,
            p50=quantile(counts, 0.50),
            p99=quantile(counts, 0.99),
        )

    def _now(self, worker: Living, now: float) -> Sample:
        return Sample(now, self._look(worker), array("Q", worker.row.words[:_WORDS].tobytes()))

    def _look(self, worker: Living) -> float:
        """Its processor time; never less than it was once seen to be."""
        known = self._cpu.get(worker.key, 0.0)
        self._cpu[worker.key] = known = max(known, self._glance(worker.pid)[1])
        return known


def bound(bucket: int) -> float:
    """The upper bound of a bucket in seconds; the last bucket has none."""
    return float(1 << (bucket + LATENCY_SHIFT)) / 1e9 if bucket < LATENCY_BUCKETS - 1 else float("inf")


def quantile(counts: list[int], share: float) -> float | None:
    """The duration (s) below which `share` of the requests were: within its bucket, in proportion."""
    total = sum(counts)
    if total <= 0:
        return None
    wanted, seen = share * total, 0
    for bucket, count in enumerate(counts):
        if count and seen + count >= wanted:
            low = bound(bucket - 1) if bucket else 0.0
            high = bound(bucket)
            return low if high == float("inf") else low + (high - low) * (wanted - seen) / count
        seen += count
    return None
