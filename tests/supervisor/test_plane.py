"""The control plane over a real socket, with the policy's part played by the test."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from arbiter.control import session as wire
from arbiter.control.commands import WORDS, Role, Verb
from arbiter.control.session import Frames
from arbiter.supervisor import events as ev
from arbiter.supervisor import plane
from arbiter.supervisor.peers import Peer
from arbiter.supervisor.plane import AT_ONCE, DENIALS, FIRST, IDLE, Plane
from arbiter.supervisor.rendezvous import open_socket
from arbiter.supervisor.watch import Watch
from tests.fakes.views import Arbiter


class Hands:
    """Keeps what was asked for; the test answers when it likes."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.levels: list[str] = []
        self.stacks_for: list[tuple[int, Callable[[str], None]]] = []
        self.checks: list[Callable[[str], None]] = []
        self.busy = False

    def say(self, level: int, name: str, text: str, fields: Mapping[str, Any]) -> None:
        self.said.append((name, text))

    def stacks(self, key: int, then: Callable[[str], None]) -> None:
        self.stacks_for.append((key, then))

    def log_level(self, level: str) -> None:
        self.levels.append(level)

    def check(self, then: Callable[[str], None]) -> bool:
        self.checks.append(then)
        return not self.busy

    def metrics(self) -> str:
        return "arbiter_ready 1\n"


class Bench:
    def __init__(self, directory: Path) -> None:
        self.arbiter = Arbiter(directory, control_socket=str(directory / "c"))
        self.arbiter.view.pid = 1 << 22  # nobody's: who asks here does not descend from it
        self.hands, self.watch, self.now = Hands(), Watch(), 1000.0
        listener, path = open_socket(self.arbiter.config, {})
        self.plane = Plane(self.watch, listener, path, self.arbiter.view, self.hands, lambda: self.now)
        self.peers: list[socket.socket] = []
        self.asked: list[ev.Asked] = []

    def connect(self) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(self.plane.path)
        peer.settimeout(30)
        self.peers.append(peer)
        self.turn()
        return peer

    def turn(self) -> None:
        for _ in range(3):
            self.asked += [event for event in self.watch.wait(0.02) if isinstance(event, ev.Asked)]

    def say(self, peer: socket.socket, word: str, number: int = 1, **arguments: Any) -> None:
        peer.sendall(wire.request(number, word, arguments))
        self.turn()

    def hear(self, peer: socket.socket) -> list[dict[str, Any]]:
        """All that has been answered so far."""
        peer.setblocking(False)
        frames, found = Frames(wire.MAX_ANSWER), []
        while True:
            try:
                data = peer.recv(65536)
            except BlockingIOError:
                return found
            if not data:
                return [*found, {"end": True}]
            found += frames.feed(data)

    def decide(self, *names: str) -> None:
        """The policy deals with the oldest event and says these."""
        event = self.asked.pop(0)
        before = self.arbiter.view.journal.number
        for name in names:
            self.arbiter.view.journal.add(logging.INFO, name, name, {"generation": 2})
        self.plane.decided(event, self.arbiter.view.journal.since(before))
        self.plane.settled()

    def close(self) -> None:
        self.plane.stop()
        for peer in self.peers:
            peer.close()
        self.watch.abandon()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path)
    yield one
    one.close()


