"""The access log's buffer: bounded, in order, never in a request's way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from arbiter.observe.sinks import Unsent
from arbiter.observe.writer import BATCH, Writer

PATIENCE = 20.0


class Gate:
    """A target that takes lines while it is open, and otherwise part of them or none."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.tried = threading.Event()
        self.got = ""
        self.takes = 0

    def send(self, data: bytes, stopping: Callable[[], bool]) -> None:
        self.tried.set()
        if self.open.is_set():
            self.got += data.decode()
        else:
            self.got += data[: self.takes].decode()
            raise Unsent(data[self.takes :], "No space left on device")


class Told:
    def __init__(self) -> None:
        self.words: list[tuple[str, int]] = []
        self.news = threading.Event()

    def __call__(self, problem: str, lost: int) -> None:
        self.words.append((problem, lost))
        self.news.set()


def put(writer: Writer, line: str) -> None:
    """What a compiled access log does."""
    writer.lines.append(line)
    if len(writer.lines) >= BATCH:
        writer.seal()
    if writer.idle:
        writer.wake()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def writer(gate: Gate, told: Told) -> Iterator[Writer]:
    made = Writer([gate], 50_000, told)
    yield made
    gate.open.set()
    made.close(PATIENCE)


def test_all_lines_in_order(writer: Writer, gate: Gate) -> None:
    wanted = [f"{number}\n" for number in range(2000)]
    for line in wanted:
        put(writer, line)
    assert writer.close(PATIENCE) == 0
    assert gate.got == "".join(wanted)


def test_lines_of_several_threads(writer: Writer, gate: Gate) -> None:
    def work(name: str) -> None:
        for number in range(500):
            put(writer, f"{name} {number}\n")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.close(PATIENCE) == 0
    for name in "abcd":
        mine = [line for line in gate.got.splitlines() if line[0] == name]
        assert mine == [f"{name} {number}" for number in range(500)]


def test_lines_that_are_made_when_they_are_written(writer: Writer, gate: Gate) -> None:
    """Of what is kept until then; some of it may get none."""
    some: list[int] = []

    def make(kept: Sequence[int]) -> list[str]:
        some.append(len(kept))
        return [f"{number}\n" for number in kept if number % 3]

    writer.make = make
    for number in range(2000):
        writer.lines.append(number)
        if len(writer.lines) >= BATCH:
            writer.seal()
        if writer.idle:
            writer.wake()
    assert writer.close(PATIENCE) == 0
    assert gate.got == "".join(f"{number}\n" for number in range(2000) if number % 3)
    assert sum(some) == 2000
    assert max(some) == BATCH


def test_no_request_waits_for_lines_that_are_being_made(writer: Writer, gate: Gate) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def make(lines: Sequence[str]) -> Sequence[str]:
        begun.set()
        assert go_on.wait(PATIENCE)
        return lines

    writer.make = make
    put(writer, "one\n")
    assert begun.wait(PATIENCE)
    for number in range(BATCH + 1):
        put(writer, f"{number}\n")  # would never return if it waited
    assert len(writer.lines) == BATCH + 1
    go_on.set()
    assert writer.close(PATIENCE) == 0
    assert gate.got == "one\n" + "".join(f"{number}\n" for number in range(BATCH + 1))


def test_more_than_the_buffer_holds_is_written_when_nothing_waits(writer: Writer, gate: Gate) -> None:
    long = ["x" * 2000 + "\n"] * BATCH
    writer.lines.extend(long)
    writer.wake()
    assert writer.close(PATIENCE) == 0
    assert gate.got == "".join(long)


def test_long_lines_cost_no_short_ones(writer: Writer, gate: Gate, told: Told) -> None:
    """While there is no room for all."""
    gate.open.clear()
    put(writer, "first\n")
    assert told.news.wait(PATIENCE)
    told.news.clear()
    for number in range(BATCH):
        writer.lines.append("x" * 2000 + "\n" if number % 2 else f"{number}\n")
    writer.seal(wait=True)
    gate.open.set()
    assert told.news.wait(PATIENCE)
    assert writer.close(PATIENCE) == 0
    lines = gate.got.splitlines()
    assert [line for line in lines if line[0] != "x"] == ["first", *map(str, range(0, BATCH, 2))]
    assert len(lines) + told.words[-1][1] == BATCH + 1


