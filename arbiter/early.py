"""Signals that come before the arbiter's loop can take them.

Neighbours: `__main__` has them held before anything is imported that takes time, `supervisor.watch` takes
them over, `cli` lets them go where no loop will follow. Its one rule: they are held by handlers, not by a
mask, which whatever a configuration file or a hook starts meanwhile would inherit.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, NoReturn

HELD: Final = (
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGWINCH,
)
"""They wait for the loop. By default they would end the arbiter, or stop it."""
ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""They end it at once, and properly: for PID 1 the kernel's default is to do nothing."""

_before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}
_held: list[int] = []
_ending: list[int] = []


def hold() -> None:
    """From now on keep the signals of `HELD`, and raise KeyboardInterrupt for those of `ENDING`."""
    for number in HELD:
        _before[number] = signal.signal(number, _keep)
    for number in ENDING:
        _before[number] = signal.signal(number, _end)


def _keep(number: int, frame: FrameType | None) -> None:
    _held.append(number)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    _ending.append(number)
    raise KeyboardInterrupt


def take() -> list[int]:
    """The signals that have come, in their order; the caller has put its own handlers in place."""
    held = list(_held)
    _held.clear()
    return held


def let_go() -> None:
    """There will be no loop: every signal does again what it did before, and what has come is forgotten."""
    for number, handler in _before.items():
        signal.signal(number, handler)
    _before.clear()
    _held.clear()


def die() -> NoReturn:
    """End of the signal that has interrupted this process, as if it had never been caught."""
    number = _ending[-1] if _ending else signal.SIGINT
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # PID 1, which its own signals do not end
