"""What is decided about molds, told as histories of a world without processes (tests/fakes/world.py)."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest

from arbiter.control.commands import Verb
from arbiter.errors import ExitStatus
from arbiter.supervisor import events as ev
from arbiter.supervisor.backoff import LONGEST_DOWN
from arbiter.supervisor.book import MoldState
from tests.fakes.world import RULES, World, names, reload

MOLDED = replace(RULES, preload="auto", rollback_keep=300.0)


def lucky(world: World) -> World:
    """A world in which chance breaks nothing."""
    world.chance.random = lambda: 0.5  # type: ignore[method-assign]
    return world


def started(**changes: Any) -> World:
    world = lucky(World(1, replace(MOLDED, **changes)))
    world.boot_all()
    assert world.ready == 4
    world.said.clear()
    return world


def codes(world: World) -> set[int]:
    """The deploys whose code is served."""
    return {world.processes[child.key].code for child in world.book.serving()}


def the_mold(world: World, generation: int = 1) -> Any:
    (mold,) = (mold for mold in world.molds.values() if mold.generation == generation and not mold.killed)
    return mold


# -- start


def test_workers_wait_for_the_mold_and_are_forked_from_it() -> None:
    world = lucky(World(1, MOLDED))
    assert not world.processes
    world.finish(the_mold(world))
    assert len(world.processes) == 4
    assert all(process.mold for process in world.processes.values())
    world.boot_all()
    assert world.ready == 4
    assert names(world).count("mold.ready") == 1


def test_an_application_that_is_not_fork_safe_is_named_once_and_loaded_by_each_worker() -> None:
    world = lucky(World(1, MOLDED, first="unsafe"))
    world.boot_all()
    assert world.ready == 4
    assert not world.molds
    assert all(not process.mold for process in world.processes.values())
    assert names(world).count("mold.unsafe") == 1
    assert "a thread runs: 'ticker'" in world.texts()


def test_with_on_it_is_forked_all_the_same() -> None:
    world = lucky(World(1, replace(MOLDED, preload="on"), first="unsafe"))
    world.boot_all()
    assert world.ready == 4
    assert all(process.mold for process in world.processes.values())
    assert names(world).count("mold.unsafe") == 1


@pytest.mark.parametrize(
    ("app", "status"), [("fails", ExitStatus.APP), ("dies", ExitStatus.BOOT), ("hangs", ExitStatus.BOOT)]
)
def test_a_first_mold_that_cannot_be_made_ends_the_start(app: str, status: ExitStatus) -> None:
    world = lucky(World(1, MOLDED, first=app))
    world.boot_all()
    world.pass_time(61)
    world.boot_all()
    assert world.exited is status
    assert world.texts().count("Traceback") == (1 if app == "fails" else 0)


def test_a_mold_that_dies_before_anything_has_served_ends_the_start() -> None:
    world = lucky(World(1, MOLDED))
    world.finish(the_mold(world))
    world.reap_mold(the_mold(world), signal.SIGKILL)
    world.boot_all()
    assert world.exited is ExitStatus.BOOT


# -- deaths


def test_a_worker_that_dies_comes_back_as_it_was_whatever_lies_on_disk() -> None:
    world = started()
    world.disk, world.apps[99] = 99, "fails"
    victim = next(iter(world.processes.values()))
    world._reap(victim, signal.SIGKILL)
    world.boot_all()
    assert world.ready == 4
    assert codes(world) == {1}
    assert "worker.boot_failed" not in names(world)


def test_a_mold_that_dies_is_made_anew_and_nobody_notices() -> None:
    world = started()
    before = set(world.processes)
    world.reap_mold(the_mold(world), signal.SIGSEGV)
    assert set(world.processes) == before
    assert "another mold is made now" in world.texts()
    world.boot_all()
    assert the_mold(world).ready
    assert set(world.processes) == before


def test_who_is_missing_while_a_mold_is_made_anew_waits_for_it() -> None:
    world = started()
    world.reap_mold(the_mold(world), signal.SIGKILL)
    world._reap(next(iter(world.processes.values())), signal.SIGKILL)
    assert len(world.processes) == 3
    world.boot_all()
    assert world.ready == 4
    assert all(process.mold for process in world.processes.values())


def test_a_mold_that_cannot_be_made_anew_is_an_alarm_with_backoff_and_a_last_resort() -> None:
    world = started()
    world.disk, world.apps[99] = 99, "fails"
    world.reap_mold(the_mold(world), signal.SIGKILL)
    world.boot_all()
    assert names(world).count("mold.failed") == 1
    assert world.ready == 4
    assert world.texts().count("Traceback") == 1
    world.apps[99] = "good"
    world._reap(next(iter(world.processes.values())), signal.SIGKILL)
    world.boot_all()
    assert world.ready == 4
    assert codes(world) == {1, 99}, "the last resort"
    world.pass_time(1)
    world.boot_all()
    assert the_mold(world).ready
    assert not world.book.last_resort


def test_a_mold_that_fails_for_an_hour_is_tried_now_and_then() -> None:
    world = started()
    world.disk, world.apps[99] = 99, "fails"
    world.reap_mold(the_mold(world), signal.SIGKILL)
    for _ in range(360):
        world.boot_all()
        world.pass_time(10)
    assert 100 < names(world).count("mold.failed") < 160
    assert world.ready == 4


def test_a_mold_that_keeps_dying_does_not_hold_up_a_site_that_is_down() -> None:
    world = started()
    while world.book.cast_at < world.now + 2 * LONGEST_DOWN:
        world.pass_time(max(0.0, world.book.cast_at - world.now) + 0.01)
        world.finish(the_mold(world))
        world.reap_mold(the_mold(world), signal.SIGKILL)
    for process in list(world.processes.values()):
        world._reap(process, signal.SIGKILL)
    assert world.policy.wake_at() <= world.now + LONGEST_DOWN
    world.pass_time(LONGEST_DOWN)
    world.boot_all()
    assert world.ready >= 1


def test_a_mold_that_does_not_fork_is_killed() -> None:
    world = started()
    world._reap(next(iter(world.processes.values())), signal.SIGKILL)
    mold = the_mold(world)
    world.pass_time(19)
    assert not mold.killed
    world.pass_time(2)
    assert mold.killed
    world.boot_all()
    assert world.ready == 4


# -- reload


def test_a_reload_makes_its_mold_before_any_worker() -> None:
    world = started()
    before = set(world.processes)
    reload(world, "good")
    assert set(world.processes) == before
    assert len(world.molds) == 2
    world.finish(the_mold(world, 2))
    assert len(world.processes) == 5
    world.boot_all()
    assert codes(world) == {2}


@pytest.mark.parametrize("app", ["fails", "dies", "hangs"])
def test_a_reload_whose_mold_fails_touches_no_worker(app: str) -> None:
    world = started()
    before = set(world.processes)
    reload(world, app)
    world.boot_all()
    world.pass_time(61)
    world.boot_all()
    assert names(world).count("reload.failed") == 1
    assert set(world.processes) == before
    assert len(world.molds) == 1


def test_workers_that_fail_come_back_from_the_old_mold() -> None:
    """Also those that the rollout had replaced already."""
    world = started()
    reload(world, "good")
    world.finish(the_mold(world, 2))
    for _ in range(40):
        if codes(world) == {1, 2}:
            break
        child = next((c for c in world.book.children.values() if world._molds_rest() or c), None)
        todo = [p for p in world.processes.values() if p.born and (p.told or not p.ready)]
        if todo:
            world._worker_acts(todo[0])
        assert child is not None
    assert codes(world) == {1, 2}
    for process in world.processes.values():
        if process.generation == 2 and not process.ready:
            process.boots = "fails"
    world.boot_all()
    assert names(world).count("reload.failed") == 1
    assert world.ready == 4
    assert codes(world) == {1}
    assert all(process.mold for process in world.processes.values())


def test_retiring_workers_are_replaced_while_a_new_mold_is_made() -> None:
    world = started()
    key = next(iter(world.processes))
    reload(world, "hangs")
    world.feed(ev.WantsOut(key, "max_requests reached"))
    world.boot_all()
    assert key not in world.processes
    assert world.ready == 4
    assert codes(world) == {1}


def test_a_reload_may_turn_preloading_off_and_on() -> None:
    world = started()
    reload(world, "good", preload="off")
    world.boot_all()
    assert world.ready == 4
    assert all(not process.mold for process in world.processes.values())
    reload(world, "good", preload="on")
    world.boot_all()
    assert all(process.mold for process in world.processes.values())


def test_a_mold_that_dies_in_its_rollout_fails_it() -> None:
    world = started()
    reload(world, "good", soak=10.0)
    world.boot_all()
    world.reap_mold(the_mold(world, 2), signal.SIGKILL)
    world.boot_all()
    assert names(world).count("reload.failed") == 1
    assert codes(world) == {1}


# -- rollback


def two_generations() -> World:
    world = started()
    reload(world, "good")
    world.boot_all()
    assert codes(world) == {2}
    world.said.clear()
    return world


def test_a_rollback_brings_the_generation_before_back_from_its_mold() -> None:
    world = two_generations()
    world.disk, world.apps[99] = 99, "fails"
    world.ask(Verb.ROLLBACK)
    assert world.loading is None, "nothing is read"
    world.boot_all()
    assert codes(world) == {1}
    assert world.book.generation == 1
    assert names(world)[0] == "rollback.asked"
    assert names(world).count("rollback.done") == 1


def test_a_rollback_can_be_rolled_back() -> None:
    world = two_generations()
    for generation in (1, 2, 1):
        world.ask(Verb.ROLLBACK)
        world.boot_all()
        assert codes(world) == {generation}
    reload(world, "good")
    world.boot_all()
    assert world.book.generation == 3


def test_a_generation_is_kept_for_rollback_keep_seconds() -> None:
    world = two_generations()
    world.pass_time(299)
    assert len(world.molds) == 2
    world.pass_time(2)
    world.boot_all()
    assert [mold.generation for mold in world.molds.values()] == [2]
    world.ask(Verb.ROLLBACK)
    assert names(world) == ["rollback.over", "arbiter.ignored"]


def test_with_rollback_keep_0_none_is_kept() -> None:
    world = started(rollback_keep=0.0)
    reload(world, "good")
    world.boot_all()
    assert len(world.molds) == 1


def test_only_one_generation_is_kept() -> None:
    world = two_generations()
    reload(world, "good")
    world.boot_all()
    assert sorted(mold.generation for mold in world.molds.values()) == [2, 3]


def test_a_rollback_amid_a_reload_ends_that() -> None:
    world = started()
    reload(world, "hangs")
    world.ask(Verb.ROLLBACK)
    world.boot_all()
    assert "reload failed: rolled back (test); generation 1 goes on" in world.texts()
    assert world.book.rollout is None
    assert len(world.molds) == 1


def test_a_kept_mold_that_dies_cannot_be_gone_back_to() -> None:
    world = two_generations()
    world.reap_mold(the_mold(world, 1), signal.SIGKILL)
    assert "cannot be gone back to any more" in world.texts()
    world.ask(Verb.ROLLBACK)
    assert names(world)[-1] == "arbiter.ignored"


def test_a_rollback_whose_workers_do_not_start_leaves_things_as_they_are() -> None:
    """Its database schema has gone on, perhaps; it stays at hand."""
    world = two_generations()
    before = set(world.processes)
    the_mold(world, 1).boots = "frail"
    world.ask(Verb.ROLLBACK)
    world.boot_all()
    assert names(world).count("rollback.failed") == 1
    assert set(world.processes) == before
    assert world.book.kept is not None


def test_stop_lets_the_molds_go() -> None:
    world = two_generations()
    world.ask(Verb.STOP)
    assert all(mold.state is MoldState.MELTING for mold in world.book.molds.values())
    world.boot_all()
    assert world.exited is ExitStatus.OK
