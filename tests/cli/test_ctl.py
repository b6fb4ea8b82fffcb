"""The command line of arbiterctl: made of the table, with stable statuses."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import click
import pytest

from arbiter.cli import ctl
from arbiter.control.commands import WORDS
from arbiter.control.session import Fault, FaultKind
from arbiter.errors import ControlError, ControlStatus


class Client:
    """Answers each word with what the test has put there."""

    answers: ClassVar[dict[str, Any]] = {}
    asked: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def __init__(self, path: str, *, trusted: bool = False) -> None:
        self.path = path

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, word: str, **arguments: Any) -> Any:
        for kind, what in self.follow(word, **arguments):
            if kind == "result":
                return what
        raise AssertionError("no result")

    def follow(self, word: str, *, lasting: bool = False, **arguments: Any) -> Any:
        self.asked.append((word, arguments))
        answer = self.answers[word]
        if isinstance(answer, Exception):
            raise answer
        yield from answer if isinstance(answer, list) else [("result", answer)]


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    monkeypatch.setattr(ctl, "Client", Client)
    Client.answers, Client.asked = {}, []
    return Client


def run(*words: str) -> int:
    return ctl.run(["--socket", "/x", *words])


def test_every_word_is_a_command() -> None:
    group = ctl.build()
    assert set(group.commands) == set(WORDS)
    for word, command in group.commands.items():
        assert command.help
        assert {parameter.name for parameter in command.params} >= {p.name for p in WORDS[word].parameters}


def test_words_are_completed() -> None:
    with click.Context(ctl.build()) as ctx:
        offered = {item.value for item in ctl.build().shell_complete(ctx, "re")}
    assert offered == {"reload", "recycle", "reopen-logs"}


def test_help_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in WORDS)
    assert ctl.run(["stop", "--help"]) == 0
    assert "Quick stop: running requests are cut" in capsys.readouterr().out.replace("\n  ", " ")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Fault(FaultKind.USAGE, "x"), ControlStatus.USAGE),
        (Fault(FaultKind.FORBIDDEN, "x"), ControlStatus.FORBIDDEN),
        (Fault(FaultKind.REFUSED, "x"), ControlStatus.REFUSED),
        (Fault(FaultKind.FAILED, "x"), ControlStatus.FAILED),
        (Fault(FaultKind.BUSY, "x"), ControlStatus.REFUSED),
        (ControlError("x", status=ControlStatus.TIMEOUT), ControlStatus.TIMEOUT),
    ],
)
def test_statuses(
    client: type[Client], capsys: pytest.CaptureFixture[str], error: Exception, status: ControlStatus
) -> None:
    client.answers["reload"] = error
    assert run("reload") == status
    assert capsys.readouterr().err == "arbiterctl: x\n"


def test_every_kind_of_fault_has_a_status() -> None:
    assert set(ctl.STATUSES) == set(FaultKind)


@pytest.mark.parametrize("words", [["scale"], ["nonsense"], ["events", "--level", "loud"], ["show"]])
def test_what_cannot_be_understood(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == ControlStatus.USAGE
    assert "Usage" in capsys.readouterr().err


@pytest.mark.parametrize("to", ["+1", "-1", "4"])
def test_a_negative_number_is_no_option(client: type[Client], to: str) -> None:
    client.answers["scale"] = {"said": "done"}
    assert run("scale", to) == 0
    assert client.asked == [("scale", {"to": to, "wait": False})]


def test_progress_then_the_end(client: type[Client], capsys: pytest.CaptureFixture[str]) -> None:
    event = {"time": 0, "level": 20, "name": "worker.ready", "text": "worker 1 ready\x1b[2J", "fields": {}}
    client.answers["reload"] = [("progress", event), ("result", {"said": "reload done"})]
    assert run("reload", "--wait") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("worker 1 ready?[2J")
    assert second == "reload done"
    assert run("--json", "reload", "-w") == 0
    assert [list(json.loads(line)) for line in capsys.readouterr().out.splitlines()] == [
        ["progress"],
        ["result"],
    ]


def test_a_stop_ends_with_the_arbiter_and_nothing_else_does(client: type[Client]) -> None:
    client.answers |= {"stop": [], "reload": []}
    assert run("stop", "--wait") == 0
    assert run("reload", "--wait") == ControlStatus.GONE


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (Fault(FaultKind.REFUSED, "there is no worker 9"), ControlStatus.REFUSED),
        (ControlError("no answer", status=ControlStatus.TIMEOUT), ControlStatus.TIMEOUT),
    ],
)
def test_json_says_also_what_went_wrong(
    problem: Exception, status: ControlStatus, client: type[Client], capsys: pytest.CaptureFixture[str]
) -> None:
    client.answers["ping"] = problem
    assert run("ping", "--json") == status
    said = capsys.readouterr()
    fault = {"status": int(status), "name": status.name, "message": str(problem)}
    assert json.loads(said.out) == {"fault": fault}
    assert str(problem) in said.err


@pytest.mark.parametrize("place", ["before", "after"])
def test_json_goes_before_or_after_the_word(
    client: type[Client], capsys: pytest.CaptureFixture[str], place: str
) -> None:
    client.answers["ping"] = {"name": "shop", "pid": 7}
    assert run(*(["--json", "ping"] if place == "before" else ["ping", "--json"])) == 0
    assert json.loads(capsys.readouterr().out)["pid"] == 7


def test_config_metrics_slow_version(client: type[Client], capsys: pytest.CaptureFixture[str]) -> None:
    client.answers |= {
        "config": {"settings": [{"name": "workers", "value": "4", "origin": "conf.py:1"}]},
        "metrics": {"text": "arbiter_ready 1\n"},
        "slow": {"slow": []},
        "version": {"version": "9", "python": "3.11"},
        "ping": {"name": "shop", "pid": 7},
        "stacks": {"worker": "worker 1", "stacks": "File x"},
        "events": {"events": []},
    }
    for words in (["config"], ["metrics"], ["slow"], ["version"], ["ping"], ["stacks", "1"], ["events"]):
        assert run(*words) == 0
    text = capsys.readouterr().out
    for part in (
        "# conf.py:1",
        "arbiter_ready 1\n",
        "nothing was slow",
        "arbiter 9",
        "shop (pid 7)",
        "File x",
    ):
        assert part in text
