"""Who may use the control socket, and where statsd listens."""

from __future__ import annotations

import grp
import pwd

import pytest

from arbiter.config.address import Address
from arbiter.config.operators import Mode, Principal, Statsd
from arbiter.config.unreadable import Unreadable

ROOT = pwd.getpwuid(0).pw_name
WHEEL = grp.getgrgid(0).gr_name


def test_principals_are_users_and_groups() -> None:
    kind = Principal()
    assert kind.read(ROOT) == kind.read(0) == "0"
    assert kind.read(f"@{WHEEL}") == kind.read("@0") == "@0"
    assert kind.show("0") == repr(ROOT)
    assert kind.show("@0") == repr(f"@{WHEEL}")
    assert kind.show("@54321") == repr("@54321")


@pytest.mark.parametrize("wrong", ["", "@", "no such user", "@no-such-group", -1, True, 1.5, None])
def test_nobody_is_refused(wrong: object) -> None:
    with pytest.raises(Unreadable):
        Principal().read(wrong)


def test_mode() -> None:
    assert Mode().read("660") == Mode().read("0o660") == Mode().read(0o660) == 0o660
    with pytest.raises(Unreadable):
        Mode().read("rw")


def test_statsd() -> None:
    kind = Statsd()
    assert kind.read("localhost") == Address("tcp", host="localhost", port=8125)
    assert kind.read("localhost:8000") == Address("tcp", host="localhost", port=8000)
    assert kind.read("[::1]:9125") == Address("tcp", host="::1", port=9125)
    assert kind.read("unix:///run/statsd.sock") == Address("unix", path="/run/statsd.sock")
    assert kind.resolve(kind.read("unix:s"), "/srv").path == "/srv/s"
    for wrong in ("fd://3", "", 3, "a b"):
        with pytest.raises(Unreadable):
            kind.read(wrong)
