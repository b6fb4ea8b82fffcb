"""The state that one arbiter hands to the next."""

from __future__ import annotations

import json
import os
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from arbiter.config.address import Address
from arbiter.config.memory import remember
from arbiter.config.sources import Loader
from arbiter.supervisor import handover
from arbiter.supervisor.book import Book, Child, Kept, Mold, MoldState, Rules, Upgrade
from arbiter.supervisor.handover import FormError, GenerationRecord, ListenerRecord, State
from arbiter.supervisor.journal import Happening, JournalRecord
from arbiter.supervisor.ledger import LedgerRecord
from arbiter.supervisor.output import PipeRecord
from arbiter.supervisor.outside import MetricsRecord, OutsideRecord
from arbiter.supervisor.plane import ControlRecord, SessionRecord
from arbiter.supervisor.states import State as ChildState
from arbiter.supervisor.watch import ChildRecord

RULES = Rules(workers=2, boot_timeout=60.0, graceful_timeout=30.0, surge=1)


@pytest.fixture
def state(tmp_path: Path) -> State:
    book = Book(RULES, generation=3, newest=4, upgrade=Upgrade("signal USR2", "arbiter 1", "arbiter 2"))
    book.slots = {1, 2}
    book.children[7] = Child(7, 1, 3, ChildState.READY, pid=41, deadline=float("inf"))
    book.molds[5] = Mold(5, 3, MoldState.READY, pid=40)
    book.kept = Kept(2, RULES, 99.5)
    book.corpses = Counter({"GET /": 2})
    config = Loader({"wsgi_app": "a:b"}, {}, str(tmp_path)).load()
    session = SessionRecord(30, b"out", b"\0", (4, 20), [5], [6])
    return State(
        pid=1,
        started=10.5,
        book=book,
        scoreboard=11,
        relay=22,
        size=390,
        rows={7: 0},
        lifeline=(12, 13),
        children=[ChildRecord(5, 40, 0, 14, b"", False), ChildRecord(7, 41, 5, 15, b"\0\0", True)],
        stacks={5: 16, 7: 17},
        pipes=[PipeRecord(18, 7, "stdout", "worker 1", {"worker": 1}, b"begun")],
        listeners=[ListenerRecord(19, Address("unix", path="/run/a\udcff.sock"), "/run/a\udcff.sock")],
        generations=[GenerationRecord(3, remember(config), [0])],
        current=3,
        began=remember(config),
        outside=OutsideRecord(
            ControlRecord(20, "/run/a.ctl", [session]),
            MetricsRecord(21, Address("tcp", "127.0.0.1", 9000), "", [(31, b"")]),
        ),
        journal=JournalRecord(
            9, Counter({"scale": 1}), Counter(), [Happening(9, 1.5, 20, "scale", "2 -> 3", {"a": [1]})], []
        ),
        ledger=LedgerRecord({1: [1, 2]}, {1: 0.5}, {7: 0.1}),
    )


def test_it_comes_back_as_it_was(state: State) -> None:
    fd = handover.write(state)
    back = handover.read(fd)
    with pytest.raises(OSError):
        os.fstat(fd)
    assert handover.encode(back) == handover.encode(state)
    assert back.book.children == state.book.children and back.book.molds == state.book.molds
    assert back.outside == state.outside and back.listeners == state.listeners


def test_every_descriptor_goes_along(state: State) -> None:
    """Numbers above 10 are descriptors in this state, but for pids and the rows' count."""
    assert sorted(state.descriptors()) == [*range(11, 23), 30, 31]


def test_the_file_is_closed_by_an_exec(state: State) -> None:
    fd = handover.write(state)
    assert not os.get_inheritable(fd)
    os.close(fd)


def changed(whole: State, **changes: Any) -> bytes:
    return json.dumps({**json.loads(handover.encode(whole)), **changes}).encode()


def test_another_form_is_refused(state: State) -> None:
    with pytest.raises(FormError, match=r"arbiter 7\.1, .* in form 2; .* knows form 1. Only a restart"):
        handover.decode(changed(state, form=2, version="7.1"))


def test_what_does_not_fit_is_refused(state: State) -> None:
    with pytest.raises(FormError, match=r"does not fit .*: state\.pid is missing"):
        handover.decode(changed(state, state={}))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"form": 1}'])
def test_what_is_no_state_is_refused(data: bytes) -> None:
    with pytest.raises(FormError, match="no arbiter's state"):
        handover.decode(data)


def test_what_cannot_be_read_is_refused() -> None:
    one, other = socket.socketpair()
    with one, other, pytest.raises(FormError, match="cannot be read"):
        handover.read(one.fileno())
