"""Records as text and as JSON."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.observe.formats import JsonFormatter, PrefixFormatter, TextFormatter, priority
from tests.fakes.records import record

WHO = "worker 3 (gen 2, pid 41)"


def failing(make: Callable[[], logging.LogRecord]) -> logging.LogRecord:
    try:
        raise ValueError("boom\n[2026-01-01 00:00:00 +0000] [arbiter (pid 1)] [INFO] forged")
    except ValueError:
        return make()


def test_text() -> None:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(1_700_000_000))
    made = TextFormatter().format(record("%d things", 3))
    assert made == f"[{stamp}] [{WHO}] [INFO] 3 things"


def test_colour_is_for_the_level_only() -> None:
    made = TextFormatter(colour=True).format(record("x", level=logging.ERROR))
    assert "[\x1b[31mERROR\x1b[0m] x" in made
    assert made.count("\x1b") == 2


def test_a_traceback_is_indented() -> None:
    made = TextFormatter().format(failing(lambda: record("it failed", failed=True)))
    first, *rest = made.split("\n")
    assert first.endswith("it failed")
    assert rest[0] == "  Traceback (most recent call last):"
    assert all(line.startswith("  ") for line in rest)


@given(st.text())
def test_nothing_that_is_logged_can_pass_for_a_record(text: str) -> None:
    made = TextFormatter().format(record("%s", text))
    _, *rest = made.split("\n")
    assert all(line.startswith("  ") for line in rest)
    assert "\x1b" not in made
    assert "\r" not in made


def test_what_a_worker_printed() -> None:
    made = TextFormatter().format(record("hello", event="worker.output", fields={"stream": "stderr"}))
    assert made.endswith(f"[{WHO}] [stderr] hello")


def test_json() -> None:
    fields = {"worker": 3, "reason": 'say "hi"', "odd": {1, 2}, "message": "not this"}
    made = JsonFormatter().format(record("%s is ready", "it", event="worker.ready", fields=fields))
    assert json.loads(made) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "event": "worker.ready",
        "message": "it is ready",
        "process": WHO,
        "worker": 3,
        "reason": 'say "hi"',
        "odd": "{1, 2}",
    }


def test_json_with_an_exception_is_one_line() -> None:
    made = JsonFormatter().format(failing(lambda: record("it failed", failed=True)))
    assert "\n" not in made
    read = json.loads(made)
    assert read["event"] == "message"
    assert read["exception"].startswith("Traceback")


@given(st.text())
def test_json_is_always_ascii_and_one_line(text: str) -> None:
    made = JsonFormatter().format(record("%s", text))
    assert made.isascii()
    assert json.loads(made)["message"] == text


def test_priorities_before_each_line() -> None:
    """sd-daemon(3)."""
    made = PrefixFormatter().format(record("one\ntwo", level=logging.WARNING))
    assert made == f"<4>{WHO}: one\n<4>  two"
    assert PrefixFormatter(JsonFormatter()).format(record("x")).startswith('<6>{"time"')


@pytest.mark.parametrize(
    ("level", "number"),
    [
        (logging.CRITICAL, 2),
        (logging.ERROR, 3),
        (logging.WARNING, 4),
        (logging.INFO, 6),
        (logging.DEBUG, 7),
        (25, 6),
    ],
)
def test_priority(level: int, number: int) -> None:
    """syslog(3)."""
    assert priority(level) == number
