"""The table of commands: one row for everything, and nothing twice."""

from __future__ import annotations

import signal

import pytest

from arbiter.control.commands import BY_SIGNAL, COMMANDS, SIGNALLED, WORDS, Command, Role, Verb
from arbiter.control.happenings import HAPPENINGS

every_row = pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.usage or "signal only")


def test_a_signal_means_one_thing() -> None:
    numbers = [number for row, _ in SIGNALLED for number in row.signals]
    assert len(numbers) == len(set(numbers)) == len(BY_SIGNAL)
    assert signal.SIGCHLD not in BY_SIGNAL


def test_every_verb_can_be_asked_for() -> None:
    """A verb without a row would be code that nobody reaches; ROLLBACK's row comes with `generations`."""
    assert set(Verb) - {row.verb for row in COMMANDS} <= {Verb.ROLLBACK}


@every_row
def test_a_row_says_what_it_does(row: Command) -> None:
    assert row.help.endswith(".")
    assert row.usage or row.signals
    for parameter in row.parameters:
        assert parameter.help.endswith(".")
        assert parameter.flags or parameter.metavar
        assert parameter.kind in ("switch", "number", "text")


def test_what_ends_something_is_for_admins() -> None:
    """An observer changes nothing; only an admin can lose work."""
    for row in COMMANDS:
        if row.verb in (Verb.STOP, Verb.QUIT, Verb.KILL, Verb.PAUSE):
            assert row.role is Role.ADMIN
        elif row.verb is not None:
            assert row.role is Role.OPERATOR


def test_a_word_has_its_parameters_once() -> None:
    for row in COMMANDS:
        if row.usage and WORDS[row.word] is not row:
            assert not row.parameters
            assert row.role is WORDS[row.word].role


def test_happenings_are_named_alike() -> None:
    for name in HAPPENINGS:
        assert name == name.lower()
        assert " " not in name
