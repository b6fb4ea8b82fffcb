"""The arbiter's state as a reading of metrics.

Neighbours: `exporter` and the word `metrics` show it, `observe.metrics` declares the families, `ledger` has
the sums. Its one rule: nothing is asked of a worker, and a counter never falls.
"""

from __future__ import annotations

import os
import time

from arbiter.link.scoreboard import LATENCY_BUCKETS, Word
from arbiter.observe.metrics import Reading
from arbiter.supervisor.answers import listener
from arbiter.supervisor.journal import CAUSES
from arbiter.supervisor.ledger import Living, bound
from arbiter.supervisor.states import State
from arbiter.supervisor.view import View
from arbiter.version import PYTHON, __version__

_CLASSES = (
    ("1xx", Word.STATUS_1XX),
    ("2xx", Word.STATUS_2XX),
    ("3xx", Word.STATUS_3XX),
    ("4xx", Word.STATUS_4XX),
    ("5xx", Word.STATUS_5XX),
)
_COUNTERS = (
    ("bad_requests", Word.BAD_REQUESTS),
    ("response_bytes", Word.BYTES_OUT),
    ("connections_accepted", Word.ACCEPTED),
)
_GAUGES = (
    ("connections", Word.CONNECTIONS),
    ("websockets", Word.WEBSOCKETS),
)
_DEATHS = ("died", "stuck", "killed", "boot_failed")
_VERDICTS = ("done", "failed", "refused", "superseded")


def read(view: View, now: float) -> Reading:
    """Everything, at monotonic time `now` (s)."""
    reading = Reading()
    living = view.living()
    _master(reading, view, now)
    for state in State:
        count = sum(1 for child in view.book.children.values() if child.state is state)
        reading.add("workers", count, state.value)
    for slot in view.ledger.slots(living):
        _sums(reading, view, slot, living)
    sizes = view.sizes(now)
    for worker in living:
        _gauges(reading, view, worker, sizes.get(worker.key, {}), now)
    counts = view.ledger.latency(living)
    bounds = [bound(bucket) for bucket in range(LATENCY_BUCKETS)]
    total = sum(view.ledger.total(Word.DURATION_NS, slot, living) for slot in view.ledger.slots(living))
    reading.histogram("request_duration_seconds", bounds, counts, total / 1e9)
    for one in view.current().listeners:
        said = listener(one)
        if said["queue"] is not None:
            reading.add("listener_queue", said["queue"], said["url"])
            reading.add("listener_queue_limit", said["limit"], said["url"])
    return reading


def _master(reading: Reading, view: View, now: float) -> None:
    book, journal = view.book, view.journal
    reading.add("build", 1, __version__, PYTHON)
    reading.add("start_time_seconds", time.time() - (now - view.started))
    reading.add("ready", 0 if view.readiness()[1] else 1)
    reading.add("generation", book.generation)
    reading.add("workers_wanted", len(book.slots))
    if book.rules.most:
        reading.add("workers_max", book.bounds[1])
        reading.add("workers_pinned", 1 if book.pinned else 0)
        if view.needed:
            reading.add("workers_needed", view.needed)
    for cause in (*sorted(CAUSES), *_DEATHS, "other"):
        reading.add("worker_restarts", journal.causes[cause], cause)
    for verdict in _VERDICTS:
        reading.add("reloads", journal.names[f"reload.{verdict}"], verdict)
    for name, count in journal.names.items():
        reading.add("events", count, name)
    reading.add("master_pss_bytes", view.measure(os.getpid()).get("pss", 0) * 1024)
    reading.add("master_cpu_seconds", time.process_time())


def _sums(reading: Reading, view: View, slot: int, living: list[Living]) -> None:
    label = str(slot)
    for status, word in _CLASSES:
        reading.add("requests", view.ledger.total(word, slot, living), label, status)
    for name, word in _COUNTERS:
        reading.add(name, view.ledger.total(word, slot, living), label)
    reading.add("worker_cpu_seconds", view.ledger.cpu(slot, living), label)


def _gauges(reading: Reading, view: View, worker: Living, size: dict[str, int], now: float) -> None:
    label, row = str(worker.slot), worker.row
    for name, word in _GAUGES:
        reading.add(name, row[word], label)
    reading.add("requests_in_flight", row.in_flight, label)
    lanes = row.lanes()
    reading.add("oldest_request_seconds", now - lanes[0].since_ns / 1e9 if lanes else 0.0, label)
    reading.add("worker_beat_age_seconds", now - row[Word.BEAT_NS] / 1e9, label)
    reading.add("loop_lag_seconds", row[Word.LOOP_LAG_NS] / 1e9, label)
    reading.add("worker_held", 1 if view.held(worker.pid) else 0, label)
    if size:
        reading.add("worker_uss_bytes", size["uss"] * 1024, label)
        reading.add("worker_pss_bytes", size["pss"] * 1024, label)
