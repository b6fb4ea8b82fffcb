"""Patience with what fails: longer at each step, one attempt and one record a step, and forgiveness."""

from __future__ import annotations

import logging
import signal

import pytest

from arbiter.link.messages import BootFailed
from arbiter.supervisor import events as ev
from arbiter.supervisor.backoff import CAP, FIRST, JITTER, LONGEST_DOWN, PROOF, TOKENS, Backoff
from arbiter.supervisor.states import State
from tests.fakes.world import World, reload, started
from tests.supervisor.test_policy import lucky


def test_each_failure_waits_longer_up_to_the_cap() -> None:
    backoff, now = Backoff(), 100.0
    waits = []
    for _ in range(12):
        waits.append(backoff.boot_failed(now))
        now = backoff.until
    assert waits[:3] == pytest.approx([FIRST, 2 * FIRST, 4 * FIRST], rel=JITTER)
    assert max(waits) <= CAP * (1 + JITTER)


def test_nobody_who_serves_no_long_delay() -> None:
    backoff, now = Backoff(), 100.0
    for _ in range(12):
        assert backoff.boot_failed(now, down=True) <= LONGEST_DOWN
        now = backoff.until
    backoff.boot_failed(now)
    assert backoff.until > now + LONGEST_DOWN
    backoff.look(now + 1, down=True)
    assert backoff.until == now + 1 + LONGEST_DOWN, "the last one has gone meanwhile"
    backoff.look(now + 2, down=True)
    assert backoff.until == now + 1 + LONGEST_DOWN


def test_it_is_as_patient_after_a_week() -> None:
    backoff, now = Backoff(), 100.0
    for _ in range(25_000):
        now += backoff.boot_failed(now)
    assert backoff.boot_failed(now) <= CAP * (1 + JITTER)


def test_those_who_fail_together_have_failed_once() -> None:
    backoff = Backoff()
    first = backoff.boot_failed(100.0)
    assert backoff.boot_failed(100.1) == pytest.approx(first - 0.1)
    assert backoff.failures == 1


def test_the_first_deaths_are_answered_at_once() -> None:
    backoff = Backoff()
    assert [backoff.died(100.0) for _ in range(TOKENS)] == [0.0] * TOKENS
    assert backoff.died(100.0) > 0


def test_forgiveness() -> None:
    backoff = Backoff()
    for now in (100.0, 110.0, 120.0):
        backoff.boot_failed(now)
    backoff.forgive()
    assert (backoff.failures, backoff.until) == (0, 0.0)
    assert backoff.boot_failed(130.0) == pytest.approx(FIRST, rel=JITTER)


def test_a_crash_loop_is_one_worker_and_one_record_a_step() -> None:
    world = started()
    world.apps[1] = "fails"
    for process in list(world.processes.values()):
        world._reap(process, signal.SIGKILL)
    world.boot_all()  # the first four fail together
    waits = []
    for _ in range(6):
        waits.append(world.book.backoff.until - world.now)
        world.pass_time(waits[-1] + 0.01)
        assert len(world.processes) == 1
        world.said.clear()
        world.boot_all()
        assert [say.level for say in world.said if say.level >= logging.INFO] == [logging.ERROR]
    assert waits == pytest.approx([0.5, 1.0, 2.0, 4.0, 4.0, 4.0], rel=0.2), "four at once are one failure"
    world.apps[1] = "good"
    lucky(world)
    world.pass_time(world.book.backoff.until - world.now + 0.01)
    world.boot_all()
    assert world.ready == 4, "who succeeds brings the others back"


def crash(world: World, alive: float) -> None:
    """Every worker that gets ready dies so many seconds later."""
    world.boot_all()
    world.pass_time(alive)
    for process in list(world.processes.values()):
        world._reap(process, signal.SIGSEGV)


@pytest.mark.parametrize("alive", [0.0, 0.3, 2.0])
def test_workers_that_get_ready_and_die_are_tried_one_at_a_time_and_soon(alive: float) -> None:
    """The site is wholly down: what helps is an attempt, and one record of each."""
    world = started()
    lucky(world)
    while not world.book.backoff.until:
        crash(world, alive)
    world.pass_time(world.book.backoff.until - world.now + 0.01)
    crash(world, alive)  # also whoever was forked while tokens lasted
    world.said.clear()
    steps, began = 100, world.now
    for _ in range(steps):
        wait = world.book.backoff.until - world.now
        assert 0 < wait <= LONGEST_DOWN
        world.pass_time(wait + 0.01)
        crash(world, alive)
    errors = [say for say in world.said if say.level >= logging.ERROR]
    assert len(errors) == steps
    assert world.forks_within(world.now - began) == steps


