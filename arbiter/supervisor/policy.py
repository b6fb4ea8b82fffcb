"""The arbiter's mind: (event, book, now) -> actions.

Neighbours: `arbiter` feeds it events and performs what it returns; `moves` are what it can do, `states`
says how a child may move, `backoff` how patient to be. Its one rule: pure. It reads no clock, makes no
system call and keeps nothing but the book, so a test can live through a year of crashes, reloads and
signals in a second.

Every decision is a comparison of what should run with what does (`_reconcile`), made anew after each event:
each slot should hold one serving worker of the wanted generation. Whatever is missing is forked, whatever
is stale is replaced first and drained after.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from typing import Any, Final

from arbiter.control.commands import Verb
from arbiter.counted import counted
from arbiter.errors import ExitStatus
from arbiter.link.messages import DRAINING, BootFailed
from arbiter.supervisor import actions as act
from arbiter.supervisor import events as ev
from arbiter.supervisor.book import FOREVER, Book, Child, Phase, Rollout
from arbiter.supervisor.causes import describe
from arbiter.supervisor.ladder import RUNG, Ladder
from arbiter.supervisor.moves import QUIT_PATIENCE
from arbiter.supervisor.scaling import Scaling
from arbiter.supervisor.states import LEAVING, SERVING, Input, State
from arbiter.supervisor.upgrading import Upgrading

BAD_SAMPLE: Final = 20
"""Requests a new generation must have answered before its errors are judged."""
BAD_FLOOR: Final = 0.02
BAD_FACTOR: Final = 3.0
"""The share of 5xx that is always allowed, and the multiple of the old generation's share that is."""
POISON: Final = 2
"""Workers that must have died of a request before it is called poison."""
CORPSES: Final = 200
"""Requests remembered for that."""


