"""The pidfile.

Neighbours: `host` claims and releases it. Its one rule: it is there whole or not at all, and only its owner
removes it.
"""

from __future__ import annotations

import contextlib
import os

from arbiter.errors import FilesError


class Pidfile:
    """One pidfile; `path` "" means none is wanted."""

    def __init__(self, path: str) -> None:
        self.path = path

    def check(self) -> None:
        """Raises `FilesError` if another live process owns it; a stale one is no obstacle."""
        owner = self._owner()
        if owner and owner != os.getpid() and _alive(owner):
            raise FilesError(
                f"pidfile = {self.path!r}: process {owner} is running and owns it. "
                "Stop that arbiter first, or name another pidfile."
            )

    def claim(self) -> None:
        """Write this process's id. Raises `FilesError`."""
        if not self.path:
            return
        self.check()
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
                text = file.read(32).strip()
        except OSError:
            return 0
        return int(text) if text.isdigit() else 0


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # it lives, and belongs to somebody else
    return True
