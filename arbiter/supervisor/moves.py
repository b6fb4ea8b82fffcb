"""The moves the policy is made of: fork, drain, quit, kill a child; say something.

Neighbours: `policy` decides which; `states` says how a child may move. Its one rule: pure, as the policy
is: a move changes the book and adds to the actions, and does nothing itself.
"""

from __future__ import annotations

import logging
import signal
from typing import Any, Final

from arbiter.link.messages import BootFailed
from arbiter.supervisor import actions as act
from arbiter.supervisor import events as ev
from arbiter.supervisor.backoff import Backoff
from arbiter.supervisor.book import FOREVER, Book, Child, Phase, Rules
from arbiter.supervisor.states import IMPOSSIBLE, LEAVING, TABLE, Input, State

QUIT_PATIENCE: Final = 2.0
"""Seconds between telling a worker to leave at once and killing it."""
DRAIN_SLACK: Final = 2.0
"""Seconds past graceful_timeout, in which a worker cuts and logs what is left."""
BOOT_PATIENCE: Final = 2.0
"""Seconds in which a worker that is told to go while it starts must end, or say that it drains."""
FORK_PATIENCE: Final = 20.0
"""Seconds in which a mold forks, with many others before it on a slow machine."""
REAP_PATIENCE: Final = 5.0
"""Seconds after SIGKILL in which a process should be gone."""


class Moves:
    """The book and the actions decided so far, with what may be done to them."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self._out: list[act.Action] = []

    def _do(self, action: act.Action) -> None:
        self._out.append(action)

    def _say(self, level: int, name: str, text: str, child: Child | None = None, **fields: Any) -> None:
        if child is not None:
            fields = {"worker": child.slot, "pid": child.pid, "generation": child.generation, **fields}
        self._out.append(act.Say(level, text, name, fields))

    def _next_try(self, backoff: Backoff, delay: float, report: BootFailed | None) -> str:
        """What is said after a failed start: when the next one is, and its report, unless that is known."""
        text = report.report.rstrip() if report else ""
        repeats = backoff.told(text)
        if not text:
            return f"next try in {delay:.1f} s"
        if repeats > 1:
            return f"next try in {delay:.1f} s; the traceback is the same as before, {repeats} times in a row"
        return f"next try in {delay:.1f} s\n{text}"

    def _rules_of(self, generation: int) -> Rules:
        rollout = self.book.rollout
        return rollout.rules if rollout and rollout.generation == generation else self.book.rules

    def _empty_slots(self) -> set[int]:
        held = {child.slot for child in self.book.children.values() if child.state not in LEAVING}
        return self.book.slots - held

    @property
    def _down(self) -> bool:
        """Not a single worker serves."""
        return not any(self.book.serving())

    def _anything_missing(self) -> bool:
        book = self.book
        if book.phase is Phase.STOPPING or book.paused:
            return False
        return bool(self._empty_slots()) or any(
            child.generation != book.wanted_generation or child.state is State.RETIRING
            for child in book.serving()
        )

    def _fork(self, slot: int, generation: int, now: float) -> None:
        book = self.book
        key = book.next_key
        book.next_key += 1
        deadline = now + (self._rules_of(generation).boot_timeout or FOREVER)
        mold = book.mold(generation)
        mold_key = mold.key if mold else 0
        if mold:
            deadline = min(deadline, now + FORK_PATIENCE)
        book.children[key] = Child(key, slot, generation, mold=mold_key, since=now, deadline=deadline)
        self._do(act.Fork(key, slot, generation, mold_key))

    def _ignore(self, event: ev.Asked, why: str) -> None:
        text = f"{event.verb.value} ({event.origin}) ignored: {why}"
        self._say(logging.INFO, "arbiter.ignored", text, verb=event.verb.value)

    def _move(self, child: Child, what: Input, now: float) -> bool:
        """Move a child along the table; False (and a record) for a cell that cannot be."""
        state = TABLE.get((child.state, what))
        if state is None:
            why = IMPOSSIBLE[child.state, what]
            text = f"{child.name} is {child.state.value} and {what.value}: impossible, {why}"
            self._say(logging.ERROR, "policy.impossible", text, child)
            return False
        if state is not child.state:
            child.state, child.since = state, now
        return True

    def _drain(self, child: Child, why: str, now: float) -> None:
        before = child.state
        self._move(child, Input.DRAIN, now)
        if child.state is before:
            return
        child.soaking = False
        child.reason = child.reason or why
        # One that is still starting may hang in an import. If it has just begun to accept, it will say so.
        child.deadline = now + (BOOT_PATIENCE if before is State.BOOTING else self.drain_patience)
        self._do(act.Send(child.key, signal.SIGTERM))

    @property
    def drain_patience(self) -> float:
        """Seconds that a worker has from the order to drain to its end."""
        return self.book.rules.graceful_timeout + DRAIN_SLACK

    def _quit(self, child: Child, why: str, now: float) -> None:
        before = child.state
        self._move(child, Input.QUIT, now)
        if child.state is before:
            return
        child.soaking = False
        child.reason = child.reason or why
        if child.state is State.KILLED:
            child.deadline = now + REAP_PATIENCE
            self._do(act.Send(child.key, signal.SIGKILL, group=True))
        else:
            child.deadline = now + QUIT_PATIENCE
            self._do(act.Send(child.key, signal.SIGQUIT))

    def _kill(self, child: Child, why: str, now: float) -> None:
        self._move(child, Input.KILL, now)
        child.soaking = False
        child.reason = child.reason or why
        child.deadline = now + REAP_PATIENCE
        self._do(act.Send(child.key, signal.SIGKILL, group=True))
