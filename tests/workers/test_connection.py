"""One connection: what happens between the application's writes and the socket."""

from __future__ import annotations

import os
import select
import socket
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from arbiter.errors import PeerGone
from arbiter.gateways.wsgi_input import BodyBroken
from arbiter.link.scoreboard import Scoreboard
from arbiter.protocols.http1.connection import Http1Connection, ResponseDefaults
from arbiter.protocols.limits import Limits
from arbiter.workers import connection, outbox
from arbiter.workers.connection import CLOSED, Connection, Terms
from arbiter.workers.limits import TimeLimits
from tests.ready import ready

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Ends:
    """A connection and the client's end of it."""

    def __init__(self, **times: float) -> None:
        ours, self.client = socket.socketpair()
        ours.setblocking(False)
        self.client.settimeout(20)
        self.http = Http1Connection(Limits(), ResponseDefaults())
        terms = Terms(TimeLimits(**times), None, sendfile=True, row=Scoreboard(1).row(0))
        self.conn = Connection(ours, self.http, terms, 0.0)

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.client.recv(count - len(data))
            assert more, "the connection ended"
            data += more
        return data


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.conn.close()
    made.client.close()


def test_write_goes_straight_to_the_socket(ends: Ends) -> None:
    ends.conn.write(b"hello")
    assert ends.conn.outbox is None
    assert ends.read(5) == b"hello"


def test_what_the_socket_does_not_take_is_kept_in_order(ends: Ends) -> None:
    wanted = b""
    while ends.conn.outbox is None:
        data = os.urandom(50_000)
        ends.conn.write(data)
        wanted += data
    ends.conn.write(b"behind")
    with tempfile.TemporaryFile() as file:
        file.write(b"file")
        file.seek(0)
        part = ends.conn.file_part(file)
        assert part is not None
        ends.conn.write_file(b"head", part)
    wanted += b"behind" + b"head" + b"file"
    got = b""
    while ends.conn.outbox is not None:
        got += ends.client.recv(1 << 20)
        ends.conn.outbox.flush(ends.conn.sock)
        if not ends.conn.outbox:
            ends.conn.outbox = None
    assert got + ends.read(len(wanted) - len(got)) == wanted


def test_pieces_that_the_socket_takes_in_part(ends: Ends) -> None:
    """http.md 35: a gathering write may end anywhere, in the midst of a piece or between two."""
    wanted = b""
    for size in (0, 1, 70_000, 200_000, 7, 400_000, 3):
        pieces = [b"%d\r\n" % size, os.urandom(size), b"\r\n"]
        ends.conn.writelines(pieces)
        wanted += b"".join(pieces)
    assert ends.conn.outbox is not None
    got = b""
    while ends.conn.outbox:
        got += ends.client.recv(30_011)
        ends.conn.outbox.flush(ends.conn.sock)
    assert got + ends.read(len(wanted) - len(got)) == wanted


def test_pieces_for_nobody(ends: Ends) -> None:
    """http.md 35: a client that is gone is told of like in `write`."""
    ends.conn.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(PeerGone) as gone:
        ends.conn.writelines([b"head", b"x" * 400_000])
    assert gone.value.unsent == 400_004


