"""The life of a worker as its arbiter sees it: states x inputs, every cell decided.

Neighbours: `policy` moves children along this table. Its one rule: `TABLE` and `IMPOSSIBLE` together cover
every state and every input, and nothing is in both; a test demands it.
"""

from __future__ import annotations

import enum
from typing import Final


class State(enum.Enum):
    """Where a child stands. A reaped child has no state: it is forgotten."""

    BOOTING = "booting"
    """Forked; has not said that it is ready."""
    READY = "ready"
    """Serves."""
    RETIRING = "retiring"
    """Serves, and asked for a replacement."""
    STUCK = "stuck"
    """Late beyond its limit; its stacks are being taken, a successor is on its way."""
    DRAINING = "draining"
    """Told to finish what it has (TERM)."""
    QUITTING = "quitting"
    """Told to leave at once (QUIT or ABRT), or leaving by itself after a failed boot."""
    KILLED = "killed"
    """Sent SIGKILL; only its reaping is left."""


class Input(enum.Enum):
    """What can happen to a child, except its death, which ends it in any state."""

    BOOTED = "said that it is ready"
    FAILED = "said that it cannot start"
    RETIRE = "asked for a replacement"
    HANG = "is late beyond its limit"
    DRAIN = "is to drain"
    QUIT = "is to leave at once"
    KILL = "is to be killed"


S, I = State, Input  # noqa: E741 - the table is read with its eyes on the columns

TABLE: Final[dict[tuple[State, Input], State]] = {
    (S.BOOTING, I.BOOTED): S.READY,
    (S.BOOTING, I.FAILED): S.QUITTING,
    (S.BOOTING, I.HANG): S.STUCK,
    (S.BOOTING, I.DRAIN): S.DRAINING,  # it may have begun to accept, and not yet have been heard
    (S.BOOTING, I.QUIT): S.KILLED,
    (S.BOOTING, I.KILL): S.KILLED,
    (S.READY, I.RETIRE): S.RETIRING,
    (S.READY, I.HANG): S.STUCK,
    (S.READY, I.DRAIN): S.DRAINING,
    (S.READY, I.QUIT): S.QUITTING,
    (S.READY, I.KILL): S.KILLED,
    (S.RETIRING, I.RETIRE): S.RETIRING,
    (S.RETIRING, I.HANG): S.STUCK,
    (S.RETIRING, I.DRAIN): S.DRAINING,
    (S.RETIRING, I.QUIT): S.QUITTING,
    (S.RETIRING, I.KILL): S.KILLED,
    (S.STUCK, I.BOOTED): S.STUCK,  # too late: a successor is on its way
    (S.STUCK, I.FAILED): S.QUITTING,
    (S.STUCK, I.RETIRE): S.STUCK,
    (S.STUCK, I.HANG): S.STUCK,
    (S.STUCK, I.DRAIN): S.DRAINING,
    (S.STUCK, I.QUIT): S.QUITTING,
    (S.STUCK, I.KILL): S.KILLED,
    (S.DRAINING, I.BOOTED): S.DRAINING,  # the messages crossed
    (S.DRAINING, I.FAILED): S.DRAINING,  # it was still starting, and need not have been told
    (S.DRAINING, I.RETIRE): S.DRAINING,  # the messages crossed
    (S.DRAINING, I.HANG): S.DRAINING,  # its drain has an end of its own
    (S.DRAINING, I.DRAIN): S.DRAINING,
    (S.DRAINING, I.QUIT): S.QUITTING,
    (S.DRAINING, I.KILL): S.KILLED,
    (S.QUITTING, I.BOOTED): S.QUITTING,  # the messages crossed
    (S.QUITTING, I.FAILED): S.QUITTING,
    (S.QUITTING, I.RETIRE): S.QUITTING,
    (S.QUITTING, I.HANG): S.QUITTING,
    (S.QUITTING, I.DRAIN): S.QUITTING,
    (S.QUITTING, I.QUIT): S.QUITTING,
    (S.QUITTING, I.KILL): S.KILLED,
    **{(S.KILLED, every): S.KILLED for every in Input},  # whatever it still says, it is gone
}

IMPOSSIBLE: Final[dict[tuple[State, Input], str]] = {
    (S.BOOTING, I.RETIRE): "a worker retires after requests it has served",
    (S.READY, I.BOOTED): "ready is said once",
    (S.READY, I.FAILED): "a boot that has succeeded cannot fail",
    (S.RETIRING, I.BOOTED): "ready is said once",
    (S.RETIRING, I.FAILED): "a boot that has succeeded cannot fail",
}

SERVING: Final = frozenset({S.READY, S.RETIRING})
"""States in which a child accepts."""
LEAVING: Final = frozenset({S.STUCK, S.DRAINING, S.QUITTING, S.KILLED})
"""States from which a child only goes."""
