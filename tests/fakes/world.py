"""A world without processes: a seeded kernel, clock and operators that drive the real policy.

One `World` is one history. `step()` lets one thing happen: a worker gets ready, fails, hangs, asks for a
replacement, dies; a mold gets ready, fails, hangs, forks, dies; an operator reloads (a good, a broken, a
hanging application, a refused configuration), rolls back, scales, pauses, stops, upgrades arbiter itself
(which proves itself or not, and goes on with a policy that knows the book as it was handed over, no more);
the load asks for more or fewer; or time passes. After every decision the invariants of docs/supervision.md
are checked; the seed replays a failure.
"""

from __future__ import annotations

import json
import random
import signal
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from arbiter.control.commands import Verb
from arbiter.errors import ExitStatus
from arbiter.link.messages import DRAINING, BootFailed
from arbiter.supervisor import actions as act
from arbiter.supervisor import events as ev
from arbiter.supervisor.backoff import LONGEST_DOWN
from arbiter.supervisor.book import FOREVER, Book, MoldState, Phase, Rules
from arbiter.supervisor.plain import from_plain, to_plain
from arbiter.supervisor.policy import Policy
from arbiter.supervisor.states import LEAVING, SERVING, State

RULES = Rules(workers=4, boot_timeout=60.0, graceful_timeout=30.0, surge=1, can_pause=True)


@dataclass
class Process:
    """A worker as the fake kernel has it."""

    key: int
    slot: int
    generation: int
    boots: str
    """"good", "bad" (boots, and answers 500), "fails", "dies" or "hangs"."""
    told: set[int] = field(default_factory=set)
    ready: bool = False
    stubborn: bool = False
    """Does not react to TERM, QUIT and ABRT."""
    mold: int = 0
    code: int = 0
    """The deploy whose code it runs."""
    born: bool = True
    """Its mold has forked it."""


@dataclass
class MoldProcess:
    """A mold as the fake kernel has it. Its generation's workers get what it has loaded: deploy `code`."""

    key: int
    generation: int
    boots: str
    code: int
    ready: bool = False
    killed: bool = False
    failed: bool = False
    """It has said so, and is about to exit."""


