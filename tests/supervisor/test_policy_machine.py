"""The policy as a state machine: hypothesis chooses what happens next, and makes a failing history short."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from arbiter.control.commands import Verb
from tests.fakes.world import RULES, World

ANSWERS = ["good", "bad", "unsafe", "frail", "fails", "dies", "hangs", "refused"]
WISHES = [
    *(Verb.RELOAD, Verb.ROLLBACK, Verb.SCALE_UP, Verb.SCALE_DOWN, Verb.RECYCLE, Verb.KILL),
    *(Verb.PAUSE, Verb.DRAIN, Verb.UNDRAIN, Verb.STOP),
]
MOST = 12
"""Slots beyond which nobody asks for more."""


class Histories(RuleBasedStateMachine):
    """The invariants of docs/supervision.md are checked by the world itself, after every decision."""

    world: World

    @initialize(seed=st.integers(0, 2**32), preload=st.sampled_from(["off", "auto", "on"]))
    def begin(self, seed: int, preload: str) -> None:
        self.world = World(seed, replace(RULES, preload=preload, rollback_keep=30.0))

    def _goes_on(self) -> bool:
        return self.world.exited is None

    @precondition(lambda self: self._goes_on() and self.world.processes)
    @rule(which=st.integers(0, 100))
    def a_worker_acts(self, which: int) -> None:
        keys = sorted(self.world.processes)
        self.world._worker_acts(self.world.processes[keys[which % len(keys)]])

    @precondition(lambda self: self._goes_on() and self.world.molds)
    @rule(which=st.integers(0, 100))
    def a_mold_acts(self, which: int) -> None:
        keys = sorted(self.world.molds)
        self.world._mold_acts(self.world.molds[keys[which % len(keys)]])

    @precondition(lambda self: self._goes_on() and self.world.loading is not None)
    @rule(what=st.sampled_from(ANSWERS))
    def a_configuration_is_read(self, what: str) -> None:
        self.world.answer_load(what)

    @precondition(lambda self: self._goes_on())
    @rule(wish=st.sampled_from(WISHES))
    def an_operator_asks(self, wish: Verb) -> None:
        if wish is not Verb.SCALE_UP or len(self.world.book.slots) < MOST:
            self.world.ask(wish)

    @precondition(lambda self: self._goes_on())
    @rule(seconds=st.sampled_from([0.01, 0.1, 1.0, 5.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @precondition(lambda self: not self._goes_on())
    @rule(seed=st.integers(0, 2**32))
    def another_arbiter_is_started(self, seed: int) -> None:
        self.begin(seed, "auto")

    @invariant()
    def it_ends_only_when_asked_or_before_it_served(self) -> None:
        world = getattr(self, "world", None)
        if world is not None and world.exited is not None:
            assert world.stop_asked or not world.book.served


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
