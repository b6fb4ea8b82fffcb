"""arbiterctl's end: what it makes of arbiters that answer, lie, hang or are gone."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arbiter.control import session as wire
from arbiter.control.client import Client, locate
from arbiter.control.session import Fault, FaultKind, Frames
from arbiter.errors import ControlError, ControlStatus

Answer = Callable[[dict[str, Any]], bytes | None]


class Arbiter:
    """Listens at a path and gives each request the bytes that `answer` makes; None: hangs up."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.path = str(path)
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer:
                frames = Frames(1 << 16)
                while data := peer.recv(65536):
                    for message in frames.feed(data):
                        said = self._answer(message)
                        if said is None:
                            peer.close()
                            break
                        peer.sendall(said)
                    else:
                        continue
                    break

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)


@pytest.fixture
def arbiter(tmp_path: Path) -> Iterator[Callable[..., Arbiter]]:
    with contextlib.ExitStack() as stack:

        def make(answer: Answer, name: str = "a.ctl") -> Arbiter:
            one = Arbiter(tmp_path / name, answer)
            stack.callback(one.close)
            return one

        yield make


def pong(name: str, pid: int) -> Answer:
    return lambda message: wire.result(message["id"], {"name": name, "pid": pid})


def test_an_answer(arbiter: Callable[..., Arbiter]) -> None:
    one = arbiter(lambda m: wire.progress(m["id"], {"n": 1}) + wire.result(m["id"], {"word": m["word"]}))
    with Client(one.path) as client:
        assert client.ask("ping") == {"word": "ping"}
        assert list(client.follow("status")) == [("progress", {"n": 1}), ("result", {"word": "status"})]


def test_a_fault(arbiter: Callable[..., Arbiter]) -> None:
    one = arbiter(lambda m: wire.fault(m["id"], Fault(FaultKind.FORBIDDEN, "not you")))
    with Client(one.path) as client, pytest.raises(Fault, match="not you"):
        client.ask("stop")


def test_one_that_hangs_up(arbiter: Callable[..., Arbiter]) -> None:
    with Client(arbiter(lambda m: None).path) as client, pytest.raises(ControlError) as caught:
        client.ask("ping")
    assert caught.value.status is ControlStatus.GONE


def test_one_that_says_nothing(arbiter: Callable[..., Arbiter]) -> None:
    with Client(arbiter(lambda m: b"").path, patience=0.05) as client, pytest.raises(ControlError) as caught:
        client.ask("ping")
    assert caught.value.status is ControlStatus.TIMEOUT


