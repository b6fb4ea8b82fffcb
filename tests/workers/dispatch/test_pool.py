"""What is the threaded kind's own: threads, and the hand-over between them and the loop."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from typing import Any

import pytest

from arbiter.link.scoreboard import Scoreboard, State, Word
from tests.fakes.workers import Served
from tests.fakes.wsgi_apps import eventually


def hello(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


class Gate:
    """An application that waits inside until it is let go."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.leave = threading.Event()

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/wait":
            self.inside.release()
            assert self.leave.wait(Served.LIMIT)
        return hello(environ, start_response)

    def entered(self, count: int) -> bool:
        return all(self.inside.acquire(timeout=Served.LIMIT) for _ in range(count))


def test_as_many_at_a_time_as_there_are_threads() -> None:
    """wsgi.md 17: wsgi.multithread True is the truth."""
    gate = Gate()
    with Served("threaded", gate, threads=3) as served:
        clients = [served.connect() for _ in range(3)]
        for client in clients:
            client.request("/wait")
        assert gate.entered(3)
        assert len(served.row.lanes()) == 3
        gate.leave.set()
        assert [client.reply().status for client in clients] == [200] * 3


def test_new_connections_are_left_to_the_siblings_while_all_threads_are_busy() -> None:
    """Accept only when there is a thread to serve with; go on as soon as one is free."""
    gate = Gate()
    with Served("threaded", gate, threads=2) as served:
        busy = [served.connect() for _ in range(2)]
        for client in busy:
            client.request("/wait")
        assert gate.entered(2)
        waiting = served.connect()
        waiting.request()
        eventually(lambda: not served.dispatcher.acceptor.watching)
        assert served.row[Word.ACCEPTED] == 2
        gate.leave.set()
        assert waiting.reply().body == b"hello"
        assert served.row[Word.ACCEPTED] == 3


class OneByOne:
    """An application whose slow requests are let go one at a time."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/slow":
            self.inside.release()
            assert self.go.acquire(timeout=Served.LIMIT)
        return hello(environ, start_response)


@pytest.mark.parametrize("sibling", [False, True], ids=["alone", "with a sibling"])
def test_those_who_are_there_do_not_keep_out_those_who_come(sibling: bool) -> None:
    """Two threads, four clients that always want something: a fifth is taken when a request has been
    answered, though there were always two more; unless a sibling would take it.
    """
    app, board = OneByOne(), Scoreboard(2)
    if sibling:
        board.reach(1)
        board.row(1).clear(pid=os.getpid())
        board.row(1).set_state(State.READY)
        board.row(1).words[Word.ACCEPTING] = 1
    with Served("threaded", app, threads=2, board=board) as served:
        clients = [served.connect() for _ in range(4)]
        for client in clients:
            client.request()
            assert client.reply().status == 200
        for client in clients:
            client.request("/slow")
        assert all(app.inside.acquire(timeout=Served.LIMIT) for _ in range(2))
        pool = served.dispatcher
        eventually(lambda: len(pool._given) == 4)
        late = served.connect()
        late.request()
        eventually(lambda: not pool.acceptor.watching)
        app.go.release()
        assert app.inside.acquire(timeout=Served.LIMIT)
        if sibling:
            eventually(lambda: 0.0 < pool._next_chance < time.monotonic())
            assert pool.room() == 0
            board.row(1).words[Word.ACCEPTING] = 0
            app.go.release()
        eventually(lambda: len(pool.connections) == 5)
        assert len(pool._given) >= 2
        for _ in range(4):
            app.go.release()
        assert [client.reply().status for client in (*clients, late)] == [200] * 5


def test_a_connection_is_closed_once() -> None:
    """Though the loop, at its end, and the thread that has answered may both want to."""
    with Served("threaded", hello) as served:
        client = served.connect()
        client.request()
        assert client.reply().status == 200
        pool = served.dispatcher
        eventually(lambda: not pool._given)  # the thread has given it back
        [conn] = pool.connections.values()
        poller, forgotten = pool.poller, []

        class Meanwhile:
            def __getattr__(self, name: str) -> Any:
                return getattr(poller, name)

            def unregister(self, fd: int) -> None:
                if fd == conn.fd:
                    forgotten.append(fd)
                    pool.close(conn)  # the other one
                poller.unregister(fd)

        pool.poller = Meanwhile()  # type: ignore[assignment]
        pool.close(conn)
        pool.poller = poller
        assert forgotten == [conn.fd]


def test_kept_connections_are_served_while_a_thread_is_free() -> None:
    gate = Gate()
    with Served("threaded", gate, threads=2) as served:
        kept = served.connect()
        kept.request()
        kept.reply()
        busy = served.connect()
        busy.request("/wait")
        assert gate.entered(1)
        for _ in range(5):
            kept.request()
            assert kept.reply().body == b"hello"
        gate.leave.set()


def test_pipelined_requests_take_turns_with_others() -> None:
    """One client's pipeline does not hold a thread for itself; its answers stay in order."""
    order: list[str] = []
    lock = threading.Lock()

    def app(environ: Any, start_response: Any) -> Any:
        with lock:
            order.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    with Served("threaded", app, threads=4) as served, served.connect() as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(40)))
        assert [client.reply().body for _ in range(40)] == [b"/%d" % n for n in range(40)]
    assert order == [f"/{n}" for n in range(40)]


