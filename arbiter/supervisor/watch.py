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
from dataclasses import dataclass
from typing import Final

from arbiter.control.commands import BY_SIGNAL
from arbiter.link.channel import Receiver
from arbiter.link.messages import BootFailed, Booting, Message, Ready, Retiring
from arbiter.supervisor import events as ev

HAS_PIDFD: Final = hasattr(os, "pidfd_open")


@dataclass(slots=True)
class Process:
    """A child as the kernel knows it."""

    key: int
    pid: int
    pidfd: int
    receiver: Receiver


class Watch:
    """Waits; see the module's text."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._readers: dict[int, Callable[[], Iterable[ev.Event]]] = {}
        self._children: dict[int, Process] = {}
        self._wakeup, self._signalled = socket.socketpair()
        self._wakeup.setblocking(False)
        self._signalled.setblocking(False)
        self.add_reader(self._wakeup.fileno(), self._signals)

    # -- signals

    def install(self) -> None:
        """Take over the process's signals; a handler does nothing, the byte in the wakeup socket says it
        all.
        """
        signal.set_wakeup_fd(self._signalled.fileno(), warn_on_full_buffer=False)
        for number in (*BY_SIGNAL, signal.SIGCHLD):
            signal.signal(number, lambda number, frame: None)
        # Default actions that would end an arbiter and orphan its workers.
        for number in (signal.SIGPIPE, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF):
            signal.signal(number, signal.SIG_IGN)

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

    # -- children

    def add_child(self, key: int, pid: int, receiver: Receiver) -> None:
        """Watch a new child: its channel, and its end."""
        pidfd = -1
        if HAS_PIDFD:
            with contextlib.suppress(OSError):
                pidfd = os.pidfd_open(pid)
                self.add_reader(pidfd, self._reap)
        child = Process(key, pid, pidfd, receiver)
        self._children[key] = child
        self.add_reader(receiver.fileno(), lambda: self._messages(child))

    def pid(self, key: int) -> int:
        """The process id of child `key`, 0 if it is gone."""
        child = self._children.get(key)
        return child.pid if child else 0

    def send(self, key: int, number: int, *, group: bool = False) -> None:
        """Send a signal to a child that has not been reaped (so its pid is still its own)."""
        child = self._children.get(key)
        if child is None:
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
        try:
            messages = child.receiver.receive()
        except ValueError:
            messages = []
        if child.receiver.closed:
            self.remove_reader(child.receiver.fileno())
        for message in messages:
            yield _event(child.key, message)

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
            if child is None:
                continue
            while not child.receiver.closed:  # its last words come before its death
                words = list(self._messages(child))
                if not words:
                    break
                yield from words
            self._forget(child)
            yield ev.Gone(child.key, status)

    def _forget(self, child: Process) -> None:
        del self._children[child.key]
        if not child.receiver.closed:
            self.remove_reader(child.receiver.fileno())
        child.receiver.close()
        if child.pidfd >= 0:
            self.remove_reader(child.pidfd)
            os.close(child.pidfd)

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
        self._wakeup.close()
        self._signalled.close()


def _event(key: int, message: Message) -> ev.Event:
    match message:
        case Booting(step):
            return ev.Step(key, step)
        case Ready(kind):
            return ev.Booted(key, kind)
        case BootFailed():
            return ev.Failed(key, message)
        case Retiring(reason):
            return ev.WantsOut(key, reason)
