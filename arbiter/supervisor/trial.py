"""Reading a new configuration in a process that may fail.

Neighbours: `arbiter` starts one at each reload and watches its pipe. Its one rule: a configuration file is
a program; it runs where an endless loop, a crash or an exit costs nothing, before the arbiter itself reads
it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Final

from arbiter.errors import OperatorError
from arbiter.link import spawn

PATIENCE: Final = 30.0
"""Seconds a configuration may take to read."""
_FINE: Final = b"fine"


class Trial:
    """One attempt. `fileno()` becomes readable when there is a verdict (or the process has ended without
    one).
    """

    def __init__(
        self, generation: int, check: Callable[[], None], abandon: Callable[[], None], now: float
    ) -> None:
        self.generation = generation
        self.deadline = now + PATIENCE
        self._read, write = os.pipe()
        self._said = b""

        def child() -> int:
            abandon()
            os.close(self._read)
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                with contextlib.suppress(OSError, ValueError):
                    signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            verdict = _FINE
            try:
                check()
            except OperatorError as error:
                verdict = str(error).encode("utf-8", "backslashreplace")
            os.write(write, verdict)
            return 0

        try:
            self._pid = spawn.fork(child)
        finally:
            os.close(write)
        os.set_blocking(self._read, False)
        self._pidfd = os.pidfd_open(self._pid) if hasattr(os, "pidfd_open") else -1

    def fileno(self) -> int:
        return self._read

    def read(self) -> bool:
        """Take in what there is; True when the verdict is complete."""
        try:
            data = os.read(self._read, 65536)
        except BlockingIOError:
            return False
        self._said += data
        return not data

    @property
    def problem(self) -> str:
        """ "" if the configuration is fine, else what is wrong with it."""
        if self._said == _FINE:
            return ""
        return self._said.decode("utf-8", "replace") or "the process that read the configuration died"

    def end(self) -> None:
        """Kill what is left of it; the arbiter's reaper does the rest."""
        os.close(self._read)
        if self._pidfd >= 0:
            # By descriptor: it may have been reaped, and its number may be somebody else's by now.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            os.close(self._pidfd)
