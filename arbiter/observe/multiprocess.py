"""The application's own metrics with prometheus_client in several processes.

Neighbours: a worker calls `key_by` before it loads the application, a mold that and `withdraw`, the arbiter
`clean` at the start and `bury` when it has reaped a worker. Its one rule: files are keyed by a worker's row
of the scoreboard, a small number that is taken by one process at a time and then by the next, so there are
never more files than there were workers at once, and counters go on where the dead one's stopped.

prometheus_client keys its files by process id, so every restart leaves files behind that each scrape reads.
https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import importlib
import os
import re
from typing import Final

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_taken: list[int] = []
"""The row of this process, once it has one: what a mold has imported asks anew in each worker."""
_FILE: Final = re.compile(r"(counter|gauge_[a-z]+|histogram|summary)_(\d+)\.db")


def key_by(row: int) -> None:
    """In a worker whose environment names a directory: have prometheus_client key its files by `row`."""
    if not os.environ.get(VARIABLE):
        return
    try:
        values = importlib.import_module("prometheus_client.values")
    except ImportError:
        return  # the variable is meant for somebody else
    _taken[:] = [row]
    values.ValueClass = values.MultiProcessValue(lambda: _taken[0])  # type: ignore[attr-defined]


def clean(directory: str) -> None:
    """Before the first worker: remove what an earlier run has left."""
    for name in _names(directory):
        _remove(directory, name)


def bury(directory: str, row: int) -> None:
    """A worker has gone: what it measured as alive is no more; what it counted stays."""
    _remove_all(directory, row, "gauge_live")


def withdraw(row: int) -> None:
    """In a mold that has loaded the application: its gauges are nobody's, and would be the least of all."""
    _remove_all(os.environ.get(VARIABLE, ""), row, "gauge_")


def _remove_all(directory: str, row: int, kind: str) -> None:
    for name in _names(directory):
        found = _FILE.fullmatch(name)
        if found and found[1].startswith(kind) and int(found[2]) == row:
            _remove(directory, name)


def _names(directory: str) -> list[str]:
    if not directory:
        return []
    try:
        return [name for name in os.listdir(directory) if _FILE.fullmatch(name)]
    except OSError:
        return []


def _remove(directory: str, name: str) -> None:
    try:
        os.unlink(os.path.join(directory, name))
    except OSError:
        pass
