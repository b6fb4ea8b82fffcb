"""Making a process.

Neighbours: arbiter, trial and mold fork through here; what the child then does is handed in as a function.
Its one rule: between fork and the child's own signal set-up no signal is delivered, so none reaches its
parent's handlers in the wrong process.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

HANGS: Final = 10.0
"""Seconds after which the process between has hung: somebody's fork handler waits for a lock."""


class Birth(NamedTuple):
    """A process to be forked away.

    child: as for `fork`, called when it has been adopted; it inherits what was registered with atexit.
    announce: called with its process id before it runs, in the process between; if false is returned, it
    never runs, nor is any later one forked.
    """

    child: Callable[[], int]
    announce: Callable[[int], bool]


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


def fork_away(births: Sequence[Birth]) -> None:
    """Fork processes that are nobody's here: they become children of the nearest subreaper (prctl(2)).

    One process between for all of them: each fork copies the page tables of a whole application. Raises
    OSError if the system refuses; whoever has been announced by then lives nevertheless.

    Not clone(2) with CLONE_PARENT, which passes by what the C library and the interpreter do at a fork.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        between = os.fork()
        if between == 0:
            _introduce(births)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    status = _wait_for(between)
    if status:
        raise OSError(f"the process between ended with status {status}")


def _introduce(births: Sequence[Birth]) -> None:
    """The process between: fork, tell, go."""
    status = 1
    try:
        me = os.pidfd_open(os.getpid())
        for child, announce in births:
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(write)
                if os.read(read, 1) and _has_ended(me):
                    os.close(read)
                    os.close(me)
                    _live(child)
                return  # it was not announced
            os.close(read)
            if not announce(pid):
                return
            os.write(write, b"\0")
            os.close(write)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _wait_for(pid: int) -> int:
    """The exit status of a child that should have ended already; one that hangs is killed."""
    descriptor = os.pidfd_open(pid)
    try:
        if not _has_ended(descriptor):
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _has_ended(pidfd: int) -> bool:
    """Wait for the end of a process, at most `HANGS`; its children have been adopted by then."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(HANGS * 1000))


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
