"""The table of a child's life is complete: every cell is decided or has a reason for being impossible."""

from __future__ import annotations

from itertools import product

from arbiter.supervisor.states import IMPOSSIBLE, TABLE, Input, State


def test_every_cell_is_decided() -> None:
    cells = set(product(State, Input))
    assert set(TABLE) | set(IMPOSSIBLE) == cells
    assert not set(TABLE) & set(IMPOSSIBLE)


def test_reasons_are_sentences() -> None:
    assert all(len(reason.split()) > 2 for reason in IMPOSSIBLE.values())


def test_killed_is_the_end() -> None:
    assert {TABLE[State.KILLED, what] for what in Input} == {State.KILLED}


def test_nothing_comes_back_from_leaving() -> None:
    """A child that was told to go never serves again."""
    leaving = {State.DRAINING, State.QUITTING, State.KILLED}
    for (state, _), after in TABLE.items():
        if state in leaving:
            assert after in leaving
