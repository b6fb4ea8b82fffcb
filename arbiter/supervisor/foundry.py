"""The molds of an arbiter: started as fresh interpreters, told what to fork, let go.

Neighbours: `arbiter` asks, `watch` hears what molds and their workers say, `workers.mold` is the other side.
Its one rule: nothing of a mold is the arbiter's but a socket; what a mold needs it inherits by descriptor
number, everything else is closed by the exec.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from arbiter.config.sources import Loader
from arbiter.errors import ExitStatus
from arbiter.link import spawn
from arbiter.link.channel import Receiver, Sender, channel
from arbiter.link.messages import BootFailed, Message, MoldSetup, ReopenLogs, Spawn, encode
from arbiter.link.orders import give
from arbiter.link.scoreboard import Scoreboard
from arbiter.link.stacks import StackFile

SUPPORTED: Final = sys.platform == "linux" and hasattr(os, "pidfd_open")
"""Whether this system can give a worker that a mold has forked to the arbiter (prctl(2),
PR_SET_CHILD_SUBREAPER).
"""
AT_ONCE: Final = 16
"""Workers asked of one mold that it has not yet answered for; what they need fits a socket's buffer."""

_PR_SET_CHILD_SUBREAPER: Final = 36
_MODULE: Final = "arbiter.workers.mold"
ACTIVATION: Final = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""What sd_listen_fds(3) reads: for the process that the sockets were passed to, and for no other program."""


@dataclass(frozen=True, slots=True)
class Order:
    """A worker to be forked: `channel`, its end, is closed when it is on its way; `fds` go with it."""

    spawn: Spawn
    channel: socket.socket
    fds: tuple[int, ...]


@dataclass(slots=True)
class _Mold:
    end: socket.socket
    waiting: deque[Order] = field(default_factory=deque)
    asked: set[int] = field(default_factory=set)


class Foundry:
    """See the module's text. `lifeline` is the read end of the arbiter's lifeline pipe."""

    def __init__(self, loader: Loader, scoreboard: Scoreboard, lifeline: int) -> None:
        self._loader = loader
        self._scoreboard = scoreboard
        self._lifeline = lifeline
        self._molds: dict[int, _Mold] = {}

    def cast(self, key: int, generation: int) -> tuple[int, Receiver, StackFile]:
        """Start a mold; its process id, where it speaks, and where it writes its stacks.

        Raises OSError if the system refuses.
        """
        _become_subreaper()
        receiver, theirs = channel()
        stacks = StackFile()
        control = receiver.end
        setup = MoldSetup(
            generation=generation,
            arbiter=os.getpid(),
            cli_values=self._loader.cli_values,
            cwd=self._loader.cwd,
            argv=list(sys.argv),
            environ=dict(os.environ),
            control=theirs.fileno(),
            lifeline=self._lifeline,
            stacks=stacks.fd,
            scoreboard=self._scoreboard.fd,
            relay=self._scoreboard.relay.fd,
            rows=self._scoreboard.rows,
        )
        file = _written(setup)
        inherited = (file, setup.control, setup.lifeline, setup.stacks, setup.scoreboard, setup.relay)
        fds = tuple(fd for fd in inherited if fd >= 0)
        environ = {name: text for name, text in self._loader.environ.items() if name not in ACTIVATION}
        command = [sys.executable, *_interpreter_options(), _MODULE, str(file)]
        try:
            pid = spawn.fork(_become(command, environ, self._loader.cwd, fds, theirs))
        except OSError:
            receiver.close()
            stacks.close()
            raise
        finally:
            theirs.close()
            os.close(file)
        self._molds[key] = _Mold(control)
        return pid, receiver, stacks

    def adopt(self, key: int, control: socket.socket) -> None:
        """A mold that the arbiter before this one has started; `control` is where it takes orders."""
        _become_subreaper()
        self._molds[key] = _Mold(control)

    def spawn(self, mold: int, order: Order) -> None:
        """Have a worker forked; it is told when its turn comes. Raises OSError if the mold is gone."""
        state = self._molds.get(mold)
        if state is None:
            raise OSError("its mold is gone")
        state.waiting.append(order)
        self._tell(state)

    def answered(self, worker: int) -> None:
        """What has become of a worker is known: there is room for another one's order."""
        for state in self._molds.values():
            if worker in state.asked:
                state.asked.discard(worker)
                self._tell(state)

    def reopen_logs(self) -> None:
        """Have all molds open their log files anew."""
        for state in self._molds.values():
            _try(state.end, ReopenLogs())

    def gone(self, key: int) -> None:
        """A mold has been reaped. Workers it was not yet asked for close their channels unborn."""
        state = self._molds.pop(key, None)
        if state is not None:
            for order in state.waiting:
                order.channel.close()

    def _tell(self, state: _Mold) -> None:
        while state.waiting and len(state.asked) < AT_ONCE:
            order = state.waiting.popleft()
            # One that cannot be told is dead or dying, and its end says what has become of its workers.
            _try(state.end, order.spawn, (order.channel.fileno(), *order.fds))
            order.channel.close()
            state.asked.add(order.spawn.key)


def _try(end: socket.socket, message: Message, fds: tuple[int, ...] = ()) -> None:
    try:
        give(end, message, fds)
    except OSError:
        pass


def _written(setup: MoldSetup) -> int:
    """A file without a name that holds the setup, to be read from its start."""
    file = StackFile()
    os.write(file.fd, encode(setup))
    os.lseek(file.fd, 0, os.SEEK_SET)
    return file.fd


def _become(
    command: list[str], environ: dict[str, str], cwd: str, fds: tuple[int, ...], control: socket.socket
) -> Callable[[], int]:
    """What the forked process does: turn into that command, with those descriptors and no others."""

    def child() -> int:
        try:
            os.setpgid(0, 0)
            reset_signals()
            for fd in fds:
                os.set_inheritable(fd, True)
            try:
                os.chdir(cwd)
            except OSError:
                pass  # the configuration says it better
            os.execve(command[0], command, environ)  # signals stay blocked until it has its handlers
        except OSError as error:
            problem = f"{command[0]} cannot be executed: {error.strerror}"
            Sender(control).send(BootFailed("interpreter", problem, "", ExitStatus.BOOT))
        return ExitStatus.BOOT

    return child


def reset_signals() -> None:
    """Before an exec: have every signal do what it does by default."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            pass  # the C library's own


def _interpreter_options() -> list[str]:
    """The options this interpreter was started with, and how to run a module likewise.

    `python -m arbiter` has the directory it is started in on its path, the `arbiter` script has not.
    """
    lead = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv)]
    if lead and lead[-1] == "-m":
        return lead
    return [*lead, "-P", "-m"]


def _become_subreaper() -> None:
    """Have orphaned descendants given to this process. It needs no privilege and is idempotent."""
    if SUPPORTED:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
