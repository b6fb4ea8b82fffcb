"""How an installation is started again, and how it knows what for."""

from __future__ import annotations

import os
import select
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbiter.config.memory import Remembered
from arbiter.config.sources import Loader
from arbiter.supervisor.book import FOREVER, Book, Rules
from arbiter.supervisor.errand import OPTION
from arbiter.supervisor.handover import State
from arbiter.supervisor.journal import JournalRecord
from arbiter.supervisor.ledger import LedgerRecord
from arbiter.supervisor.outside import OutsideRecord
from arbiter.supervisor.upgrade import Installation, Proof, installation


def installed(directory: Path, argv: list[str], orig_argv: list[str]) -> Installation:
    environ = {"HOME": "/h", "LISTEN_FDS": "1", "LISTEN_PID": "7", "LISTEN_FDNAMES": "web"}
    return installation(Loader({}, environ, str(directory)), argv, orig_argv)


def script(directory: Path, text: str, mode: int = 0o755) -> str:
    path = directory / "arbiter"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_module_is_started_with_the_interpreter_it_was(tmp_path: Path) -> None:
    found = installed(
        tmp_path, ["/x/__main__.py", "-w", "2"], ["/v/bin/python", "-X", "dev", "-m", "arbiter", "-w", "2"]
    )
    assert found.command("take:7") == [
        "/v/bin/python", "-X", "dev", "-m", "arbiter", f"{OPTION}take:7", "-w", "2",
    ]  # fmt: skip
    assert found.cwd == str(tmp_path)
    assert found.environ == {"HOME": "/h"}, "sockets are handed over, and not by systemd again"


def test_an_interpreter_found_on_the_path_is_named_in_full(tmp_path: Path) -> None:
    found = installed(tmp_path, ["/x/__main__.py"], ["python3", "-m", "arbiter"])
    assert found.command("take:7") == [sys.executable, "-m", "arbiter", f"{OPTION}take:7"]


@pytest.mark.parametrize(
    ("first", "interpreter"),
    [
        ("#!/v/bin/python3\n", ["/v/bin/python3"]),
        ("#!/usr/bin/env python3\n", ["python3"]),
        ("#!/v/bin/python -sE\n", ["/v/bin/python", "-sE"]),
        ("#!/bin/sh\n'''exec' \"/a long/path/python\" \"$0\" \"$@\"\n' '''\n", ["/a long/path/python"]),
    ],
)
def test_a_script_is_started_by_its_own_path(tmp_path: Path, first: str, interpreter: list[str]) -> None:
    path = script(tmp_path, f"{first}import this\n")
    found = installed(tmp_path, [path, "-w", "2"], [*interpreter, path, "-w", "2"])
    assert found.command("take:7") == [path, f"{OPTION}take:7", "-w", "2"]


def test_a_script_that_was_given_to_an_interpreter_is_again(tmp_path: Path) -> None:
    path = script(tmp_path, "#!/v/bin/python\n")
    found = installed(tmp_path, [path, "a:b"], ["/other/pypy", path, "a:b"])
    assert found.command("take:7") == ["/other/pypy", path, f"{OPTION}take:7", "a:b"]
    found = installed(tmp_path, [path], ["/v/bin/python", "-X", "dev", path])
    assert found.head == ["/v/bin/python", "-X", "dev", path]
    path = script(tmp_path, "#!/v/bin/python\n", 0o644)
    assert installed(tmp_path, [path], ["/v/bin/python", path]).head == ["/v/bin/python", path]


def test_a_relative_script_is_looked_for_where_arbiter_was_started(tmp_path: Path) -> None:
    script(tmp_path, "#!/v/bin/python\n")
    assert installed(tmp_path, ["./arbiter"], ["/v/bin/python", "./arbiter"]).head == ["./arbiter"]


# -- the proof, by programs that are none of ours


@pytest.fixture
def state() -> Iterator[State]:
    pipe = os.pipe()
    yield State(
        pid=os.getpid(),
        started=0.0,
        book=Book(Rules(workers=1, boot_timeout=1.0, graceful_timeout=1.0, surge=1)),
        scoreboard=pipe[0],
        relay=-1,
        size=1,
        rows={},
        lifeline=pipe,
        children=[],
        stacks={},
        pipes=[],
        listeners=[],
        generations=[],
        current=1,
        began=Remembered([], []),
        outside=OutsideRecord(None, None),
        journal=JournalRecord(0, Counter(), Counter(), [], []),
        ledger=LedgerRecord({}, {}, {}),
    )
    for fd in pipe:
        os.close(fd)


def proved(state: State, directory: Path, script: str) -> tuple[str, str]:
    """What a shell script proves, and what it prints; its first argument is the errand."""
    head = ["/bin/sh", "-c", script]
    proof = Proof(Installation(head, [], str(directory), dict(os.environ)), state, FOREVER)
    try:
        waiting = select.poll()
        waiting.register(proof.verdict, select.POLLIN)
        while waiting.poll(30_000):
            if proof.hear():
                while proof.listen():
                    pass
                return proof.version, proof.report
        raise AssertionError("no verdict in 30 s")
    finally:
        proof.end()
        os.waitpid(proof.pid, 0)


VERDICT = "exec 9>/dev/fd/${0##*:}; "


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (VERDICT + """printf '{"arbiter": "2", "python": "3"}' >&9""", ("arbiter 2 on Python 3", "")),
        ("echo out; echo err >&2; exit 3", ("", "out\nerr")),
        (VERDICT + "printf '[' >&9", ("", "")),
        (VERDICT + "printf '{}' >&9; echo why", ("", "why")),
        ("kill -9 $$", ("", "")),
        ("pwd -P", ("", "HERE")),
    ],
    ids=["good", "fails", "garbage", "no version", "killed", "where it was started"],
)
def test_a_proof(state: State, tmp_path: Path, script: str, expected: tuple[str, str]) -> None:
    version, report = proved(state, tmp_path, script)
    assert (version, report) == (expected[0], expected[1].replace("HERE", os.path.realpath(tmp_path)))


def test_only_the_end_of_what_it_prints_is_kept(state: State, tmp_path: Path) -> None:
    _, report = proved(state, tmp_path, "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done")
    assert report.endswith("line 2999") and len(report) <= 16 * 1024


def test_a_directory_that_is_gone_is_named(state: State, tmp_path: Path) -> None:
    version, report = proved(state, tmp_path / "gone", "true")
    assert not version and report == f"{tmp_path}/gone: No such file or directory"


def test_it_gets_the_descriptors_and_they_stay_closed_for_others(state: State, tmp_path: Path) -> None:
    script = f"{VERDICT}[ -e /dev/fd/{state.scoreboard} ] && echo there"
    assert proved(state, tmp_path, script) == ("", "there")
    assert not any(os.get_inheritable(fd) for fd in state.descriptors())
