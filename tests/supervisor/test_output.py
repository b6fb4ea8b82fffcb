"""The arbiter's end of what workers print: whole lines, in order, a little at a time."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from arbiter.supervisor.output import BLOCK, LONGEST, Outputs
from arbiter.supervisor.watch import Watch


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        said = record.__dict__
        self.lines.append((said["who"], said["fields"]["stream"], record.getMessage()))


@pytest.fixture
def kept() -> Iterator[Kept]:
    logger = logging.getLogger("arbiter.error")
    handler = Kept()
    logger.handlers, before = [handler], logger.handlers
    logger.propagate = False
    yield handler
    logger.handlers = before


@pytest.fixture
def watch() -> Iterator[Watch]:
    made = Watch()
    yield made
    made.abandon()


class Worker:
    """A worker's two pipes."""

    def __init__(self, outputs: Outputs, key: int) -> None:
        self.pipes = [os.pipe(), os.pipe()]
        outputs.take(key, [read for read, _ in self.pipes])

    def write(self, data: bytes, stream: int = 0) -> None:
        os.write(self.pipes[stream][1], data)

    def end(self) -> None:
        for _, write in self.pipes:
            os.close(write)


@pytest.fixture
def outputs(watch: Watch) -> Outputs:
    return Outputs(watch, lambda key: (f"worker {key}", {"worker": key}))


def texts(kept: Kept) -> list[str]:
    return [text for _, _, text in kept.lines]


def test_lines_come_under_the_workers_name(watch: Watch, outputs: Outputs, kept: Kept) -> None:
    one, two = Worker(outputs, 1), Worker(outputs, 2)
    one.write(b"hello\nwor")
    two.write(b"problem \xff\n", 1)
    watch.wait(0)
    assert sorted(kept.lines) == [("worker 1", "stdout", "hello"), ("worker 2", "stderr", "problem \\xff")]
    one.write(b"ld\n")
    watch.wait(0)
    assert kept.lines[-1] == ("worker 1", "stdout", "world")
    for worker in (one, two):
        worker.end()
    watch.wait(0)
    assert watch.wait(0) == []


def test_what_a_dead_worker_has_left(watch: Watch, outputs: Outputs, kept: Kept) -> None:
    worker = Worker(outputs, 1)
    worker.write(b"line\n" * 5000 + b"last words")
    worker.end()
    outputs.bury(1)
    assert texts(kept) == ["line"] * 5000 + ["last words"]


def test_what_a_workers_child_prints_later(watch: Watch, outputs: Outputs, kept: Kept) -> None:
    worker = Worker(outputs, 1)
    worker.write(b"worker\n")
    outputs.bury(1)
    worker.write(b"its child\n")
    watch.wait(0)
    worker.end()
    watch.wait(0)
    assert texts(kept) == ["worker", "its child"]


def test_a_little_at_a_time(watch: Watch, outputs: Outputs, kept: Kept) -> None:
    """One that prints without end does not keep the arbiter from the others."""
    worker = Worker(outputs, 1)
    worker.write(b"x\n" * (BLOCK // 2) * 3)
    watch.wait(0)
    assert len(kept.lines) == BLOCK // 2
    worker.end()
    outputs.bury(1)
    assert len(kept.lines) == BLOCK // 2 * 3


def test_a_line_without_end_is_broken_up(watch: Watch, outputs: Outputs, kept: Kept) -> None:
    worker = Worker(outputs, 1)
    worker.write(b"x" * (LONGEST + 1))
    watch.wait(0)
    worker.write(b"y\n")
    worker.end()
    outputs.bury(1)
    assert texts(kept) == ["x" * (LONGEST + 1), "y"]


def test_a_forked_child_lets_go(watch: Watch, outputs: Outputs) -> None:
    worker = Worker(outputs, 1)
    pid = os.fork()
    if pid == 0:
        outputs.abandon()
        try:
            os.fstat(worker.pipes[0][0])
        except OSError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    worker.end()
    outputs.bury(1)