def test_one_that_is_no_arbiter(arbiter: Callable[..., Arbiter]) -> None:
    one = arbiter(lambda m: b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with Client(one.path) as client, pytest.raises(ControlError, match="this is no arbiter"):
        client.ask("ping")


def test_nobody_there(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.ctl"))
    for name in ("dead.ctl", "missing.ctl"):
        with pytest.raises(ControlError) as caught:
            Client(str(tmp_path / name))
        assert caught.value.status is ControlStatus.NOT_FOUND


def test_no_room_is_no_answer_and_asked_again(arbiter: Callable[..., Arbiter]) -> None:
    """A connection that had to make room has not been heard: to ask once more does nothing twice."""
    heard: list[str] = []

    def answer(message: dict[str, Any]) -> bytes:
        heard.append(message["word"])
        if len(heard) < 4:
            return wire.fault(0, Fault(FaultKind.FULL, "64 connections are open already"))
        return wire.result(message["id"], {"n": len(heard)})

    with Client(arbiter(answer).path) as client:
        assert client.ask("stop") == {"n": 4}
    assert heard == ["stop"] * 4


def test_no_room_for_ever_is_told(arbiter: Callable[..., Arbiter]) -> None:
    one = arbiter(lambda m: wire.fault(0, Fault(FaultKind.FULL, "64 connections are open already")))
    with Client(one.path, patience=0.1) as client, pytest.raises(Fault, match="64 connections are open"):
        client.ask("ping")


def test_a_queue_that_is_full_is_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "a.ctl")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        stack.enter_context(Client(path))
        with pytest.raises(ControlError) as caught:
            Client(path, patience=0.05)
        assert caught.value.status is ControlStatus.TIMEOUT
        late = threading.Timer(0.05, lambda: stack.enter_context(listener.accept()[0]))
        late.start()
        stack.enter_context(Client(path))
        late.join()


def test_what_lasts_goes_on_as_long_as_the_arbiter_answers(arbiter: Callable[..., Arbiter]) -> None:
    """`events -f` of an arbiter that hangs must not last for ever."""
    pings = 0

    def answer(message: dict[str, Any]) -> bytes:
        nonlocal pings
        if message["word"] != "ping":
            return b""
        pings += 1
        return wire.result(message["id"], {}) if pings < 3 else b""

    with Client(arbiter(answer).path, patience=0.05) as client, pytest.raises(ControlError) as caught:
        list(client.follow("events", lasting=True, follow=True))
    assert caught.value.status is ControlStatus.TIMEOUT
    assert pings == 3


class TestLocate:
    """Which one is meant."""

    @pytest.fixture(autouse=True)
    def _alone(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("arbiter.control.places.SYSTEM", str(tmp_path / "run"))
        monkeypatch.setattr("arbiter.control.places.LISTENING", str(tmp_path / "nobody"))
        monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "tmp"))

    def test_none(self, tmp_path: Path) -> None:
        with pytest.raises(ControlError, match="no arbiter is found"):
            locate({}, str(tmp_path), None, None)

    def test_the_only_one(self, arbiter: Callable[..., Arbiter], tmp_path: Path) -> None:
        one = arbiter(pong("shop", 1))
        assert locate({}, str(tmp_path), None, None) == one.path
        assert locate({}, str(tmp_path), "shop", None) == one.path
        with pytest.raises(ControlError, match="no arbiter is called 'blog'; there are: shop"):
            locate({}, str(tmp_path), "blog", None)

    def test_several_want_a_name(self, arbiter: Callable[..., Arbiter], tmp_path: Path) -> None:
        arbiter(pong("shop", 1))
        other = arbiter(pong("my.app:app", 2), "b.ctl")
        with pytest.raises(ControlError, match="2 arbiters run here") as caught:
            locate({}, str(tmp_path), None, None)
        assert caught.value.status is ControlStatus.AMBIGUOUS
        assert locate({}, str(tmp_path), "my.app:app", None) == other.path
        assert locate({}, str(tmp_path), "my.app-app", None) == other.path

    def test_by_pidfile(self, arbiter: Callable[..., Arbiter], tmp_path: Path) -> None:
        arbiter(pong("shop", 1))
        other = arbiter(pong("shop", 2), "b.ctl")
        pidfile = tmp_path / "x.pid"
        pidfile.write_text("2\n")
        assert locate({}, str(tmp_path), None, str(pidfile)) == other.path
        pidfile.write_text("3\n")
        with pytest.raises(ControlError, match="no arbiter with pid 3"):
            locate({}, str(tmp_path), None, str(pidfile))
        with pytest.raises(ControlError, match="No such file"):
            locate({}, str(tmp_path), None, str(tmp_path / "y.pid"))

    def test_one_that_hangs_is_not_passed_over(
        self, arbiter: Callable[..., Arbiter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`arbiterctl stop`, meant for the one that hangs, must not stop the other."""
        monkeypatch.setattr("arbiter.control.client.PROBE", 0.05)
        arbiter(lambda m: b"", "shop.ctl")
        with pytest.raises(ControlError) as caught:
            locate({}, str(tmp_path), None, None)
        assert caught.value.status is ControlStatus.TIMEOUT
        other = arbiter(pong("blog", 2), "blog.ctl")
        with pytest.raises(ControlError, match=r"shop \(does not answer\)") as caught:
            locate({}, str(tmp_path), None, None)
        assert caught.value.status is ControlStatus.AMBIGUOUS
        assert locate({}, str(tmp_path), "blog", None) == other.path
        pidfile = tmp_path / "shop.pid"
        pidfile.write_text("1\n")
        for name, by in (("shop", None), (None, str(pidfile))):
            with pytest.raises(ControlError) as caught:
                locate({}, str(tmp_path), name, by)
            assert caught.value.status is ControlStatus.TIMEOUT

    def test_a_stale_one_is_passed_over(self, arbiter: Callable[..., Arbiter], tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "0.ctl"))
        one = arbiter(pong("shop", os.getpid()))
        assert locate({}, str(tmp_path), None, None) == one.path