class World:
    """See the module's text."""

    def __init__(self, seed: int, rules: Rules = RULES, *, first: str = "good") -> None:
        self.chance = random.Random(seed)
        self.now = 1000.0
        self.policy = Policy(Book(rules))
        self.book = self.policy.book
        self.processes: dict[int, Process] = {}
        self.molds: dict[int, MoldProcess] = {}
        self.disk = 1
        """What lies on disk: the code of that generation."""
        self.apps = {1: first}
        self.rules = {1: rules}
        self.loading: int | None = None
        self.proving = False
        """What is installed is proving itself."""
        self.others: int | None = None
        """What a stuck worker that drains has to do beside what it is stuck at; None: by chance."""
        self.upgrades = 0
        """How often it has taken over."""
        self.exited: ExitStatus | None = None
        self.stop_asked = False
        self.said: list[act.Say | act.Dump] = []
        self.forks: deque[float] = deque(maxlen=400)
        self.pending: deque[ev.Event] = deque()
        self.committed = 1
        self.rollout_since: float | None = None
        self._perform(self.policy.start(self.now))
        self._settle()

    # -- running the policy

    def feed(self, event: ev.Event) -> None:
        """One event, and all that follows from it at once."""
        self.pending.append(event)
        self._settle()

    def _settle(self) -> None:
        while self.pending and self.exited is None:
            event = self.pending.popleft()
            before = {key: self.book.children[key].state for key in self.book.children}
            actions = self.policy.decide(event, self.now)
            self._check_actions(event, actions, before)
            self._perform(actions)
            self._check_book()

    def _perform(self, actions: list[act.Action]) -> None:
        for action in actions:
            match action:
                case act.Fork(key, slot, generation, 0):
                    self._check_direct(generation)
                    self.forks.append(self.now)
                    code = self.disk if self.book.last_resort else generation
                    self.processes[key] = Process(key, slot, generation, self._luck(code), code=code)
                    self.pending.append(ev.Forked(key, 10_000 + key))
                case act.Send(key, number):
                    if key in self.processes:
                        self.processes[key].told.add(number)
                    elif key in self.molds:
                        assert number == signal.SIGKILL
                        self.molds[key].killed = True
                case act.Inspect(key):
                    bad = self.apps[self.book.children[key].generation] == "bad"
                    self.pending.append(ev.Inspected(key, 100, 50 if bad else 0, 1000, 3))
                case act.Examine(key):
                    others = self.chance.randint(0, 2) if self.others is None else self.others
                    self.pending.append(ev.InWork(key, (("GET /slow", 31.0),), others))
                case act.Load(generation):
                    assert self.loading is None, "two configurations are read at once"
                    self.loading = generation
                case act.Prove():
                    assert not self.proving, "two programs prove themselves at once"
                    self.proving = True
                case act.Replace(anyway):
                    assert action is actions[-1], "what follows would be lost"
                    self._replace(anyway)
                case act.Commit(generation, kept):
                    assert generation in self.apps
                    self.committed = generation
                    self.rules = {number: self.rules[number] for number in (generation, kept) if number}
                case act.Say() | act.Dump():
                    self.said.append(action)
                case act.Exit(status):
                    self.exited = status
                case _:
                    self._perform_on_molds(action)

    def _perform_on_molds(self, action: act.Action) -> None:
        match action:
            case act.Fork(key, slot, generation, mold):
                self.forks.append(self.now)
                self._fork_from(self.molds[mold], key, slot, generation)
            case act.Cast(key, generation):
                self._check_cast(generation)
                self.molds[key] = MoldProcess(key, generation, self.apps[self.disk], self.disk)
                self.pending.append(ev.Forked(key, 10_000 + key))
            case act.Melt(key):
                self.molds[key].killed = True
            case act.Restore(generation):
                assert generation in self.rules, "11: a generation that was let go cannot come back"
                if self.chance.random() < 0.1:
                    self.pending.append(ev.Refused("its address is in use", back=True))
                else:
                    self.pending.append(ev.Loaded(generation, self.rules[generation], ""))
            case _:
                pass

    def _luck(self, generation: int) -> str:
        app = {"unsafe": "good", "frail": "fails"}.get(self.apps[generation], self.apps[generation])
        if app == "good" and self.chance.random() < 0.02:
            return "dies"
        return app

    # -- what may happen

    def step(self) -> None:
        """One thing happens."""
        choice = self.chance.random()
        if choice < 0.12 and self.molds:
            self._mold_acts(self.molds[self.chance.choice(sorted(self.molds))])
        elif choice < 0.45 and self.processes:
            self._worker_acts(self.processes[self.chance.choice(sorted(self.processes))])
        elif choice < 0.55 and self.loading is not None:
            self.answer_load(
                self.chance.choice(
                    ["good", "good", "bad", "unsafe", "frail", "fails", "dies", "hangs", "refused"]
                )
            )
        elif choice < 0.57 and self.proving:
            self.answer_proof(self.chance.random() < 0.7)
        elif choice < 0.63:
            self._operator_acts()
        elif choice < 0.66:
            self.feed(ev.Needed(self.chance.randint(0, 15), "the load", self.chance.choice(["", "no room"])))
        else:
            self.pass_time(self.chance.choice([0.01, 0.1, 1.0, 1.0, 5.0, 20.0, 40.0]))

    # -- upgrades in place

    def answer_proof(self, good: bool) -> None:
        """What is installed has proved itself, or not."""
        assert self.proving
        self.proving = False
        if good:
            self.feed(ev.Proved("arbiter 2", "arbiter 1"))
        else:
            self.feed(ev.Unproved("it cannot take over", "SyntaxError"))

    def _replace(self, anyway: bool) -> None:
        """The exec: at the wrong moment, in vain, or into a program that has nothing but the state."""
        luck = self.chance.random()
        if self.pending or (luck < 0.1 and not anyway):
            self.pending.append(ev.Unripe())
            return
        if luck < 0.2:
            self.pending.append(ev.Unproved("it cannot be executed"))
            return
        assert self.loading is None and self.book.rollout is None, "16: no reload is under way"
        assert all(process.born for process in self.processes.values()), "16: nobody is to be announced"
        plain = json.dumps(to_plain(self.book))
        book = from_plain(Book, json.loads(plain))
        assert json.dumps(to_plain(book)) == plain, "17: the book is handed over as it is"
        self.policy, self.book = Policy(book), book
        self.upgrades += 1
        states = {key: child.state for key, child in book.children.items()}
        actions = self.policy.resume("arbiter 2", self.now)
        assert not any(isinstance(action, act.Send) for action in actions), "17: nobody is told to go"
        assert states == {key: child.state for key, child in book.children.items() if key in states}
        self._perform(actions)

    # -- molds

    def _fork_from(self, mold: MoldProcess, key: int, slot: int, generation: int) -> None:
        assert mold.generation == generation, "10: workers come from the mold of their generation"
        assert mold.ready, "10: a mold is forked from only when it is ready"
        boots = {"unsafe": "good", "frail": "fails"}.get(mold.boots, mold.boots)
        if boots == "good" and self.chance.random() < 0.02:
            boots = "dies"
        self.processes[key] = Process(key, slot, generation, boots, mold=mold.key, code=mold.code, born=False)

    def _mold_acts(self, mold: MoldProcess) -> None:
        unborn = [p for p in self.processes.values() if p.mold == mold.key and not p.born]
        if mold.killed or mold.failed:
            self.reap_mold(mold, signal.SIGKILL if mold.killed else 4 << 8)
        elif not mold.ready:
            self.finish(mold)
        elif unborn and self.chance.random() < 0.9:
            self.bear(self.chance.choice(unborn))
        elif self.chance.random() < 0.1:
            self.reap_mold(mold, self.chance.choice([signal.SIGKILL, signal.SIGSEGV]))

    def bear(self, process: Process) -> None:
        """The mold forks a worker, or cannot."""
        process.born = True
        if self.chance.random() < 0.03:
            del self.processes[process.key]
            self.feed(ev.ForkFailed(process.key, "OSError: no memory"))
        else:
            self.feed(ev.Forked(process.key, 10_000 + process.key))

    def finish(self, mold: MoldProcess) -> None:
        """The mold's loading comes to its end, whatever that is for it."""
        if mold.boots == "fails":
            mold.failed = True
            report = BootFailed("application", "ImportError: no", "Traceback ...", int(ExitStatus.APP))
            self.feed(ev.Failed(mold.key, report))
        elif mold.boots == "dies":
            self.reap_mold(mold, signal.SIGSEGV)
        elif mold.boots != "hangs":
            mold.ready = True
            unsafe = ("a thread runs: 'ticker'",) if mold.boots == "unsafe" else ()
            self.feed(ev.MoldReady(mold.key, "sync", unsafe))

    def reap_mold(self, mold: MoldProcess, status: int) -> None:
        """A mold is gone, and with it whom it was to fork; whom it has forked lives on."""
        del self.molds[mold.key]
        self.pending.append(ev.Gone(mold.key, int(status)))
        for process in [p for p in self.processes.values() if p.mold == mold.key and not p.born]:
            del self.processes[process.key]
            self.pending.append(ev.ForkFailed(process.key, "its mold died", True))
        self._settle()

    def _check_cast(self, generation: int) -> None:
        building = [mold for mold in self.book.molds_of(generation)]
        assert len(building) == 1, f"12: generation {generation} has one mold at most"

    def _check_direct(self, generation: int) -> None:
        decided = generation in self.book.direct
        assert decided or (generation == self.book.generation and self.book.last_resort), (
            "10: who loads the application by itself is of a generation without a mold, or the last resort"
        )

    # -- workers

    def _worker_acts(self, process: Process) -> None:
        key = process.key
        if not process.born:
            return
        if signal.SIGKILL in process.told:
            self._reap(process, signal.SIGKILL)
        elif not process.ready:
            self.boot(process)
        elif process.told and not process.stubborn:
            self._reap(process, 0)
        elif process.told:
            child = self.book.children[key]
            if child.step != DRAINING and self.chance.random() < 0.5:
                self.feed(ev.Step(key, DRAINING))
        else:
            what = self.chance.random()
            if what < 0.08:
                self._reap(process, self.chance.choice([signal.SIGKILL, signal.SIGSEGV, 1 << 8, 3 << 8, 0]))
            elif what < 0.16:
                self.feed(ev.WantsOut(key, "max_requests reached", urgent=self.chance.random() < 0.1))
            elif what < 0.19:
                process.stubborn = True
            elif what < 0.22:
                self.feed(ev.Overdue(key, 31.0, "silent for 31.0 s", self.chance.randint(0, 2)))
            elif what < 0.24:
                self.feed(ev.Slow(key, "GET /slow", 5.0))

    def boot(self, process: Process) -> None:
        """The worker's start goes on to its end, whatever that is for it."""
        key = process.key
        if process.boots in ("good", "bad"):
            process.ready = True
            self.feed(ev.Booted(key, self.chance.choice(["sync", "threaded"])))
        elif process.boots == "fails":
            report = BootFailed("application", "ImportError: no", "Traceback ...", int(ExitStatus.APP))
            self.feed(ev.Failed(key, report))
            if key in self.processes:
                self._reap(process, 4 << 8)
        elif process.boots == "dies":
            self._reap(process, signal.SIGSEGV)

    def boot_all(self) -> None:
        """Let every worker that can get ready do so, and every one that was told to go do so."""
        for _ in range(400):
            if self.exited is None and self._molds_rest():
                continue
            todo = [p for p in self.processes.values() if (p.told or not p.ready) and p.boots != "hangs"]
            todo += [p for p in self.processes.values() if p.boots == "hangs" and signal.SIGKILL in p.told]
            if not todo or self.exited is not None:
                return
            self._worker_acts(todo[0])
        raise AssertionError("it does not come to rest")

    def _molds_rest(self) -> bool:
        """Let one mold do what it has to; False when none has."""
        for mold in self.molds.values():
            unborn = [p for p in self.processes.values() if p.mold == mold.key and not p.born]
            if mold.killed or mold.failed:
                self.reap_mold(mold, signal.SIGKILL if mold.killed else 4 << 8)
            elif not mold.ready and mold.boots != "hangs":
                self.finish(mold)
            elif mold.ready and unborn:
                self.bear(unborn[0])
            else:
                continue
            return True
        return False

    def _reap(self, process: Process, status: int, *requests: str) -> None:
        del self.processes[process.key]
        self.feed(ev.Gone(process.key, int(status), tuple((text, 1.0) for text in requests)))

    def answer_load(self, what: str) -> None:
        """The configuration being read turns out as `what`."""
        assert self.loading is not None
        number, self.loading = self.loading, None
        if what == "refused":
            self.feed(ev.Refused("1 fault in the configuration"))
            return
        workers = self.chance.choice([self.book.rules.workers, self.chance.randint(1, 6)])
        soak = self.chance.choice([0.0, 0.5, 10.0])
        surge = self.chance.randint(1, 3)
        delay = self.chance.choice([0.0, 0.0, 3.0])
        keep = self.chance.choice([0.0, 30.0, 300.0])
        least, most = sorted(self.chance.randint(1, 8) for _ in range(2))
        most *= self.chance.randint(0, 1)
        if most:
            workers = self.chance.randint(least, most)
        preload = self.chance.choice([self.book.rules.preload, "off", "auto", "auto", "on"])
        rules = replace(
            RULES,
            workers=workers,
            surge=surge,
            soak=soak,
            drain_delay=delay,
            preload=preload,
            rollback_keep=keep,
            least=least,
            most=most,
        )
        self.load(number, what, rules)

    def load(self, number: int, app: str, rules: Rules) -> None:
        """The configuration that was being read is accepted, and such an application lies on disk."""
        self.apps[number], self.rules[number], self.disk = app, rules, number
        self.feed(ev.Loaded(number, rules, ""))

    def ask(self, verb: Verb, amount: int = 1, key: int | None = None) -> None:
        """An operator asks for `verb`, of worker `key` or of any."""
        if verb in (Verb.STOP, Verb.QUIT):
            self.stop_asked = True
        loads = {key: self.chance.randint(0, 5) for key in self.processes}
        key = self.chance.choice([0, *self.processes]) if key is None else key
        self.feed(ev.Asked(verb, "test", loads, amount, key))

    def _operator_acts(self) -> None:
        verbs = [Verb.RELOAD] * 8 + [Verb.SCALE_UP, Verb.SCALE_DOWN] * 4 + [Verb.REOPEN_LOGS, Verb.PAUSE]
        verbs += [Verb.ROLLBACK] * 3 + [Verb.UPGRADE] * 2 + [Verb.SCALE_AUTO]
        verbs += [Verb.SCALE, Verb.RECYCLE, Verb.RECYCLE, Verb.KILL, Verb.DRAIN, Verb.UNDRAIN]
        if self.chance.random() < 0.01:
            verbs = [Verb.STOP, Verb.QUIT]
        verb = self.chance.choice(verbs)
        if verb is Verb.SCALE_UP and len(self.book.slots) >= 12:
            verb = Verb.SCALE_DOWN
        self.ask(verb, self.chance.randint(0, 9) if verb is Verb.SCALE else 1)

    def pass_time(self, seconds: float) -> None:
        """Time passes; the arbiter wakes whenever it said it must."""
        until = self.now + seconds
        for _ in range(1000):
            due = self.policy.wake_at()
            if due > until or self.exited is not None:
                break
            self.now = max(self.now, due)
            self.feed(ev.Tick())
            assert self.policy.wake_at() > self.now or self.exited is not None, "the arbiter spins"
        else:
            raise AssertionError("the arbiter wakes without end")
        self.now = until
        self.feed(ev.Tick())

    # -- the invariants (their numbers are those of docs/supervision.md)

    def _check_actions(self, event: ev.Event, actions: list[act.Action], before: dict[int, State]) -> None:
        for action in actions:
            if isinstance(action, act.Resized) and isinstance(event, ev.Needed):
                assert not self.book.pinned, "15: the load does not change what an operator holds"
                assert action.new > action.old or not self.book.rollout, "15: nor takes workers amid a reload"
            if isinstance(action, act.Exit):
                assert not self.processes, "1: every child is reaped before the arbiter leaves"
                assert not self.molds, "1: and so is every mold"
                assert self.stop_asked or not self.book.served, "2: once it has served it goes on"
            if not isinstance(action, act.Send) or before.get(action.key) not in SERVING:
                continue
            if action.signal == signal.SIGUSR1 or self.book.phase is Phase.STOPPING or self.book.paused:
                continue
            child = self.book.children.get(action.key)
            if child is None or child.slot not in self.book.slots or isinstance(event, ev.Overdue):
                continue
            if isinstance(event, ev.WantsOut) and event.urgent:
                continue
            if isinstance(event, ev.Asked) and event.verb is Verb.KILL:
                continue
            if any(isinstance(other, act.Resized) and other.new < other.old for other in actions):
                continue  # its slot was given up, and a commit in the same breath may have opened it anew
            assert any(self.book.serving(child.slot)), (
                f"3: {child.name} was told to go ({child.reason}) while no other serves its slot"
            )

    def _check_book(self) -> None:
        book = self.book
        untold = {event.key for event in self.pending if isinstance(event, ev.ForkFailed)}
        known = set(book.children) - untold
        assert known == set(self.processes), "4: the book and the kernel agree on who exists"
        for slot in {child.slot for child in book.children.values()}:
            assert sum(1 for _ in book.coming(slot)) <= 1, f"5: two workers are coming for slot {slot}"
        coming = sum(1 for child in book.children.values() if child.state not in LEAVING)
        rules = book.rollout.rules if book.rollout else book.rules
        most = len(book.slots) + max(book.rules.surge, rules.surge) + len(book.slots)
        assert coming <= most, f"6: {coming} workers for {len(book.slots)} slots"
        assert len(book.slots) >= 1, "7: there is always a slot"
        if book.rules.most:
            assert book.rules.least <= len(book.slots) <= book.rules.most, "14: never outside the bounds"
        assert book.rules.most or not book.pinned, "15: what is held would follow the load otherwise"
        assert set(book.molds) == set(self.molds), "4: and on which molds"
        self._check_molds()
        self._check_hurry()
        self._check_rollout_ends()
        self._check_upgrade_ends()

    def _check_molds(self) -> None:
        """11: what a rollback would go back to is there. 12: one mold for a generation, none without a use.
        13: the generation in force has a mold, one is made, or a time is set for it, unless it has none by
        decision.
        """
        book = self.book
        if book.kept:
            assert book.mold(book.kept.generation) is not None, "11: a kept generation has its mold"
            assert book.kept.generation in self.rules
        wanted = {book.generation, book.wanted_generation, book.kept.generation if book.kept else 0}
        for mold in book.molds.values():
            if mold.state is not MoldState.MELTING:
                assert mold.generation in wanted, f"12: nobody needs {mold.name}"
                assert len(book.molds_of(mold.generation)) == 1, "12: a generation has one mold at most"
        if book.phase is not Phase.STOPPING and not book.paused and not self.pending:
            there = book.generation in book.direct or book.molds_of(book.generation) or book.cast_at
            assert there, "13: the generation in force has a mold, or will have one"

    def _check_hurry(self) -> None:
        """19: where nobody serves, a worker or its mold is on its way, or soon will be."""
        book = self.book
        if any(book.serving()) or not book.served or book.paused or book.phase is Phase.STOPPING:
            return
        building = any(mold.state is MoldState.BUILDING for mold in book.molds.values())
        under_way = any(book.coming()) or building or book.upgrade or self.pending
        soon = self.policy.wake_at() <= self.now + LONGEST_DOWN
        assert under_way or soon, "19: the site is down, and waits"

    def _check_rollout_ends(self) -> None:
        """8: every rollout ends: within boot_timeout per worker, back-off included."""
        if self.book.rollout is None:
            self.rollout_since = None
        elif self.rollout_since is None:
            self.rollout_since = self.now

    def _check_upgrade_ends(self) -> None:
        """18: an upgrade is being proved, waits for a reload, a fork or a better moment, or happens."""
        upgrade, book = self.book.upgrade, self.book
        if upgrade is None or self.proving or self.pending:
            return
        assert upgrade.proved, "18: an upgrade is asked for and nothing proves itself"
        unborn = any(not child.pid for child in (*book.children.values(), *book.molds.values()))
        waits = unborn or book.rollout or book.loading or book.leave_at != FOREVER
        assert waits or self.now < upgrade.again < FOREVER, "18: an upgrade that could be is not"

    def forks_within(self, seconds: float) -> int:
        """How many forks there were in the last `seconds`."""
        return sum(1 for when in self.forks if when > self.now - seconds)

    @property
    def ready(self) -> int:
        """Workers that serve."""
        return sum(1 for _ in self.book.serving())

    def texts(self) -> str:
        """All that was said."""
        return "\n".join(say.text for say in self.said)


def started() -> World:
    """One that serves with four workers, and of which nothing has been said."""
    world = World(1)
    for process in world.processes.values():
        process.boots = "good"
    world.boot_all()
    assert world.ready == 4
    world.said.clear()
    return world


def reload(world: World, app: str, **changes: Any) -> int:
    """A reload whose application is `app` and whose rules are the same but for `changes`; its generation."""
    world.ask(Verb.RELOAD)
    number, world.loading = world.loading, None
    assert number is not None
    world.load(number, app, replace(world.book.rules, **changes))
    return number


def names(world: World) -> list[str]:
    """The names of all that was said."""
    return [say.name for say in world.said]


__all__ = ["FOREVER", "RULES", "MoldProcess", "Process", "World", "names", "reload", "started"]
