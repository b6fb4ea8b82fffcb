"""Peers that are slow, rude, many, or gone: others are served all the while, and nothing stays behind."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes.client import Client, Cut
from tests.processes.measures import (
    allow_descriptors,
    holding,
    peak,
    resident,
    rows,
    wait_quiet,
    worker_of,
)
from tests.processes.server import Held, Server, until
from tests.ready import ready

Serve = Callable[..., Server]
MIB = 1 << 20
APPS = {"sync": "probe_wsgi", "threaded": "probe_wsgi", "asgi": "probe_asgi"}
GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
POST = b"POST /seen HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n"


UNWATCHED = "--loop-lag-warning", "0"
"""For who counts threads: the one that watches an asgi worker's loop comes and goes with connections."""


def probe(serve: Serve, kind: str, *options: str, **how: object) -> Server:
    threads = ["--threads", "4"] if kind == "threaded" else []
    return serve("-k", kind, "-w", "1", *threads, *options, f"{APPS[kind]}:application", **how)


@pytest.fixture(autouse=True)
def _no_client_stays() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().sock.close()


OPENED: list[Client] = []


def connect(server: Server, **how: int) -> Client:
    """A connection that ends with the test, if not before."""
    client = Client((server.host, server.port), **how)
    OPENED.append(client)
    return client


def serves(server: Server, requests: int = 1) -> None:
    """Others are answered now."""
    with connect(server) as client:
        for _ in range(requests):
            assert client.get("/").body == b"ok"


# ---------------------------------------------------------------------- the slow


def trickle(clients: list[Client], byte: bytes, seconds: float = 30.0) -> list[Client]:
    """A byte from each of them every 0.1 s, until each has heard something; those that never do."""
    silent = {client.sock: client for client in clients}
    end = time.monotonic() + seconds
    while silent and time.monotonic() < end:
        for sock in list(silent):
            with contextlib.suppress(OSError):
                sock.send(byte)
        for sock in ready(list(silent), 0.1):
            silent.pop(sock)
    return list(silent.values())


def test_slowloris(serve: Serve, kind: str) -> None:
    """http.md 35: heads and bodies that dribble end with 408, connections that say nothing in silence; others
    are served.
    """
    server = probe(serve, kind, "--header-timeout", "1", "--body-timeout", "1", "--keep-alive", "60")
    heads = [connect(server).send(b"GET / HTTP/1.1\r\nHost: te") for _ in range(30)]
    bodies = [connect(server).send(POST) for _ in range(30)]
    mute = [connect(server) for _ in range(30)]
    serves(server, 20)
    assert trickle([*heads, *bodies], b"x") == []
    for client in [*heads, *bodies]:
        answer = client.answer()
        assert answer.status == 408
        assert answer.closes
        assert client.rest() == b""
        client.sock.close()
    for client in mute:
        assert client.rest() == b""
        client.sock.close()
    serves(server)
    wait_quiet(server)


def test_a_slow_second_head(serve: Serve, kind: str) -> None:
    """http.md 35: the time for a head counts from its first byte, also on a connection that was kept."""
    server = probe(serve, kind, "--header-timeout", "1", "--keep-alive", "60")
    with connect(server) as client:
        assert client.get("/").status == 200
        client.send(GET[:20])
        assert trickle([client], b"x") == []
        assert client.answer().status == 408
        assert client.rest() == b""
    with connect(server) as client:  # and where it came right behind a whole request
        client.send(GET + GET[:20])
        assert client.answer().status == 200
        assert client.answer().status == 408
        assert client.rest() == b""


def test_an_idle_connection_ends_in_silence(serve: Serve, kind: str) -> None:
    """http.md 35: `keepalive` after an answer."""
    server = probe(serve, kind, "--keep-alive", "1")
    with connect(server) as client:
        assert client.get("/").status == 200
        assert client.rest() == b""


def test_a_slow_reader_bounds_memory(serve: Serve, kind: str) -> None:
    """asgi.md 32, wsgi.md 34: 50 MB for a client that takes its time; the worker never holds but a part."""
    server = probe(serve, kind, "--send-timeout", "60")
    pid = worker_of(server)
    with connect(server) as client:
        assert len(client.get("/big?1000000").body) == 1_000_000
    before = peak(pid)
    with connect(server, receive_buffer=1 << 18) as slow:
        slow.send(b"GET /big?52428800 HTTP/1.1\r\nHost: test\r\n\r\n")
        assert ready([slow.sock], 30)
        if kind != "sync":
            serves(server, 20)
        assert len(slow.answer().body) == 52428800
    assert peak(pid) - before < 12 * MIB