def test_what_a_client_that_leaves_was_not_sent(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """http.md 35: whatever had been taken counts, whatever waits in the outbox does not."""
    monkeypatch.setattr(outbox, "SPOOL", 0)
    taken = threading.Timer(0.05, lambda: (ends.read(100_000), ends.client.close()))
    taken.start()
    with pytest.raises(PeerGone) as gone:
        ends.conn.writelines([b"head", b"x" * 20_000_000])
    taken.join()
    assert 0 < gone.value.unsent <= 20_000_004 - 100_000


def test_producer_waits_past_all_bounds(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """http.md 35: memory and disk are bounded; the producer goes on at the client's pace."""
    monkeypatch.setattr(outbox, "SPOOL", 100_000)
    got = 0
    total = 3_000_000

    def read() -> None:
        nonlocal got
        while got < total:
            got += len(ends.client.recv(65536))

    reader = threading.Timer(0.05, read)
    reader.start()
    for _ in range(30):
        ends.conn.write(b"x" * 100_000)
        if ends.conn.outbox is not None:
            assert ends.conn.outbox.memory <= outbox.MEMORY
    while ends.conn.outbox:
        ready([ends.conn.sock], 20, select.POLLOUT)
        ends.conn.outbox.flush(ends.conn.sock)
    reader.join()
    assert got == total


def test_client_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """http.md 35: send_timeout holds for a producer that waits, too."""
    monkeypatch.setattr(outbox, "SPOOL", 0)
    ends = Ends(send=0.05)
    with pytest.raises(PeerGone, match=r"took nothing of its answer for 0\.05 s"):
        ends.conn.write(b"x" * 8_000_000)
    ends.conn.close()
    ends.client.close()


def test_client_that_takes_something_has_its_time_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """http.md 35: progress counts, also where it makes no room that the kernel tells of."""
    left = [90, 80, 70, 70]
    monkeypatch.setattr(outbox, "SPOOL", 0)
    monkeypatch.setattr(connection, "queued", lambda fd: left.pop(0))
    ends = Ends(send=0.05)
    with pytest.raises(PeerGone, match="took nothing"):
        ends.conn.write(b"x" * 8_000_000)
    assert left == [], "cut when it stopped, not before"
    ends.conn.close()
    ends.client.close()


def test_write_to_a_client_that_is_gone(ends: Ends) -> None:
    ends.client.close()
    with pytest.raises(PeerGone, match="gone"):
        ends.conn.write(b"x")
    with tempfile.TemporaryFile() as file:
        file.write(b"file")
        file.seek(0)
        part: Any = ends.conn.file_part(file)
        with pytest.raises(PeerGone):
            ends.conn.write_file(b"head", part)
        assert part.fd == -1


def test_file_that_shrinks_while_it_is_sent(ends: Ends) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 100)
        file.seek(0)
        part = ends.conn.file_part(file)
        assert part is not None
        file.truncate(10)
        with pytest.raises(PeerGone, match="shorter"):
            ends.conn.write_file(b"head", part)


def test_pull_asks_once_and_gives_the_parts(ends: Ends) -> None:
    """wsgi.md 27."""
    ends.http.receive(HEAD)
    ends.client.send(b"abc")
    assert ends.conn.pull() == b"abc"
    assert ends.read(len(CONTINUE)) == CONTINUE
    ends.client.send(b"defGET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert ends.conn.pull() == b"def"
    assert ends.conn.pull() == b""
    assert ends.conn.pull() == b""
    assert ends.conn.pulled is not None
    assert ends.conn.pulled.over
    assert ends.http.keep_alive


def test_pull_after_the_answer_began(ends: Ends) -> None:
    """http.md 38: nobody knows whether the body will come; the reader is told at once."""
    ends.http.receive(HEAD)
    ends.http.respond(200, [])
    ends.http.body(b"x", True)
    with pytest.raises(BodyBroken, match="before the body was read"):
        ends.conn.pull()


def test_pull_of_a_broken_body(ends: Ends) -> None:
    """wsgi.md 26."""
    ends.http.receive(HEAD)
    ends.client.send(b"abc")
    ends.client.shutdown(socket.SHUT_WR)
    assert ends.conn.pull() == b"abc"
    for _ in range(2):
        with pytest.raises(BodyBroken, match="early") as raised:
            ends.conn.pull()
        assert raised.value.status == 0
    assert not ends.http.keep_alive


def test_pull_of_a_silent_body() -> None:
    """http.md 35: 408."""
    ends = Ends(body=0.05)
    ends.http.receive(HEAD)
    with pytest.raises(BodyBroken, match="no request body") as raised:
        ends.conn.pull()
    assert raised.value.status == 408
    ends.conn.close()
    ends.client.close()


def test_close_gives_everything_back(ends: Ends) -> None:
    """http.md 37."""
    before = len(os.listdir("/dev/fd"))
    ends.conn.write(b"x" * 8_000_000)
    assert len(os.listdir("/dev/fd")) > before
    ends.conn.close(reset=True)
    assert ends.conn.state == CLOSED
    assert ends.conn.outbox is None
    assert len(os.listdir("/dev/fd")) == before - 1
    assert "Connection" in repr(ends.conn)
