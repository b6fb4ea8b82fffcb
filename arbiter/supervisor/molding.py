"""What is decided about molds: when one is made, whether it may be forked from, how long it is kept.

Neighbours: `policy` is built on it and decides everything else; `moves` are what both can do. Its one rule:
pure, as the policy is. Workers are forked from the mold of their generation; without one they load the
application by themselves, which is decided for a generation once (by setting, or because its application does
not survive a fork), and otherwise only when its mold is dead and cannot be made anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from arbiter.link.messages import BootFailed
from arbiter.supervisor import actions as act
from arbiter.supervisor import events as ev
from arbiter.supervisor.backoff import LONGEST_DOWN
from arbiter.supervisor.book import FOREVER, Book, Kept, Mold, MoldState, Phase, Rules
from arbiter.supervisor.causes import describe
from arbiter.supervisor.moves import Moves

LAST_WORDS: Final = 0.5
"""Seconds a mold that hangs has to write its stacks before it is let go."""


class Molding(Moves):
    """See the module's text."""

    def __init__(self, book: Book) -> None:
        super().__init__(book)
        self._mold_handlers: dict[type[Any], Callable[[Mold, Any, float], None]] = {
            ev.Forked: self._mold_forked,
            ev.ForkFailed: lambda mold, event, now: self._mold_lost(mold, event.problem, now),
            ev.Step: self._mold_step,
            ev.MoldReady: self._mold_ready,
            ev.Failed: self._mold_refuses,
            ev.Gone: self._mold_gone,
        }

    def _about_mold(self, event: ev.Event, now: float) -> bool:
        """Take in an event if it is one of a mold's."""
        mold = self.book.molds.get(getattr(event, "key", 0))
        if mold is None:
            return False
        handler = self._mold_handlers.get(type(event))
        if handler is not None:
            handler(mold, event, now)
        return True

    # -- what the policy does with a failure

    def _give_up(self, name: str, problem: str, report: BootFailed | None, now: float) -> None:
        """The first start has failed."""
        raise NotImplementedError

    def _abort(self, problem: str, report: str, now: float) -> None:
        """The rollout under way has failed."""
        raise NotImplementedError

    # -- their lives

    def _cast(self, generation: int, now: float) -> None:
        book = self.book
        key = book.next_key
        book.next_key += 1
        deadline = now + (self._rules_of(generation).boot_timeout or FOREVER)
        book.molds[key] = Mold(key, generation, since=now, deadline=deadline)
        self._do(act.Cast(key, generation))

    def _melt(self, mold: Mold) -> None:
        if mold.state is not MoldState.MELTING:
            mold.state, mold.deadline = MoldState.MELTING, FOREVER
            self._do(act.Melt(mold.key))

    def _melt_all(self, *but: int) -> None:
        """Let go of all molds that are not of one of these generations."""
        if not but:
            self.book.kept = None
        for mold in self.book.molds.values():
            if mold.generation not in but:
                self._melt(mold)

    def _mold_forked(self, mold: Mold, event: ev.Forked, now: float) -> None:
        mold.pid = event.pid

    def _mold_step(self, mold: Mold, event: ev.Step, now: float) -> None:
        mold.step = event.step

    def _mold_ready(self, mold: Mold, event: ev.MoldReady, now: float) -> None:
        book = self.book
        if mold.state is not MoldState.BUILDING:
            return
        mold.deadline = FOREVER
        if event.unsafe:
            used = self._rules_of(mold.generation).preload == "on"
            text = _unsafe_text(event.unsafe, used=used)
            self._say_of(logging.WARNING, "mold.unsafe", text, mold, unsafe=list(event.unsafe))
            if not used:
                book.direct.add(mold.generation)
                self._melt(mold)
                return
        mold.state = MoldState.READY
        if mold.generation == book.generation:
            book.casting.succeeded(now)
            book.last_resort = False
        notes = "".join(f"; {note}" for note in event.notes)
        text = f"{mold.name} ready: the application is loaded ({event.seconds:.2f} s){notes}"
        seconds = round(event.seconds, 3)
        self._say_of(logging.INFO, "mold.ready", text, mold, seconds=seconds)

    def _mold_refuses(self, mold: Mold, event: ev.Failed, now: float) -> None:
        if mold.state is MoldState.BUILDING:
            self._melt(mold)
            self._not_made(mold, f"{mold.name}: {event.report.problem}", event.report, now)

    def _mold_lost(self, mold: Mold, problem: str, now: float) -> None:
        """It could not even be started."""
        del self.book.molds[mold.key]
        self._not_made(mold, f"no mold of generation {mold.generation}: {problem}", None, now)

    def _mold_gone(self, mold: Mold, event: ev.Gone, now: float) -> None:
        book = self.book
        del book.molds[mold.key]
        how = describe(event.status)
        if mold.state is MoldState.BUILDING:
            self._not_made(mold, f"{mold.name} {how} while starting (step: {mold.step})", None, now)
        elif mold.state is MoldState.READY and book.phase is not Phase.STOPPING:
            self._died(mold, f"{mold.name} {how}, unasked", now)

    def _died(self, mold: Mold, problem: str, now: float) -> None:
        """A mold that could be forked from is no more."""
        book = self.book
        if book.kept and book.kept.generation == mold.generation:
            self._forget_kept()
            if not (book.rollout and book.rollout.generation == mold.generation):
                text = f"{problem}; generation {mold.generation} cannot be gone back to any more"
                self._say_of(logging.WARNING, "mold.died", text, mold)
        if book.rollout and book.rollout.generation == mold.generation:
            self._abort(problem, "", now)
        elif mold.generation != book.generation:
            return
        elif not book.served:
            self._give_up("mold.died", problem, None, now)
        else:
            delay = book.casting.died(now, down=self._down)
            book.cast_at = now + delay
            when = f"in {delay:.1f} s" if delay else "now"
            text = f"{problem}; the workers go on, and another mold is made {when}, of what is on disk"
            self._say_of(logging.ERROR, "mold.died", text, mold)

    def _not_made(self, mold: Mold, problem: str, report: BootFailed | None, now: float) -> None:
        """A mold could not be made. What that means depends on whose it was."""
        book = self.book
        if book.phase is Phase.STOPPING:
            return
        if not book.served:
            self._give_up("mold.failed", problem, report, now)
        elif book.rollout and mold.generation == book.rollout.generation:
            self._abort(problem, report.report if report else "", now)
        elif mold.generation == book.generation:
            delay = book.casting.boot_failed(now, down=self._down)
            book.cast_at, book.last_resort = now + delay, True
            on = "the workers go on, but whoever is missing now loads by itself what is on disk"
            text = f"{problem.rstrip('.')}; {on}; {self._next_try(book.casting, delay, report)}"
            self._say(logging.CRITICAL, "mold.failed", text, generation=mold.generation)

    def _say_of(self, level: int, name: str, text: str, mold: Mold, **fields: Any) -> None:
        self._say(level, name, text, None, generation=mold.generation, pid=mold.pid, **fields)

    def _expire_molds(self, now: float) -> None:
        book = self.book
        for mold in list(book.molds.values()):
            if mold.deadline > now:
                continue
            if mold.state is MoldState.MELTING:
                mold.deadline = FOREVER
                self._do(act.Melt(mold.key))
                continue
            limit = self._rules_of(mold.generation).boot_timeout
            problem = f"{mold.name} is not ready after boot_timeout = {limit:g} s (step: {mold.step})"
            text = f"{mold.name} hangs in step {mold.step}"
            self._do(act.Dump(mold.key, logging.ERROR, text, "mold.hangs"))
            mold.state, mold.deadline = MoldState.MELTING, now + LAST_WORDS
            self._not_made(mold, problem, None, now)
        if book.kept and book.kept.until <= now:
            text = f"generation {book.kept.generation} is kept no longer (rollback_keep)"
            self._say(logging.INFO, "rollback.over", text, generation=book.kept.generation)
            self._forget_kept()

    def _recast(self, now: float) -> None:
        """The generation in force has a mold, unless it was decided that it has none."""
        if self._down:
            self.book.cast_at = min(self.book.cast_at, now + LONGEST_DOWN)
        if self._lacks_mold() and now >= self.book.cast_at:
            self.book.cast_at = 0.0
            self._cast(self.book.generation, now)

    def _lacks_mold(self) -> bool:
        book = self.book
        if book.phase is Phase.STOPPING or book.paused or book.generation in book.direct:
            return False
        return not book.molds_of(book.generation)

    def _molds_due(self) -> float:
        """When something is to be done about a mold though nothing happens."""
        book = self.book
        due = min((mold.deadline for mold in book.molds.values()), default=FOREVER)
        if book.kept:
            due = min(due, book.kept.until)
        return min(due, book.cast_at) if self._lacks_mold() else due

    # -- generations

    def _begin_generation(self, generation: int, now: float) -> None:
        """Workers of a new generation are going to be forked: from what?"""
        if self._rules_of(generation).preload == "off":
            self.book.direct.add(generation)
        elif not self.book.molds_of(generation):
            self._cast(generation, now)

    def _keep(self, generation: int, rules: Rules, now: float) -> int:
        """The generation that was in force until now is kept if it can be gone back to; its number, or 0."""
        book = self.book
        seconds = book.rules.rollback_keep
        if book.mold(generation) is not None and seconds:
            book.kept = Kept(generation, rules, now + seconds)
        else:
            book.kept = None
        kept = book.kept.generation if book.kept else 0
        self._melt_all(book.generation, kept)
        book.direct &= {book.generation}
        return kept

    def _forget_kept(self) -> None:
        book = self.book
        assert book.kept is not None
        generation, book.kept = book.kept.generation, None
        if book.rollout and book.rollout.generation == generation:
            return  # it is on its way back into force
        for mold in book.molds_of(generation):
            self._melt(mold)
        self._do(act.Forget(generation))

    def _let_go(self, generation: int) -> None:
        """A rollout to it has failed, or was given up."""
        book = self.book
        if self._is_back(generation):
            self._do(act.Forget(generation, kept=True))
            return
        for mold in book.molds_of(generation):
            self._melt(mold)
        book.direct.discard(generation)
        self._do(act.Abandon(generation))

    def _roll_back(self, event: ev.Asked, now: float) -> None:
        book = self.book
        if book.rollout:
            self._abort(f"rolled back ({event.origin})", "", now)
        elif book.loading:
            self._ignore(event, "a configuration is being read")
        elif book.kept is None:
            self._ignore(
                event, "no earlier generation is kept: see preload_app and rollback_keep; a reload helps"
            )
        else:
            back = book.kept.generation
            text = f"rollback ({event.origin}): from generation {book.generation} to {back}"
            self._say(logging.INFO, "rollback.asked", text, generation=back)
            book.loading = True
            self._do(act.Restore(back))

    def _is_back(self, generation: int) -> bool:
        """Whether a rollout to it would be a rollback."""
        return self.book.kept is not None and self.book.kept.generation == generation


def _unsafe_text(unsafe: tuple[str, ...], *, used: bool) -> str:
    found = "\n".join(f"  - {what}" for what in unsafe)
    if used:
        return (
            "the application does not survive a fork, and preload_app = True forks it all the same:\n"
            f"{found}\nWorkers may hang or mix up their connections; docs/fork-safety.md has the remedies."
        )
    return (
        "the application does not survive a fork, so every worker loads it by itself:\n"
        f"{found}\ndocs/fork-safety.md has the remedies; preload_app = False takes it as it is."
    )
