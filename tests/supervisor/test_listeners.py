"""Binding, keeping, clearing and closing listeners, with real sockets."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from arbiter.config.snapshot import Config
from arbiter.config.sources import Loader
from arbiter.errors import ExitStatus, ListenError
from arbiter.supervisor import listeners
from arbiter.supervisor.listeners import Listener


def config(*binds: str, **more: object) -> Config:
    return Loader({"bind": list(binds), "app": "x:y", **more}, {}, os.getcwd()).load()


def opened(*binds: str) -> list[Listener]:
    return listeners.open_all(config(*binds))


def answers(listener: Listener) -> bool:
    with socket.create_connection(listener.socket.getsockname()[:2], timeout=5):
        pass
    listener.socket.settimeout(5)
    listener.socket.accept()[0].close()
    return True


def test_any_port_v4_and_v6() -> None:
    both = opened("127.0.0.1:0", "[::1]:0")
    try:
        assert all(answers(listener) for listener in both)
        assert both[0].url.startswith("http://127.0.0.1:")
        assert both[1].url.startswith("http://[::1]:")
        assert not any(listener.socket.get_inheritable() for listener in both)
    finally:
        listeners.close_all(both)


def test_an_address_in_use_is_a_sentence_and_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
        with pytest.raises(ListenError, match=f"bind = '127.0.0.1:{port}' .*the address is in use") as caught:
            opened("127.0.0.1:0", f"127.0.0.1:{port}")
        assert caught.value.status is ExitStatus.LISTEN
        if before:
            assert len(os.listdir("/proc/self/fd")) == before


def test_a_reload_keeps_the_socket_of_an_address_that_stays() -> None:
    old = opened("127.0.0.1:0", "[::1]:0")
    new = listeners.open_all(config("[::1]:0", "127.0.0.2:0"), had=old)
    try:
        assert new[0] is old[1]
        assert new[1] not in old
    finally:
        listeners.close_all({id(one): one for one in (*old, *new)}.values())


def test_a_unix_socket_is_made_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    (one,) = opened(f"unix:{path}")
    assert one.url == f"unix:{path}"
    assert path.is_socket()
    listeners.close_all([one])
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not_stolen(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    (one,) = opened(f"unix:{path}")
    with pytest.raises(ListenError, match="in use"):
        opened(f"unix:{path}")
    assert path.is_socket()
    listeners.close_all([one])


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    path.write_text("precious")
    with pytest.raises(ListenError, match="not a socket"):
        opened(f"unix:{path}")
    assert path.read_text() == "precious"


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_an_abstract_socket() -> None:
    (one,) = opened("unix:@arbiter-test-listeners")
    assert one.url == "unix:@arbiter-test-listeners"
    listeners.close_all([one])


def test_an_inherited_descriptor() -> None:
    with socket.create_server(("127.0.0.1", 0)) as parent:
        (one,) = opened(f"fd://{parent.fileno()}")
        assert one.socket.getsockname() == parent.getsockname()
        assert answers(one)
        listeners.close_all([one])
    with pytest.raises(ListenError, match="descriptor 999 is not an open socket"):
        opened("fd://999")


def test_sockets_of_the_service_manager_take_the_place_of_bind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        (one,) = listeners.open_all(config("127.0.0.1:1"), [passed])
        assert one.socket is passed


@pytest.mark.skipif(sys.platform != "linux", reason="socket filters are Linux's")
def test_a_deafened_listener_still_gives_what_is_queued() -> None:
    (one,) = opened("127.0.0.1:0")
    address = one.socket.getsockname()
    queued = [socket.create_connection(address, timeout=5) for _ in range(5)]
    listeners.deafen(one)
    late = socket.socket()
    late.setblocking(False)
    assert late.connect_ex(address) != 0
    accepted = [one.socket.accept()[0] for _ in queued]
    with pytest.raises(BlockingIOError):
        one.socket.accept()
    listeners.close_all([one])
    for sock in (*queued, *accepted, late):
        sock.close()
