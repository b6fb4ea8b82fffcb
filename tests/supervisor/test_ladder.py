"""What becomes of a stuck worker, told as histories of a world without processes (tests/fakes/world.py)."""

from __future__ import annotations

import signal

import pytest

from arbiter.link.messages import DRAINING
from arbiter.supervisor import events as ev
from arbiter.supervisor.states import State
from tests.fakes.world import names, started


def test_a_stuck_worker_is_diagnosed_replaced_and_stopped_one_rung_at_a_time() -> None:
    world = started()
    child = next(iter(world.book.serving()))
    process = world.processes[child.key]
    process.stubborn = True
    world.feed(ev.Overdue(child.key, 31.0, "'GET /slow' has taken 31.0 s; it is blocked"))
    assert child.state is State.STUCK
    assert "is stuck: 'GET /slow' has taken 31.0 s; it is blocked" in world.texts()
    assert len(world.processes) == 5, "its successor starts at once"
    assert process.told == set()
    world.pass_time(1.1)
    assert process.told == {signal.SIGTERM}
    world.pass_time(1.1)
    assert process.told == {signal.SIGTERM, signal.SIGABRT}
    world.pass_time(1.1)
    assert process.told == {signal.SIGTERM, signal.SIGABRT, signal.SIGKILL}
    world.boot_all()
    assert world.ready == 4


@pytest.mark.parametrize(
    ("kind", "others", "told"),
    [
        ("threaded", 3, {signal.SIGTERM}),
        ("threaded", 0, {signal.SIGTERM, signal.SIGABRT}),
        ("sync", 0, {signal.SIGTERM}),
        ("asgi", 0, {signal.SIGTERM}),
    ],
)
def test_a_stuck_worker_whose_loop_turns_may_finish_what_it_can(
    kind: str, others: int, told: set[int]
) -> None:
    world = started()
    child = next(iter(world.book.serving()))
    process = world.processes[child.key]
    process.stubborn, child.kind, world.others = True, kind, 1
    world.feed(ev.Overdue(child.key, 31.0, "late", others=others))
    world.pass_time(1.1)
    assert process.told == {signal.SIGTERM}
    world.feed(ev.Step(child.key, DRAINING))
    world.pass_time(30)
    assert process.told & {signal.SIGTERM, signal.SIGABRT} == told
    world.pass_time(5)
    assert {signal.SIGABRT, signal.SIGKILL} <= process.told, "the hook worker_abort is called"
    assert "did not end within" not in world.texts()
    if others or kind != "threaded":
        over = "'GET /slow' (31.0 s) still in work, and graceful_timeout = 30 s is over"
        assert f"{child.name} is ended after it was stuck: {over}" in world.texts()


def test_a_stuck_worker_is_waited_for_only_while_somebody_has_something_to_expect() -> None:
    world = started()
    child = next(iter(world.book.serving()))
    process = world.processes[child.key]
    process.stubborn, child.kind, world.others = True, "threaded", 1
    world.feed(ev.Overdue(child.key, 31.0, "late", others=3))
    world.pass_time(1.1)
    world.feed(ev.Step(child.key, DRAINING))
    world.pass_time(10)
    assert process.told == {signal.SIGTERM}
    world.others = 0
    world.pass_time(1)
    assert process.told == {signal.SIGTERM, signal.SIGABRT}
    assert "'GET /slow' (31.0 s) still in work, and there is nothing else to wait for" in world.texts()
    assert names(world).count("worker.killed") == 1
    world.pass_time(1)
    assert signal.SIGKILL in process.told
    world.boot_all()
    assert world.ready == 4


def test_no_record_lists_requests_without_end() -> None:
    world = started()
    child = next(iter(world.book.serving()))
    world.processes[child.key].stubborn, child.kind, world.others = True, "threaded", 1
    world.feed(ev.Overdue(child.key, 31.0, "late", others=3))
    world.pass_time(1.1)
    world.feed(ev.Step(child.key, DRAINING))
    world.feed(ev.InWork(child.key, tuple((f"GET /{n}", 31.0) for n in range(9)), 0))
    assert "'GET /4' (31.0 s) and 4 more still in work" in world.texts()
    assert "GET /5" not in world.texts()
