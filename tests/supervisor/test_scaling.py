"""The number of workers by an operator's word, by a reload, by the load (tests/fakes/world.py)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from arbiter.control.commands import Verb
from arbiter.supervisor import events as ev
from arbiter.supervisor.book import Phase
from tests.fakes.world import RULES, World, names, reload


def started(**changes: Any) -> World:
    world = World(1, replace(RULES, **changes))
    world._luck = lambda generation: "good"  # type: ignore[method-assign]
    for process in world.processes.values():
        process.boots = "good"
    world.boot_all()
    world.said.clear()
    return world


def follows(workers: int = 4, least: int = 2, most: int = 8) -> World:
    return started(workers=workers, least=least, most=most)


def need(world: World, workers: int, limit: str = "") -> None:
    world.feed(ev.Needed(workers, "load 1.0", limit))
    world.boot_all()


def test_it_follows_the_load_and_says_why() -> None:
    world = follows()
    need(world, 6)
    assert world.ready == 6
    assert "4 -> 6 workers: load 1.0" in world.texts()
    need(world, 5)
    assert world.ready == 5
    assert names(world).count("scale.auto") == 2


def test_a_limit_is_told() -> None:
    world = follows()
    need(world, 5, "80 MiB are left")
    assert world.ready == 5
    assert "no more than 5 workers: 80 MiB are left" in world.texts()
    need(world, 5, "3 MiB are left")
    assert names(world).count("scale.limited") == 2
    assert names(world).count("scale.auto") == 1


@pytest.mark.parametrize(("workers", "there"), [(0, 2), (1, 2), (9, 8), (4096, 8)])
def test_never_outside_of_the_bounds(workers: int, there: int) -> None:
    world = follows()
    need(world, workers)
    assert world.ready == there


def test_without_workers_max_nobody_follows_anything() -> None:
    world = started()
    need(world, 9, "no room")
    assert (world.ready, world.said) == (4, [])
    world.ask(Verb.SCALE_AUTO)
    assert "ignored: workers_max is not set" in world.texts()


@pytest.mark.parametrize("verb", [Verb.SCALE_UP, Verb.SCALE_DOWN, Verb.SCALE])
def test_an_operators_word_holds_until_it_is_taken_back(verb: Verb) -> None:
    world = follows()
    world.ask(verb, 5 if verb is Verb.SCALE else 1)
    world.boot_all()
    held = world.ready
    assert held == (3 if verb is Verb.SCALE_DOWN else 5)
    assert "held until `arbiterctl scale auto`" in world.texts()
    need(world, 8, "no room")
    assert world.ready == held
    assert "scale.limited" not in names(world)
    world.ask(Verb.SCALE_AUTO)
    assert "from now on 2 to 8 by the load" in world.texts()
    need(world, 8)
    assert world.ready == 8


def test_the_number_there_is_can_be_held_too() -> None:
    world = follows()
    world.ask(Verb.SCALE, 4)
    assert world.book.pinned
    world.ask(Verb.SCALE_AUTO)
    world.ask(Verb.SCALE_AUTO)
    assert "ignored: the number of workers follows the load already" in world.texts()


def test_an_operator_does_not_go_beyond_the_bounds_either() -> None:
    world = follows(8)
    world.ask(Verb.SCALE_UP)
    assert "ignored: it stays at 8 workers, of at least 2 and at most 8" in world.texts()
    assert not world.book.pinned
    world.ask(Verb.SCALE, 1)
    world.boot_all()
    assert world.ready == 2


def test_the_idlest_go() -> None:
    world = follows()
    loads = {child.key: child.slot % 3 for child in world.book.serving()}
    world.feed(ev.Needed(3, "calm", "", loads))
    assert sorted(world.book.slots) == [1, 2, 4]


def test_amid_a_reload_there_may_come_more_but_nobody_goes() -> None:
    world = follows()
    reload(world, "good")
    world.feed(ev.Needed(2, "calm"))
    assert len(world.book.slots) == 4
    world.feed(ev.Needed(6, "load"))
    assert len(world.book.slots) == 6
    world.boot_all()
    assert world.ready == 6
    assert world.book.rollout is None


def test_a_reload_does_not_start_over() -> None:
    world = follows()
    need(world, 7)
    reload(world, "good", workers=2)
    world.boot_all()
    assert world.ready == 7


@pytest.mark.parametrize(
    ("changes", "there", "pinned"),
    [
        ({"most": 5}, 5, True),
        ({"least": 8, "workers": 8}, 8, True),
        ({"most": 0, "workers": 3}, 3, False),
        ({"most": 0}, 4, False),
    ],
)
def test_new_bounds_bind_at_once(changes: dict[str, Any], there: int, pinned: bool) -> None:
    world = follows()
    world.ask(Verb.SCALE, 7)
    reload(world, "good", **changes)
    world.boot_all()
    assert (world.ready, world.book.pinned) == (there, pinned)


def test_a_reload_may_bring_it_in() -> None:
    world = started()
    world.ask(Verb.SCALE, 9)
    world.boot_all()
    reload(world, "good", least=2, most=6)
    world.boot_all()
    assert world.ready == 6
    need(world, 3)
    assert world.ready == 3


@pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.STOP])
def test_who_goes_does_not_grow(verb: Verb) -> None:
    world = follows()
    world.ask(verb)
    need(world, 8)
    assert world.ready == 0


def test_not_before_the_first_set_is_there() -> None:
    world = World(1, replace(RULES, least=2, most=8))
    assert world.book.phase is Phase.STARTING
    world.feed(ev.Needed(8, "load"))
    assert len(world.book.slots) == 4
