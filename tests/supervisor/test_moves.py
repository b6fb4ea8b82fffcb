"""Drained, quit, killed: what a child is told, and how long it is given."""

from __future__ import annotations

import signal

import pytest

from arbiter.control.commands import Verb
from arbiter.link.messages import DRAINING
from arbiter.supervisor import events as ev
from tests.fakes.world import reload, started


def test_a_worker_that_began_to_accept_when_it_was_withdrawn_may_finish() -> None:
    """Its Ready was on its way: the kernel has perhaps given it connections."""
    world = started()
    reload(world, "good")
    (process,) = (process for process in world.processes.values() if not process.ready)
    process.stubborn = True
    world.ask(Verb.RELOAD)
    assert process.told == {signal.SIGTERM}
    world.feed(ev.Booted(process.key, "asgi"))
    world.feed(ev.Step(process.key, DRAINING))
    world.pass_time(20)
    assert process.told == {signal.SIGTERM}
    world.pass_time(20)
    assert process.told == {signal.SIGTERM, signal.SIGKILL}


@pytest.mark.parametrize("verb", [Verb.RELOAD, Verb.STOP])
def test_a_worker_that_hangs_in_its_start_is_not_waited_for(verb: Verb) -> None:
    world = started()
    reload(world, "hangs")
    (process,) = (process for process in world.processes.values() if not process.ready)
    world.ask(verb)
    assert process.told == {signal.SIGTERM}
    world.pass_time(2.1)
    assert process.told == {signal.SIGTERM, signal.SIGKILL}
