"""What is decided about an upgrade in place: whether it may be, when nothing is half done, what follows.

Neighbours: `policy` is built on it; `moves` are what both can do; `upgrade` does it. Its one rule: pure, as
the policy is. The exec comes when nothing is under way that the book does not hold: no reload, no worker that
is still to be announced. The new program finds the book as it was and begins with a reload.
"""

from __future__ import annotations

import logging
from typing import Final

from arbiter.counted import counted
from arbiter.supervisor import actions as act
from arbiter.supervisor import events as ev
from arbiter.supervisor.book import FOREVER, Phase, Upgrade
from arbiter.supervisor.molding import Molding

AGAIN: Final = 0.05
"""Seconds until an exec is tried again that came at the wrong moment."""
PATIENCE: Final = 200
"""So often; then what would be cut is cut."""


class Upgrading(Molding):
    """See the module's text."""

    def _reload(self, origin: str, now: float) -> None:
        """Begin a reload."""
        raise NotImplementedError

    def resume(self, running: str, now: float) -> list[act.Action]:
        """The first actions of a program that has taken over. running: what it is."""
        book = self.book
        self._out = []
        upgrade, book.upgrade = book.upgrade, None
        origin = upgrade.origin if upgrade else "upgrade"
        before = f" from {upgrade.running}" if upgrade else ""
        going = counted(sum(1 for _ in book.serving()), "worker that goes on", "workers that go on")
        text = f"upgrade done: {running} has taken over{before}, with {going}"
        self._say(logging.INFO, "upgrade.done", text, version=running, reload=not book.paused)
        if not book.paused:
            self._reload(f"upgrade, {origin}", now)
        return [*self._out, *self.decide(ev.Tick(), now)]

    def decide(self, event: ev.Event, now: float) -> list[act.Action]:
        """See `policy`."""
        raise NotImplementedError

    def _upgrade(self, event: ev.Asked, now: float) -> None:
        book = self.book
        if book.upgrade:
            self._ignore(event, "one is under way")
        elif book.phase is Phase.STARTING:
            self._ignore(event, "no worker has been ready yet; a restart costs nothing now")
        elif book.leave_at != FOREVER:
            self._ignore(event, "arbiter is stopping")
        else:
            book.upgrade = Upgrade(event.origin)
            text = f"upgrade ({event.origin}): what is installed has to prove itself"
            self._say(logging.INFO, "upgrade.asked", text)
            self._do(act.Prove())

    def _upgrade_proved(self, event: ev.Proved, now: float) -> None:
        upgrade = self.book.upgrade
        if upgrade:
            upgrade.running, upgrade.proved = event.running, event.version
            text = f"upgrade: {event.version} can take over from {event.running}"
            self._say(logging.INFO, "upgrade.proved", text, version=event.version)

    def _upgrade_refused(self, event: ev.Unproved, now: float) -> None:
        if self.book.upgrade:
            self.book.upgrade = None
            tail = f"\n{event.report}" if event.report else ""
            text = f"upgrade failed: {event.problem}; all goes on as it was{tail}"
            self._say(logging.ERROR, "upgrade.refused", text)

    def _upgrade_later(self, event: ev.Unripe, now: float) -> None:
        if self.book.upgrade:
            self.book.upgrade.again = now + AGAIN

    def _yields(self, now: float) -> bool:
        """Whether the new program is about to take over, so that nothing more is begun by this one."""
        book, upgrade = self.book, self.book.upgrade
        if upgrade is None:
            return False
        if upgrade.again <= now:
            upgrade.again = 0.0
        if not upgrade.proved or book.rollout or book.loading or book.leave_at != FOREVER:
            return False
        unborn = not all(child.pid for child in book.children.values())
        unborn = unborn or not all(mold.pid for mold in book.molds.values())
        if not unborn and not upgrade.again:
            upgrade.again, upgrade.tries = FOREVER, upgrade.tries + 1  # until it is answered
            self._do(act.Replace(anyway=upgrade.tries > PATIENCE))
        return True

    def _upgrade_due(self) -> float:
        upgrade = self.book.upgrade
        return upgrade.again if upgrade and upgrade.again > 0 else FOREVER
