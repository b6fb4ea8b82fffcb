"""Everything an arbiter waits for, in one poll.

Neighbours: `arbiter` asks for the next events; `spawn` makes the children watched here. Its one rule: every
wait is one kind of thing. Signals, messages, deaths and files are descriptors that become readable, and
each becomes an event.

A plain poll, because a forked child shares its parent's epoll object: one that takes an inherited
descriptor out of it silences its parent.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from arbiter import early
from arbiter.control.commands import BY_SIGNAL
from arbiter.link.channel import Receiver
from arbiter.link.messages import (
    BootFailed,
    Booting,
    Message,
    MoldReady,
    Ready,
    Retiring,
    Spawned,
    SpawnFailed,
)
from arbiter.supervisor import events as ev

HAS_PIDFD: Final = hasattr(os, "pidfd_open")


@dataclass(slots=True)
class Process:
    """A child as the kernel knows it.

    mold: the key of the mold it is forked from, 0 for a child by fork. Then `pid` is 0 until the mold, or
    rather the process between the two, has said it; `unsent` are signals that wait for it.
    """

    key: int
    pid: int
    receiver: Receiver
    pidfd: int = -1
    mold: int = 0
    unsent: list[tuple[int, bool]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ChildRecord:
    """A child as one arbiter hands it to the next. `channel` is a descriptor, `held` what was read of it and
    is no whole message; `closed`: nothing more comes from it.
    """

    key: int
    pid: int
    mold: int
    channel: int
    held: bytes
    closed: bool


class Watch:
    """Waits; see the module's text."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._readers: dict[int, Callable[[], Iterable[ev.Event]]] = {}
        self._children: dict[int, Process] = {}
        self._lines: dict[int, Receiver] = {}
        """The channels of molds that have died: workers on their way may still be announced there."""
        self._strangers: dict[int, int] = {}
        """Statuses by pid of the reaped that were nobody we knew, while workers are to be announced."""
        self._wakeup, self._signalled = socket.socketpair()
        self._wakeup.setblocking(False)
        self._signalled.setblocking(False)
        self.add_reader(self._wakeup.fileno(), self._signals)

    # -- signals

    def install(self) -> None:
        """Take over the process's signals, also those that have come `early`; a handler does nothing, the
        byte in the wakeup socket says it all.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        signal.set_wakeup_fd(self._signalled.fileno(), warn_on_full_buffer=False)
        for number in (*BY_SIGNAL, signal.SIGCHLD):
            signal.signal(number, lambda number, frame: None)
        # Default actions that would end an arbiter and orphan its workers.
        for number in (signal.SIGPIPE, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF):
            signal.signal(number, signal.SIG_IGN)
        held = early.take()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number in held:
            signal.raise_signal(number)

    def _signals(self) -> Iterable[ev.Event]:
        try:
            numbers = self._wakeup.recv(4096)
        except BlockingIOError:
            return
        for number in numbers:
            verb = BY_SIGNAL.get(number)
            if verb is not None:
                yield ev.Asked(verb, f"signal {signal.Signals(number).name[3:]}")
            elif number == signal.SIGCHLD:
                yield from self._reap()

    def signalled(self) -> set[int]:
        """The signals that have come and that `wait` has not yet told of."""
        try:
            return set(self._wakeup.recv(4096, socket.MSG_PEEK))
        except BlockingIOError:
            return set()

    # -- from one arbiter to the next

    def hand_over(self) -> list[ChildRecord]:
        """Every child. To be called when none is still to be announced."""
        return [
            ChildRecord(
                child.key,
                child.pid,
                child.mold,
                child.receiver.fileno(),
                child.receiver.held,
                child.receiver.closed,
            )
            for child in self._children.values()
        ]

    def adopt(self, record: ChildRecord) -> Receiver:
        """Watch a child that was watched by the arbiter before this one, in this same process."""
        receiver = Receiver(socket.socket(fileno=record.channel), record.held)
        receiver.closed = record.closed
        child = self._children[record.key] = Process(record.key, record.pid, receiver, mold=record.mold)
        self._watch_end(child)  # it may be dead already: then this is readable
        if not receiver.closed:
            self.add_reader(receiver.fileno(), lambda: self._messages(child))
        return receiver

    # -- children

    def add_child(self, key: int, pid: int, receiver: Receiver) -> None:
        """Watch a new child: its channel, and its end."""
        child = Process(key, pid, receiver)
        self._children[key] = child
        self._watch_end(child)
        self.add_reader(receiver.fileno(), lambda: self._messages(child))

    def expect(self, key: int, mold: int, receiver: Receiver) -> None:
        """A child is going to be forked by mold `mold`: `Forked` will tell its pid, or else `ForkFailed`."""
        child = Process(key, 0, receiver, mold=mold)
        self._children[key] = child
        self.add_reader(receiver.fileno(), lambda: self._messages(child))

    def _watch_end(self, child: Process) -> None:
        if HAS_PIDFD:
            with contextlib.suppress(OSError):
                child.pidfd = os.pidfd_open(child.pid)
                self.add_reader(child.pidfd, self._reap)

    def _spawned(self, key: int, pid: int) -> Iterable[ev.Event]:
        """An expected child exists; it may have ended, and been reaped, before we hear of it."""
        child = self._children.get(key)
        if child is None or child.pid:
            return
        child.pid = pid
        status = self._strangers.pop(pid, None)
        if status is None:
            self._watch_end(child)
        yield ev.Forked(key, pid)
        if status is not None:
            yield from self._bury(child, status)
        for number, group in child.unsent:
            self.send(key, number, group=group)
        self._forget_strangers()

    def _miscarried(self, key: int, problem: str, *, mold_died: bool = False) -> Iterable[ev.Event]:
        """An expected child will not come."""
        child = self._children.get(key)
        if child is not None and not child.pid:
            self._forget(child)
            yield ev.ForkFailed(key, problem, mold_died)
            self._forget_strangers()

    def _forget_strangers(self) -> None:
        """Nobody is to be announced: whoever was reaped unknown will not be asked for."""
        if all(child.pid for child in self._children.values()):
            self._strangers.clear()

    def pid(self, key: int) -> int:
        """The process id of child `key`, 0 if it is gone."""
        child = self._children.get(key)
        return child.pid if child else 0

    def send(self, key: int, number: int, *, group: bool = False) -> None:
        """Send a signal to a child that has not been reaped (so its pid is still its own)."""
        child = self._children.get(key)
        if child is None:
            return
        if not child.pid:
            child.unsent.append((number, group))
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if group:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    if os.getpgid(child.pid) == child.pid:  # not before the child has set it
                        os.killpg(child.pid, number)
            if child.pidfd >= 0:
                signal.pidfd_send_signal(child.pidfd, number)
            else:
                os.kill(child.pid, number)

    def _messages(self, child: Process) -> Iterable[ev.Event]:
        if child.mold and not child.pid:  # it was announced before it could say anything
            yield from self._announcements(child.mold)
        if child.receiver.closed or self._children.get(child.key) is not child:
            return
        messages, ended = _received(child.receiver)
        if ended:
            self.remove_reader(child.receiver.fileno())
        for message in messages:
            yield from self._events(child.key, message)

    def _announcements(self, mold: int) -> Iterable[ev.Event]:
        if mold in self._lines:
            yield from self._last_line(mold)
        elif mold in self._children:
            yield from self._messages(self._children[mold])

    def _last_line(self, mold: int) -> Iterable[ev.Event]:
        """What still comes from the processes of a mold that has died; at its end, who has not come never
        will.
        """
        line = self._lines[mold]
        messages, ended = _received(line)
        for message in messages:
            yield from self._events(mold, message)
        if ended:
            del self._lines[mold]
            self.remove_reader(line.fileno())
            line.close()
            for child in [c for c in self._children.values() if c.mold == mold and not c.pid]:
                yield from self._miscarried(child.key, "its mold died", mold_died=True)

    def _events(self, key: int, message: Message) -> Iterable[ev.Event]:
        """What a message of child `key` tells."""
        match message:
            case Booting(step):
                yield ev.Step(key, step)
            case Ready(kind):
                yield ev.Booted(key, kind)
            case BootFailed():
                yield ev.Failed(key, message)
            case Retiring(reason):
                yield ev.WantsOut(key, reason)
            case MoldReady(kind, unsafe, notes, seconds):
                yield ev.MoldReady(key, kind, tuple(unsafe), tuple(notes), seconds)
            case Spawned(worker, pid):
                yield from self._spawned(worker, pid)
            case SpawnFailed(worker, problem):
                yield from self._miscarried(worker, problem)

    def _reap(self) -> Iterable[ev.Event]:
        """Every child that has ended: ours, and strangers we were given as PID 1 or as their grandparent."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = next((c for c in self._children.values() if c.pid == pid), None)
            if child is not None:
                yield from self._bury(child, status)
            elif not all(c.pid for c in self._children.values()):
                self._strangers[pid] = status

    def _bury(self, child: Process, status: int) -> Iterable[ev.Event]:
        """A child has been reaped. Its last words come before its death."""
        while not child.receiver.closed:
            words = list(self._messages(child))
            if not words:
                break
            yield from words
        if self._children.get(child.key) is not child:
            return  # its last words were those of a mold, and led here
        heirs = [c.key for c in self._children.values() if c.mold == child.key and not c.pid]
        if heirs and not child.receiver.closed:
            self._lines[child.key] = child.receiver
            self.add_reader(child.receiver.fileno(), lambda: self._last_line(child.key))
        self._forget(child)
        yield ev.Gone(child.key, status)
        if child.key not in self._lines:
            for key in heirs:
                yield from self._miscarried(key, "its mold died", mold_died=True)

    def _forget(self, child: Process) -> None:
        del self._children[child.key]
        if child.pidfd >= 0:
            self.remove_reader(child.pidfd)
            os.close(child.pidfd)
        if child.key in self._lines:
            return
        if not child.receiver.closed:
            self.remove_reader(child.receiver.fileno())
        child.receiver.close()

    # -- waiting

    def add_reader(self, fd: int, take: Callable[[], Iterable[ev.Event]]) -> None:
        """Call `take` for its events whenever `fd` is readable."""
        self._readers[fd] = take
        self._poll.register(fd, select.POLLIN)

    def interest(self, fd: int, *, read: bool, write: bool) -> None:
        """What else of `fd` is waited for: `add_reader`'s function is called for room to write, too."""
        if fd in self._readers:
            self._poll.modify(fd, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))

    def remove_reader(self, fd: int) -> None:
        """No more."""
        if self._readers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def wait(self, seconds: float) -> list[ev.Event]:
        """The events of the next wake-up; an empty list when `seconds` have passed."""
        timeout = None if seconds == float("inf") else max(0, int(seconds * 1000) + 1)
        happened: list[ev.Event] = []
        for fd, _ in self._poll.poll(timeout):
            take = self._readers.get(fd)
            if take is not None:
                happened.extend(take())
        return happened

    def abandon(self) -> None:
        """In a forked child: let go of everything that is the arbiter's."""
        signal.set_wakeup_fd(-1)
        for child in self._children.values():
            child.receiver.close()
            if child.pidfd >= 0:
                os.close(child.pidfd)
        for line in self._lines.values():
            line.close()
        self._wakeup.close()
        self._signalled.close()


def _received(receiver: Receiver) -> tuple[list[Message], bool]:
    """What has come, and whether nothing more will."""
    try:
        messages = receiver.receive()
    except ValueError:
        messages = []  # garbage; it has closed itself
    return messages, receiver.closed
