"""Small servers in the poll loop: bounded in connections, bytes and silence."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from arbiter.supervisor import events as ev
from arbiter.supervisor.book import FOREVER
from arbiter.supervisor.service import BACKED_UP, Bounds, Connection, Service
from arbiter.supervisor.watch import Watch

BOUNDS = Bounds(connections=4, out=1 << 20, out_all=3 << 20, stalled=10.0, farewell=b"full")


class Echo:
    """Sends back what it gets; "much" for a lot, "bye" for the end."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.precious = False
        self.gone = False

    def received(self, data: bytes) -> list[ev.Event]:
        if data == b"keep":
            self.precious = True
        if data == b"bye":
            self.connection.send(b"so long")
            self.connection.finish()
        else:
            self.connection.send(data * 300_000 if data == b"much" else data)
        return [ev.Tick()]

    def ended(self) -> None:
        self.gone = True


class Bench:
    def __init__(self) -> None:
        self.watch = Watch()
        self.now = 1000.0
        self.handlers: list[Echo] = []
        self.peers: list[socket.socket] = []
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.service = Service(self.watch, listener, BOUNDS, self._greet, lambda: self.now)
        self.refuse = False

    def _greet(self, connection: Connection, now: float) -> Echo | None:
        if self.refuse:
            connection.send(b"no")
            return None
        connection.deadline = now + 5
        self.handlers.append(Echo(connection))
        return self.handlers[-1]

    def connect(self, said: bytes = b"") -> socket.socket:
        peer = socket.create_connection(self.service.listener.getsockname(), timeout=30)
        self.peers.append(peer)
        if said:
            peer.sendall(said)
        self.turn()
        return peer

    def turn(self, times: int = 3) -> list[ev.Event]:
        return [event for _ in range(times) for event in self.watch.wait(0.02)]

    def close(self) -> None:
        self.service.stop()
        for peer in self.peers:
            peer.close()
        self.watch.abandon()


@pytest.fixture
def bench() -> Iterator[Bench]:
    one = Bench()
    yield one
    one.close()


def test_what_is_said_is_answered_and_its_events_come_out(bench: Bench) -> None:
    peer = bench.connect()
    peer.sendall(b"hello")
    assert bench.turn() == [ev.Tick()]
    assert peer.recv(100) == b"hello"


def test_a_full_house_lets_the_one_go_that_was_silent_longest(bench: Bench) -> None:
    peers = []
    for _ in range(4):
        peers.append(bench.connect())
        bench.now += 1
    peers[0].sendall(b"x")
    bench.turn()
    bench.connect()
    assert [handler.gone for handler in bench.handlers] == [False, True, False, False, False]
    assert len(bench.service) == 4
    assert peers[1].recv(10) == b"full"


def test_who_is_waited_for_stays(bench: Bench) -> None:
    for _ in range(4):
        bench.connect(b"keep")
    late = bench.connect()
    assert late.recv(10) == b"full"
    assert late.recv(10) == b""
    assert not any(handler.gone for handler in bench.handlers)


def test_silence_ends(bench: Bench) -> None:
    peer = bench.connect()
    assert bench.service.due == bench.now + 5
    bench.now += 5
    bench.service.look(bench.now)
    assert peer.recv(10) == b""
    assert bench.service.due == FOREVER


def test_who_does_not_read_is_not_read_from_and_then_cut_off(bench: Bench) -> None:
    peer = bench.connect()
    handler = bench.handlers[0]
    sent = 0
    while not handler.gone and sent < 64 << 20:
        peer.setblocking(False)
        try:
            sent += peer.send(b"much")
        except BlockingIOError:
            break
        except OSError:
            break
        bench.turn(1)
        if len(handler.connection.out) > BACKED_UP:
            break
    assert len(handler.connection.out) <= BOUNDS.out
    bench.now += BOUNDS.stalled
    bench.service.look(bench.now)
    assert handler.gone


def test_the_last_words_arrive(bench: Bench) -> None:
    assert bench.connect(b"bye").recv(100) == b"so long"
    bench.refuse = True
    assert bench.connect().recv(100) == b"no"
    assert len(bench.service) == 0


@pytest.mark.parametrize("leave", [socket.socket.close, lambda peer: peer.shutdown(socket.SHUT_WR)])
def test_who_hangs_up_is_forgotten(bench: Bench, leave: Callable[[socket.socket], None]) -> None:
    leave(bench.connect())
    bench.turn()
    assert len(bench.service) == 0
    assert bench.handlers[0].gone


def test_many_come_and_go(bench: Bench) -> None:
    for _ in range(25):
        for _ in range(4):
            bench.connect(b"x").close()
            bench.peers.pop()
    bench.turn(10)
    assert len(bench.service) == 0
    assert bench.service.accepted == 100