@pytest.fixture
def role(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have every peer be somebody else from now on."""

    def be(role: Role | None, *, below: bool = False) -> None:
        somebody = Peer(7, 1000, frozenset({1000}), below)
        monkeypatch.setattr(plane, "identify", lambda sock, arbiter: somebody)
        monkeypatch.setattr(plane, "role_of", lambda peer, settings: role)

    return be


def test_every_word_has_somebody_who_answers() -> None:
    assert set(plane.OBEYED) == set(WORDS)


@pytest.mark.parametrize("word", ["status", "slow", "events", "config", "metrics", "ping", "version", "top"])
def test_looking_needs_no_policy(bench: Bench, word: str) -> None:
    peer = bench.connect()
    bench.say(peer, word)
    (answer,) = bench.hear(peer)
    assert answer["id"] == 1
    assert answer["result"]
    assert bench.asked == []
    assert bench.hands.said == []


@pytest.mark.parametrize(
    ("word", "arguments", "verb", "amount", "key"),
    [
        ("reload", {}, Verb.RELOAD, 1, 0),
        ("scale", {"to": "5"}, Verb.SCALE, 5, 0),
        ("scale", {"to": "+2"}, Verb.SCALE_UP, 2, 0),
        ("scale", {"to": "-1"}, Verb.SCALE_DOWN, 1, 0),
        ("scale", {"to": "auto"}, Verb.SCALE_AUTO, 1, 0),
        ("recycle", {"worker": "2"}, Verb.RECYCLE, 1, 2),
        ("kill", {"worker": "40001"}, Verb.KILL, 1, 1),
        ("drain", {}, Verb.DRAIN, 1, 0),
        ("undrain", {}, Verb.UNDRAIN, 1, 0),
        ("reopen-logs", {}, Verb.REOPEN_LOGS, 1, 0),
        ("stop", {}, Verb.STOP, 1, 0),
        ("stop", {"now": True}, Verb.QUIT, 1, 0),
    ],
)
def test_acting_asks_the_policy_and_leaves_a_line(
    bench: Bench, word: str, arguments: dict[str, Any], verb: Verb, amount: int, key: int
) -> None:
    peer = bench.connect()
    bench.say(peer, word, **arguments)
    (event,) = bench.asked
    assert (event.verb, event.amount, event.key) == (verb, amount, key)
    assert f"uid {os.geteuid()}, pid {os.getpid()}" in event.origin
    ((name, text),) = bench.hands.said
    assert name == "control.act"
    assert word in text
    assert bench.hear(peer) == []
    bench.decide("scale")
    assert bench.hear(peer) == [{"id": 1, "result": {"said": "scale"}}]


@pytest.mark.parametrize(
    ("word", "arguments", "why"),
    [
        ("scale", {"to": "99999"}, "there can be from 1 to "),
        ("scale", {"to": "many"}, "'many' is not a number of workers"),
        ("recycle", {"worker": "77"}, "there is no worker 77"),
        ("kill", {"worker": "77"}, "there is no worker 77"),
    ],
)
def test_what_is_refused_says_so_in_its_one_line(
    bench: Bench, word: str, arguments: dict[str, Any], why: str
) -> None:
    peer = bench.connect()
    bench.say(peer, word, **arguments)
    assert bench.asked == []
    (answer,) = bench.hear(peer)
    assert why in answer["fault"]["message"]
    ((name, text),) = bench.hands.said
    assert name == "control.act"
    assert text.startswith(f"control: {word} ")
    assert f"pid {os.getpid()}) refused: {answer['fault']['message']}" in text


def test_the_line_of_an_act_comes_before_it(bench: Bench) -> None:
    """A log level that keeps such lines out is in force only after its own."""
    peer = bench.connect()
    seen: list[int] = []
    bench.hands.log_level = lambda level: seen.append(len(bench.hands.said))  # type: ignore[method-assign]
    bench.say(peer, "loglevel", level="error")
    assert seen == [1]
    (answer,) = bench.hear(peer)
    assert answer["result"]["said"] == "log level error, until the next reload"


def test_recycle_all_is_one_answer(bench: Bench) -> None:
    peer = bench.connect()
    bench.say(peer, "recycle", worker="all")
    assert sorted(event.key for event in bench.asked) == [1, 2]
    bench.decide("worker.retiring")
    assert bench.hear(peer) == []
    bench.decide("worker.retiring")
    assert len(bench.hear(peer)) == 1


def test_waiting_tells_and_ends(bench: Bench) -> None:
    peer = bench.connect()
    bench.arbiter.book.newest = 2
    bench.say(peer, "reload", wait=True)
    bench.decide("reload.reading")
    bench.arbiter.view.journal.add(logging.INFO, "reload.done", "done", {"generation": 2})
    answers = bench.hear(peer)
    assert [answer.get("progress", {}).get("name") for answer in answers] == ["reload.reading", None]
    assert answers[-1]["result"] == {"said": "done"}
    bench.plane.settled()
    assert bench.plane.waits == []


@pytest.mark.parametrize(
    ("word", "arguments", "kind"),
    [
        ("show", {"worker": "9"}, "refused"),
        ("kill", {"worker": "x"}, "usage"),
        ("scale", {"to": "++1"}, "usage"),
        ("scale", {"to": "1e3"}, "usage"),
        ("scale", {"to": "٣"}, "usage"),
        ("scale", {"to": "0"}, "refused"),
        ("scale", {"to": "999999"}, "refused"),
        ("config", {"name": "workerz"}, "refused"),
        ("events", {"count": 0}, "usage"),
        ("nonsense", {}, "usage"),
    ],
)
def test_what_cannot_be_is_told(bench: Bench, word: str, arguments: dict[str, Any], kind: str) -> None:
    peer = bench.connect()
    bench.say(peer, word, **arguments)
    (answer,) = bench.hear(peer)
    assert answer["fault"]["kind"] == kind
    assert bench.asked == []
    bench.say(peer, "ping", 2)
    assert bench.hear(peer)[0]["id"] == 2


@pytest.mark.parametrize("word", sorted(WORDS))
@pytest.mark.parametrize("mine", Role)
def test_a_role_may_what_is_its_own(bench: Bench, role: Callable[..., None], word: str, mine: Role) -> None:
    role(mine)
    needed = {"worker": "1", "to": "3", "level": "info"}
    arguments = {p.name: needed[p.name] for p in WORDS[word].parameters if p.required and not p.flags}
    peer = bench.connect()
    bench.say(peer, word, **arguments)
    faults = [answer["fault"]["kind"] for answer in bench.hear(peer) if "fault" in answer]
    assert faults == ([] if mine >= WORDS[word].role else ["forbidden"])
    assert bool(bench.asked) <= (mine >= WORDS[word].role)


def test_who_has_no_role_is_told_and_turned_away(bench: Bench, role: Callable[..., None]) -> None:
    role(None)
    answer, end = bench.hear(bench.connect())
    assert answer["fault"]["kind"] == "forbidden"
    assert "uid 1000" in answer["fault"]["message"]
    assert end == {"end": True}


def test_denials_are_told_seldom(bench: Bench, role: Callable[..., None]) -> None:
    role(None)
    for _ in range(5):
        bench.connect()
    assert len(bench.hands.said) == 1
    bench.now += DENIALS
    bench.connect()
    assert "5 times since" in bench.hands.said[1][1]


def test_following_events(bench: Bench) -> None:
    journal = bench.arbiter.view.journal
    journal.add(logging.INFO, "worker.ready", "before", {})
    peer = bench.connect()
    bench.say(peer, "events", follow=True, level="warning")
    journal.add(logging.INFO, "worker.ready", "not this", {})
    journal.add(logging.ERROR, "worker.died", "this", {})
    assert [answer["progress"]["text"] for answer in bench.hear(peer)] == ["this"]
    bench.now += IDLE * 2
    bench.plane.service.look(bench.now)
    assert bench.hear(peer) == []
    peer.close()
    bench.turn()
    assert len(journal.followers) == 1


def test_stacks_and_check_answer_when_they_can(bench: Bench) -> None:
    peer = bench.connect()
    bench.say(peer, "stacks", worker="1")
    bench.say(peer, "check", 2)
    assert bench.hear(peer) == []
    bench.hands.checks[0]("1 fault")
    bench.arbiter.held[40_001] = "T"
    bench.hands.stacks_for[0][1]("File x")
    checked, stacks = bench.hear(peer)
    assert checked["fault"] == {"kind": "failed", "message": "1 fault"}
    assert stacks["result"]["stacks"] == "File x"
    bench.hands.busy = True
    bench.say(peer, "check", 3)
    assert bench.hear(peer)[0]["fault"]["kind"] == "busy"


def test_too_much_at_once_is_refused(bench: Bench) -> None:
    peer = bench.connect()
    peer.sendall(b"".join(wire.request(number, "ping", {}) for number in range(AT_ONCE + 1)))
    bench.turn()
    answer, end = bench.hear(peer)
    assert (answer["fault"]["kind"], end) == ("busy", {"end": True})
    other = bench.connect()
    for number in range(AT_ONCE + 1):
        bench.say(other, "stacks", number, worker="1")
    assert bench.hear(other)[0]["fault"]["kind"] == "busy"


def test_silence_ends_sooner_before_the_first_word(bench: Bench) -> None:
    silent, speaking = bench.connect(), bench.connect()
    bench.say(speaking, "ping")
    bench.hear(speaking)
    bench.now += FIRST
    bench.plane.service.look(bench.now)
    assert bench.hear(silent) == [{"end": True}]
    assert bench.hear(speaking) == []
    bench.now += IDLE
    bench.plane.service.look(bench.now)
    assert bench.hear(speaking) == [{"end": True}]


def test_who_hangs_up_while_waiting_harms_nobody(bench: Bench) -> None:
    peer = bench.connect()
    bench.say(peer, "reload", wait=True)
    peer.close()
    bench.turn()
    bench.decide("reload.reading")
    bench.arbiter.view.journal.add(logging.INFO, "reload.done", "done", {"generation": 2})
    assert bench.plane.waits == []


def test_the_socket_goes_only_if_it_is_still_ours(bench: Bench, tmp_path: Path) -> None:
    os.unlink(bench.plane.path)
    Path(bench.plane.path).write_text("somebody else's")
    bench.plane.stop()
    assert os.path.exists(bench.plane.path)