def test_an_idle_thread_keeps_nothing_of_the_last_request() -> None:
    """wsgi.md 51."""
    refs: list[weakref.ref[Any]] = []

    class Thing:
        pass

    def app(environ: Any, start_response: Any) -> Any:
        thing = Thing()
        refs.append(weakref.ref(thing))
        environ["thing"] = thing
        return hello(environ, start_response)

    with Served("threaded", app, threads=1) as served, served.connect() as client:
        client.request()
        client.reply()

        def gone() -> bool:
            gc.collect()
            return refs[0]() is None

        eventually(gone)


def test_threads_are_daemons_and_end_with_the_loop() -> None:
    """wsgi.md 51: the exit of the interpreter is bounded."""
    with Served("threaded", hello, threads=3) as served:
        served.get()
        threads = served.dispatcher._threads
        assert all(thread.daemon and thread.is_alive() for thread in threads)
    for thread in threads:
        thread.join(Served.LIMIT)
        assert not thread.is_alive()


def test_a_thread_that_does_not_return_is_left_behind_and_named() -> None:
    """wsgi.md 51: the deadline holds whatever the application does; its client sees a break."""
    gate = Gate()
    with Served("threaded", gate, threads=2, graceful_timeout=0.2) as served:
        client = served.connect()
        client.request("/wait")
        assert gate.entered(1)
        served.drain()
        served.join()
        [text] = served.log.of("warning")
        assert text.startswith("cut GET /wait from 127.0.0.1 after ")
        gate.leave.set()
        for thread in served.dispatcher._threads:
            thread.join(Served.LIMIT)
        served.dispatcher._queue.put(None)
        type(served.dispatcher).__mro__[1].release(served.dispatcher)


def test_quit_does_not_wait_for_threads() -> None:
    gate = Gate()
    served = Served("threaded", gate, threads=1)
    served.__enter__()
    client = served.connect()
    client.request("/wait")
    assert gate.entered(1)
    served.__exit__(None, None, None)
    assert "cut GET /wait" in served.log.of("warning")[0]
    gate.leave.set()
    for thread in served.dispatcher._threads:
        thread.join(Served.LIMIT)
    type(served.dispatcher).__mro__[1].release(served.dispatcher)


def test_keyboard_interrupt_in_a_thread_costs_one_connection() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/bad":
            raise KeyboardInterrupt
        return hello(environ, start_response)

    with Served("threaded", app, threads=1) as served:
        with served.connect() as client:
            client.request("/bad")
            assert client.closed()
        assert served.get().body == b"hello"
        assert len(served.log.of("error")) == 1


def test_many_clients_at_once() -> None:
    """No request is lost or mixed up between loop and threads."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [environ["QUERY_STRING"].encode(), environ["wsgi.input"].read()]

    failures: list[Any] = []

    def client(served: Served, name: int) -> None:
        try:
            with served.connect() as mine:
                for n in range(60):
                    body = b"%d" % n * (n % 7)
                    mine.request(f"/?{name}-{n}", method="POST", body=body)
                    reply = mine.reply()
                    assert reply.body == b"%d-%d" % (name, n) + body
        except BaseException as error:
            failures.append(error)

    with Served("threaded", app, threads=5) as served:
        threads = [threading.Thread(target=client, args=(served, name)) for name in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(Served.LIMIT)
        assert not failures
        eventually(lambda: served.row.in_flight == 0)
        assert served.row[Word.REQUESTS] == 720