def test_who_lives_after_a_crash_loop_brings_the_others_back() -> None:
    world = started()
    lucky(world)
    for _ in range(20):
        crash(world, 0.1)
        world.pass_time(1.0)
    world.pass_time(LONGEST_DOWN)
    world.boot_all()
    assert world.ready == 1
    world.pass_time(PROOF - 0.1)
    world.boot_all()
    assert world.ready == 1, "it might die as the others did"
    world.pass_time(0.2)
    world.boot_all()
    assert world.ready == 4


def test_the_last_death_ends_a_long_wait() -> None:
    """One slot has failed for long while the others served; now they die, too."""
    world = started()
    world.apps[1] = "fails"
    world._reap(next(iter(world.processes.values())), signal.SIGKILL)
    while world.book.backoff.until < world.now + 2 * LONGEST_DOWN:
        world.boot_all()
        world.pass_time(1.0)
    for process in list(world.processes.values()):
        world._reap(process, signal.SIGKILL)
    assert world.book.backoff.until <= world.now + LONGEST_DOWN


def test_the_fix_of_a_crash_loop_does_not_wait_for_the_back_off() -> None:
    """Whoever deploys it would otherwise watch nothing happen for up to 30 s."""
    world = started()
    world.apps[1] = "fails"
    for process in list(world.processes.values()):
        world._reap(process, signal.SIGKILL)
    for _ in range(100):
        world.boot_all()
        world.pass_time(1.0)
    world.boot_all()
    assert world.ready == 0
    assert world.book.backoff.until > world.now
    lucky(world)
    reload(world, "good")
    assert [process.generation for process in world.processes.values()] == [2] * 4, "at once, all of them"
    world.boot_all()
    assert world.ready == 4
    assert world.committed == 2
    world._reap(next(iter(world.processes.values())), signal.SIGKILL)
    assert len(world.processes) == 4, "what failed before is forgiven"


def test_a_crash_loop_tells_its_traceback_once_until_it_changes() -> None:
    """Nobody is left, and each attempt fails as the one before did."""
    world = started()
    world.book.direct.add(1)
    for child in list(world.book.serving()):
        child.mold = 0
    world.apps[1] = "fails"
    for process in list(world.processes.values()):
        world._reap(process, signal.SIGKILL)
    world.said.clear()
    for _ in range(60):
        for process in [p for p in world.processes.values() if not p.ready]:
            world.boot(process)
        world.pass_time(1.0)
    told = [say.text for say in world.said if say.name == "worker.boot_failed"]
    assert told[0].endswith("\nTraceback ...")
    assert not any("\n" in text for text in told[1:])
    again = [text.partition("; the traceback is the same as before, ")[2] for text in told[1:]]
    counts = [text for text in again if text]  # the others were on their way when it failed first
    assert len(counts) > 5
    assert counts == [f"{number} times in a row" for number in range(2, len(counts) + 2)]


def test_what_a_failed_start_tells_is_whole_when_it_changes_or_was_forgiven() -> None:
    world = started()
    backoff = world.book.backoff

    def said(traceback: str) -> str:
        report = BootFailed("application", "no", traceback, 4)
        return world.policy._next_try(backoff, 0.5, report)

    again = "next try in 0.5 s; the traceback is the same as before, 2 times in a row"
    assert said("one\n") == "next try in 0.5 s\none"
    assert said("one\n") == again
    assert said("other") == "next try in 0.5 s\nother"
    assert said("one") == "next try in 0.5 s\none"
    assert world.policy._next_try(backoff, 0.5, None) == "next try in 0.5 s"
    assert said("one") == "next try in 0.5 s\none"
    backoff.forgive()
    assert said("one") == "next try in 0.5 s\none"


def test_a_problem_that_ends_with_a_full_stop_does_not_end_the_sentence() -> None:
    world = started()
    world.book.direct.add(1)
    child = next(iter(world.book.serving()))
    child.state = State.BOOTING
    world.feed(ev.Failed(child.key, BootFailed("application", "It is not there.", "", 4)))
    assert "It is not there; next try in " in world.texts()
