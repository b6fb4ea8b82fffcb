"""What visitors see: readiness, sizes within a budget, workers by number or process id."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbiter.control.session import Fault
from arbiter.supervisor.book import Phase
from arbiter.supervisor.states import State
from arbiter.supervisor.view import BUDGET, FRESH
from tests.fakes.views import Arbiter


@pytest.fixture
def arbiter(tmp_path: Path) -> Arbiter:
    return Arbiter(tmp_path, min_ready="2")


def test_ready_is_enough_workers_that_run(arbiter: Arbiter) -> None:
    assert arbiter.view.readiness() == (2, "")
    pid = next(iter(arbiter.book.children.values())).pid
    for state in "Tt":
        arbiter.held[pid] = state
        assert arbiter.view.readiness() == (1, "1 worker serves, min_ready = 2")
    arbiter.held.clear()
    arbiter.book.children[1].state = State.DRAINING
    assert arbiter.view.readiness()[1]


@pytest.mark.parametrize(
    ("phase", "withheld", "leave_at", "why"),
    [
        (Phase.STARTING, False, float("inf"), "starting"),
        (Phase.STOPPING, False, float("inf"), "stopping"),
        (Phase.SERVING, False, 5.0, "stopping"),
        (Phase.SERVING, True, float("inf"), "drained by an operator"),
    ],
)
def test_why_not(arbiter: Arbiter, phase: Phase, withheld: bool, leave_at: float, why: str) -> None:
    arbiter.book.phase, arbiter.book.withheld, arbiter.book.leave_at = phase, withheld, leave_at
    assert arbiter.view.readiness() == (2, why)


def test_min_ready_is_never_more_than_there_are_slots(tmp_path: Path) -> None:
    assert Arbiter(tmp_path, workers=1, min_ready="5").view.readiness() == (1, "")


def test_memory_is_measured_a_few_at_a_time(tmp_path: Path) -> None:
    arbiter = Arbiter(tmp_path, workers=BUDGET + 3)
    view, now = arbiter.view, 1000.0
    assert sum(1 for size in view.sizes(now).values() if size) == BUDGET
    assert arbiter.measured == BUDGET
    assert all(view.sizes(now).values())
    assert arbiter.measured == BUDGET + 3
    view.sizes(now + 1)
    assert arbiter.measured == BUDGET + 3
    view.sizes(now + FRESH)
    assert arbiter.measured == 2 * BUDGET + 3


def test_a_worker_by_number_or_process_id(arbiter: Arbiter) -> None:
    old, view = arbiter.book.children[1], arbiter.view
    old.state = State.DRAINING
    new = arbiter.born(1)
    assert view.find("1") is new
    assert view.find(str(old.pid)) is old
    for text, problem in (
        ("9", "there is no worker 9; there are: 1, 2"),
        ("x", "neither"),
        ("-1", "neither"),
    ):
        with pytest.raises(Fault, match=problem):
            view.find(text)
