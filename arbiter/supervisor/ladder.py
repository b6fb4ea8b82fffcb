"""What is done about a worker that is stuck, one rung after the other.

Neighbours: `policy` is built on it; `health` finds who is stuck, and what is in work in one that drains;
`moves` are what can be done. Its one rule: pure, as the policy is. A stuck worker is waited for only as long
as somebody else is served by it, and what ends it says so.

The rungs: its stacks, then TERM; then, unless it drains or when its drain is over, ABRT; then KILL.
"""

from __future__ import annotations

import logging
import signal
from typing import Final

from arbiter.supervisor import actions as act
from arbiter.supervisor import events as ev
from arbiter.supervisor.book import Child
from arbiter.supervisor.moves import Moves
from arbiter.supervisor.states import SERVING, Input, State

RUNG: Final = 1.0
"""Seconds between two rungs, and between two looks at what still is in work in a stuck worker that drains."""
NAMED: Final = 5
"""Requests named in one record at most."""


class Ladder(Moves):
    """See the module's text."""

    def _overdue(self, event: ev.Overdue, now: float) -> None:
        """The first rung: its stacks, and a successor."""
        child = self.book.children.get(event.key)
        if child is None or child.state not in SERVING:
            return
        self._move(child, Input.HANG, now)
        child.reason, child.others, child.soaking = event.what, event.others, False
        child.deadline = now + RUNG
        text = f"{child.name} is stuck: {event.what}; it is replaced and stopped"
        self._do(act.Dump(child.key, logging.CRITICAL, text, "worker.stuck"))

    def _climb(self, child: Child, now: float) -> None:
        """The stacks of a stuck worker have been taken: the next rung."""
        if child.reason == "boot_timeout":
            self._kill(child, child.reason, now)
        elif not child.told:
            child.told, child.deadline = True, now + RUNG
            self._do(act.Send(child.key, signal.SIGTERM))
        else:
            self._give_it_up(child, now)

    def _in_work(self, event: ev.InWork, now: float) -> None:
        """What a stuck worker that drains has left: it goes on while somebody has something to expect."""
        child = self.book.children.get(event.key)
        if child is None or child.state is not State.DRAINING:
            return
        if now >= child.end:
            why = f"graceful_timeout = {self.book.rules.graceful_timeout:g} s is over"
        elif child.others and not event.others:
            why = "there is nothing else to wait for"
        else:
            child.deadline = min(now + RUNG, child.end)
            return
        if event.requests:
            listed = ", ".join(f"{text!r} ({age:.1f} s)" for text, age in event.requests[:NAMED])
            more = len(event.requests) - NAMED
            left = f"{listed} and {more} more" if more > 0 else listed
            text = f"{child.name} is ended after it was stuck: {left} still in work, and {why}"
        else:
            text = f"{child.name} is ended after it was stuck: it has not left by itself, and {why}"
        self._say(logging.WARNING, "worker.killed", text, child)
        self._give_it_up(child, now)

    def _give_it_up(self, child: Child, now: float) -> None:
        """The last rung before KILL: ABRT, whose handler calls the hook `worker_abort`."""
        self._move(child, Input.QUIT, now)
        child.deadline = now + RUNG
        self._do(act.Send(child.key, signal.SIGABRT))
