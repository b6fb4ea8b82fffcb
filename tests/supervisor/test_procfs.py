"""What the kernel says: of this very process, and of files as it writes them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from arbiter.supervisor import procfs

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


@linux
def test_a_look_at_this_process() -> None:
    before = procfs.sample(os.getpid())
    assert before is not None
    assert before.state == "R"
    assert not before.held
    sum(i * i for i in range(3_000_000))
    after = procfs.sample(os.getpid())
    assert after is not None
    assert after.cpu > before.cpu


@linux
def test_a_stopped_process_is_held() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        os.kill(child.pid, signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        look = procfs.sample(child.pid)
        assert look is not None
        assert look.state == "T"
        assert look.held
    finally:
        os.kill(child.pid, signal.SIGCONT)
        child.communicate()


def test_a_process_that_is_gone(tmp_path: Path) -> None:
    assert procfs.sample(1, tmp_path) is None
    assert procfs.memory_kib(1, tmp_path) == {}


def test_a_name_with_spaces_and_brackets(tmp_path: Path) -> None:
    here = tmp_path / "7"
    (here / "task" / "7").mkdir(parents=True)
    (here / "stat").write_text("7 (a) R (b) S 1 7 7 0 -1 0 0 0 0 0 " + "250 50 0 0 20 0 1 0 1\n")
    (here / "status").write_text("Name:\tx\nTracerPid:\t99\n")
    (here / "task" / "7" / "schedstat").write_text("5 2500000000 1\n")
    look = procfs.sample(7, tmp_path)
    assert look == procfs.Sample("S", 300 / os.sysconf("SC_CLK_TCK"), 2.5, True)


@linux
def test_memory() -> None:
    memory = procfs.memory_kib(os.getpid())
    assert memory["rss"] >= memory["pss"] >= memory["uss"] > 0


def test_only_a_rising_count_is_an_out_of_memory(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\nhigh 7\noom 2\noom_kill 2\n")
    counter = procfs.OomCounter(events)
    assert not counter.rose()
    events.write_text("low 0\nhigh 9\noom 3\noom_kill 3\n")
    assert counter.rose()
    assert not counter.rose()
    events.unlink()
    assert not counter.rose()
