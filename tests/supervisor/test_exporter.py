"""The pages of the exporter, and how seldom it reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from arbiter.link.scoreboard import Word
from arbiter.observe.metrics import FAMILIES
from arbiter.supervisor.book import Phase
from arbiter.supervisor.exporter import FRESH, Exporter
from arbiter.supervisor.ledger import Living
from tests.fakes.views import Arbiter

parser = pytest.importorskip("prometheus_client.parser")


class Bench:
    def __init__(self, directory: Path) -> None:
        self.arbiter = Arbiter(directory)
        self.now = 10_000.0
        self.exporter = Exporter(None, self.arbiter.view, lambda: self.now)  # type: ignore[arg-type]

    def samples(self) -> dict[tuple[str, tuple[str, ...]], float]:
        self.now += FRESH
        families = parser.text_string_to_metric_families(self.exporter.metrics())
        return {
            (sample.name, tuple(sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
        }

    def page(self, path: bytes) -> tuple[int, str]:
        found = self.exporter.page(path, False)
        assert found is not None
        return found[0], found[2].decode()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_fresh_arbiter_shows_every_family_it_can(bench: Bench) -> None:
    names = {name for name, _ in bench.samples()}
    missing = {name for name, family in FAMILIES.items() if not names & set(family.samples)}
    scaling = {"arbiter_workers_needed", "arbiter_workers_max", "arbiter_workers_pinned"}
    assert missing == {"arbiter_listener_queue", "arbiter_listener_queue_limit", "arbiter_events", *scaling}


def test_what_follows_the_load_shows_its_bounds_and_the_need(bench: Bench) -> None:
    book = bench.arbiter.book
    book.rules = replace(book.rules, least=1, most=8)
    bench.arbiter.view.needed = 3
    samples = bench.samples()
    assert samples["arbiter_workers_max", ()] == 8
    assert samples["arbiter_workers_needed", ()] == 3
    assert samples["arbiter_workers_pinned", ()] == 0
    book.pinned, bench.arbiter.view.needed = True, 0
    samples = bench.samples()
    assert samples["arbiter_workers_pinned", ()] == 1
    assert ("arbiter_workers_needed", ()) not in samples


def test_slots_are_summed_over_the_living_and_the_dead(bench: Bench) -> None:
    arbiter = bench.arbiter
    for key in (1, 2):
        row = arbiter.board.row(key)
        lane = row.begin("GET", b"/", 1)
        row.end(200, 1, 5_000_001, 10, lane)
    child = arbiter.book.children.pop(1)
    arbiter.view.ledger.bury(Living(1, child.slot, child.pid, arbiter.board.row(arbiter.rows.pop(1))))
    arbiter.born(1)
    samples = bench.samples()
    assert samples["arbiter_requests_total", ("1", "2xx")] == 1
    assert samples["arbiter_requests_total", ("2", "2xx")] == 1
    assert samples["arbiter_request_duration_seconds_count", ()] == 2
    assert samples["arbiter_request_duration_seconds_sum", ()] == pytest.approx(0.01)


def test_gauges_are_those_of_the_living(bench: Bench) -> None:
    row = bench.arbiter.board.row(1)
    row.begin("GET", b"/", 1)
    row.connections(7)
    bench.arbiter.held[bench.arbiter.book.children[2].pid] = "T"
    row.words[Word.LOOP_LAG_NS] = 250_000_000
    samples = bench.samples()
    assert samples["arbiter_requests_in_flight", ("1",)] == 1
    assert samples["arbiter_connections", ("1",)] == 7
    assert samples["arbiter_oldest_request_seconds", ("1",)] > 0
    assert samples["arbiter_loop_lag_seconds", ("1",)] == 0.25
    assert samples["arbiter_worker_held", ("2",)] == 1
    assert samples["arbiter_worker_uss_bytes", ("1",)] == 1000 * 1024


def test_one_reading_serves_whoever_asks_at_once(bench: Bench) -> None:
    bench.now += FRESH
    first = bench.exporter.metrics()
    bench.arbiter.board.row(1).connections(7)
    assert bench.exporter.metrics() == first
    bench.now += FRESH
    assert bench.exporter.metrics() != first


def test_health(bench: Bench) -> None:
    assert bench.page(b"/livez") == (200, "live\n")
    assert bench.page(b"/readyz") == (200, "ready: 2 workers\n")
    assert bench.page(b"/startupz") == (200, "started\n")
    bench.arbiter.held[bench.arbiter.book.children[2].pid] = "T"
    assert bench.page(b"/livez") == (200, "live\nworker 2 (gen 1, pid 40002) is stopped\n")
    bench.arbiter.book.phase = Phase.STARTING
    assert bench.page(b"/startupz") == (503, "starting\n")
    assert bench.page(b"/readyz") == (503, "not ready: starting\n")
    assert bench.page(b"/livez")[0] == 200
    assert bench.exporter.page(b"/nothing", False) is None
