"""Making a process.

Neighbours: arbiter, trial and mold fork through here; what the child then does is handed in as a function.
Its one rule: between fork and the child's own signal set-up no signal is delivered, so none reaches its
parent's handlers in the wrong process.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import traceback
from collections.abc import Callable


def fork(child: Callable[[], int], *, inherit_exits: bool = False) -> int:
    """Fork; `child` runs in the new process with all signals blocked and its result is the exit status.

    inherit_exits: what was registered with atexit so far is the child's too (the application's, which a mold
    has loaded); otherwise it is its parent's alone. Returns the new process id in the parent; never returns
    in the child. Raises OSError if the system refuses.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            if not inherit_exits:
                atexit._clear()  # what the child itself registers runs below
            _live(child)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _live(child: Callable[[], int]) -> None:
    status = 1
    try:
        status = child()
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
