"""The pidfile.

Neighbours: `host` claims and releases it, `procfs` tells what the process in it is. Its one rule: it is there
whole or not at all, and only its owner removes it. A process that merely has got the id of an arbiter that
crashed does not own it, or a site would stay down.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

from arbiter.errors import FilesError
from arbiter.supervisor.procfs import Root, text

OWNERS: Final = ("arbiter", "gunicorn")
"""What the command line, or the title, of a process has in it that may own a pidfile."""
SHOWN: Final = 80
"""Characters of a command line that are told."""


class Pidfile:
    """One pidfile; `path` "" means none is wanted. proc: where the system tells of its processes."""

    def __init__(self, path: str, proc: Root = "/proc") -> None:
        self.path = path
        self._proc = proc

    def check(self) -> str:
        """Raises `FilesError` if another live process owns it; a stale one is no obstacle.

        Returns a sentence for the log if the process that it names lives, but is something else; or "".
        """
        owner = self._owner()
        if not owner or owner == os.getpid() or not _alive(owner):
            return ""
        try:
            command = text(self._proc, str(owner), "cmdline").replace("\0", " ").strip()
        except OSError:
            pass  # the system does not tell; then it is better to ask the operator
        else:
            if not _may_own(command):
                what = repr(command[:SHOWN]) if command else "without a command line"
                return (
                    f"pidfile = {self.path!r} is stale, and taken over: process {owner}, which it names, "
                    f"is no arbiter ({what})."
                )
        raise FilesError(
            f"pidfile = {self.path!r}: process {owner} is running and owns it. "
            "Stop that arbiter first, or name another pidfile."
        )

    def claim(self) -> str:
        """Write this process's id; returns what `check` does. Raises `FilesError`."""
        if not self.path:
            return ""
        note = self.check()
        draft = f"{self.path}.{os.getpid()}"
        try:
            with open(draft, "w", encoding="ascii") as out:
                out.write(f"{os.getpid()}\n")
            os.rename(draft, self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise FilesError(
                f"pidfile = {self.path!r}: cannot be written: {error.strerror}. "
                "Name a file in a directory that exists and that this user may write to."
            ) from error
        return note

    def release(self) -> None:
        """Remove it, if it is still this process's."""
        if self.path and self._owner() == os.getpid():
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    def _owner(self) -> int:
        if not self.path:
            return 0
        try:
            with open(self.path, encoding="ascii", errors="replace") as file:
                said = file.read(32).strip()
        except OSError:
            return 0
        return int(said) if said.isdigit() else 0


def _may_own(command: str) -> bool:
    """Whether a process is an arbiter, or may be one: before it has its title it is a script's Python."""
    for name in OWNERS:
        if command.startswith(f"{name}: "):  # a title; workers and molds have one, too
            return command.startswith(f"{name}: master")
    return any(name in command for name in OWNERS)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # it lives, and belongs to somebody else
    return True
