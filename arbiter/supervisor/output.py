"""What workers print (`capture_output`), line by line into the log under the worker's name.

Neighbours: `link.output` is the workers' end, `watch` says when there is something to read. Its one rule:
nothing printed is lost with its worker, and nothing printed can hold up the arbiter: a little is read at a
time, and a worker that prints faster than that waits in its own write.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from arbiter.link.output import STREAMS
from arbiter.observe.logs import Log
from arbiter.supervisor import events as ev
from arbiter.supervisor.watch import Watch

BLOCK: Final = 16 * 1024
"""Bytes read at a time; the others have their turn in between."""
LONGEST: Final = 8 * 1024
"""Bytes of a line; what is longer is broken up."""
LAST: Final = 256 * 1024
"""Bytes read at most of what a dead worker has left: no pipe holds more unless it was told to."""


@dataclass(slots=True)
class _Pipe:
    fd: int
    key: int
    stream: str
    log: Log
    held: bytes = b""
    """The beginning of a line."""


@dataclass(frozen=True, slots=True)
class PipeRecord:
    """A pipe as one arbiter hands it to the next; `held` is the beginning of a line, `who` and `fields` are
    the worker's name, which may be dead.
    """

    fd: int
    key: int
    stream: str
    who: str
    fields: dict[str, Any]
    held: bytes = b""


class Outputs:
    """The pipes of all workers.

    name: gives a worker's name in the log and its fields, by its key.
    """

    def __init__(self, watch: Watch, name: Callable[[int], tuple[str, Mapping[str, Any]]]) -> None:
        self._watch = watch
        self._name = name
        self._pipes: dict[int, _Pipe] = {}

    def take(self, key: int, fds: Sequence[int]) -> None:
        """Worker `key` prints into the pipes whose read ends these are."""
        who, fields = self._name(key)
        for stream, fd in zip(STREAMS, fds, strict=False):
            os.set_blocking(fd, False)
            self.adopt(PipeRecord(fd, key, stream, who, dict(fields)))

    def hand_over(self) -> list[PipeRecord]:
        """All of them."""
        return [
            PipeRecord(pipe.fd, pipe.key, pipe.stream, pipe.log.who, pipe.log.context, pipe.held)
            for pipe in self._pipes.values()
        ]

    def adopt(self, record: PipeRecord) -> None:
        """Read on where another arbiter has stopped."""
        log = Log(record.who, record.fields)
        pipe = self._pipes[record.fd] = _Pipe(record.fd, record.key, record.stream, log, record.held)
        self._watch.add_reader(record.fd, partial(self._readable, pipe))

    def bury(self, key: int) -> None:
        """Worker `key` is dead: all that it printed goes into the log before its death does.

        What it started may print on.
        """
        for pipe in [pipe for pipe in self._pipes.values() if pipe.key == key]:
            for _ in range(0, LAST, BLOCK):
                if not self._read(pipe):
                    break
            self._finish(pipe)

    def abandon(self) -> None:
        """In a forked child: the others' pipes are not its own."""
        for fd in self._pipes:
            os.close(fd)

    def _readable(self, pipe: _Pipe) -> Iterable[ev.Event]:
        self._read(pipe)
        return ()

    def _read(self, pipe: _Pipe) -> bool:
        """Take in a block; False if there is nothing (more)."""
        if pipe.fd not in self._pipes:
            return False
        try:
            data = os.read(pipe.fd, BLOCK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._watch.remove_reader(pipe.fd)
            del self._pipes[pipe.fd]
            with contextlib.suppress(OSError):
                os.close(pipe.fd)
            self._finish(pipe)
            return False
        whole, newline, rest = (pipe.held + data).rpartition(b"\n")
        if len(rest) > LONGEST:
            whole, newline, rest = whole + newline + rest, b"\n", b""
        pipe.held = rest
        self._say(pipe, whole)
        return True

    def _finish(self, pipe: _Pipe) -> None:
        """What has been begun will not be ended by a line feed."""
        rest, pipe.held = pipe.held, b""
        self._say(pipe, rest)

    def _say(self, pipe: _Pipe, lines: bytes) -> None:
        if lines:
            pipe.log.output(pipe.stream, lines.decode("utf-8", "backslashreplace"))
