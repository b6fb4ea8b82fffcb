"""What one arbiter hands to the next in an upgrade in place: the state, in plain values and descriptors.

Neighbours: `inventory` fills it in, `upgrade` carries it through the exec, `heir` makes an arbiter of it,
`plain` turns it into JSON. Its one rule: everything that shall survive stands here, with a number for its
form; an arbiter that does not know the form refuses, before anything has happened.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from arbiter.config.address import Address
from arbiter.config.memory import Remembered
from arbiter.link.stacks import StackFile
from arbiter.supervisor.book import Book
from arbiter.supervisor.journal import JournalRecord
from arbiter.supervisor.ledger import LedgerRecord
from arbiter.supervisor.output import PipeRecord
from arbiter.supervisor.outside import OutsideRecord
from arbiter.supervisor.plain import from_plain, to_plain
from arbiter.supervisor.watch import ChildRecord
from arbiter.version import PYTHON, __version__

FORM: Final = 1
"""To be raised with any change that a program of the form before would misread: here, in the messages of
`link` (old molds and workers go on speaking them) or in the rows of the scoreboard. A field that is new and
has a default, or is gone, needs no new number. `tests/house/form.py` keeps the shapes and sees a change.
"""


@dataclass(frozen=True, slots=True)
class ListenerRecord:
    """A listening socket; see `listeners.Listener`."""

    fd: int
    address: Address
    path: str


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """A generation that may still be forked from; `listeners` are indices of `State.listeners`."""

    number: int
    config: Remembered
    listeners: list[int]


@dataclass(frozen=True, slots=True)
class State:
    """See the module's text. `started` is monotonic (s), `rows` gives the row of the scoreboard by child key,
    `stacks` the descriptor of its stack file; `lifeline` is the pipe, its read end first.
    """

    pid: int
    started: float
    book: Book
    scoreboard: int
    relay: int
    """The scoreboard's, -1 if there is none."""
    size: int
    """The rows that the scoreboard has."""
    rows: dict[int, int]
    lifeline: tuple[int, int]
    children: list[ChildRecord]
    stacks: dict[int, int]
    pipes: list[PipeRecord]
    listeners: list[ListenerRecord]
    generations: list[GenerationRecord]
    current: int
    began: Remembered
    """See `estate`."""
    outside: OutsideRecord
    journal: JournalRecord
    ledger: LedgerRecord
    version: str = __version__
    python: str = field(default=PYTHON)

    def descriptors(self) -> Iterator[int]:
        """All descriptors that go through the exec."""
        yield self.scoreboard
        if self.relay >= 0:
            yield self.relay
        yield from self.lifeline
        yield from (child.channel for child in self.children)
        yield from self.stacks.values()
        yield from (pipe.fd for pipe in self.pipes)
        yield from (listener.fd for listener in self.listeners)
        control, metrics = self.outside.control, self.outside.metrics
        if control is not None:
            yield control.fd
            yield from (session.fd for session in control.sessions)
        if metrics is not None:
            yield metrics.fd
            yield from (fd for fd, _ in metrics.connections)


class FormError(ValueError):
    """A state that cannot be taken over, and why."""


def encode(state: State) -> bytes:
    """The state as bytes."""
    return json.dumps({"form": FORM, "version": __version__, "state": to_plain(state)}).encode("ascii")


def decode(data: bytes) -> State:
    """The state. Raises `FormError`."""
    try:
        said: Any = json.loads(data)
        form, version = said["form"], said["version"]
    except (ValueError, TypeError, KeyError):
        raise FormError("this is no arbiter's state") from None
    if form != FORM:
        raise FormError(
            f"arbiter {version}, which runs, hands its state over in form {form}; arbiter {__version__}, "
            f"which is installed, knows form {FORM}. Only a restart leads from the one to the other."
        )
    try:
        state: State = from_plain(State, said["state"])
    except (ValueError, TypeError, KeyError) as error:
        raise FormError(
            f"the state of arbiter {version} does not fit arbiter {__version__}: {error}"
        ) from error
    return state


def write(state: State) -> int:
    """The descriptor of a file without a name that holds the state. Raises OSError."""
    file = StackFile()
    data = memoryview(encode(state))
    try:
        while data:
            data = data[os.write(file.fd, data) :]
        os.lseek(file.fd, 0, os.SEEK_SET)
    except OSError:
        file.close()
        raise
    return file.fd


def read(fd: int) -> State:
    """The state in a file; the descriptor is closed. Raises `FormError`."""
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        with open(fd, "rb") as file:
            data = file.read()
    except OSError as error:
        raise FormError(f"the state cannot be read: {error.strerror}") from error
    return decode(data)