def test_a_reader_that_takes_nothing_is_cut(serve: Serve, kind: str) -> None:
    """http.md 35: `send_timeout`."""
    server = probe(serve, kind, "--send-timeout", "1")
    with connect(server, receive_buffer=4096) as client:
        client.send(b"GET /big?52428800 HTTP/1.1\r\nHost: test\r\n\r\n")
        until(lambda: rows(server)[0]["in_flight"] == 0 and rows(server)[0]["connections"] == 0, "the cut")
        with pytest.raises(Cut):
            client.take(52428800)
    serves(server)


def test_an_upload_nobody_reads(serve: Serve, kind: str) -> None:
    """asgi.md 28: while the application does not read, nor does the server; WSGI bodies go to a file."""
    server = probe(serve, kind)
    pid = worker_of(server)
    serves(server)
    before = peak(pid)
    with connect(server) as client:
        client.send(b"POST /hold?a HTTP/1.1\r\nHost: test\r\nContent-Length: 52428800\r\n\r\n")
        part, left = b"x" * 65536, 52428800
        client.sock.setblocking(False)
        while left and ready([client.sock], 1.0, select.POLLOUT):
            with contextlib.suppress(BlockingIOError):
                left -= client.sock.send(part[:left])
        client.sock.settimeout(30)
        assert (left > 0) == (kind == "asgi")
        until((server.directory / "a.started").exists, "the call of the application")
        assert peak(pid) - before < 12 * MIB
        (server.directory / "a.go").touch()
        assert client.answer().body == b"held"
    serves(server)


# ---------------------------------------------------------------------- the rude


def test_resets_at_every_stage(serve: Serve, kind: str, tmp_path: Path) -> None:
    """http.md 37: before a request, in its head, in its body, while the application runs, in the answer."""
    server = probe(serve, kind, *UNWATCHED)
    with connect(server) as client:
        client.get("/big?100000")
    before = holding(server)
    for said in (
        b"",
        GET[:10],
        GET[:-2],
        POST,
        POST + b"x" * 5000,
        b"\x16\x03",
        b"\r\n",
        GET + GET[:9],
        GET * 5,
    ):
        for how in ("reset", "close"):
            client = connect(server)
            client.send(said)
            client.reset() if how == "reset" else client.sock.close()
    for number in range(3):
        with Held(server, f"r{number}") as held:
            Client.reset(_Adopted(held._connection))
    for taken in (1, 100_000, 5_000_000):
        client = connect(server)
        client.send(b"GET /big?50000000 HTTP/1.1\r\nHost: test\r\n\r\n").take(taken)
        client.reset()
    serves(server)
    assert holding(server) == before
    assert server.log.count("Traceback") == 0, server.log.text


