"""Readers of an event loop of which one among several processes is woken (EPOLLEXCLUSIVE).

Neighbours: `dispatch.tasks` watches its listeners through it. Its one rule: the loop's own books stay right.
Where the system or the loop has no epoll, or it cannot be told which one it is, the loop's plain reader
stays, and a connection then wakes every idle worker.

Neither asyncio nor uvloop can ask for EPOLLEXCLUSIVE (Linux 4.5), and an epoll of our own inside of theirs
would wake everybody all the same. So the loop is first asked for a plain reader; then, in the loop's epoll,
which its entry in /proc tells, the registration is taken out and put back with the flag. Neither loop touches
a registration as long as it wants the same of it, and both bear it if it has gone when they take it out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
from collections.abc import Callable
from typing import Any, Final

TRIES: Final = 4
"""Turns of the loop within which it must have registered a reader (libuv does so before it waits)."""

_FLAGS: Final = getattr(select, "EPOLLIN", 0) | getattr(select, "EPOLLEXCLUSIVE", 0)


class ExclusiveReaders:
    """`add_reader` and `remove_reader` of a loop, with a pause in between that costs one system call."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll: Any = None
        self._known: dict[int, bool] = {}
        """What the loop has a reader for; True where its registration is ours."""
        self._watched: set[int] = set()

    def watch(self, fd: int, call: Callable[..., object], *args: Any) -> None:
        """Call when `fd` is readable, for the first time or again."""
        self._watched.add(fd)
        if self._known.get(fd):
            try:
                self._epoll.register(fd, _FLAGS)
            except OSError:
                self._known[fd] = False
                self._loop.remove_reader(fd)
            else:
                return
        self._loop.add_reader(fd, call, *args)
        if fd not in self._known:
            self._known[fd] = False
            if hasattr(select, "EPOLLEXCLUSIVE"):
                self._loop.call_soon(self._take_over, fd, TRIES)

    def unwatch(self, fd: int) -> None:
        """Not now. The loop may have a call under way, all the same."""
        self._watched.discard(fd)
        if self._known.get(fd):
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)
        else:
            self._loop.remove_reader(fd)
            self._known.pop(fd, None)

    def forget(self, fd: int) -> None:
        """`fd` is about to be closed."""
        self._watched.discard(fd)
        if fd in self._known:
            del self._known[fd]
            self._loop.remove_reader(fd)

    def close(self) -> None:
        """Give our handle of the loop's epoll back."""
        if self._epoll is not None:
            self._epoll.close()

    def _take_over(self, fd: int, tries: int) -> None:
        """Put the loop's registration of `fd` back as an exclusive one, once it is there."""
        if fd not in self._watched or self._known.get(fd) is not False:
            return
        if self._epoll is None:
            self._epoll = _epoll_with(fd)
        if self._epoll is not None:
            try:
                self._epoll.unregister(fd)
            except OSError:
                pass  # not registered yet
            else:
                self._known[fd] = True
                self._epoll.register(fd, _FLAGS)
                return
        if tries > 1:
            self._loop.call_soon(self._take_over, fd, tries - 1)


def _epoll_with(fd: int) -> Any:
    """A handle of the one epoll of this process in which `fd` is registered; None if there is no telling."""
    try:
        names = os.listdir("/proc/self/fdinfo")
    except OSError:
        return None
    registered = re.compile(rf"^tfd:\s+{fd}\s", re.MULTILINE)
    found = []
    for name in names:
        with contextlib.suppress(OSError), open(f"/proc/self/fdinfo/{name}") as file:
            if registered.search(file.read()):
                found.append(int(name))
    if len(found) != 1:
        return None
    return select.epoll.fromfd(os.dup(found[0]))  # the handle closes its descriptor: not the loop's own
