"""Words that end later end once, by what is said or seen."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from arbiter.control.session import Fault, FaultKind
from arbiter.supervisor.book import Book, Child
from arbiter.supervisor.journal import Happening
from arbiter.supervisor.states import State
from arbiter.supervisor.waits import Departed, Goal, Reloaded, Scaled, Wait
from tests.fakes.world import RULES


class Asker:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.verdicts: list[dict[str, Any] | Fault] = []

    def tell(self, number: int, happening: Happening) -> None:
        self.told.append(happening.name)

    def settle(self, number: int, verdict: dict[str, Any] | Fault) -> None:
        self.verdicts.append(verdict)


def said(name: str, text: str = "", **fields: Any) -> Happening:
    return Happening(1, 0.0, logging.INFO, name, text or name, fields)


@pytest.fixture
def asker() -> Asker:
    return Asker()


@pytest.fixture
def book() -> Book:
    return Book(RULES, slots={1, 2})


def test_without_a_goal_the_decision_is_the_answer(asker: Asker, book: Book) -> None:
    Wait(asker, 1, 1, None).decided([said("scale", "3 -> 4 workers")], book)
    assert asker.verdicts == [{"said": "3 -> 4 workers"}]


def test_what_did_not_succeed_is_a_fault(asker: Asker, book: Book) -> None:
    failed = Happening(1, 0.0, logging.ERROR, "logs.failed", "access.log: Permission denied", {})
    Wait(asker, 1, 1, None).decided([failed], book)
    (fault,) = asker.verdicts
    assert isinstance(fault, Fault)
    assert (fault.kind, str(fault)) == (FaultKind.FAILED, "access.log: Permission denied")


def test_what_is_ignored_is_refused(asker: Asker, book: Book) -> None:
    Wait(asker, 1, 1, Scaled()).decided([said("arbiter.ignored", "kill ignored: it has gone")], book)
    (fault,) = asker.verdicts
    assert isinstance(fault, Fault)
    assert (fault.kind, str(fault)) == (FaultKind.REFUSED, "kill ignored: it has gone")


def test_several_events_have_one_answer(asker: Asker, book: Book) -> None:
    wait = Wait(asker, 1, 2, None)
    wait.decided([said("worker.retiring", "one")], book)
    assert asker.verdicts == []
    wait.decided([said("arbiter.ignored", "the other is booting")], book)
    assert asker.verdicts == [{"said": "one"}]


class TestReload:
    """A reload ends with its own verdict, or with that of the one that took its place."""

    def begun(self, asker: Asker, book: Book, *, again: bool = False) -> Wait:
        book.newest, book.reload_again = 2, again
        wait = Wait(asker, 1, 1, Reloaded())
        wait.decided([said("reload.reading", generation=2)], book)
        assert asker.verdicts == []
        return wait

    def test_done(self, asker: Asker, book: Book) -> None:
        wait = self.begun(asker, book)
        wait.heard(said("worker.ready", generation=2))
        wait.heard(said("reload.done", "reload done: generation 2", generation=2))
        wait.heard(said("worker.ended"))
        assert asker.verdicts == [{"said": "reload done: generation 2"}]
        assert asker.told == ["reload.reading", "worker.ready"]

    @pytest.mark.parametrize("name", ["reload.failed", "reload.refused"])
    def test_failed(self, asker: Asker, book: Book, name: str) -> None:
        self.begun(asker, book).heard(said(name, "Traceback", generation=2))
        (fault,) = asker.verdicts
        assert isinstance(fault, Fault)
        assert (fault.kind, str(fault)) == (FaultKind.FAILED, "Traceback")

    def test_superseded(self, asker: Asker, book: Book) -> None:
        wait = self.begun(asker, book)
        wait.heard(said("reload.superseded", generation=2))
        assert asker.verdicts == []
        wait.heard(said("reload.done", generation=3))
        assert len(asker.verdicts) == 1

    def test_asked_while_another_is_read(self, asker: Asker, book: Book) -> None:
        wait = self.begun(asker, book, again=True)
        wait.heard(said("reload.refused", generation=2))
        assert asker.verdicts == []
        wait.heard(said("reload.done", generation=3))
        assert len(asker.verdicts) == 1

    def test_a_stop_comes_between(self, asker: Asker, book: Book) -> None:
        self.begun(asker, book).heard(said("arbiter.stopping", "stopping (signal TERM)"))
        (fault,) = asker.verdicts
        assert isinstance(fault, Fault)
        assert fault.kind is FaultKind.REFUSED


def test_scaled_when_every_slot_serves_and_no_other(asker: Asker, book: Book) -> None:
    wait = Wait(asker, 1, 1, Scaled())
    wait.decided([said("scale")], book)
    book.children = {
        1: Child(1, 1, 1, State.READY),
        2: Child(2, 2, 1, State.BOOTING),
        3: Child(3, 3, 1, State.DRAINING),
    }
    wait.seen(book)
    book.children[2].state = State.READY
    wait.seen(book)
    assert asker.verdicts == []
    del book.children[3]
    wait.seen(book)
    assert asker.verdicts == [{"said": "2 workers"}]


def test_departed_when_all_have_gone(asker: Asker, book: Book) -> None:
    book.children = {1: Child(1, 1, 1, State.RETIRING), 2: Child(2, 2, 1, State.RETIRING)}
    wait = Wait(asker, 1, 1, Departed([1, 2]))
    wait.decided([said("worker.retiring")], book)
    del book.children[1]
    wait.seen(book)
    assert asker.verdicts == []
    del book.children[2]
    wait.seen(book)
    assert len(asker.verdicts) == 1


@pytest.mark.parametrize("goal", [Scaled(), Departed([1]), Goal()])
def test_a_successor_that_does_not_start_is_a_failure(asker: Asker, book: Book, goal: Goal) -> None:
    book.children = {1: Child(1, 1, 1, State.RETIRING)}
    wait = Wait(asker, 1, 1, goal)
    wait.decided([said("scale")], book)
    wait.heard(said("worker.boot_failed", "ImportError"))
    (fault,) = asker.verdicts
    assert isinstance(fault, Fault)
    assert str(fault) == "ImportError"
