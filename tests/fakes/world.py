"""A world without processes: a seeded kernel, clock and operators that drive the real policy.

One `World` is one history. `step()` lets one thing happen: a worker gets ready, fails, hangs, asks for a
replacement, dies; an operator reloads (a good, a broken, a hanging application, a refused configuration),
scales, pauses, stops; or time passes. After every decision the invariants of docs/supervision.md are
checked; the seed replays a failure.
"""

from __future__ import annotations

import random
import signal
from collections import deque
from dataclasses import dataclass, field, replace

from arbiter.control.commands import Verb
from arbiter.errors import ExitStatus
from arbiter.link.messages import BootFailed
from arbiter.supervisor import actions as act
from arbiter.supervisor import events as ev
from arbiter.supervisor.book import FOREVER, Book, Phase, Rules
from arbiter.supervisor.policy import Policy
from arbiter.supervisor.states import LEAVING, SERVING, State

RULES = Rules(workers=4, boot_timeout=60.0, timeout=30.0, graceful_timeout=30.0, surge=1, can_pause=True)


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


class World:
    """See the module's text."""

    def __init__(self, seed: int, rules: Rules = RULES, *, first: str = "good") -> None:
        self.chance = random.Random(seed)
        self.now = 1000.0
        self.policy = Policy(Book(rules))
        self.book = self.policy.book
        self.processes: dict[int, Process] = {}
        self.apps = {1: first}
        self.rules = {1: rules}
        self.loading: int | None = None
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
                case act.Fork(key, slot, generation):
                    self.forks.append(self.now)
                    self.processes[key] = Process(key, slot, generation, self._luck(generation))
                    self.pending.append(ev.Forked(key, 10_000 + key))
                case act.Send(key, number):
                    if key in self.processes:
                        self.processes[key].told.add(number)
                case act.Inspect(key):
                    bad = self.apps[self.book.children[key].generation] == "bad"
                    self.pending.append(ev.Inspected(key, 100, 50 if bad else 0, 1000, 3))
                case act.Load(generation):
                    assert self.loading is None, "two configurations are read at once"
                    self.loading = generation
                case act.Commit(generation):
                    assert generation in self.apps
                    self.committed = generation
                case act.Say() | act.Dump():
                    self.said.append(action)
                case act.Exit(status):
                    self.exited = status
                case _:
                    pass

    def _luck(self, generation: int) -> str:
        app = self.apps[generation]
        if app == "good" and self.chance.random() < 0.02:
            return "dies"
        return app

    # -- what may happen

    def step(self) -> None:
        """One thing happens."""
        choice = self.chance.random()
        if choice < 0.45 and self.processes:
            self._worker_acts(self.processes[self.chance.choice(sorted(self.processes))])
        elif choice < 0.55 and self.loading is not None:
            self.answer_load(self.chance.choice(["good", "good", "bad", "fails", "dies", "hangs", "refused"]))
        elif choice < 0.62:
            self._operator_acts()
        else:
            self.pass_time(self.chance.choice([0.01, 0.1, 1.0, 1.0, 5.0, 20.0, 40.0]))

    def _worker_acts(self, process: Process) -> None:
        key = process.key
        if signal.SIGKILL in process.told:
            self._reap(process, signal.SIGKILL)
        elif not process.ready:
            self.boot(process)
        elif process.told and not process.stubborn:
            self._reap(process, 0)
        elif process.told:
            pass
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
            self.feed(ev.Booted(key, "sync"))
        elif process.boots == "fails":
            report = BootFailed("application", "ImportError: no", "Traceback ...", int(ExitStatus.APP))
            self.feed(ev.Failed(key, report))
            if key in self.processes:
                self._reap(process, 4 << 8)
        elif process.boots == "dies":
            self._reap(process, signal.SIGSEGV)

    def boot_all(self) -> None:
        """Let every worker that can get ready do so, and every one that was told to go do so."""
        for _ in range(200):
            todo = [p for p in self.processes.values() if (p.told or not p.ready) and p.boots != "hangs"]
            todo += [p for p in self.processes.values() if p.boots == "hangs" and signal.SIGKILL in p.told]
            if not todo or self.exited is not None:
                return
            self._worker_acts(todo[0])
        raise AssertionError("it does not come to rest")

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
        self.apps[number] = what
        workers = self.chance.choice([self.book.rules.workers, self.chance.randint(1, 6)])
        soak = self.chance.choice([0.0, 0.5, 10.0])
        surge = self.chance.randint(1, 3)
        delay = self.chance.choice([0.0, 0.0, 3.0])
        self.rules[number] = replace(RULES, workers=workers, surge=surge, soak=soak, drain_delay=delay)
        self.feed(ev.Loaded(number, self.rules[number], ""))

    def ask(self, verb: Verb, amount: int = 1, key: int | None = None) -> None:
        """An operator asks for `verb`, of worker `key` or of any."""
        if verb in (Verb.STOP, Verb.QUIT):
            self.stop_asked = True
        loads = {key: self.chance.randint(0, 5) for key in self.processes}
        key = self.chance.choice([0, *self.processes]) if key is None else key
        self.feed(ev.Asked(verb, "test", loads, amount, key))

    def _operator_acts(self) -> None:
        verbs = [Verb.RELOAD] * 8 + [Verb.SCALE_UP, Verb.SCALE_DOWN] * 4 + [Verb.REOPEN_LOGS, Verb.PAUSE]
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
            if isinstance(action, act.Exit):
                assert not self.processes, "1: every child is reaped before the arbiter leaves"
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
        known = set(book.children)
        assert known == set(self.processes), "4: the book and the kernel agree on who exists"
        for slot in {child.slot for child in book.children.values()}:
            assert sum(1 for _ in book.coming(slot)) <= 1, f"5: two workers are coming for slot {slot}"
        coming = sum(1 for child in book.children.values() if child.state not in LEAVING)
        rules = book.rollout.rules if book.rollout else book.rules
        most = len(book.slots) + max(book.rules.surge, rules.surge) + len(book.slots)
        assert coming <= most, f"6: {coming} workers for {len(book.slots)} slots"
        assert len(book.slots) >= 1, "7: there is always a slot"
        self._check_rollout_ends()

    def _check_rollout_ends(self) -> None:
        """8: every rollout ends: within boot_timeout per worker, back-off included."""
        if self.book.rollout is None:
            self.rollout_since = None
        elif self.rollout_since is None:
            self.rollout_since = self.now

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


__all__ = ["FOREVER", "RULES", "Process", "World"]
