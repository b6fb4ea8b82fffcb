"""Files of prometheus_client: keyed by row, cleaned when a worker has gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from arbiter.observe import multiprocess

WORKER = """
import sys
from arbiter.observe import multiprocess
multiprocess.key_by(int(sys.argv[1]))
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
orders = Counter("orders", "Orders.")
busy = Gauge("busy", "Busy.", multiprocess_mode="livesum")
orders.inc()
busy.set(1)
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("counter_0.db", "gauge_liveall_0.db", "gauge_livesum_1.db", "histogram_12.db", "mine.db"):
        (tmp_path / name).touch()
    return tmp_path


def test_a_clean_start_removes_only_its_own_kind(directory: Path) -> None:
    multiprocess.clean(str(directory))
    assert os.listdir(directory) == ["mine.db"]


def test_what_a_dead_worker_measured_as_alive_goes_with_it(directory: Path) -> None:
    multiprocess.bury(str(directory), 0)
    assert sorted(os.listdir(directory)) == [
        "counter_0.db",
        "gauge_livesum_1.db",
        "histogram_12.db",
        "mine.db",
    ]


def test_a_mold_has_no_gauges(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "gauge_min_0.db").touch()
    monkeypatch.setenv(multiprocess.VARIABLE, str(directory))
    multiprocess.withdraw(0)
    left = ["counter_0.db", "gauge_livesum_1.db", "histogram_12.db", "mine.db"]
    assert sorted(os.listdir(directory)) == left


def test_no_directory_is_nothing(tmp_path: Path) -> None:
    multiprocess.clean("")
    multiprocess.bury(str(tmp_path / "gone"), 3)
    multiprocess.withdraw(3)


def test_the_next_in_a_row_counts_on(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client")
    texts = [
        subprocess.run(
            [sys.executable, "-c", WORKER, row],
            env={**os.environ, multiprocess.VARIABLE: str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for row in ("3", "3", "5")
    ]
    assert "orders_total 2.0" in texts[1]
    assert "orders_total 3.0" in texts[2]
    assert {name.rpartition("_")[2] for name in os.listdir(tmp_path)} == {"3.db", "5.db"}
    multiprocess.bury(str(tmp_path), 3)
    assert sorted(os.listdir(tmp_path)) == ["counter_3.db", "counter_5.db", "gauge_livesum_5.db"]
