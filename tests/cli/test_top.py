"""top: what it paints fits, whatever the numbers and whatever was asked for; its keys do what they say."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.cli.top import KEYS, Screen, Top, keys, ordered, paint
from arbiter.control.render import COLUMNS
from arbiter.control.session import Fault, FaultKind
from tests.fakes.screen import Screen as Terminal


def worker(slot: int, **more: Any) -> dict[str, Any]:
    return {
        "slot": slot,
        "pid": 4000 + slot,
        "generation": 1,
        "state": "ready",
        "note": "",
        "uptime": 100.0,
        "requests": 12345 * slot,
        "rate": 10.5,
        "in_flight": 1,
        "p50": 0.001,
        "p99": 0.1,
        "errors": 0,
        "cpu": 0.1,
        "uss": 35 << 20,
        "request": "",
        "request_age": 0.0,
    } | more


def status(*workers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "arbiter": {
            "name": "shop",
            "pid": 4000,
            "version": "1.0",
            "python": "3.11",
            "uptime": 5000.0,
            "phase": "serving",
            "ready": True,
            "not_ready_because": "",
            "serving": len(workers),
            "wanted": len(workers),
            "generation": 1,
            "drained": False,
            "waits": 0.0,
        }
        | more,
        "workers": list(workers),
        "listeners": [{"url": "http://127.0.0.1:8000", "queue": 3, "limit": 2048}],
        "reload": None,
    }


def seen(lines: list[str], columns: int) -> list[str]:
    """The lines as a terminal shows them; fails if they do not fit it."""
    terminal = Terminal(columns, len(lines))
    terminal.feed("\x1b[H" + "\r\n".join(f"{line}\x1b[K" for line in lines))
    return terminal.lines


number = st.floats(0, 1e12)
workers = st.builds(
    worker,
    st.integers(1, 4096),
    pid=st.integers(1, 4194304),
    generation=st.integers(1, 10**6),
    state=st.sampled_from(["ready", "retiring", "quitting"]),
    note=st.text(),
    uptime=number,
    requests=st.integers(0, 2**63),
    rate=number,
    in_flight=st.integers(0, 10**6),
    p50=st.none() | number,
    p99=st.none() | number,
    errors=st.integers(0, 2**63),
    cpu=st.floats(0, 1000),
    uss=st.integers(0, 2**50),
    request=st.text(),
    request_age=number,
)


@given(st.lists(workers, max_size=30), st.integers(20, 200), st.integers(5, 60), st.booleans())
def test_the_picture_fits_the_terminal(
    some: list[dict[str, Any]], columns: int, lines: int, ready: bool
) -> None:
    """Numbers of any size, notes and request lines with anything in them."""
    picture = status(*some, ready=ready, not_ready_because="starting")
    painted = paint(picture, Screen(chosen=some[0]["pid"] if some else 0), columns, lines, 1e9)
    assert len(painted) == lines
    for line in painted:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", line)
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", plain), "a control character reaches the terminal"
    narrow = [line for line in painted if line.isascii()]
    seen(narrow or [""], columns)


def test_80_columns_hold_every_column() -> None:
    lines = seen(paint(status(worker(1), worker(2)), Screen(), 80, 24, 1e9), 80)
    for column in COLUMNS:
        assert any(column.title in line for line in lines)
    assert any("4001" in line and "35M" in line for line in lines)


def test_a_request_of_a_client_cannot_move_the_cursor() -> None:
    evil = worker(1, request="GET /\x1b[2J\x9b31m", request_age=3.0)
    lines = seen(paint(status(evil), Screen(), 80, 24, 1e9), 80)
    assert any("3.0s at GET /?[2J?31m" in line for line in lines)


def test_sorting_keeps_what_has_no_value_last() -> None:
    some = status(worker(1, p99=None), worker(2, p99=0.5), worker(3, p99=2.0))
    for descending, order in ((True, [3, 2, 1]), (False, [2, 3, 1])):
        screen = Screen(sort="p99", descending=descending)
        assert [one["slot"] for one in ordered(some, screen)] == order


class Arbiter:
    """Answers as one would and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.status = status(worker(1), worker(2))

    def ask(self, word: str, **arguments: Any) -> dict[str, Any]:
        if word == "status":
            return self.status
        self.asked.append((word, arguments))
        if word == "scale":
            raise Fault(FaultKind.FORBIDDEN, "scale is for operators")
        if word == "stacks":
            return {"worker": "worker 1", "stacks": "\n".join(f"line {n}" for n in range(100))}
        if word == "events":
            return {"events": []}
        return {"said": f"{word} done"}


@pytest.fixture
def arbiter() -> Arbiter:
    return Arbiter()


@pytest.fixture
def top(arbiter: Arbiter) -> Top:
    return Top(arbiter.ask, lambda: 1e9)


def press(top: Top, *typed: str) -> str:
    for key in typed:
        top.press(key)
    return "\n".join(seen(top.paint(80, 24), 80))


def test_acting_on_the_chosen_worker(top: Top, arbiter: Arbiter) -> None:
    assert "choose a worker first" in press(top, "c")
    assert "recycle done" in press(top, "down", "down", "c")
    assert arbiter.asked == [("recycle", {"worker": "4002"})]


def test_what_costs_is_asked_for_twice(top: Top, arbiter: Arbiter) -> None:
    assert "kill worker with pid 4001? y/n" in press(top, "down", "k")
    press(top, "n")
    assert arbiter.asked == []
    assert "kill done" in press(top, "k", "y")
    assert "reload done" in press(top, "R", "y")
    assert [word for word, _ in arbiter.asked] == ["kill", "reload"]


def test_a_refusal_is_told(top: Top) -> None:
    assert "scale is for operators" in press(top, "+")


def test_stacks_scroll_and_go_away(top: Top) -> None:
    assert "line 0" in press(top, "down", "t")
    assert "line 1\n" not in press(top, "down", "down")
    assert "4001" in press(top, "x")


def test_all_keys_are_listed(top: Top) -> None:
    page = press(top, "?")
    assert all(meaning in page for _, meaning in KEYS)


def test_sort_hold_drain_leave(top: Top, arbiter: Arbiter) -> None:
    press(top, "s", "S", "s", "o", "d", "e")
    assert [word for word, _ in arbiter.asked] == ["drain", "events"]
    press(top, " ")  # back from the events
    assert "HELD" in press(top, " ")
    arbiter.status = status()
    top.look()
    assert "4001" in press(top)
    top.press("q")
    assert top.done


def test_the_choice_goes_with_its_worker(top: Top, arbiter: Arbiter) -> None:
    press(top, "down")
    arbiter.status = status(worker(2))
    top.look()
    assert top.screen.chosen == 0


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("q", ["q"]),
        ("\x1b[A\x1b[B", ["up", "down"]),
        ("\x1bOB", ["down"]),
        ("\x1b", ["esc"]),
        ("a\x1b[Aq", ["a", "up", "q"]),
        ("\x1b[5~", []),
    ],
)
def test_keys(typed: str, read: list[str]) -> None:
    assert list(keys(typed)) == read


@given(st.lists(st.sampled_from([*"qstoSck+-Rde ?hynx", "up", "down", "esc"]), max_size=60))
def test_any_keys_in_any_order_paint_a_picture(typed: list[str]) -> None:
    top = Top(Arbiter().ask, lambda: 1e9)
    for key in typed:
        top.press(key)
        seen(top.paint(80, 24), 80)
