"""Processes that are made for others: announced before they run, adopted, and not left behind."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a subreaper adopts (prctl(2))")

PROGRAM = """
import ctypes, os, sys
from arbiter.link.spawn import Birth, fork_away
me = os.getpid()
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
read, write = os.pipe()
def child():
    os.write(write, b"adopted" if os.getppid() == me else b"lost")
    return 7
def announce(pid):
    os.write(write, b"pid %d;" % pid)
    return {announced}
fork_away([Birth(child, announce)])
os.close(write)
said = b""
while data := os.read(read, 100):
    said += data
print(said.decode(), [os.waitstatus_to_exitcode(os.wait()[1])] if {announced} or 1 else "")
"""


def told(announced: bool) -> str:
    program = PROGRAM.replace("{announced}", str(announced))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env={**os.environ}
    )
    return done.stdout + done.stderr


def test_a_process_is_announced_first_and_runs_when_it_is_adopted() -> None:
    text = told(True)
    assert text.startswith("pid "), text
    assert text.split(";", 1)[1] == "adopted [7]\n", text


def test_one_that_cannot_be_announced_never_runs() -> None:
    text = told(False)
    assert "adopted" not in text
    assert "lost" not in text
    assert "the process between ended with status 1" in text


MANY = """
import ctypes, os, signal, sys
from arbiter.link.spawn import Birth, fork_away
from arbiter.workers.orphan import die_with
me = os.getpid()
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
def child():
    die_with(me)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    return 7
for count in range(1, 25):
    fork_away([Birth(child, lambda pid: True)] * count)
print({os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(300)})
"""


def test_the_end_of_the_process_between_is_not_taken_for_that_of_the_arbiter() -> None:
    """The kernel tells of a parent's end (PR_SET_PDEATHSIG) a moment after there is another one."""
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("{7}\n", "")


SEVERAL = """
import ctypes, os
from arbiter.link.spawn import Birth, fork_away
me = os.getpid()
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
descriptors = len(os.listdir("/proc/self/fd"))
def birth(number):
    def child():
        alone = os.getppid() == me and len(os.listdir("/proc/self/fd")) == descriptors
        return number if alone else 99
    return Birth(child, lambda pid: number != 4)
try:
    fork_away([birth(number) for number in range(1, 7)])
except OSError as error:
    print(error)
statuses = []
while True:
    try:
        statuses.append(os.waitstatus_to_exitcode(os.wait()[1]))
    except ChildProcessError:
        break
print(sorted(statuses))
"""


def test_of_several_who_was_announced_lives_and_no_other() -> None:
    """The fourth cannot be announced: it ends (1) without having run, and there is no fifth."""
    done = subprocess.run([sys.executable, "-c", SEVERAL], capture_output=True, text=True, timeout=60)
    assert done.stdout == "the process between ended with status 1\n[1, 1, 2, 3]\n"
    assert done.stderr == ""
