"""What is decided about upgrades in place, told as histories of a world without processes."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest

from arbiter.control.commands import Verb
from arbiter.supervisor import events as ev
from arbiter.supervisor.upgrading import AGAIN, PATIENCE
from tests.fakes.world import RULES, World, names

MOLDED = replace(RULES, preload="auto", rollback_keep=300.0)


def started(seed: int = 1, **changes: Any) -> World:
    """A world in which chance breaks nothing, with all its workers ready."""
    world = World(seed, replace(RULES, **changes))
    world.chance.random = lambda: 0.5  # type: ignore[method-assign]
    world.boot_all()
    assert world.ready == 4
    world.said.clear()
    return world


@pytest.mark.parametrize("preload", ["off", "auto"])
def test_what_has_proved_itself_takes_over_and_reloads(preload: str) -> None:
    world = started(preload=preload, rollback_keep=300.0)
    before = set(world.processes)
    world.ask(Verb.UPGRADE)
    assert names(world) == ["upgrade.asked"]
    world.answer_proof(True)
    assert names(world)[1:] == ["upgrade.proved", "upgrade.done", "reload.reading"]
    assert world.upgrades == 1 and world.loading == 2
    assert set(world.processes) == before and world.ready == 4
    number, world.loading = world.loading, None
    world.load(number, "good", world.book.rules)
    world.boot_all()
    assert world.committed == 2
    assert {child.generation for child in world.book.serving()} == {2}
    assert world.ready == 4 and not before & set(world.processes)
    assert (world.book.kept is not None) == (preload == "auto")


def test_the_generation_before_can_be_gone_back_to_across_the_upgrade() -> None:
    world = started(preload="auto", rollback_keep=300.0)
    world.ask(Verb.UPGRADE)
    world.answer_proof(True)
    assert world.loading is not None
    number, world.loading = world.loading, None
    world.load(number, "good", world.book.rules)
    world.boot_all()
    world.ask(Verb.ROLLBACK)
    world.boot_all()
    assert {child.generation for child in world.book.serving()} == {1}


def test_what_does_not_prove_itself_changes_nothing() -> None:
    world = started()
    before = set(world.processes)
    world.ask(Verb.UPGRADE)
    world.answer_proof(False)
    assert names(world) == ["upgrade.asked", "upgrade.refused"]
    assert "it cannot take over; all goes on as it was\nSyntaxError" in world.texts()
    assert world.upgrades == 0 and world.loading is None and set(world.processes) == before
    world.ask(Verb.UPGRADE)
    world.answer_proof(True)
    assert world.upgrades == 1


def test_a_reload_that_fails_after_it_leaves_the_workers_there_were() -> None:
    world = started()
    before = set(world.processes)
    world.ask(Verb.UPGRADE)
    world.answer_proof(True)
    assert world.loading is not None
    number, world.loading = world.loading, None
    world.load(number, "fails", world.book.rules)
    world.boot_all()
    assert "reload.failed" in names(world)
    assert set(world.processes) == before and world.ready == 4


def test_it_waits_for_a_reload_under_way() -> None:
    world = started()
    world.ask(Verb.RELOAD)
    world.ask(Verb.UPGRADE)
    world.answer_proof(True)
    assert world.upgrades == 0
    number, world.loading = world.loading, None
    assert number is not None
    world.load(number, "good", world.book.rules)
    assert world.upgrades == 0
    world.boot_all()
    assert world.upgrades == 1 and world.book.generation == 2 and world.loading == 3


def test_it_waits_for_a_worker_that_is_to_be_forked_and_begins_no_other() -> None:
    world = started(preload="auto")
    world.ask(Verb.UPGRADE)
    first, second = sorted(world.processes)[:2]
    world._reap(world.processes[first], signal.SIGSEGV)
    (unborn,) = (process for process in world.processes.values() if not process.born)
    world.answer_proof(True)
    world._reap(world.processes[second], signal.SIGSEGV)
    assert world.upgrades == 0
    assert [process for process in world.processes.values() if not process.born] == [unborn]
    world.bear(unborn)
    assert world.upgrades == 1
    assert len([process for process in world.processes.values() if not process.born]) == 1


def test_a_wrong_moment_is_tried_again() -> None:
    world = started()
    world.chance.random = lambda: 0.05  # type: ignore[method-assign]
    world.ask(Verb.UPGRADE)
    world.answer_proof(True)
    assert world.upgrades == 0
    world.chance.random = lambda: 0.5  # type: ignore[method-assign]
    world.pass_time(1.0)
    assert world.upgrades == 1


def test_it_does_not_wait_for_ever_for_a_moment() -> None:
    world = started()
    asked: list[bool] = []
    world._replace = lambda anyway: (asked.append(anyway), world.pending.append(ev.Unripe()))  # type: ignore[assignment, func-returns-value]
    world.ask(Verb.UPGRADE)
    world.answer_proof(True)
    world.pass_time(AGAIN * (PATIENCE + 1))
    assert asked[:PATIENCE] == [False] * PATIENCE and asked[PATIENCE:] and all(asked[PATIENCE:])


def test_an_exec_that_fails_changes_nothing() -> None:
    world = started()
    world.chance.random = lambda: 0.15  # type: ignore[method-assign]
    world.ask(Verb.UPGRADE)
    world.answer_proof(True)
    assert names(world)[-1] == "upgrade.refused" and world.ready == 4
    assert world.book.upgrade is None


def test_one_at_a_time() -> None:
    world = started()
    world.ask(Verb.UPGRADE)
    world.ask(Verb.UPGRADE)
    assert names(world) == ["upgrade.asked", "arbiter.ignored"]


def test_not_before_anything_serves() -> None:
    world = World(1)
    world.ask(Verb.UPGRADE)
    assert not world.proving and "a restart costs nothing" in world.texts()


def test_a_stop_ends_it() -> None:
    world = started(drain_delay=10.0)
    world.ask(Verb.UPGRADE)
    world.ask(Verb.STOP)
    world.answer_proof(True)
    assert world.upgrades == 0
    world.ask(Verb.UPGRADE)
    assert names(world)[-1] == "arbiter.ignored"
    world.pass_time(11.0)
    world.boot_all()
    assert world.upgrades == 0 and world.exited is not None


def test_a_verdict_after_the_stop_is_nobodys() -> None:
    world = started()
    world.ask(Verb.UPGRADE)
    world.ask(Verb.STOP)
    world.answer_proof(True)
    world.feed(ev.Unripe())
    world.boot_all()
    assert world.upgrades == 0 and world.exited is not None


def test_paused_workers_stay_paused() -> None:
    world = started()
    world.ask(Verb.PAUSE)
    world.boot_all()
    world.ask(Verb.UPGRADE)
    world.answer_proof(True)
    assert world.upgrades == 1 and world.loading is None and world.ready == 0
    assert names(world)[-1] == "upgrade.done"
