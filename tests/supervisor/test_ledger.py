"""Counters never fall, whoever dies in which order; rates are those of the last minute."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.link.scoreboard import LATENCY_BUCKETS, Scoreboard, Word
from arbiter.supervisor.ledger import INTERVAL, SAMPLES, Ledger, Living, bound, quantile


class Bench:
    """Workers that serve and die on a real scoreboard."""

    def __init__(self) -> None:
        self.board = Scoreboard(8)
        self.cpu: dict[int, float] = {}
        self.ledger = Ledger(lambda pid: ("S", self.cpu.get(pid, 0.0)))
        self.living: dict[int, Living] = {}
        self.next = 1

    def born(self, slot: int) -> Living:
        row = next(r for r in range(8) if r not in {one.row.index for one in self.living.values()})
        self.board.row(row).clear(slot=slot)
        one = Living(self.next, slot, 1000 + self.next, self.board.row(row))
        self.living[self.next] = one
        self.next += 1
        return one

    def serves(self, one: Living, status: int = 200, took_ns: int = 1_000_000) -> None:
        lane = one.row.begin("GET", b"/", 1)
        one.row.end(status, 1, 1 + took_ns, 10, lane)

    def dies(self, key: int) -> None:
        one = self.living.pop(key)
        self.ledger.bury(one)
        one.row.clear()
        self.cpu.pop(one.pid, None)

    def totals(self) -> dict[object, float]:
        living = list(self.living.values())
        found: dict[object, float] = {}
        for slot in self.ledger.slots(living):
            for word in (Word.REQUESTS, Word.STATUS_5XX, Word.BYTES_OUT, Word.DURATION_NS):
                found[slot, word] = self.ledger.total(word, slot, living)
            found[slot, "cpu"] = self.ledger.cpu(slot, living)
        return found | {("latency", n): count for n, count in enumerate(self.ledger.latency(living))}


@given(
    st.lists(st.tuples(st.sampled_from(["born", "serves", "dies", "cpu"]), st.integers(0, 5)), max_size=80)
)
def test_no_counter_ever_falls(history: list[tuple[str, int]]) -> None:
    bench, last = Bench(), {}
    served = 0
    for what, number in history:
        keys = sorted(bench.living)
        if what == "born" and len(keys) < 8:
            bench.born(number % 3 + 1)
        elif keys:
            key = keys[number % len(keys)]
            if what == "serves":
                bench.serves(bench.living[key], 500 if number == 5 else 200, number * 10**7)
                served += 1
            elif what == "dies":
                bench.dies(key)
            elif what == "cpu":
                pid = bench.living[key].pid
                bench.cpu[pid] = bench.cpu.get(pid, 0.0) + number
        totals = bench.totals()
        assert all(totals[name] >= value for name, value in last.items())
        last = totals
    assert sum(value for (_, word), value in last.items() if word is Word.REQUESTS) == served


def test_two_workers_of_a_slot_count_together() -> None:
    bench = Bench()
    old, new = bench.born(1), bench.born(1)
    bench.serves(old)
    bench.serves(new)
    bench.dies(old.key)
    assert bench.totals()[1, Word.REQUESTS] == 2


def test_rates_are_of_the_last_minute() -> None:
    bench = Bench()
    one = bench.born(1)
    now = 1000.0
    for _ in range(SAMPLES * 3):
        bench.ledger.sample([one], now)
        for _ in range(50):
            bench.serves(one)
        bench.cpu[one.pid] = bench.cpu.get(one.pid, 0.0) + INTERVAL / 2
        now += INTERVAL
    lately = bench.ledger.lately(one, now)
    assert lately.rate == pytest.approx(50 / INTERVAL)
    assert lately.cpu == pytest.approx(0.5)
    assert lately.p50 == pytest.approx(0.001, rel=0.5)
    assert lately.errors == 0


def test_an_idle_worker_has_no_quantiles() -> None:
    bench = Bench()
    one = bench.born(1)
    lately = bench.ledger.lately(one, one.row[Word.STARTED_NS] / 1e9 + 10)
    assert (lately.rate, lately.p50, lately.p99) == (0.0, None, None)


@given(st.lists(st.integers(0, 1000), min_size=LATENCY_BUCKETS, max_size=LATENCY_BUCKETS), st.floats(0.01, 1))
def test_a_quantile_lies_in_its_bucket(counts: list[int], share: float) -> None:
    value = quantile(counts, share)
    if not sum(counts):
        assert value is None
        return
    assert value is not None
    below = sum(count for bucket, count in enumerate(counts) if bound(bucket) <= value)
    assert below <= share * sum(counts) + 1
    assert 0 <= value <= bound(LATENCY_BUCKETS - 2)
