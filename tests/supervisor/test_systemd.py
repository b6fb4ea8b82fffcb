"""What the service manager passes and is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from arbiter.supervisor import systemd
from arbiter.supervisor.systemd import Notifier


def _listen(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    sock.settimeout(5)
    return sock


def test_it_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with _listen(path) as manager:
        notifier = Notifier({"NOTIFY_SOCKET": path})
        notifier.ready("4 workers ready")
        assert manager.recv(999) == f"READY=1\nMAINPID={os.getpid()}\nSTATUS=4 workers ready".encode()
        notifier.reloading()
        assert manager.recv(999).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        notifier.stopping()
        assert manager.recv(999).startswith(b"STOPPING=1")
        notifier.watchdog()
        assert manager.recv(999) == b"WATCHDOG=1"


def test_an_abstract_address() -> None:
    with _listen("\0arbiter-test-notify") as manager:
        Notifier({"NOTIFY_SOCKET": "@arbiter-test-notify"}).status("fine")
        assert manager.recv(999) == b"STATUS=fine"


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    Notifier({}).ready("x")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready("x")


def test_the_watchdog_is_fed_twice_as_often_as_asked() -> None:
    assert Notifier({"WATCHDOG_USEC": "10000000"}).interval == 5.0
    assert Notifier({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}).interval == 5.0
    assert Notifier({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}).interval == 0.0
    assert Notifier({"WATCHDOG_USEC": "soon"}).interval == 0.0


def test_sockets_for_another_process_are_not_taken() -> None:
    environ = {"LISTEN_FDS": "2", "LISTEN_PID": "1", "LISTEN_FDNAMES": "a:b", "HOME": "/"}
    assert systemd.take_sockets(environ) == []
    assert environ == {"HOME": "/"}, "no child may take the variables for its own"
