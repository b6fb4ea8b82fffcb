"""Molds are started, told and let go. (What they do then: tests/processes/test_mold.py.)"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator

import pytest

from arbiter.config.sources import Loader
from arbiter.link.messages import Spawn
from arbiter.link.orders import Taker
from arbiter.link.scoreboard import Scoreboard
from arbiter.supervisor import foundry
from arbiter.supervisor.foundry import AT_ONCE, Foundry, Order


@pytest.mark.parametrize(
    ("orig", "argv", "options"),
    [
        (["python", "/bin/arbiter", "app"], ["/bin/arbiter", "app"], ["-P", "-m"]),
        (["python", "-X", "dev", "/bin/arbiter"], ["/bin/arbiter"], ["-X", "dev", "-P", "-m"]),
        (["python", "-m", "arbiter", "app"], ["/lib/arbiter/__main__.py", "app"], ["-m"]),
        (["python", "-O", "-m", "arbiter"], ["/lib/arbiter/__main__.py"], ["-O", "-m"]),
    ],
)
def test_the_interpreter_is_started_as_the_arbiters_was(
    monkeypatch: pytest.MonkeyPatch, orig: list[str], argv: list[str], options: list[str]
) -> None:
    monkeypatch.setattr(sys, "orig_argv", orig)
    monkeypatch.setattr(sys, "argv", argv)
    assert foundry._interpreter_options() == options


@pytest.fixture
def pair() -> Iterator[tuple[Foundry, socket.socket]]:
    """A foundry with a mold (key 1) that is a socket in this process."""
    made = Foundry(Loader({}, {}, "/"), Scoreboard(1), -1)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    made._molds[1] = foundry._Mold(ours)
    with ours, theirs:
        yield made, theirs


def order(key: int) -> Order:
    ours, theirs = socket.socketpair()
    ours.close()
    return Order(Spawn(key, 1, 0, []), theirs, ())


def taken(taker: Taker) -> list[int]:
    """The keys of the workers that it has been asked for by now."""
    keys = []
    for message, fds in taker.take(2 * AT_ONCE):
        assert isinstance(message, Spawn)
        keys.append(message.key)
        for fd in fds:
            os.close(fd)
    return keys


def test_a_mold_is_asked_for_a_few_at_a_time(pair: tuple[Foundry, socket.socket]) -> None:
    made, theirs = pair
    taker = Taker(theirs)
    for key in range(10, 10 + AT_ONCE + 3):
        made.spawn(1, order(key))
    assert taken(taker) == list(range(10, 10 + AT_ONCE))
    made.answered(10)
    made.answered(11)
    made.answered(99)
    assert taken(taker) == [10 + AT_ONCE, 11 + AT_ONCE]
    made.gone(1)


def test_a_mold_that_is_gone_cannot_be_asked(pair: tuple[Foundry, socket.socket]) -> None:
    made, _ = pair
    made.gone(1)
    refused = order(5)
    with pytest.raises(OSError, match="gone"):
        made.spawn(1, refused)
    refused.channel.close()
