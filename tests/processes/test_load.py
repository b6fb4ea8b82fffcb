"""The load is only worth something if it sees every loss; here each kind of loss is staged."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.processes.load import Load

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npid=42\n"


@contextlib.contextmanager
def misbehaving(act: Callable[[socket.socket, int], None]) -> Iterator[tuple[str, int]]:
    """A server whose every connection is given to `act`, with its number."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def loop() -> None:
            number = 0
            while not ended.is_set():
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    act(connection, number)
                number += 1

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            ended.set()
            with contextlib.suppress(OSError):
                socket.create_connection(listener.getsockname(), timeout=1).close()
            thread.join()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def first_then(connection: socket.socket, number: int, *, whole: bytes = GOOD) -> None:
    connection.recv(4096)
    connection.sendall(whole)
    connection.recv(4096)


def cut_answer(connection: socket.socket, number: int) -> None:
    connection.recv(4096)
    connection.sendall(GOOD[:-3])


def cut_chunked(connection: socket.socket, number: int) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")


def no_answer(connection: socket.socket, number: int) -> None:
    connection.recv(4096)


def torn(connection: socket.socket, number: int) -> None:
    connection.recv(4096)
    reset(connection)


def error(connection: socket.socket, number: int) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize(
    ("act", "outcome"),
    [
        (cut_answer, "early"),
        (cut_chunked, "early"),
        (no_answer, "early"),
        (torn, "reset"),
        (error, "status 503"),
        (first_then, "dropped"),
    ],
)
def test_a_loss_is_seen_and_named(act: Callable[[socket.socket, int], None], outcome: str) -> None:
    with misbehaving(act) as address, Load(address, 1, keepalive=True) as load:
        with contextlib.suppress(AssertionError):
            load.wait_ok(5)
        load.stop()
    assert load.lost > 0
    assert load.counts[outcome] > 0, load.verdict()


def test_refusal_is_seen() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        with Load(unheard.getsockname(), 1, keepalive=False) as load:
            load.wait_ok(1)
            load.stop()
    assert set(load.counts) == {"refused"}


def test_a_kept_connection_closed_between_requests_is_no_loss() -> None:
    def polite(connection: socket.socket, number: int) -> None:
        connection.recv(4096)
        connection.sendall(GOOD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    with misbehaving(polite) as address, Load(address, 1, keepalive=True) as load:
        load.wait_ok(5)
        load.stop()
    assert load.lost == 0
    assert load.pids[42] == load.counts["ok"] >= 5
