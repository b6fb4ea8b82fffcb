"""Stacks asked for and not yet handed out.

Neighbours: `arbiter` asks, for its log and for `arbiterctl`, and comes back; `link.stacks` is the file a
worker writes to. Its one rule: asking does not wait. The worker's C code answers within a millisecond, its
event loop (for the tasks) a little later, and one text holds all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from arbiter.link.stacks import DUMP_SIGNAL, StackFile, trim
from arbiter.observe.logs import Log
from arbiter.supervisor.book import FOREVER
from arbiter.supervisor.procfs import memory_kib, sample

PATIENCE: Final = 0.2
"""Seconds in which a dump should have been written."""
LOOKS: Final = 2
"""Looks in that time; a dump is whole when the second has found as much as the first."""
LONGEST: Final = 1.0
"""Seconds given to a worker that gets no processor."""


@dataclass(slots=True)
class _Asked:
    key: int
    due: float
    last: float
    then: Callable[[str], None]
    size: int = 0
    """Bytes there were at the last look."""


class Dumps:
    """The stack files of all children, by key, and who waits for what is written into one.

    name: gives a child's name in the log and its fields, by its key.
    """

    def __init__(
        self,
        log: Log,
        send: Callable[[int, int], None],
        name: Callable[[int], tuple[str, Mapping[str, Any]]],
    ) -> None:
        self._log = log
        self._name = name
        self._send = send
        self._files: dict[int, StackFile] = {}
        self._asked: list[_Asked] = []

    @property
    def due(self) -> float:
        """When to call `collect` (monotonic s)."""
        return min((one.due for one in self._asked), default=FOREVER)

    def hand_over(self) -> dict[int, int]:
        """The descriptors of the files, by key. To be called when nobody waits for stacks."""
        return {key: file.fd for key, file in self._files.items()}

    def add(self, key: int, file: StackFile) -> None:
        """A child has been born with `file`."""
        self._files[key] = file

    def ask(self, key: int, now: float, then: Callable[[str], None]) -> None:
        """Have child `key` write its stacks; `then` gets them, "" if it writes none."""
        self._send(key, DUMP_SIGNAL)
        self._asked.append(_Asked(key, now + PATIENCE / LOOKS, now + LONGEST, then))

    def collect(self, now: float) -> None:
        """Hand out what is due."""
        due = [one for one in self._asked if one.due <= now]
        for one in due:
            file = self._files.get(one.key)
            size = file.size() if file is not None else 0
            if one.last <= now or file is None or 0 < size == one.size:
                self._hand_out(one.key)
            else:
                one.size = size
                one.due = min(now + PATIENCE / LOOKS, one.last)

    def bury(self, key: int) -> None:
        """Child `key` is dead: hand out or log what it still had to say and let its file go."""
        self._hand_out(key)
        file = self._files.pop(key, None)
        if file is None:
            return
        if file.written():
            said = trim(file.take())
            who, fields = self._name(key)
            text = "last words of %s:\n%s"
            self._log.error(text, who, said, event="worker.last_words", fields=dict(fields))
        file.close()

    def abandon(self) -> None:
        """In a forked child: the others' files are not its own."""
        for file in self._files.values():
            file.close()

    def _hand_out(self, key: int) -> None:
        """Whoever waits for this child gets the same: the file holds all that it was made to write."""
        mine = [one for one in self._asked if one.key == key]
        if not mine:
            return
        self._asked = [one for one in self._asked if one.key != key]
        file = self._files.get(key)
        stacks = trim(file.take()) if file is not None else ""
        for one in mine:
            one.then(stacks)


def resources(pid: int) -> str:
    """ " (12.3 s of CPU, 73 MiB RSS, 15 MiB of its own)", or as much as the kernel tells."""
    parts = []
    now = sample(pid)
    if now is not None:
        parts.append(f"{now.cpu:.1f} s of CPU")
    memory = memory_kib(pid)
    if memory:
        parts.append(f"{memory['rss'] // 1024} MiB RSS, {memory['uss'] // 1024} MiB of its own")
    return f" ({', '.join(parts)})" if parts else ""
