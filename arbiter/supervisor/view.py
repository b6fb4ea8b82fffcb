"""An arbiter as its visitors see it.

Neighbours: `arbiter` fills it in; `answers`, `plane` and `exporter` read it. Its one rule: reading only; who
wants something done asks the policy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from arbiter.control.session import Fault, FaultKind
from arbiter.counted import counted
from arbiter.link.scoreboard import Row, Scoreboard
from arbiter.supervisor.book import FOREVER, Book, Child, Phase
from arbiter.supervisor.generation import Generation
from arbiter.supervisor.journal import Journal
from arbiter.supervisor.ledger import Ledger, Living
from arbiter.supervisor.procfs import glance, memory_kib

FRESH: Final = 5.0
"""Seconds for which a measured size is taken as it is."""
BUDGET: Final = 8
"""Workers whose memory is measured for one question; it costs a millisecond each."""
HELD: Final = {"T": "stopped", "t": "traced"}
"""States of proc_pid_stat(5) in which a process does not run, in words."""


@dataclass
class View:
    """See the module's text. `current` gives the generation in force, `started` is monotonic (s)."""

    book: Book
    scoreboard: Scoreboard
    rows: dict[int, int]
    current: Callable[[], Generation]
    journal: Journal
    ledger: Ledger
    started: float
    glance: Callable[[int], tuple[str, float]] = glance
    measure: Callable[[int], dict[str, int]] = memory_kib

    def __post_init__(self) -> None:
        self.pid = os.getpid()
        self.needed = 0
        """Workers that the load asks for, while their number follows it; else 0. The scaler writes it."""
        self._sizes: dict[int, tuple[float, dict[str, int]]] = {}

    def row(self, key: int) -> Row | None:
        """The scoreboard's row of a child; None before it is forked."""
        index = self.rows.get(key)
        return None if index is None else self.scoreboard.row(index)

    def living(self) -> list[Living]:
        """Every child that has a row."""
        children = self.book.children
        return [
            Living(key, children[key].slot, children[key].pid, self.scoreboard.row(row))
            for key, row in self.rows.items()
            if key in children
        ]

    def held(self, pid: int) -> str:
        """ "stopped" or "traced" if somebody keeps the process from running, else ""."""
        return HELD.get(self.glance(pid)[0], "") if pid else ""

    def readiness(self) -> tuple[int, str]:
        """How many workers serve, and why this server is not ready ("" if it is)."""
        book = self.book
        serving = [child for child in book.serving() if not self.held(child.pid)]
        wanted = min(self.current().config.min_ready, len(book.slots))
        if book.phase is Phase.STARTING:
            why = "starting"
        elif book.phase is Phase.STOPPING or book.leave_at != FOREVER:
            why = "stopping"
        elif book.withheld:
            why = "drained by an operator"
        elif len({child.slot for child in serving}) < wanted:
            why = f"{counted(len(serving), 'worker serves', 'workers serve')}, min_ready = {wanted}"
        else:
            why = ""
        return len(serving), why

    def sizes(self, now: float) -> dict[int, dict[str, int]]:
        """The memory of every worker and mold in KiB, by key, as far as it was measured: the stalest are
        measured anew, a few at a time.
        """
        book = self.book
        known = {key: self._sizes.get(key, (-FOREVER, {})) for key in (*self.rows, *book.molds)}
        stale = sorted((when, key) for key, (when, _) in known.items() if now - when >= FRESH)
        for _, key in stale[:BUDGET]:
            child = book.children.get(key) or book.molds.get(key)
            known[key] = (now, self.measure(child.pid) if child and child.pid else {})
        self._sizes = known
        return {key: sizes for key, (_, sizes) in known.items()}

    def find(self, text: str) -> Child:
        """The child meant by a worker's number or process id. Raises `Fault`."""
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            raise Fault(FaultKind.USAGE, f"{text!r} is neither a worker's number nor a process id")
        number = int(text)
        children = list(self.book.children.values())
        mine = [child for child in children if child.slot == number]
        serving = [child for child in mine if child in list(self.book.serving())]
        for child in [*serving, *reversed(mine), *(one for one in children if one.pid == number)]:
            return child
        there = ", ".join(str(slot) for slot in sorted({child.slot for child in children})) or "none"
        raise Fault(FaultKind.REFUSED, f"there is no worker {number}; there are: {there}")
