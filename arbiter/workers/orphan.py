"""No worker outlives its arbiter.

Neighbours: `process` calls it, `orders` deals with the signal. Its one rule: the kernel tells, also when
this process is stuck.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1
"""prctl(2): the signal this process gets when the thread that forked it ends."""
ADOPTION_PATIENCE: Final = 5.0
"""Seconds for a process to end that has nothing left to do."""


def die_with(arbiter: int, number: int = signal.SIGTERM) -> None:
    """Have the kernel send a signal when the arbiter (process id) ends; at once if it has ended already.

    Linux only; elsewhere the lifeline pipe alone tells. Call it after any change of parent, and in the child
    of the arbiter's main thread: it is the thread that counts.
    """
    if sys.platform != "linux":
        return
    _prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != arbiter:
        os.kill(os.getpid(), number)


def await_adoption(arbiter: int) -> bool:
    """Wait until this process is a child of the arbiter (process id), which its parent's end makes it.

    Linux only, with all signals blocked. False: somebody else has adopted it, the arbiter is gone.

    The kernel sends the signal of PR_SET_PDEATHSIG after it has given a child its new parent, so there is
    nothing to poll for. (Set to kill, that same signal would end a worker whose parent, being the process
    between it and the mold, ends: see `die_with`, which comes later.)
    """
    told = signal.SIGRTMAX
    _prctl(PR_SET_PDEATHSIG, told)
    if os.getppid() != arbiter:
        signal.sigtimedwait({told}, ADOPTION_PATIENCE)
    return os.getppid() == arbiter


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
