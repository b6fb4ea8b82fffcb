"""What is decided about the number of workers: by an operator's word, by a reload, by the load.

Neighbours: `policy` is built on it; `scaler` says what the load needs. Its one rule: pure, as the policy is.
An operator's word goes before the load, and holds until it is taken back; nobody goes beyond the bounds.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from arbiter.control.commands import Verb
from arbiter.counted import counted
from arbiter.supervisor import actions as act
from arbiter.supervisor import events as ev
from arbiter.supervisor.book import Phase, Rules
from arbiter.supervisor.moves import Moves


class Scaling(Moves):
    """See the module's text."""

    def _resize(self, wanted: int, event: ev.Asked) -> None:
        """An operator wants so many workers."""
        book = self.book
        before = len(book.slots)
        after = self._have(wanted, event.loads)
        if after == before and not (book.rules.most and event.verb is Verb.SCALE and wanted == before):
            least, most = book.bounds
            self._ignore(
                event, f"it stays at {counted(before, 'worker')}, of at least {least} and at most {most}"
            )
            return
        held = ""
        if book.rules.most:
            book.pinned, held = True, "; held until `arbiterctl scale auto`"
        text = f"{event.verb.value} ({event.origin}): {before} -> {counted(after, 'worker')}{held}"
        self._say(logging.INFO, "scale", text, before=before, workers=after)

    def _release(self, event: ev.Asked, now: float) -> None:
        """The number follows the load again."""
        book = self.book
        if not book.rules.most:
            self._ignore(event, "workers_max is not set")
        elif not book.pinned:
            self._ignore(event, "the number of workers follows the load already")
        else:
            book.pinned = False
            least, most = book.bounds
            there = counted(len(book.slots), "worker")
            text = f"scale ({event.origin}): {there}, from now on {least} to {most} by the load"
            self._say(logging.INFO, "scale", text, workers=len(book.slots))

    def _needed(self, event: ev.Needed, now: float) -> None:
        """The load asks for another number. Fewer can wait while a reload is under way."""
        book = self.book
        before = len(book.slots)
        if not book.rules.most or book.pinned or book.paused or book.phase is not Phase.SERVING:
            return
        if event.workers < before and book.rollout:
            return
        after = self._have(event.workers, event.loads)
        if after != before:
            text = f"{before} -> {counted(after, 'worker')}: {event.why}"
            self._say(logging.INFO, "scale.auto", text, before=before, workers=after)
        if event.limit:
            text = f"no more than {counted(after, 'worker')}: {event.limit}"
            self._say(logging.WARNING, "scale.limited", text, workers=after)

    def _refit(self, before: Rules) -> None:
        """Another configuration is in force, and with it its number of workers, or its bounds."""
        book, rules, had = self.book, self.book.rules, len(self.book.slots)
        why = f"workers = {rules.workers}"
        wanted = had
        if rules.most:
            why = f"workers_min = {rules.least}, workers_max = {rules.most}"
        elif before.most or rules.workers != before.workers:
            wanted, book.pinned = rules.workers, False
        after = self._have(wanted, {})
        if after != had:
            text = f"reload ({why}): {had} -> {counted(after, 'worker')}"
            self._say(logging.INFO, "scale", text, before=had, workers=after)

    def _have(self, wanted: int, loads: Mapping[int, int]) -> int:
        """Open or give up slots until there are `wanted`, as far as the bounds allow; how many there are."""
        book = self.book
        before = len(book.slots)
        least, most = book.bounds
        # Bounds that a reload has narrowed bind at once; without any, what there is may stay.
        wanted = min(max(least, wanted), most if book.rules.most else max(most, before))
        while len(book.slots) < wanted:
            book.slots.add(next(slot for slot in range(1, wanted + 1) if slot not in book.slots))
        while len(book.slots) > wanted:
            book.slots.discard(self._idlest(loads))
        if wanted != before:
            self._do(act.Resized(wanted, before))
        return wanted

    def _idlest(self, loads: Mapping[int, int]) -> int:
        """The slot whose loss hurts least: empty, then least loaded, then the highest number."""

        def load(slot: int) -> tuple[int, int]:
            found = [loads.get(child.key, 0) for child in self.book.serving(slot)]
            return (min(found) if found else -1, -slot)

        return min(self.book.slots, key=load)