class Policy(Upgrading, Scaling, Ladder):
    """Decides; see the module's text. `book` is its only state."""

    def __init__(self, book: Book) -> None:
        super().__init__(book)
        self._handlers: dict[type[Any], Callable[[Any, float], None]] = {
            ev.Asked: self._asked,
            ev.Needed: self._needed,
            ev.Forked: self._forked,
            ev.ForkFailed: self._fork_failed,
            ev.MoldReady: lambda event, now: None,  # of one that is gone
            ev.Step: self._step,
            ev.Booted: self._booted,
            ev.Failed: self._failed,
            ev.WantsOut: self._wants_out,
            ev.Inspected: self._inspected,
            ev.Slow: self._slow,
            ev.Overdue: self._overdue,
            ev.InWork: self._in_work,
            ev.LetOff: self._let_off,
            ev.Gone: self._gone,
            ev.Loaded: self._loaded,
            ev.Refused: self._refused,
            ev.Proved: self._upgrade_proved,
            ev.Unproved: self._upgrade_refused,
            ev.Unripe: self._upgrade_later,
            ev.Tick: lambda event, now: None,
        }
        self._wishes: dict[Verb, Callable[[ev.Asked, float], None]] = {
            Verb.RELOAD: lambda event, now: self._reload(event.origin, now),
            Verb.ROLLBACK: self._roll_back,
            Verb.UPGRADE: self._upgrade,
            Verb.SCALE: lambda event, now: self._resize(event.amount, event),
            Verb.SCALE_UP: lambda event, now: self._resize(len(self.book.slots) + event.amount, event),
            Verb.SCALE_DOWN: lambda event, now: self._resize(len(self.book.slots) - event.amount, event),
            Verb.SCALE_AUTO: self._release,
            Verb.RECYCLE: self._recycle,
            Verb.KILL: self._kill_at_will,
            Verb.DRAIN: lambda event, now: self._withhold(True, event.origin),
            Verb.UNDRAIN: lambda event, now: self._withhold(False, event.origin),
            Verb.PAUSE: self._pause,
        }

    def start(self, now: float) -> list[act.Action]:
        """The first actions: fill every slot."""
        self.book.slots = set(range(1, self.book.rules.workers + 1))
        self._out = []
        self._begin_generation(self.book.generation, now)
        return [*self._out, *self.decide(ev.Tick(), now)]

    def decide(self, event: ev.Event, now: float) -> list[act.Action]:
        """Take in one event at monotonic time `now` (s); what is to be done about it, in order."""
        self._out = []
        if not self._about_mold(event, now):
            self._handlers[type(event)](event, now)
        self._expire(now)
        self._reconcile(now)
        return self._out

    def wake_at(self) -> float:
        """The time (monotonic s) at which a `Tick` is due; infinity if there is nothing to wait for."""
        due = min((child.deadline for child in self.book.children.values()), default=FOREVER)
        due = min(due, self.book.leave_at, self._molds_due(), self._upgrade_due())
        if self.book.backoff.until and self._anything_missing():
            due = min(due, self.book.backoff.until)
        return due

    # -- operators

    def _asked(self, event: ev.Asked, now: float) -> None:
        book = self.book
        if event.verb is Verb.STOP and self._may_wait(event.origin, now):
            pass
        elif event.verb in (Verb.STOP, Verb.QUIT):
            quick = event.verb is Verb.QUIT or book.phase is Phase.STOPPING
            self._stop(quick=quick, why=event.origin, now=now)
        elif event.verb is Verb.REOPEN_LOGS:
            self._do(act.Reopen())
        elif book.phase is Phase.STOPPING:
            self._ignore(event, "arbiter is stopping")
        else:
            self._wishes[event.verb](event, now)

    def _may_wait(self, origin: str, now: float) -> bool:
        """Whether a stop begins later: while load balancers notice, everything goes on."""
        book = self.book
        if not book.rules.drain_delay or book.phase is Phase.STOPPING or book.leave_at != FOREVER:
            return False
        book.leave_at = now + book.rules.drain_delay
        text = f"stopping ({origin}) in drain_delay = {book.rules.drain_delay:g} s"
        self._say(logging.INFO, "arbiter.leaving", text)
        self._do(act.Leaving())
        return True

    def _stop(self, *, quick: bool, why: str, now: float) -> None:
        book = self.book
        if book.phase is not Phase.STOPPING:
            book.phase, book.leave_at, book.upgrade = Phase.STOPPING, FOREVER, None
            self._say(logging.INFO, "arbiter.stopping", f"{'quick stop' if quick else 'stopping'} ({why})")
            self._do(act.Closing())
            self._melt_all()
        elif quick and not book.quick:
            self._say(logging.INFO, "arbiter.stopping", f"quick stop ({why})")
        book.quick = book.quick or quick
        for child in list(book.children.values()):
            if quick:
                self._quit(child, "quick stop", now)
            else:
                self._drain(child, "arbiter is stopping", now)

    def _reload(self, origin: str, now: float) -> None:
        book = self.book
        if book.loading:
            book.reload_again = True
            return
        if book.rollout:
            under_way = book.rollout.generation
            text = f"reload ({origin}) supersedes the one to generation {under_way}"
            self._say(logging.INFO, "reload.superseded", text, generation=under_way)
            self._withdraw(under_way, "superseded by a newer reload", now)
            book.rollout = None
        else:
            text = f"reload ({origin}): reading the configuration"
            self._say(logging.INFO, "reload.reading", text, generation=book.newest + 1)
        book.newest += 1
        book.loading = True
        self._do(act.Load(book.newest))

    def _pause(self, event: ev.Asked, now: float) -> None:
        book = self.book
        if not book.rules.can_pause:
            self._ignore(event, "only a daemonized arbiter stops its workers")
            return
        text = f"pause ({event.origin}): all workers stop; a reload brings them back"
        self._say(logging.INFO, "arbiter.paused", text)
        book.paused = True

    def _recycle(self, event: ev.Asked, now: float) -> None:
        child = self.book.children.get(event.key)
        if child is None or child.state not in SERVING:
            self._ignore(event, f"{child.name} is {child.state.value}" if child else "it has gone")
        else:
            self._wants_out(ev.WantsOut(child.key, f"recycled ({event.origin})"), now)

    def _kill_at_will(self, event: ev.Asked, now: float) -> None:
        child = self.book.children.get(event.key)
        if child is None:
            self._ignore(event, "it has gone")
            return
        self._say(logging.WARNING, "worker.killed", f"{child.name} is killed ({event.origin})", child)
        self._kill(child, f"killed ({event.origin})", now)

    def _withhold(self, withheld: bool, origin: str) -> None:
        self.book.withheld = withheld
        name, word = ("readiness.off", "not ready") if withheld else ("readiness.on", "ready again")
        self._say(logging.INFO, name, f"{word} ({origin}); serving goes on")

    # -- configurations

    def _loaded(self, event: ev.Loaded, now: float) -> None:
        book = self.book
        book.loading = False
        if book.phase is Phase.STOPPING:
            return
        if book.reload_again:
            book.reload_again = False
            self._let_go(event.generation)
            self._reload("asked for while reading", now)
            return
        book.paused = False
        back = self._is_back(event.generation)
        word = "rollback" if back else "reload"
        book.rollout = Rollout(event.generation, event.rules, back)
        said = f"; {event.said}" if event.said else ""
        text = f"{word}: starting generation {event.generation}{said}"
        self._say(logging.INFO, f"{word}.starting", text, generation=event.generation)
        self._begin_generation(event.generation, now)

    def _refused(self, event: ev.Refused, now: float) -> None:
        book = self.book
        book.loading = False
        word = "rollback" if event.back else "reload"
        text = f"{word} failed: {event.problem}\ngeneration {book.generation} goes on"
        self._say(logging.ERROR, f"{word}.refused", text, generation=book.newest)
        self._do(act.Settled(f"{word} refused; generation {book.generation} goes on"))
        if book.reload_again and book.phase is not Phase.STOPPING:
            book.reload_again = False
            self._reload("asked for while reading", now)

    def _abort(self, problem: str, report: str, now: float) -> None:
        """The reload under way has failed: withdraw what it started, stay with the generation in force."""
        book = self.book
        assert book.rollout is not None
        failed, word = book.rollout.generation, "rollback" if book.rollout.back else "reload"
        book.rollout = None
        tail = f"\n{report.rstrip()}" if report else ""
        text = f"{word} failed: {problem.rstrip('.')}; generation {book.generation} goes on{tail}"
        self._say(logging.ERROR, f"{word}.failed", text, generation=failed)
        self._withdraw(failed, f"its {word} failed", now)
        self._do(act.Settled(f"{word} failed; generation {book.generation} goes on"))

    def _withdraw(self, generation: int, why: str, now: float) -> None:
        """What has not served yet goes. Workers of it that serve are replaced first, like any stale one."""
        for child in list(self.book.coming()):
            if child.generation != generation:
                continue
            if child.state is State.BOOTING:
                self._drain(child, why, now)
            elif any(other is not child for other in self.book.serving(child.slot)):
                child.soaking = False
                self._drain(child, why, now)
            else:
                child.soaking, child.deadline = False, FOREVER
        self._let_go(generation)

    # -- children

    def _forked(self, event: ev.Forked, now: float) -> None:
        child = self.book.children[event.key]
        child.pid = event.pid
        if child.state is State.BOOTING:
            child.deadline = child.since + self._rules_of(child.generation).boot_timeout

    def _fork_failed(self, event: ev.ForkFailed, now: float) -> None:
        child = self.book.children.pop(event.key)
        if event.mold_died or child.state is not State.BOOTING:
            return  # that is the mold's affair; nobody waits for this one
        self._boot_failure(child, f"worker {child.slot} could not be forked: {event.problem}", None, now)

    def _step(self, event: ev.Step, now: float) -> None:
        child = self.book.children.get(event.key)
        if child is None:
            return
        child.step = event.step
        if event.step != DRAINING:
            return
        if child.state is State.STUCK and (child.others or child.kind != "threaded"):
            self._move(child, Input.DRAIN, now)  # its loop turns (again), and what it has need not be lost
        if child.state is State.DRAINING:
            child.deadline = child.end = now + self.drain_patience
            if child.others:
                child.deadline = now + RUNG

    def _booted(self, event: ev.Booted, now: float) -> None:
        child = self.book.children.get(event.key)
        if child is None or not self._move(child, Input.BOOTED, now) or child.state is not State.READY:
            return
        book = self.book
        child.deadline = FOREVER
        child.kind = event.kind
        book.served = True
        book.backoff.succeeded(now)
        self._say(logging.INFO, "worker.ready", f"{child.name} ready ({event.kind})", child)
        rollout = book.rollout
        if rollout and child.generation == rollout.generation and rollout.rules.soak and book.served:
            child.soaking, child.deadline = True, now + rollout.rules.soak
        else:
            self._proved(child, now)

    def _proved(self, child: Child, now: float) -> None:
        """A worker takes its slot: whoever had it drains."""
        book = self.book
        child.soaking, child.deadline = False, FOREVER
        if book.rollout and child.generation == book.rollout.generation:
            book.rollout.proved = True
        for other in list(book.serving(child.slot)):
            if other is not child:
                self._drain(other, other.reason or f"replaced by {child.name}", now)

    def _inspected(self, event: ev.Inspected, now: float) -> None:
        """A soak is over: the new generation must not answer worse than the old one."""
        child = self.book.children.get(event.key)
        if child is None or not child.soaking:
            return
        limit = BAD_FLOOR
        if event.base_requests:
            limit = max(limit, BAD_FACTOR * event.base_errors / event.base_requests)
        if event.requests >= BAD_SAMPLE and event.errors / event.requests > limit:
            problem = (
                f"generation {child.generation} answered {event.errors} of {event.requests} requests "
                f"with 5xx, the one before {event.base_errors} of {event.base_requests}"
            )
            if self.book.rollout and child.generation == self.book.rollout.generation:
                self._abort(problem, "", now)
                return
        self._proved(child, now)

    def _failed(self, event: ev.Failed, now: float) -> None:
        child = self.book.children.get(event.key)
        if child is None or not self._move(child, Input.FAILED, now) or child.report is not None:
            return
        child.report = event.report
        child.deadline = min(child.deadline, now + QUIT_PATIENCE)
        if child.state is State.QUITTING and not child.reason:
            child.reason = "its start failed"
            self._boot_failure(child, f"{child.name}: {event.report.problem}", event.report, now)

    def _wants_out(self, event: ev.WantsOut, now: float) -> None:
        child = self.book.children.get(event.key)
        if child is None or not self._move(child, Input.RETIRE, now) or child.state is not State.RETIRING:
            return
        if child.reason != event.reason:
            child.reason = event.reason
            text = f"{child.name} is to be replaced: {event.reason}"
            self._say(logging.INFO, "worker.retiring", text, child, reason=event.reason)
        if event.urgent:
            self._drain(child, event.reason, now)

    def _slow(self, event: ev.Slow, now: float) -> None:
        child = self.book.children.get(event.key)
        if child is not None and child.state in SERVING:
            text = f"slow request in {child.name}: {event.text!r} has taken {event.age:.1f} s so far"
            self._do(act.Dump(child.key, logging.WARNING, text, "request.slow"))

    def _let_off(self, event: ev.LetOff, now: float) -> None:
        child = self.book.children.get(event.key)
        if child is not None and child.state in SERVING:
            self._say(logging.WARNING, "worker.late", f"{child.name}: {event.why}", child)

    def _gone(self, event: ev.Gone, now: float) -> None:
        book = self.book
        child = book.children.pop(event.key, None)
        if child is None:
            return
        how = describe(event.status)
        if event.no_memory and os.WIFSIGNALED(event.status) and os.WTERMSIG(event.status) == signal.SIGKILL:
            how += ", out of memory (the kernel says so)"
        requests = ", ".join(f"{text!r} ({age:.1f} s)" for text, age in event.requests)
        lost = f"; in work: {requests}" if requests else ""
        if child.state is State.BOOTING:
            problem = f"{child.name} {how} while starting (step: {child.step})"
            self._boot_failure(child, problem, None, now)
        elif child.soaking and book.rollout and child.generation == book.rollout.generation:
            self._abort(f"{child.name} {how} during its soak{lost}", "", now)
        elif child.state in SERVING:
            wait = book.backoff.died(now, down=self._down)
            again = f"; its replacement waits {wait:.1f} s" if wait else ""
            self._say(logging.ERROR, "worker.died", f"{child.name} {how}, unasked{lost}{again}", child)
            self._suspect(event)
        else:
            level = logging.WARNING if lost else logging.DEBUG if child.report else logging.INFO
            self._say(level, "worker.ended", f"{child.name} {how} ({child.reason}){lost}", child)

    def _suspect(self, event: ev.Gone) -> None:
        """The same request in several corpses is no chance."""
        corpses = self.book.corpses
        for text in {text for text, _ in event.requests}:
            corpses[text] += 1
            if corpses[text] >= POISON:
                problem = f"poison request: {corpses[text]} workers died while {text!r} was in work"
                self._say(logging.CRITICAL, "request.poison", problem, request=text)
        while len(corpses) > CORPSES:
            del corpses[min(corpses, key=lambda text: corpses[text])]

    def _boot_failure(self, child: Child, problem: str, report: BootFailed | None, now: float) -> None:
        """A worker did not start. What that means depends on whose it was."""
        book = self.book
        if book.phase is Phase.STOPPING:
            return
        if not book.served:
            self._give_up("worker.boot_failed", problem, report, now)
        elif book.rollout and child.generation == book.rollout.generation:
            self._abort(problem, report.report if report else "", now)
        else:
            known = now < book.backoff.until
            delay = book.backoff.boot_failed(now, down=self._down)
            again = self._next_try(book.backoff, delay, report) if not known else f"next try in {delay:.1f} s"
            self._say(logging.ERROR, "worker.boot_failed", f"{problem.rstrip('.')}; {again}", child)

    def _give_up(self, name: str, problem: str, report: BootFailed | None, now: float) -> None:
        """Nothing has served yet, and nothing can: the first start ends with the reason and a status."""
        tail = f"\n{report.report.rstrip()}" if report and report.report else ""
        self._say(logging.CRITICAL, name, f"{problem}{tail}")
        self.book.exit_status = report.status if report else ExitStatus.BOOT
        self._stop(quick=True, why="no worker can start", now=now)

    # -- what should be

    def _expire(self, now: float) -> None:
        if self.book.leave_at <= now:
            self.book.leave_at = FOREVER
            self._stop(quick=False, why="drain_delay is over", now=now)
        self._expire_molds(now)
        for child in list(self.book.children.values()):
            if child.deadline > now:
                continue
            if child.state is State.BOOTING and not child.pid:
                self._not_forked(child, now)
            elif child.state is State.BOOTING:
                limit = self._rules_of(child.generation).boot_timeout
                problem = f"{child.name} is not ready after boot_timeout = {limit:g} s (step: {child.step})"
                self._move(child, Input.HANG, now)
                child.reason, child.deadline = "boot_timeout", now + RUNG / 2
                text = f"{child.name} hangs in step {child.step}"
                self._do(act.Dump(child.key, logging.ERROR, text, "worker.boot_hangs"))
                self._boot_failure(child, problem, None, now)
            elif child.soaking:
                child.deadline = FOREVER
                self._do(act.Inspect(child.key))
            elif child.state is State.STUCK:
                self._climb(child, now)
            elif child.state is State.KILLED:
                text = f"{child.name} has been killed and is not gone: the kernel holds it"
                self._say(logging.WARNING, "worker.unkillable", text, child)
                child.deadline = FOREVER
            elif child.state is State.DRAINING and child.end != FOREVER and (child.told or child.others):
                child.deadline = now + RUNG
                self._do(act.Examine(child.key))
            else:
                if child.state is State.DRAINING and child.step == DRAINING:
                    text = f"{child.name} did not end within graceful_timeout: killed"
                    self._say(logging.WARNING, "worker.killed", text, child)
                self._kill(child, child.reason, now)

    def _not_forked(self, child: Child, now: float) -> None:
        """Its mold has not forked it: something in there hangs, and nothing is to be had from it."""
        child.deadline = FOREVER
        mold = self.book.molds.get(child.mold)
        if mold is not None:
            text = f"{mold.name} was asked for worker {child.slot} and does not fork: killed"
            self._say(logging.ERROR, "mold.hangs", text, generation=mold.generation)
            self._do(act.Send(mold.key, signal.SIGKILL, group=True))

    def _reconcile(self, now: float) -> None:
        book = self.book
        book.backoff.look(now, down=self._down)
        if book.phase is Phase.STOPPING:
            if not book.children and not book.molds:
                self._do(act.Exit(ExitStatus(book.exit_status)))
            return
        self._trim(now)
        if not book.paused:
            self._recast(now)
        if self._yields(now) or book.paused:
            return
        self._fill(now)
        self._replace(now)
        self._settle(now)
        self._yields(now)  # the reload that it waited for may just have ended

    def _trim(self, now: float) -> None:
        """No slot too many is held."""
        book = self.book
        for child in list(book.children.values()):
            if child.state not in LEAVING and (book.paused or child.slot not in book.slots):
                self._drain(child, "paused" if book.paused else "scaled down", now)

    def _fill(self, now: float) -> None:
        """Every slot has a worker that serves or is about to."""
        book = self.book
        wanted = self._target()
        fresh = book.rollout and (book.rollout.proved or not any(book.serving()))
        generation = wanted if fresh else book.generation
        if not book.can_fork(generation) or book.must_wait(generation, now):
            return
        slots = sorted(self._empty_slots())
        if generation == book.generation and book.backoff.failures:
            slots = [] if any(book.coming()) else slots[:1]  # one is enough to see whether it works again
        for slot in slots:
            self._fork(slot, generation, now)

    def _replace(self, now: float) -> None:
        """Stale workers get a successor, a few at a time; of a new generation one goes ahead."""
        book = self.book
        wanted = self._target()
        if not book.can_fork(wanted) or book.must_wait(wanted, now):
            return
        room = 1 if book.rollout and not book.rollout.proved else book.rules.surge
        room -= sum(1 for _ in book.coming())
        for slot in sorted(book.slots):
            if room <= 0:
                return
            stale = any(c.generation != wanted or c.state is State.RETIRING for c in book.serving(slot))
            if stale and not any(book.coming(slot)):
                self._fork(slot, wanted, now)
                room -= 1

    def _target(self) -> int:
        """The generation to bring the slots to: that of a rollout once it can be forked from."""
        wanted = self.book.wanted_generation
        return wanted if self.book.can_fork(wanted) else self.book.generation

    def _settle(self, now: float) -> None:
        """Say when a start or a reload is complete."""
        book = self.book
        if any(book.coming()):
            return
        serving = {child.slot for child in book.serving()}
        if book.phase is Phase.STARTING and serving:
            book.phase = Phase.SERVING
            text = f"arbiter ready: {counted(len(serving), 'worker')}"
            self._say(logging.INFO, "arbiter.ready", text, workers=len(serving))
            self._do(act.Opened(len(serving)))
        rollout = book.rollout
        if rollout is None or serving != book.slots:
            return
        if all(child.generation == rollout.generation for child in book.serving()):
            self._commit(rollout, now)

    def _commit(self, rollout: Rollout, now: float) -> None:
        book = self.book
        before, book.rules = book.rules, rollout.rules
        earlier, book.generation, book.rollout = book.generation, rollout.generation, None
        book.begin_anew()
        self._do(act.Commit(book.generation, self._keep(earlier, before, now)))
        word = "rollback" if rollout.back else "reload"
        text = f"{word} done: generation {book.generation}"
        self._say(logging.INFO, f"{word}.done", text, generation=book.generation)
        self._do(act.Settled(f"generation {book.generation}"))
        self._refit(before)
        self._trim(now)
        self._fill(now)
