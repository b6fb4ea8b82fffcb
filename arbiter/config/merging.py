"""Having the kernel merge equal pages of memory (KSM): what that needs, and the asking for it.

Neighbours: `check` tells an operator what is missing, a mold and a worker `ask`. Its one rule: nothing here
fails, and nothing is changed but how this process's own memory is treated.

Sources: Documentation/admin-guide/mm/ksm.rst of the kernel; PR_SET_MEMORY_MERGE(2const), since Linux 6.4.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

from arbiter.config.cgroup import read

_PR_SET_MEMORY_MERGE: Final = 67
_PR_GET_MEMORY_MERGE: Final = 68


def ask() -> None:
    """Have the memory of this process merged, if the kernel can, and of those that it forks; since Linux 6.7
    also when these execute another program.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_MEMORY_MERGE, 1, 0, 0, 0)


def asked() -> bool | None:
    """Whether this process's memory is to be merged; None: the kernel cannot do that."""
    if sys.platform != "linux":
        return None
    answer = ctypes.CDLL(None).prctl(_PR_GET_MEMORY_MERGE, 0, 0, 0, 0)
    return None if answer < 0 else bool(answer)


def obstacle(root: str = "/") -> str:
    """Why nothing would come of it here, with the remedy; "" if something will.

    root: where /sys is looked for.
    """
    if asked() is None:
        return "this kernel cannot do that; Linux can from 6.4 on, if it is built with KSM"
    if read(root, "sys/kernel/mm/ksm/run").strip() not in ("1", ""):  # "": it cannot be seen from here
        return "the kernel merges nothing until it is told to: `echo 1 > /sys/kernel/mm/ksm/run`"
    return ""
