"""What comes before the loop waits for it, or ends the start as the signal that it is."""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbiter import early
from arbiter.control.commands import BY_SIGNAL

ROOT = Path(__file__).parents[1]


@pytest.fixture
def held() -> Iterator[None]:
    early.hold()
    yield
    early.let_go()


def test_it_knows_all_that_the_loop_will_know() -> None:
    assert set(BY_SIGNAL) == {*early.HELD, *early.ENDING}


@pytest.mark.usefixtures("held")
def test_what_comes_is_kept_in_its_order() -> None:
    for number in (signal.SIGTTIN, signal.SIGHUP, signal.SIGTTIN):
        signal.raise_signal(number)
    assert early.take() == [signal.SIGTTIN, signal.SIGHUP, signal.SIGTTIN]
    assert early.take() == []


@pytest.mark.usefixtures("held")
def test_an_end_interrupts() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    early._ending.clear()


def test_what_is_let_go_does_what_it_did() -> None:
    before = [signal.getsignal(number) for number in BY_SIGNAL]
    early.hold()
    signal.raise_signal(signal.SIGHUP)
    early.let_go()
    assert [signal.getsignal(number) for number in BY_SIGNAL] == before
    assert early.take() == []


def entry_point() -> str:
    """The console script's."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        scripts: dict[str, str] = tomllib.load(file)["project"]["scripts"]
    return scripts["arbiter"]


def test_nothing_that_takes_time_is_imported_before() -> None:
    module, function = entry_point().split(":")
    code = f"import sys; from {module} import {function}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    )
    ours = {name for name in done.stdout.split() if name.split(".")[0] == "arbiter"}
    assert ours == {"arbiter", "arbiter.__main__", "arbiter.deadline", "arbiter.early", "arbiter.version"}


@pytest.mark.parametrize("number", early.ENDING)
def test_an_end_in_the_start_is_that_of_the_signal(tmp_path: Path, number: signal.Signals) -> None:
    no_core = "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))"
    config = f"import os, resource\n{no_core}\nos.kill(os.getpid(), {number:d})\n"
    (tmp_path / "arbiter.conf.py").write_text(config)
    module, function = entry_point().split(":")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from {module} import {function}; {function}()"
    command = [sys.executable, "-c", code, "-c", "arbiter.conf.py", "-b", "127.0.0.1:0", "no_such_app"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == -number, done.stderr
    assert done.stderr == ""
