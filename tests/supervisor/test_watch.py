"""Real signals, real children: every one becomes an event."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from arbiter.control.commands import SIGNALLED, Verb
from arbiter.link import spawn
from arbiter.link.channel import Sender, channel
from arbiter.link.messages import BootFailed, Ready, Spawned, SpawnFailed
from arbiter.supervisor import events as ev
from arbiter.supervisor.watch import Watch


@pytest.fixture
def watch() -> Iterator[Watch]:
    touched = [number for row, _ in SIGNALLED for number in row.signals]
    touched += [signal.SIGCHLD, signal.SIGPIPE, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM]
    touched.append(signal.SIGPROF)
    before = {number: signal.getsignal(number) for number in touched}
    one = Watch()
    one.install()
    yield one
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)
    one.abandon()


def until(watch: Watch, found: Callable[[ev.Event], bool]) -> list[ev.Event]:
    """The events up to the one that is looked for."""
    end = time.monotonic() + 20
    seen: list[ev.Event] = []
    while time.monotonic() < end:
        seen.extend(watch.wait(1.0))
        if any(found(event) for event in seen):
            return seen
    raise AssertionError(f"it did not come: {seen}")


def child(watch: Watch, key: int, life: Callable[[Sender], int]) -> int:
    receiver, theirs = channel()

    def run() -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return life(Sender(theirs))

    pid = spawn.fork(run)
    theirs.close()
    watch.add_child(key, pid, receiver)
    return pid


@pytest.mark.parametrize("row", [row for row, _ in SIGNALLED], ids=lambda row: row.verb.value)
def test_every_signal_is_its_verb(watch: Watch, row: object) -> None:
    for number in row.signals:  # type: ignore[attr-defined]
        os.kill(os.getpid(), number)
        (event,) = until(watch, lambda event: isinstance(event, ev.Asked))
        assert event == ev.Asked(row.verb, f"signal {signal.Signals(number).name[3:]}")  # type: ignore[attr-defined]


def test_signals_in_a_burst_are_all_kept(watch: Watch) -> None:
    os.kill(os.getpid(), signal.SIGTTIN)
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    verbs = {event.verb for event in watch.wait(5.0) if isinstance(event, ev.Asked)}
    assert verbs == {Verb.SCALE_UP, Verb.RELOAD, Verb.STOP}


def test_a_childs_last_words_come_before_its_death(watch: Watch) -> None:
    report = BootFailed("application", "no", "Traceback", 4)

    def life(sender: Sender) -> int:
        sender.send(report)
        return 4

    child(watch, 7, life)
    events = until(watch, lambda event: isinstance(event, ev.Gone))
    assert events == [ev.Failed(7, report), ev.Gone(7, 4 << 8)]


def test_many_deaths_at_once_are_all_seen(watch: Watch) -> None:
    """SIGCHLD coalesces; the reaping does not."""
    for key in range(12):
        child(watch, key, lambda sender: 0)
    gone: set[int] = set()
    end = time.monotonic() + 20
    while len(gone) < 12 and time.monotonic() < end:
        gone |= {event.key for event in watch.wait(1.0) if isinstance(event, ev.Gone)}
    assert gone == set(range(12))


def test_a_child_can_be_signalled_until_it_is_reaped(watch: Watch) -> None:
    def life(sender: Sender) -> int:
        sender.send(Ready("sync"))
        signal.pause()
        return 0

    pid = child(watch, 1, life)
    until(watch, lambda event: event == ev.Booted(1, "sync"))
    assert watch.pid(1) == pid
    watch.send(1, signal.SIGTERM)
    events = until(watch, lambda event: isinstance(event, ev.Gone))
    assert events[-1] == ev.Gone(1, signal.SIGTERM)
    watch.send(1, signal.SIGKILL)
    assert watch.pid(1) == 0


def test_waiting_ends_when_nothing_happens(watch: Watch) -> None:
    assert watch.wait(0.01) == []


# -- molds: a worker's pid is heard of later than the worker itself, perhaps


@pytest.fixture
def mold(watch: Watch) -> Iterator[Sender]:
    """Mold 1, as far as it is a channel, and a process that does nothing."""
    receiver, theirs = channel()
    pid = spawn.fork(idle)
    watch.add_child(1, pid, receiver)
    sender = Sender(theirs)
    yield sender
    sender.close()
    watch.send(1, signal.SIGKILL)


def idle() -> int:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    while True:
        signal.pause()


def expected(watch: Watch, key: int) -> Sender:
    receiver, theirs = channel()
    watch.expect(key, 1, receiver)
    return Sender(theirs)


def test_a_worker_is_announced_before_it_speaks(watch: Watch, mold: Sender) -> None:
    worker = expected(watch, 2)
    pid = spawn.fork(idle)
    mold.send(Spawned(2, pid))
    worker.send(Ready("sync"))
    seen = until(watch, lambda event: isinstance(event, ev.Booted))
    assert seen == [ev.Forked(2, pid), ev.Booted(2, "sync")]
    watch.send(2, signal.SIGKILL)
    until(watch, lambda event: event == ev.Gone(2, signal.SIGKILL))
    worker.close()


def test_a_worker_that_dies_before_its_pid_is_known_is_matched(watch: Watch, mold: Sender) -> None:
    worker = expected(watch, 2)
    pid = spawn.fork(lambda: 7)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    watch.wait(1.0)
    assert watch.pid(2) == 0
    mold.send(Spawned(2, pid))
    seen = until(watch, lambda event: isinstance(event, ev.Gone))
    assert seen == [ev.Forked(2, pid), ev.Gone(2, 7 << 8)]
    worker.close()


def test_what_is_sent_to_a_worker_that_is_not_known_yet_reaches_it(watch: Watch, mold: Sender) -> None:
    worker = expected(watch, 2)
    watch.send(2, signal.SIGKILL, group=True)
    pid = spawn.fork(idle)
    mold.send(Spawned(2, pid))
    until(watch, lambda event: event == ev.Gone(2, signal.SIGKILL))
    worker.close()


def test_a_worker_that_cannot_be_forked(watch: Watch, mold: Sender) -> None:
    worker = expected(watch, 2)
    mold.send(SpawnFailed(2, "no memory"))
    assert until(watch, lambda event: True) == [ev.ForkFailed(2, "no memory")]
    worker.close()


def test_of_workers_that_were_forked_together_one_fails(watch: Watch, mold: Sender) -> None:
    """A mold does not know how far the process between has come: who was announced exists."""
    first, second = expected(watch, 2), expected(watch, 3)
    pid = spawn.fork(idle)
    mold.send(Spawned(2, pid))
    mold.send(SpawnFailed(2, "no memory"))
    mold.send(SpawnFailed(3, "no memory"))
    seen = until(watch, lambda event: isinstance(event, ev.ForkFailed))
    assert seen == [ev.Forked(2, pid), ev.ForkFailed(3, "no memory")]
    watch.send(2, signal.SIGKILL)
    until(watch, lambda event: event == ev.Gone(2, signal.SIGKILL))
    first.close()
    second.close()


def test_workers_of_a_dead_mold_come_or_do_not(watch: Watch) -> None:
    """The process between outlives the mold for a moment: what it has announced counts."""
    receiver, theirs = channel()
    watch.add_child(1, spawn.fork(idle), receiver)
    first, second = expected(watch, 2), expected(watch, 3)
    between = Sender(theirs)
    watch.send(1, signal.SIGKILL)
    until(watch, lambda event: event == ev.Gone(1, signal.SIGKILL))
    pid = spawn.fork(lambda: theirs.close() or idle())
    between.send(Spawned(3, pid))
    assert until(watch, lambda event: True) == [ev.Forked(3, pid)]
    between.close()
    assert until(watch, lambda event: True) == [ev.ForkFailed(2, "its mold died", True)]
    watch.send(3, signal.SIGKILL)
    until(watch, lambda event: event == ev.Gone(3, signal.SIGKILL))
    first.close()
    second.close()
