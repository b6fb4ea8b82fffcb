"""Upgrade in place, the old program's side: let what is installed prove itself, then become it.

Neighbours: `policy` says when, `arbiter` calls, `handover` is what is passed on, `heir` the other side. Its
one rule: until the exec has happened nothing is given up, so whatever fails before it has cost nothing. An
exec keeps the process: its pid, its children (PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER outlive it,
prctl(2)), its pending signals, and the descriptors that are let through.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from arbiter.config.sources import Loader
from arbiter.config.system import join
from arbiter.errors import ExitStatus
from arbiter.link import spawn
from arbiter.supervisor import events as ev
from arbiter.supervisor import handover
from arbiter.supervisor.book import FOREVER
from arbiter.supervisor.errand import OPTION
from arbiter.supervisor.foundry import ACTIVATION, reset_signals
from arbiter.supervisor.handover import State
from arbiter.supervisor.watch import Watch
from arbiter.version import PYTHON, __version__

SAID: Final = 16 * 1024
"""Bytes of what a proof prints that are kept, the last ones."""
VERDICT: Final = 4096
"""Bytes of a verdict that are read."""
_LINES: Final = 1024
"""Bytes of a script in which its interpreter is named."""


# -- the installation as started


@dataclass(frozen=True, slots=True)
class Installation:
    """How to start arbiter as it was started: `head`, then an errand, then `tail`, in `cwd`."""

    head: list[str]
    tail: list[str]
    cwd: str
    environ: dict[str, str]

    def command(self, errand: str) -> list[str]:
        """The command line with an errand."""
        return [*self.head, f"{OPTION}{errand}", *self.tail]


def installation(
    loader: Loader, argv: Sequence[str] = sys.argv, orig_argv: Sequence[str] = ()
) -> Installation:
    """The installation as started; to be called at the start, for later it may be another.

    A script that names its interpreter is started by its own path, as it was, so that the one of a new
    virtual environment behind the same path is found; else it is the interpreter's path that stays.
    """
    orig_argv = orig_argv or sys.orig_argv
    given = len(orig_argv) - len(argv)
    lead, tail = orig_argv[1:given], list(argv[1:])
    interpreter = orig_argv[0] if os.sep in orig_argv[0] else sys.executable
    if _runs_by_itself(join(loader.cwd, argv[0]), [os.path.basename(orig_argv[0]), *lead]):
        head = [argv[0]]
    else:
        head = [interpreter, *orig_argv[1 : given + 1]]
    environ = {name: text for name, text in loader.environ.items() if name not in ACTIVATION}
    return Installation(head, tail, loader.cwd, environ)


def _runs_by_itself(script: str, words: Sequence[str]) -> bool:
    """Whether it is an executable script whose first two lines (`#!`, or `#!/bin/sh` and an exec, for a long
    path) have these words.
    """
    try:
        with open(script, "rb") as file:
            start = b"\n".join(file.read(_LINES).splitlines()[:2])
    except OSError:
        return False
    named = all(os.fsencode(word) in start for word in words)
    return start.startswith(b"#!") and named and os.access(script, os.X_OK)


# -- the proof


class Proof:
    """One attempt of what is installed to show that it can take over.

    It runs as a process of its own, with the state and the command line as they will be. `verdict` and
    `output` are descriptors to be read (`hear`, `listen`) whenever there is something. Raises OSError if
    there can be no process.
    """

    def __init__(self, installed: Installation, state: State, deadline: float) -> None:
        self.deadline = deadline
        self._said = b""
        self._printed = b""
        file = handover.write(state)
        self.verdict, verdict = os.pipe()
        self.output, output = os.pipe()
        os.set_blocking(self.verdict, False)
        os.set_blocking(self.output, False)
        try:
            passed = (file, verdict, *state.descriptors())
            self.pid = spawn.fork(_prover(installed, f"prove:{file}:{verdict}", passed, output))
        except OSError:
            os.close(self.verdict)
            os.close(self.output)
            raise
        finally:
            for fd in (file, verdict, output):
                os.close(fd)
        self._pidfd = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else -1

    def hear(self) -> bool:
        """Read the verdict; True when it is complete."""
        try:
            data = os.read(self.verdict, VERDICT)
        except BlockingIOError:
            return False
        self._said += data[: VERDICT - len(self._said)]
        return not data

    def listen(self) -> bool:
        """Read what it prints; False when nothing more comes, for now or at all."""
        try:
            data = os.read(self.output, SAID)
        except BlockingIOError:
            return False
        self._printed = (self._printed + data)[-SAID:]
        return bool(data)

    @property
    def version(self) -> str:
        """What has proved itself ("arbiter 0.2.0 on Python 3.12.1"); "" if nothing has."""
        try:
            said = json.loads(self._said)
            return f"arbiter {said['arbiter']} on Python {said['python']}"
        except (ValueError, TypeError, KeyError):
            return ""

    @property
    def report(self) -> str:
        """What it printed."""
        return self._printed.decode("utf-8", "replace").strip()

    def end(self) -> None:
        """Kill what is left of it; the arbiter's reaper does the rest."""
        os.close(self.verdict)
        os.close(self.output)
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                # It leads a group, which is its own as long as it is not reaped.
                signal.pidfd_send_signal(self._pidfd, 0)
                if os.getpgid(self.pid) == self.pid:
                    os.killpg(self.pid, signal.SIGKILL)
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            os.close(self._pidfd)

    def abandon(self) -> None:
        """In a forked child: none of it is its own."""
        os.close(self.verdict)
        os.close(self.output)
        if self._pidfd >= 0:
            os.close(self._pidfd)


