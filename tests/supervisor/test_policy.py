"""What the policy decides, told as histories of a world without processes (tests/fakes/world.py)."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.control.commands import Verb
from arbiter.control.happenings import HAPPENINGS
from arbiter.errors import ExitStatus
from arbiter.supervisor import events as ev
from arbiter.supervisor.book import Phase
from arbiter.supervisor.states import State
from tests.fakes.world import RULES, World, names, reload, started

STEPS = int(os.environ.get("ARBITER_SIMULATION_STEPS", "50000"))
"""Of each of the twenty simulations: a million in all."""


def lucky(world: World) -> None:
    """From here on a good application always boots."""
    world._luck = lambda generation: world.apps[generation]  # type: ignore[method-assign]


# -- start


def test_a_first_start_in_which_nothing_boots_ends_with_the_reason_and_the_status() -> None:
    world = World(1, first="fails")
    world.boot_all()
    assert world.exited is ExitStatus.APP
    assert world.texts().count("Traceback") == 1


def test_a_first_start_that_dies_says_how() -> None:
    world = World(1, first="dies")
    world.boot_all()
    assert world.exited is ExitStatus.BOOT
    assert "SIGSEGV" in world.texts()


def test_a_first_start_that_hangs_ends_at_boot_timeout() -> None:
    world = World(1, first="hangs")
    world.pass_time(59)
    assert world.exited is None
    world.pass_time(5)
    world.boot_all()
    assert world.exited is ExitStatus.BOOT
    assert "hangs in step fork" in world.texts()
    assert "boot_timeout" in world.texts()


def test_ready_is_said_once_all_are() -> None:
    world = World(1)
    lucky(world)
    for process in world.processes.values():
        process.boots = "good"
    world.boot_all()
    assert "arbiter ready: 4 workers" in world.texts()
    assert world.book.phase is Phase.SERVING


# -- reload


def test_a_good_reload_replaces_every_worker_and_never_has_fewer_ready() -> None:
    world = started()
    lucky(world)
    reload(world, "good")
    while world.book.rollout is not None:
        assert world.ready >= 4
        waiting = [p for p in world.processes.values() if not p.ready]
        world.boot(waiting[0])
    assert world.committed == 2
    assert {child.generation for child in world.book.serving()} == {2}
    assert "reload done: generation 2" in world.texts()


@pytest.mark.parametrize("app", ["fails", "dies", "hangs"])
def test_a_broken_reload_leaves_the_old_generation_untouched(app: str) -> None:
    world = started()
    before = {child.key for child in world.book.serving()}
    reload(world, app)
    assert len(world.processes) == 5, "one worker goes ahead of the others"
    world.boot_all()
    world.pass_time(70)
    world.boot_all()
    assert {child.key for child in world.book.serving()} == before
    assert world.committed == 1
    assert world.texts().count("reload failed") == 1
    assert len(world.processes) == 4


def test_a_refused_configuration_changes_nothing() -> None:
    world = started()
    world.ask(Verb.RELOAD)
    world.answer_load("refused")
    assert world.ready == 4
    assert "1 fault in the configuration" in world.texts()
    assert "generation 1 goes on" in world.texts()


def test_a_reload_after_a_failed_one_works() -> None:
    world = started()
    lucky(world)
    reload(world, "fails")
    world.boot_all()
    reload(world, "good")
    world.boot_all()
    assert {child.generation for child in world.book.serving()} == {3}


def test_a_second_reload_supersedes_the_first() -> None:
    world = started()
    lucky(world)
    reload(world, "hangs")
    reload(world, "good")
    world.boot_all()
    assert world.committed == 3
    assert {child.generation for child in world.book.serving()} == {3}


def test_reloads_asked_for_while_one_is_read_become_one() -> None:
    world = started()
    lucky(world)
    for _ in range(5):
        world.ask(Verb.RELOAD)
    reads = 0
    while world.loading is not None:
        reads += 1
        number, world.loading = world.loading, None
        world.load(number, "good", world.book.rules)
    world.boot_all()
    assert reads == 2
    assert {child.generation for child in world.book.serving()} == {world.committed}


def test_a_worker_that_dies_during_a_failing_reload_is_replaced_from_the_generation_in_force() -> None:
    world = started()
    lucky(world)
    reload(world, "hangs")
    victim = next(p for p in world.processes.values() if p.ready)
    world._reap(victim, signal.SIGKILL)
    fresh = [child for child in world.book.coming() if child.slot == victim.slot]
    assert [child.generation for child in fresh] in ([1], [2])
    world.pass_time(70)
    world.boot_all()
    assert world.ready == 4
    assert {child.generation for child in world.book.serving()} == {1}


def test_scaled_counts_survive_a_reload_that_does_not_change_the_number() -> None:
    world = started()
    lucky(world)
    world.ask(Verb.SCALE_UP)
    world.ask(Verb.SCALE_UP)
    world.boot_all()
    reload(world, "good")
    world.boot_all()
    assert world.ready == 6


def test_a_soaking_worker_serves_beside_its_predecessor() -> None:
    world = started()
    lucky(world)
    reload(world, "good", soak=10.0)
    world.boot_all()
    assert world.ready == 5
    world.pass_time(9.0)
    assert world.ready == 5
    world.pass_time(1.1)
    assert world.ready == 4
    assert world.committed == 1, "three more have to follow"
    for _ in range(6):
        world.boot_all()
        world.pass_time(10.1)
    world.boot_all()
    assert world.committed == 2
    assert {child.generation for child in world.book.serving()} == {2}


def test_a_death_during_the_soak_fails_the_reload() -> None:
    world = started()
    before = {child.key for child in world.book.serving()}
    reload(world, "good", soak=10.0)
    world.boot_all()
    soaking = next(child for child in world.book.serving() if child.soaking)
    world._reap(world.processes[soaking.key], signal.SIGSEGV, "GET /new-feature")
    assert "was killed by SIGSEGV during its soak; in work: 'GET /new-feature'" in world.texts()
    assert {child.key for child in world.book.serving()} == before
    assert world.committed == 1


def test_a_generation_that_answers_worse_is_withdrawn() -> None:
    world = started()
    lucky(world)
    before = {child.key for child in world.book.serving()}
    reload(world, "bad", soak=10.0)
    world.boot_all()
    world.pass_time(10.1)
    world.boot_all()
    assert "reload failed: generation 2 answered 50 of 100 requests with 5xx, the one before 3 of 1000" in (
        world.texts()
    )
    assert {child.key for child in world.book.serving()} == before


def test_a_second_reload_drains_what_soaks() -> None:
    world = started()
    lucky(world)
    reload(world, "good", soak=10.0)
    world.boot_all()
    soaking = next(child for child in world.book.serving() if child.soaking)
    reload(world, "good", soak=0.0)
    assert soaking.state is State.DRAINING
    world.boot_all()
    assert {child.generation for child in world.book.serving()} == {3}


# -- scale, retire, pause


def test_scale_down_never_goes_below_one_and_takes_the_idlest() -> None:
    world = started()
    loads = {child.key: 9 for child in world.book.serving()}
    idlest = next(child for child in world.book.serving() if child.slot == 2)
    loads[idlest.key] = 0
    world.feed(ev.Asked(Verb.SCALE_DOWN, "test", loads))
    assert idlest.state is State.DRAINING
    for _ in range(9):
        world.ask(Verb.SCALE_DOWN)
    world.boot_all()
    assert world.ready == 1


def test_a_retiring_worker_serves_until_its_successor_is_ready() -> None:
    world = started()
    lucky(world)
    old = next(iter(world.book.serving()))
    world.feed(ev.WantsOut(old.key, "max_requests reached: 100"))
    assert old.state is State.RETIRING
    assert len(world.processes) == 5
    world.boot(next(p for p in world.processes.values() if not p.ready))
    assert old.state is State.DRAINING
    assert world.ready == 4


def test_an_urgent_replacement_does_not_wait_for_the_successor() -> None:
    world = started()
    child = next(iter(world.book.serving()))
    world.feed(ev.WantsOut(child.key, "max_worker_memory_hard: 900 MiB", urgent=True))
    assert child.state is State.DRAINING
    assert len(world.processes) == 5


def test_retiring_workers_are_replaced_one_after_the_other() -> None:
    world = started()
    for child in list(world.book.serving()):
        world.feed(ev.WantsOut(child.key, "max_requests reached: 100"))
    assert len(world.processes) == 5


def test_pause_stops_all_and_a_reload_brings_them_back() -> None:
    world = started()
    lucky(world)
    world.ask(Verb.PAUSE)
    world.boot_all()
    assert world.processes == {}
    reload(world, "good")
    world.boot_all()
    assert world.ready == 4


# -- death


def test_a_killed_worker_is_replaced_at_once() -> None:
    world = started()
    world._reap(next(iter(world.processes.values())), signal.SIGKILL)
    assert len(world.processes) == 4
    assert "was killed by SIGKILL, unasked" in world.texts()


def test_an_application_that_no_longer_boots_does_not_touch_healthy_workers_and_does_not_storm() -> None:
    world = started()
    world.apps[1] = "fails"
    world._reap(next(iter(world.processes.values())), signal.SIGKILL)
    for _ in range(600):
        for process in [p for p in world.processes.values() if not p.ready]:
            world.boot(process)
        world.pass_time(1.0)
    assert world.ready == 3
    assert world.exited is None
    assert world.forks_within(300) <= 14, "back-off is capped at 30 s, jitter included"
    errors = [say for say in world.said if say.level >= logging.ERROR]
    assert len(errors) <= world.forks_within(FOREVER_AGO) + 1


FOREVER_AGO = 1e9


def test_a_slow_request_is_recorded_and_nothing_is_done() -> None:
    world = started()
    child = next(iter(world.book.serving()))
    world.feed(ev.Slow(child.key, "GET /slow", 5.2))
    assert "slow request in worker 1" in world.texts()
    assert child.state is State.READY


def test_the_same_request_in_two_corpses_is_called_poison() -> None:
    world = started()
    for _ in range(2):
        world.boot_all()
        victim = next(p for p in world.processes.values() if p.ready)
        world._reap(victim, signal.SIGSEGV, "GET /boom", f"GET /{victim.key}")
    assert "poison request: 2 workers died while 'GET /boom' was in work" in world.texts()
    assert world.texts().count("poison") == 1


def test_only_the_kernels_own_word_makes_a_death_out_of_memory() -> None:
    world = started()
    one, two, *_ = list(world.processes.values())
    del world.processes[one.key]
    world.feed(ev.Gone(one.key, signal.SIGKILL, no_memory=True))
    assert "out of memory" in world.texts()
    world.said.clear()
    world._reap(two, signal.SIGKILL)
    assert "memory" not in world.texts()


# -- stop


def test_a_stop_waits_for_drain_delay_and_serves_on() -> None:
    world = started()
    lucky(world)
    world.book.rules = replace(world.book.rules, drain_delay=5.0)
    world.ask(Verb.STOP)
    world.pass_time(4.0)
    assert world.ready == 4
    world._reap(next(iter(world.processes.values())), signal.SIGKILL)
    world.boot_all()
    assert world.ready == 4, "it is replaced even now"
    world.pass_time(2.0)
    world.boot_all()
    assert world.exited is ExitStatus.OK


def test_a_second_stop_skips_the_delay_and_is_not_a_quick_one() -> None:
    world = started()
    world.book.rules = replace(world.book.rules, drain_delay=60.0)
    world.ask(Verb.STOP)
    world.ask(Verb.STOP)
    assert all(process.told == {signal.SIGTERM} for process in world.processes.values())


def test_stop_drains_and_kills_what_does_not_end() -> None:
    world = started()
    stubborn = next(iter(world.processes.values()))
    stubborn.stubborn = True
    world.ask(Verb.STOP)
    for process in [p for p in world.processes.values() if not p.stubborn]:
        world._worker_acts(process)
    assert world.exited is None
    world.pass_time(33)
    assert signal.SIGKILL in stubborn.told
    world.boot_all()
    assert world.exited is ExitStatus.OK


def test_a_second_stop_is_a_quick_one() -> None:
    world = started()
    world.ask(Verb.STOP)
    world.ask(Verb.STOP)
    assert all(signal.SIGQUIT in process.told for process in world.processes.values())


def test_stop_during_a_reload_kills_what_boots_and_drains_the_rest() -> None:
    world = started()
    reload(world, "hangs")
    world.ask(Verb.STOP)
    world.boot_all()
    world.pass_time(2.1)
    world.boot_all()
    assert world.exited is ExitStatus.OK


# -- any history


def any_world(seed: int) -> World:
    """One that begins with or without molds."""
    return World(seed, replace(RULES, preload=("off", "auto", "on")[seed % 3], rollback_keep=30.0))


@pytest.mark.parametrize("seed", range(20))
def test_the_invariants_hold_in_any_history(seed: int) -> None:
    history = seed
    world = any_world(history)
    try:
        for _ in range(STEPS):
            world.step()
            if world.exited is not None:
                history += 1000
                world = any_world(history)
    except AssertionError as error:
        error.add_note(f"in any_world({history})")
        raise


@given(seed=st.integers(min_value=0, max_value=2**32))
def test_every_history_can_be_brought_to_an_end(seed: int) -> None:
    """After anything at all, good boots and time make the service whole; then TERM ends it."""
    world = any_world(seed)
    for _ in range(150):
        world.step()
    if world.exited is not None:
        return
    lucky(world)
    world.apps = dict.fromkeys(world.apps, "good")
    for process in world.processes.values():
        process.boots, process.stubborn = "good", False
    for mold in world.molds.values():
        mold.boots = "good"
    if world.loading is not None:
        number, world.loading = world.loading, None
        world.load(number, "good", world.book.rules)
    if world.loading is not None:
        world.answer_load("refused")
    for _ in range(20):
        world.boot_all()
        world.pass_time(40)
        if world.exited is not None:
            return
    if world.book.phase is not Phase.STOPPING and not world.book.paused:
        assert world.ready == len(world.book.slots)
        assert world.book.rollout is None
    world.ask(Verb.STOP)
    world.pass_time(world.book.rules.drain_delay)
    world.boot_all()
    assert world.exited is not None


# -- what an operator asks for by word


def test_everything_said_has_a_name_of_the_table() -> None:
    world = World(7)
    for _ in range(STEPS):
        if world.exited is not None:
            break
        world.step()
    assert set(names(world)) <= set(HAPPENINGS)


def test_scale_to_a_number_within_bounds() -> None:
    world = started()
    lucky(world)
    world.book.most = 10
    world.ask(Verb.SCALE, 7)
    world.boot_all()
    assert (world.ready, len(world.book.slots)) == (7, 7)
    world.ask(Verb.SCALE, 99)
    world.boot_all()
    assert world.ready == 10
    world.ask(Verb.SCALE, 0)
    world.boot_all()
    assert world.ready == 1
    assert names(world).count("scale") == 3


def test_scaling_that_changes_nothing_says_so() -> None:
    world = started()
    world.ask(Verb.SCALE, 4)
    assert names(world) == ["arbiter.ignored"]


def test_a_recycled_worker_is_replaced_successor_first() -> None:
    world = started()
    lucky(world)
    key = next(iter(world.processes))
    world.ask(Verb.RECYCLE, key=key)
    assert world.book.children[key].state is State.RETIRING
    assert not world.processes[key].told
    world.boot_all()
    assert key not in world.processes
    assert world.ready == 4


def test_a_worker_killed_on_request_is_replaced_at_once() -> None:
    world = started()
    lucky(world)
    key = next(iter(world.processes))
    before = len(world.processes)
    world.ask(Verb.KILL, key=key)
    assert signal.SIGKILL in world.processes[key].told
    assert len(world.processes) == before + 1
    world.boot_all()
    assert world.ready == 4


@pytest.mark.parametrize("verb", [Verb.RECYCLE, Verb.KILL])
def test_a_worker_that_has_gone_is_ignored(verb: Verb) -> None:
    world = started()
    world.ask(verb, key=999)
    assert names(world) == ["arbiter.ignored"]


def test_drain_and_undrain_touch_no_worker() -> None:
    world = started()
    world.ask(Verb.DRAIN)
    assert world.book.withheld
    world.ask(Verb.UNDRAIN)
    assert not world.book.withheld
    assert names(world) == ["readiness.off", "readiness.on"]
    assert world.ready == 4
