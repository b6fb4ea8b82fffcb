"""Accepting, draining, leaving: both WSGI kinds over real sockets."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from arbiter.link.scoreboard import Scoreboard, State, Word
from arbiter.workers.dispatch.turns import Turns
from arbiter.workers.loop import EXCLUSIVE, READ
from tests.fakes.workers import Served, listen
from tests.fakes.wsgi_apps import descriptors, eventually, hello, same, seen, show


def test_connection_settings(serve: Any) -> None:
    """Accepted sockets do not reach children and do not wait for more to send."""
    served = serve(hello)
    with served.connect() as client:
        client.request()
        client.reply()
        [conn] = served.dispatcher.connections.values()
        assert not conn.sock.get_inheritable()
        assert conn.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not conn.sock.getblocking()


# -- accepting


def test_connections_above_the_bound_wait(serve: Any) -> None:
    """worker_connections: what is above stays in the kernel's queue until there is room."""
    served = serve(hello, worker_connections=2)
    held = [served.connect() for _ in range(2)]
    for client in held:
        client.request()
        assert client.reply().status == 200
    third = served.connect()
    third.request()
    eventually(lambda: not served.dispatcher.acceptor.watching)
    assert served.row[Word.CONNECTIONS] == 2
    held[0].sock.close()
    assert third.reply().body == b"hello"


def test_a_wake_up_that_never_came_is_made_good(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arbiter.workers.core.BEAT", 0.02)
    served = serve(hello)
    [number] = (fd for fd in served.dispatcher._listeners if fd != served.board.relay.fileno())
    served.dispatcher.poller.unregister(number)
    client = served.connect()
    client.request()
    assert client.reply().status == 200
    served.dispatcher.poller.register(number, READ | EXCLUSIVE)


@pytest.mark.parametrize("busy", [False, True])
def test_a_new_connection_is_offered_to_an_idle_sibling(serve: Any, busy: bool) -> None:
    """sync: it came together with a request on a kept connection, which may take its time."""
    board = Scoreboard(2)
    sibling = board.row(1)
    sibling.clear(pid=1)
    sibling.set_state(State.READY)
    sibling.words[Word.ACCEPTING] = 1
    board.reach(1)
    if busy:
        sibling.begin("GET", b"/", 1)
    offers: list[int] = []
    board.relay.pass_on = lambda: offers.append(1)  # type: ignore[method-assign]
    entered, go_on = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/wait":
            entered.set()
            go_on.wait(20)
        return hello(environ, start_response)

    served = serve(app, board=board)
    if not isinstance(served.dispatcher, Turns):
        pytest.skip("a threaded worker's loop does not wait for an answer")
    one, two = served.connect(), served.connect()
    for client in (one, two):
        client.request()
        assert client.reply().status == 200
    offers.clear()
    one.request("/wait")
    assert entered.wait(20)
    two.request()
    three = served.connect()
    three.request()
    go_on.set()
    for client in (one, two, three):
        assert client.reply().body == b"hello"
    assert offers == ([] if busy else [1])


def test_several_listeners(serve: Any, tmp_path: Path) -> None:
    one, two = listen(), listen(socket.AF_UNIX, str(tmp_path / "s"))
    served = serve(hello, listeners=[one, two])
    assert served.get().status == 200
    served.family, served.address = socket.AF_UNIX, two.getsockname()
    assert served.get().status == 200


def test_ipv6(serve: Any) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        listener = listen(socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    served = serve(show("REMOTE_ADDR", "SERVER_NAME"), listeners=[listener])
    assert seen(served.get().body) == ["'::1'", "'::1'"]


# -- stopping


def test_drain_answers_what_is_queued_and_what_has_begun(serve: Any) -> None:
    """http.md 40: the last answer says close; the queue is emptied; idle connections get a grace."""
    inside = threading.Event()
    leave = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/slow":
            inside.set()
            assert leave.wait(Served.LIMIT)
        return hello(environ, start_response)

    served = serve(app, threads=2)
    idle = served.connect()
    idle.request()
    assert idle.reply().get("connection") is None
    busy = served.connect()
    busy.request("/slow")
    assert inside.wait(Served.LIMIT)
    queued = served.connect()
    queued.request("/queued")
    served.drain()
    leave.set()
    reply = busy.reply()
    assert (reply.body, reply.complete) == (b"hello", True)
    assert queued.reply().body == b"hello"
    served.join()
    assert served.status == 0
    assert idle.closed()
    assert served.row[Word.STATE] == State.DRAINING
    assert served.row[Word.CONNECTIONS] == 0
    assert not served.log.of("warning", "error")


def test_a_worker_that_is_replaced_leaves_the_queue(serve: Any) -> None:
    """A reload: what is queued is for the successor, who holds the same listener."""
    served = serve(hello, worker_connections=1)
    served.orders.alone = False
    held = served.connect()
    held.request()
    assert held.reply().status == 200
    queued = served.connect()
    queued.request("/queued")
    served.drain()
    served.join()
    assert held.closed()
    [listener] = served.listeners
    successor, _ = listener.accept()
    with successor:
        successor.settimeout(Served.LIMIT)
        assert successor.recv(100).startswith(b"GET /queued ")


def test_request_that_races_the_close_is_answered(serve: Any) -> None:
    """http.md 40."""
    served = serve(hello)
    client = served.connect()
    client.request()
    client.reply()
    served.drain()
    eventually(lambda: served.dispatcher.draining)
    client.request("/racing")
    reply = client.reply()
    assert (reply.body, reply.get("connection")) == (b"hello", "close")
    served.join()


def test_drain_of_an_idle_worker_is_quick(serve: Any) -> None:
    served = serve(hello)
    served.drain()
    served.join()
    assert served.status == 0


def test_answer_on_its_way_is_finished_while_draining(serve: Any) -> None:
    """Nothing is lost: the outbox is flushed before the worker leaves."""
    body = os.urandom(16 << 20)
    served = serve(lambda environ, start: (start("200 OK", []), [body])[1])
    client = served.connect()
    client.request()
    eventually(lambda: served.row[Word.REQUESTS] == 1)
    served.drain()
    eventually(lambda: served.dispatcher.draining)
    reply = client.reply()
    assert same(reply.body, body)
    served.join()
    assert not served.log.of("warning", "error")


def test_what_is_late_is_cut_and_named(serve: Any) -> None:
    """At the deadline: one record for each request."""
    served = serve(lambda environ, start: (start("200 OK", []), [b"x" * (16 << 20)])[1], graceful_timeout=0.2)
    client = served.connect(receive_buffer=4096)
    client.request("/big")
    eventually(lambda: served.row[Word.REQUESTS] == 1)
    served.drain()
    served.join()
    [text] = served.log.of("warning")
    assert text.startswith("cut GET /big from 127.0.0.1 after ")
    assert text.endswith("graceful_timeout was over")


def test_quit_leaves_at_once(serve: Any) -> None:
    served = serve(hello)
    with served.connect() as client:
        client.request()
        client.reply()
        served.orders.obey(signal.SIGQUIT)
        served.join()
        assert client.closed()
    assert served.status == 0


def test_nothing_is_left_open(kind: str) -> None:
    """http.md 37: descriptors."""
    board = Scoreboard(1)
    gc.collect()  # what other tests have left to it
    before = descriptors()
    with Served(kind, hello, board=board) as served:
        for _ in range(5):
            served.get()
        with served.connect() as client:
            client.request(method="POST", body=b"x" * 100)
            client.reply()
        served.connect().send(b"GET")
    assert descriptors() <= before