def _prover(installed: Installation, errand: str, passed: Iterable[int], output: int) -> Callable[[], int]:
    """What the forked process does: turn into the installation, with an errand and these descriptors."""

    def child() -> int:
        try:
            os.setpgid(0, 0)
            reset_signals()
            for fd in (1, 2):
                os.dup2(output, fd)
            for fd in passed:
                os.set_inheritable(fd, True)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.chdir(installed.cwd)
            command = installed.command(errand)
            os.execve(command[0], command, installed.environ)
        except OSError as error:
            os.write(output, f"{error.filename}: {error.strerror}\n".encode())
        return ExitStatus.FAILURE

    return child


# -- the exec


class Succession:
    """The upgrade that is under way, if one is."""

    def __init__(self, watch: Watch, installed: Installation) -> None:
        self._watch = watch
        self._installed = installed
        self._proof: Proof | None = None

    @property
    def due(self) -> float:
        """When to call `late` (monotonic s)."""
        return self._proof.deadline if self._proof else FOREVER

    def prove(self, gather: Callable[[], State], deadline: float) -> list[ev.Event]:
        """Have what is installed prove itself until then; what is known at once."""
        try:
            proof = self._proof = Proof(self._installed, gather(), deadline)
        except OSError as error:
            return [ev.Unproved(f"no process for what is installed to prove itself in: {error}")]
        except Exception as error:  # nothing that an arbiter should end for
            return [_unsaid(error)]
        self._watch.add_reader(proof.verdict, lambda: self._heard(proof))
        self._watch.add_reader(proof.output, lambda: self._listen(proof))
        return []

    def late(self) -> ev.Event:
        """The time for it is over."""
        report = self._proof.report if self._proof else ""
        self.end()
        return ev.Unproved("what is installed did not prove itself within boot_timeout", report)

    def end(self) -> None:
        """Let the proof go, whatever has become of it."""
        if self._proof is not None:
            self._watch.remove_reader(self._proof.verdict)
            self._watch.remove_reader(self._proof.output)
            self._proof.end()
            self._proof = None

    def abandon(self) -> None:
        """In a forked child: none of it is its own."""
        if self._proof is not None:
            self._proof.abandon()

    def _listen(self, proof: Proof) -> Iterable[ev.Event]:
        if proof is self._proof and not proof.listen():
            self._watch.remove_reader(proof.output)
        return ()

    def _heard(self, proof: Proof) -> Iterable[ev.Event]:
        if proof is not self._proof or not proof.hear():
            return
        while proof.listen():
            pass
        version, report = proof.version, proof.report
        self.end()
        if version:
            yield ev.Proved(version, program())
        else:
            problem = f"what is installed ({self._installed.head[0]}) cannot take over"
            yield ev.Unproved(problem, report or "It said nothing.")

    def replace(self, gather: Callable[[], State], pre_exec: Callable[[], None]) -> ev.Event:
        """Become what is installed; if this returns, it could not be. `pre_exec` is the operator's hook."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            # What comes from here on is pending, and stays so through the exec.
            if self._watch.signalled():
                return ev.Unripe()
            try:
                pre_exec()
            except Exception as error:
                problem = f"the hook pre_exec raised {type(error).__name__}: {error}"
                return ev.Unproved(problem, traceback.format_exc().rstrip())
            return ev.Unproved(_become(self._installed, gather()))
        except Exception as error:
            return _unsaid(error)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _unsaid(error: Exception) -> ev.Unproved:
    """The state cannot be put into words: a bug in arbiter."""
    problem = f"the state cannot be handed over: {type(error).__name__}: {error}"
    return ev.Unproved(problem, traceback.format_exc().rstrip())


def program() -> str:
    """The program that runs here."""
    return f"arbiter {__version__} on Python {PYTHON}"


def _become(installed: Installation, state: State) -> str:
    """Exec what is installed, which then takes over; returns only if that cannot be, with the reason.

    To be called with all signals blocked: those that come meanwhile wait for the new program.
    """
    passed = sorted(set(state.descriptors()))
    try:
        here = os.open(".", os.O_RDONLY)
    except OSError:
        here = -1
    file = -1
    try:
        file = handover.write(state)
        for fd in (file, *passed):
            os.set_inheritable(fd, True)
        os.chdir(installed.cwd)
        sys.stdout.flush()
        sys.stderr.flush()
        command = installed.command(f"take:{file}")
        os.execve(command[0], command, installed.environ)
    except OSError as error:
        problem = f"{installed.head[0]} cannot be executed: {error.strerror}"
        for fd in passed:
            os.set_inheritable(fd, False)
        if here >= 0:
            with contextlib.suppress(OSError):
                os.fchdir(here)
        return problem
    finally:
        for fd in (file, here):
            if fd >= 0:
                os.close(fd)
