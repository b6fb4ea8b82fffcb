"""Why a process ended, in words.

Neighbours: `policy` puts the words into records. Its one rule: say what is known, and nothing that is
guessed.
"""

from __future__ import annotations

import os
import signal


def describe(status: int) -> str:
    """A status of waitpid(2) as a verb phrase: "exited with status 1", "was killed by SIGSEGV (core
    dumped)".
    """
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        core = " (core dumped)" if os.WCOREDUMP(status) else ""
        return f"was killed by {name}{core}"
    code = os.waitstatus_to_exitcode(status)
    return "ended" if code == 0 else f"exited with status {code}"
