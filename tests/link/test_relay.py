"""Whoever waits is woken, one at a time; whoever does not wait is not kept."""

from __future__ import annotations

import os
import select

import pytest

from arbiter.link.relay import SUPPORTED, Relay
from tests.ready import ready


@pytest.mark.skipif(not SUPPORTED, reason="needs an eventfd")
def test_it_is_readable_until_somebody_takes_it() -> None:
    relay = Relay()
    same = Relay(relay.fd)
    try:
        assert not os.get_inheritable(relay.fileno())
        relay.take()  # nothing there: no wait, no error
        for _ in range(3):
            relay.pass_on()
        assert ready([same], 0)
        same.take()
        assert not ready([relay], 0)
    finally:
        os.close(relay.fd)


@pytest.mark.skipif(not hasattr(select, "EPOLLEXCLUSIVE"), reason="needs EPOLLEXCLUSIVE")
def test_one_of_those_who_wait_is_woken() -> None:
    relay = Relay()
    polls = [select.epoll() for _ in range(3)]
    try:
        for poll in polls:
            poll.register(relay.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE)
        relay.pass_on()
        (woken,) = polls[0].poll(0)
        assert woken[0] == relay.fileno()
        relay.take()
        assert [poll.poll(0) for poll in polls] == [[], [], []]
    finally:
        for poll in polls:
            poll.close()
        os.close(relay.fd)


def test_a_system_without_it_does_nothing() -> None:
    relay = Relay()
    if relay.fd >= 0:
        os.close(relay.fd)
    relay.fd = -1
    relay.pass_on()
    relay.take()
    assert relay.fileno() == -1