def test_an_idle_thread_is_woken_by_a_line(writer: Writer, gate: Gate) -> None:
    for number in range(3):
        gate.tried.clear()
        put(writer, f"{number}\n")
        assert gate.tried.wait(PATIENCE)
        assert writer.flush(PATIENCE)
    assert gate.got == "0\n1\n2\n"


def test_what_cannot_be_written_is_kept(writer: Writer, gate: Gate, told: Told) -> None:
    gate.open.clear()
    put(writer, "one\n")
    assert told.news.wait(PATIENCE)
    put(writer, "two\n")
    assert told.words == [("No space left on device", 0)]
    told.news.clear()
    gate.open.set()
    assert told.news.wait(PATIENCE)
    assert writer.flush(PATIENCE)
    assert gate.got == "one\ntwo\n"
    assert told.words[1] == ("", 0)


def test_what_is_too_much_is_dropped_counted_and_told(writer: Writer, gate: Gate, told: Told) -> None:
    gate.open.clear()
    sent = 50 * BATCH
    for number in range(sent):
        put(writer, f"line {number:10}\n")
    assert told.news.wait(PATIENCE)
    assert len(writer.lines) < BATCH
    told.news.clear()
    gate.open.set()
    assert told.news.wait(PATIENCE)
    assert writer.close(PATIENCE) == 0
    lost = sum(count for _, count in told.words)
    assert lost > 0
    assert lost + gate.got.count("\n") == sent
    assert len(gate.got) <= 50_000 + 2 * BATCH * 16


def test_half_a_line_is_completed(writer: Writer, gate: Gate, told: Told) -> None:
    gate.takes = 3
    gate.open.clear()
    put(writer, "abcdef\n")
    assert told.news.wait(PATIENCE)
    gate.open.set()
    assert writer.close(PATIENCE) == 0
    assert gate.got.endswith("f\n")
    assert gate.got.replace("\n", "") == "abcdef"


def test_the_end_does_not_wait_for_ever(writer: Writer, gate: Gate, told: Told) -> None:
    gate.open.clear()
    put(writer, "never\n")
    assert told.news.wait(PATIENCE)
    assert writer.close(0.01) == 1


def test_an_errand_is_run_though_nothing_can_be_written(writer: Writer, gate: Gate, told: Told) -> None:
    """A reopened file is what mends a full disk."""
    gate.open.clear()
    put(writer, "one\n")
    assert told.news.wait(PATIENCE)
    writer.run_after_flush(gate.open.set)
    assert gate.open.wait(PATIENCE)
    assert writer.close(PATIENCE) == 0
    assert gate.got == "one\n"


def test_an_errand_without_a_thread_is_run_at_once(writer: Writer) -> None:
    done: list[int] = []
    writer.run_after_flush(lambda: done.append(1))
    assert done == [1]


def test_a_second_target_gets_no_line_twice(gate: Gate, told: Told) -> None:
    other = Gate()
    writer = Writer([gate, other], 10_000, told)
    gate.takes = 4
    gate.open.clear()
    put(writer, "one\ntwo\n")
    assert told.news.wait(PATIENCE)
    gate.open.set()
    assert writer.close(PATIENCE) == 0
    assert gate.got == other.got


def test_a_forked_process_begins_with_nothing(writer: Writer, gate: Gate) -> None:
    """What an application forks must not write its parent's lines a second time."""
    gate.open.clear()
    put(writer, "parent\n")
    pid = os.fork()
    if pid == 0:
        os._exit(len(writer.lines) + (0 if writer.idle else 10))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    gate.open.set()
    assert writer.close(PATIENCE) == 0
    assert gate.got == "parent\n"