class _Adopted(Client):
    """A client's ways for a socket that exists."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._held = bytearray()


def test_half_closed_while_the_application_runs(serve: Serve, kind: str) -> None:
    """http.md 36: no more is sent, everything is still received."""
    server = probe(serve, kind)
    with Held(server, "a") as held:
        held._connection.shutdown(socket.SHUT_WR)
        held.let_go()
        answer = held.answer()
        assert answer.status == 200
        assert answer.body == b"held"  # type: ignore[attr-defined]


def test_a_flood_of_connections(serve: Serve, kind: str) -> None:
    """Opened and closed, 2,000 of them, in both ways; a kept client is served in between."""
    server = probe(serve, kind, *UNWATCHED)
    before = holding(server)
    with connect(server) as kept:
        for number in range(2000):
            client = connect(server)
            client.reset() if number % 2 else client.sock.close()
            if number % 200 == 0:
                assert kept.get("/").body == b"ok"
    serves(server)
    assert holding(server) == before


# ---------------------------------------------------------------------- too many


def test_no_more_descriptors(serve: Serve, kind: str) -> None:
    """accept(2) fails with EMFILE: said once, paused, taken up again; who was queued is served."""
    if not Path("/bin/sh").exists():
        pytest.skip("needs a shell with ulimit")
    server = probe(serve, kind, prefix=["/bin/sh", "-c", 'ulimit -n 64 && exec "$@"', "sh"])
    many = [connect(server) for _ in range(100)]
    mark = server.log.wait("cannot accept connections")
    assert "open files" in mark.string
    (server.directory / "unused").touch()
    for client in many[:80]:
        client.sock.close()
    for client in many[80:]:
        assert client.get("/").body == b"ok"
        client.sock.close()
    server.log.wait("accepting connections again")
    serves(server, 5)
    assert server.log.count("cannot accept connections") == 1, server.log.text
    assert server.log.count("Traceback") == 0


@pytest.mark.parametrize("kind", ["threaded", "asgi"])
def test_five_thousand_idle_connections(serve: Serve, kind: str) -> None:
    """They cost the worker under 10 KiB of memory each, and are in nobody's way."""
    many = 5000
    allow_descriptors(many + 500)
    server = probe(serve, kind, "--keep-alive", "600", "--worker-connections", str(many + 300))
    pid = worker_of(server)
    with contextlib.ExitStack() as stack:
        for _ in range(200):  # caches and pools get their size
            stack.enter_context(connect(server)).get("/")
        before = resident(pid)
        kept = []
        for start in range(0, many, 100):
            batch = [stack.enter_context(connect(server)) for _ in range(start, start + 100)]
            for client in batch:
                client.send(GET)
            for client in batch:
                assert client.answer().body == b"ok"
            kept += batch
        each = (resident(pid) - before) / many
        assert each < 10240, f"{each:.0f} bytes for each idle connection"
        serves(server, 20)
        for client in kept[::500]:
            assert client.get("/").body == b"ok"
        assert rows(server)[0]["connections"] == many + 200
    wait_quiet(server)


def test_connections_above_the_bound_wait_their_turn(serve: Serve, kind: str) -> None:
    """worker_connections: the rest waits in the kernel's queue, and is served when one goes."""
    server = probe(serve, kind, "--worker-connections", "10", "--keep-alive", "60")
    held = [connect(server) for _ in range(10)]
    for client in held:
        assert client.get("/").body == b"ok"
    waiting = [connect(server).send(GET) for _ in range(5)]
    assert ready([client.sock for client in waiting], 0.3) == []
    for client in held[:5]:
        client.sock.close()
    for client in waiting:
        assert client.answer().body == b"ok"
    for client in [*held, *waiting]:
        client.sock.close()


# ---------------------------------------------------------------------- what stays


def mix(server: Server, number: int) -> None:
    """One of many things a client does."""
    with connect(server) as client:
        what = number % 10
        if what == 0:
            assert client.get("/").body == b"ok"
            assert client.get("/").body == b"ok"
        elif what == 1:
            body = b"x" * 200_000
            client.send(b"POST /seen HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert len(json.loads(client.answer().body)["body"]) == len(body)
        elif what == 2:
            wire = b"POST /ignore HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
            client.send(wire + b"5\r\nhello\r\n0\r\n\r\n")
            assert client.answer().body == b"ok"
        elif what == 3:
            assert client.send(b"NONSENSE\r\n\r\n").answer().status == 400
        elif what == 4:
            assert client.get("/order?%7B%22fail%22:%22before%22%7D").status == 500
        elif what == 5:
            with contextlib.suppress(Cut):
                client.get("/order?%7B%22fail%22:%22after%22%7D")
        elif what == 6:
            client.send(POST + b"x" * 90_000).reset()
        elif what == 7:
            client.send(b"GET /big?3000000 HTTP/1.1\r\nHost: test\r\n\r\n").take(1000)
            client.reset()
        elif what == 8:
            assert client.send(GET[:25]).half_close().rest() == b""
        else:
            wire = b"POST /seen HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX"
            with contextlib.suppress(Cut):
                assert client.send(wire).answer().status == 400


def test_nothing_stays_after_thousands_of_requests(serve: Serve, kind: str, tmp_path: Path) -> None:
    """http.md 37, wsgi.md 51: descriptors, threads, tasks, files and the scoreboard are as before."""
    spool = tmp_path / "spool"
    spool.mkdir()
    server = probe(serve, kind, *UNWATCHED, "--tmp-upload-dir", str(spool), "--body-spool", "65536")
    for number in range(200):
        mix(server, number)
    before, memory = holding(server), resident(worker_of(server))
    for number in range(2000):
        mix(server, number)
    assert holding(server) == before
    assert list(spool.iterdir()) == []
    assert resident(worker_of(server)) - memory < 8 * MIB
    serves(server)
