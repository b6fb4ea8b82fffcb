"""What was decided lately, and how often: the arbiter's memory of its own words.

Neighbours: `arbiter` writes down what the policy says and what `dumps` brings, the control plane reads and
follows it, metrics count it. Its one rule: bounded, in records and in bytes, whatever happens.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

MOST: Final = 1000
"""Records kept."""
MOST_BYTES: Final = 256 * 1024
"""Characters of text kept over all of them."""
MOST_TEXT: Final = 16 * 1024
"""Characters of one record that are kept; who listens gets all."""
MOST_DUMPS: Final = 32
CAUSES: Final = frozenset(
    {"max_requests", "max_worker_age", "max_worker_memory", "max_worker_memory_hard", "recycled"}
)
"""First words of the reasons for which a worker is replaced."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One record. `time` is wall clock (s), `level` as in `logging`, `name` as in `control.happenings`."""

    number: int
    time: float
    level: int
    name: str
    text: str
    fields: Mapping[str, Any]

    def plain(self) -> dict[str, Any]:
        """As it goes over the wire."""
        return {
            "number": self.number,
            "time": self.time,
            "level": self.level,
            "name": self.name,
            "text": self.text,
            "fields": dict(self.fields),
        }


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """A journal as one arbiter hands it to the next."""

    number: int
    names: Counter[str]
    causes: Counter[str]
    kept: list[Happening]
    dumps: list[dict[str, Any]]


class Journal:
    """See the module's text. `clock` gives wall-clock seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.number = 0
        """That of the latest record."""
        self.names: Counter[str] = Counter()
        """How often each name was said."""
        self.causes: Counter[str] = Counter()
        """Why workers were replaced."""
        self.followers: list[Callable[[Happening], None]] = []
        self._clock = clock
        self._kept: deque[Happening] = deque()
        self._bytes = 0
        self._dumps: deque[dict[str, Any]] = deque(maxlen=MOST_DUMPS)

    def add(self, level: int, name: str, text: str, fields: Mapping[str, Any]) -> Happening:
        """Write one record down and tell it to who follows."""
        self.number += 1
        happening = Happening(self.number, self._clock(), level, name, text, fields)
        self._count(name, fields)
        self._keep(happening)
        for follower in list(self.followers):
            follower(happening)
        return happening

    def add_dump(self, level: int, name: str, text: str, fields: Mapping[str, Any], stacks: str) -> None:
        """Write down a record that has stacks."""
        happening = self.add(level, name, text, fields)
        self._dumps.append({**happening.plain(), "stacks": stacks[:MOST_TEXT]})

    def hand_over(self) -> JournalRecord:
        """All of it."""
        return JournalRecord(self.number, self.names, self.causes, list(self._kept), list(self._dumps))

    def adopt(self, record: JournalRecord) -> None:
        """Go on where another arbiter has stopped."""
        self.number = record.number
        self.names.update(record.names)
        self.causes.update(record.causes)
        for happening in record.kept:
            self._keep(happening)
        self._dumps.extend(record.dumps)

    def recent(self, count: int = MOST, level: int = 0) -> list[Happening]:
        """The last `count` records of at least `level`, the oldest first."""
        chosen = [happening for happening in self._kept if happening.level >= level]
        return chosen[-count:] if count > 0 else []

    def since(self, number: int) -> list[Happening]:
        """The records after record `number`, as far as they are kept."""
        return [happening for happening in self._kept if happening.number > number]

    def dumps(self, count: int = MOST_DUMPS) -> list[dict[str, Any]]:
        """The last `count` records with stacks, the oldest first."""
        return list(self._dumps)[-count:] if count > 0 else []

    def _keep(self, happening: Happening) -> None:
        if len(happening.text) > MOST_TEXT:
            cut = f"{happening.text[: MOST_TEXT // 2]}\n...\n{happening.text[-MOST_TEXT // 2 :]}"
            happening = Happening(
                happening.number, happening.time, happening.level, happening.name, cut, happening.fields
            )
        self._kept.append(happening)
        self._bytes += len(happening.text)
        while len(self._kept) > MOST or self._bytes > MOST_BYTES:
            self._bytes -= len(self._kept.popleft().text)

    def _count(self, name: str, fields: Mapping[str, Any]) -> None:
        self.names[name] += 1
        if name == "worker.retiring":
            found = re.match(r"\w+", str(fields.get("reason", "")))
            self.causes[found[0] if found and found[0] in CAUSES else "other"] += 1
        elif name in ("worker.died", "worker.stuck", "worker.killed", "worker.boot_failed"):
            self.causes[name.partition(".")[2]] += 1
