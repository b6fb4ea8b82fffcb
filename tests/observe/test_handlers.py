"""Handlers count what they lose and say so."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from arbiter.observe.formats import JsonFormatter, TextFormatter
from arbiter.observe.handlers import SinkHandler
from arbiter.observe.sinks import Sink
from tests.fakes.records import record


def test_losses_are_told_before_the_next_record(tmp_path: Path) -> None:
    """gunicorn.md 2.10: a full disk costs records; not a traceback per request."""
    path = tmp_path / "log"
    sink = Sink(str(path), 2, "errorlog")
    handler = SinkHandler(sink)
    handler.setFormatter(JsonFormatter())
    kept = os.dup(sink.fileno())
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, sink.fileno())
    for _ in range(3):
        handler.emit(record("lost"))
    os.dup2(kept, sink.fileno())
    handler.emit(record("seen"))
    first, second = path.read_text().splitlines()
    assert '"event": "log.dropped"' in first
    assert '"records": 3' in first
    assert '"seen"' in second
    for fd in (kept, full):
        os.close(fd)
    sink.close()


def test_a_record_that_cannot_be_formatted_harms_nobody(tmp_path: Path) -> None:
    sink = Sink(str(tmp_path / "log"), 2, "errorlog")
    handler = SinkHandler(sink)
    handler.setFormatter(TextFormatter())
    handler.emit(record("%d", "no number"))
    assert sink.dropped == 1
    handler.emit(record("fine", level=logging.ERROR))
    assert "1 record before this one" in (tmp_path / "log").read_text()
    sink.close()
