"""Who asks is who the kernel says, and descendants of the arbiter may only look."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from arbiter.control.commands import Role
from arbiter.supervisor.peers import Peer, descends, identify, role_of


@dataclass
class Settings:
    control_observers: tuple[str, ...] = ()
    control_operators: tuple[str, ...] = ()
    control_admins: tuple[str, ...] = ()


STRANGER = 54321


@pytest.mark.parametrize(
    ("settings", "groups", "role"),
    [
        (Settings(), {100}, None),
        (Settings(control_observers=(str(STRANGER),)), {100}, Role.OBSERVER),
        (Settings(control_operators=("@100",)), {100, 7}, Role.OPERATOR),
        (Settings(control_operators=("@100",)), {7}, None),
        (Settings(control_observers=("@7",), control_admins=(str(STRANGER),)), {7}, Role.ADMIN),
        (Settings(control_observers=("@54321",), control_operators=("100",)), {100}, None),
    ],
)
def test_the_strongest_role_that_names_them(settings: Settings, groups: set[int], role: Role | None) -> None:
    assert role_of(Peer(1, STRANGER, frozenset(groups), below=False), settings) is role


def test_own_user_and_root_may_everything() -> None:
    for uid in (0, os.geteuid()):
        assert role_of(Peer(1, uid, frozenset(), below=False), Settings()) is Role.ADMIN


def test_what_is_below_may_only_look() -> None:
    named = Settings(control_admins=(str(STRANGER),))
    assert role_of(Peer(1, STRANGER, frozenset(), below=True), named) is Role.OBSERVER
    assert role_of(Peer(1, 0, frozenset(), below=True), Settings()) is Role.OBSERVER
    assert role_of(Peer(1, STRANGER, frozenset(), below=True), Settings()) is None


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "s"))
        one.listen()
        one.settimeout(30)
        yield one


_CONNECT = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "


@pytest.mark.skipif(sys.platform != "linux", reason="SO_PEERCRED")
class TestIdentify:
    """Of real processes."""

    def test_a_child_is_below_its_parent_and_no_other(self, listener: socket.socket) -> None:
        path = listener.getsockname()
        with subprocess.Popen([sys.executable, "-c", _CONNECT + "s.recv(1)", path]) as child:
            connection, _ = listener.accept()
            with connection:
                peer = identify(connection, os.getpid())
                stranger = identify(connection, 2**22)
        assert peer is not None
        assert stranger is not None
        assert (peer.pid, peer.uid, peer.below) == (child.pid, os.geteuid(), True)
        assert os.getegid() in peer.groups
        assert not stranger.below

    def test_who_connects_and_vanishes_is_taken_for_a_descendant(self, listener: socket.socket) -> None:
        if not hasattr(os, "pidfd_open"):
            pytest.skip("the kernel does not tell")
        subprocess.run([sys.executable, "-c", _CONNECT, listener.getsockname()], check=True, timeout=30)
        connection, _ = listener.accept()
        with connection:
            peer = identify(connection, 2**22)
        assert peer is not None
        assert peer.below


def test_ancestors_are_followed(tmp_path: Path) -> None:
    for pid, parent in ((40, 30), (30, 20), (20, 1)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (evil) S 99 (name) S {parent} 0 0")
    assert descends(40, 20, tmp_path)
    assert descends(20, 20, tmp_path)
    assert not descends(20, 40, tmp_path)
    assert not descends(40, 50, tmp_path)
    assert not descends(77, 20, tmp_path)
