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


def die_with(arbiter: int, number: int = signal.SIGTERM) -> None:
    """Have the kernel send a signal when the arbiter (process id) ends; at once if it has ended already.

    Linux only; elsewhere the lifeline pipe alone tells. Call it after any change of parent, and in the child
    of the arbiter's main thread: it is the thread that counts.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != arbiter:
        os.kill(os.getpid(), number)
