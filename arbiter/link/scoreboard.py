"""The scoreboard: one row of shared memory per worker process, written by the worker, read by the arbiter.

Neighbours: the arbiter makes it before the first fork and reads it at any time, also while every worker
hangs; a worker writes its own row and reads those of its siblings. Its one rule: one writer per row, and a
number is one aligned 64-bit store through a memoryview cast to "Q", so that a reader never sees half of it
(`struct.pack_into` clears the bytes first, and a concurrent reader sees zeros).

It lives in memory that has a descriptor and no name (memfd_create(2)), so that a mold, which is no child by
fork, can map it too: no file, no disk that could stall a heartbeat, nothing to tune in a container. Untouched
rows cost no memory. Where there is no memfd, an unlinked temporary file takes its place.
"""

from __future__ import annotations

import enum
import mmap
import os
import threading
import time
from typing import Final, NamedTuple, TypeVar

from arbiter.link.relay import Relay

ROW_BYTES: Final = 16384
WORD: Final = 8
ROW_WORDS: Final = ROW_BYTES // WORD

LATENCY_BUCKETS: Final = 28
"""Bucket b counts durations below 2**b * 65,536 ns; the last one has no upper bound."""
LATENCY_SHIFT: Final = 16
LANES: Final = 64
"""Requests in work that have a lane of their own (text, age); further ones are only counted."""
NO_LANE: Final = -1
LANE_WORDS: Final = 16
LANE_TEXT: Final = (LANE_WORDS - 2) * WORD
"""Bytes of "GET /path" that a lane keeps."""


class State(enum.IntEnum):
    """What a worker says of itself in its row."""

    FREE = 0
    BOOTING = 1
    READY = 2
    DRAINING = 3


class Word(enum.IntEnum):
    """Index of each number within a row; the unit is in the name or the comment."""

    PID = 0
    SLOT = 1
    GENERATION = 2
    STATE = 3
    BEAT_NS = 4  # monotonic; the loop turned
    OVERFLOW = 6  # requests in work beyond the lanes
    CONNECTIONS = 7
    ACCEPTED = 8
    REQUESTS = 9
    STATUS_1XX = 10
    STATUS_2XX = 11
    STATUS_3XX = 12
    STATUS_4XX = 13
    STATUS_5XX = 14
    BYTES_OUT = 15
    BAD_REQUESTS = 16  # refused before the application was called
    LOOP_LAG_NS = 17
    WEBSOCKETS = 18
    STARTED_NS = 19  # monotonic; when the process began
    DURATION_NS = 20  # of all requests together
    LOG_LEVEL = 21  # written by the arbiter before it says "reopen the logs"; 0: as configured
    ACCEPTING = (
        22  # 1: it watches its listeners, or will in no time; else since when it does not (monotonic ns)
    )
    FETCHING = 23  # requests whose application fetches the body itself, at its client's pace
    LATENCY = 64  # LATENCY_BUCKETS words
    LANES = 128  # LANES times: since when (monotonic ns, 0 = free), length of the text, the text
    EXTENSIONS = 1152  # LANES times: of the request that began then, how many ns more it was given


class Lane(NamedTuple):
    """A request in work, as a reader sees it."""

    number: int
    since_ns: int
    """Monotonic."""
    text: str
    """"GET /path", bytes that are not ASCII escaped."""
    extra_ns: int = 0
    """By how much the application has moved its deadlines."""


_STATUS_BASE: Final = int(Word.STATUS_1XX) - 1
_OVERFLOW: Final = int(Word.OVERFLOW)
_REQUESTS: Final = int(Word.REQUESTS)
_BYTES: Final = int(Word.BYTES_OUT)
_DURATION: Final = int(Word.DURATION_NS)
_LATENCY: Final = int(Word.LATENCY)
_LANES: Final = int(Word.LANES)
_EXTENSIONS: Final = int(Word.EXTENSIONS)
_LAST_BUCKET: Final = LATENCY_BUCKETS - 1
_METHODS: Final = ("GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS")
_METHOD_CODES: Final = {name: (number + 1) << 16 for number, name in enumerate(_METHODS)}
"""Added to the length of a lane's text: the usual methods are not written out."""
_SPOTS: Final = [
    (_LANES + lane * LANE_WORDS, (_LANES + lane * LANE_WORDS + 2) * WORD) for lane in range(LANES)
]
"""Of each lane: its first word, and the offset of its text in bytes."""


class Row:
    """One worker's row. Not safe for several threads: see `SharedRow`."""

    __slots__ = ("_free", "_memory", "_offset", "index", "words")

    def __init__(self, memory: mmap.mmap, index: int) -> None:
        self.index = index
        self._memory = memory
        self._offset = index * ROW_BYTES
        self._free = list(range(LANES - 1, -1, -1))
        self.words: memoryview = memoryview(memory)[self._offset : self._offset + ROW_BYTES].cast("Q")

    # -- the worker's hot path

    def begin(self, method: str, target: bytes, now_ns: int) -> int:
        """A request starts, before the application is called; its lane, to be given to `end`."""
        words = self.words
        try:
            lane = self._free.pop()
        except IndexError:
            self.add(Word.OVERFLOW)
            return NO_LANE
        at, text = _SPOTS[lane]
        text += self._offset
        size = len(target)
        code = _METHOD_CODES.get(method)
        if code is None or size > LANE_TEXT:
            target = target if code is not None else b"%b %b" % (method.encode("ascii", "replace"), target)
            target = target[:LANE_TEXT]
            size = len(target)
        words[at + 1] = size if code is None else code + size
        self._memory[text : text + size] = target
        words[at] = now_ns
        return lane

    def end(self, status: int, started_ns: int, now_ns: int, bytes_out: int, lane: int = NO_LANE) -> None:
        """A request is over (also when it was cut): counters and latency."""
        words = self.words
        if lane >= 0:
            words[_SPOTS[lane][0]] = 0
            self._free.append(lane)
        elif words[_OVERFLOW]:
            words[_OVERFLOW] -= 1
        words[_REQUESTS] += 1
        if 100 <= status < 600:
            words[_STATUS_BASE + status // 100] += 1
        words[_BYTES] += bytes_out
        took = now_ns - started_ns if now_ns > started_ns else 0
        words[_DURATION] += took
        bucket = (took >> LATENCY_SHIFT).bit_length()
        words[_LATENCY + (bucket if bucket < _LAST_BUCKET else _LAST_BUCKET)] += 1

    def extend(self, lane: int, since_ns: int, extra_ns: int) -> bool:
        """Give the request that began in `lane` at `since_ns` so much more time; False if it is over.

        An extension names the request that it belongs to, so that `begin` and `end` have nothing to clear.
        """
        words = self.words
        if lane < 0 or words[_LANES + lane * LANE_WORDS] != since_ns:
            return False
        at = _EXTENSIONS + 2 * lane
        words[at + 1] = extra_ns + (words[at + 1] if words[at] == since_ns else 0)
        words[at] = since_ns
        return True

    def beat(self, now_ns: int) -> None:
        """The worker's loop turned."""
        self.words[Word.BEAT_NS] = now_ns

    def connections(self, count: int) -> None:
        """Connections open now."""
        self.words[Word.CONNECTIONS] = count

    def add(self, word: Word, amount: int = 1) -> None:
        """Add to a counter that is off the hot path."""
        self.words[word] += amount

    # -- either side

    def clear(self, *, pid: int = 0, slot: int = 0, generation: int = 0) -> None:
        """Make the row new: the arbiter does it before a fork and after a reap."""
        start = self._offset
        self._memory[start : start + ROW_BYTES] = bytes(ROW_BYTES)
        words = self.words
        words[Word.PID] = pid
        words[Word.SLOT] = slot
        words[Word.GENERATION] = generation
        words[Word.STARTED_NS] = time.monotonic_ns()
        words[Word.BEAT_NS] = words[Word.STARTED_NS]
        self._free = list(range(LANES - 1, -1, -1))

    def set_state(self, state: State) -> None:
        """What the worker says of itself."""
        self.words[Word.STATE] = int(state)

    def __getitem__(self, word: Word) -> int:
        return int(self.words[word])

    @property
    def in_flight(self) -> int:
        """Requests in work, for any reader."""
        words = self.words
        return sum(1 for at, _ in _SPOTS if words[at]) + int(words[_OVERFLOW])

    def spent_ns(self, now_ns: int) -> int:
        """How long requests have been in work, all together, those under way (in a lane) until `now_ns`: what
        it grows by in a time is how many there were on the average.
        """
        words = self.words
        under_way = sum(now_ns - since for at, _ in _SPOTS if (since := int(words[at])))
        return under_way + int(words[_DURATION])

    def lanes(self) -> list[Lane]:
        """The requests in work, the oldest first."""
        found = []
        for number, (at, offset) in enumerate(_SPOTS):
            since = int(self.words[at])
            if since:
                code, length = divmod(int(self.words[at + 1]), 1 << 16)
                start = self._offset + offset
                raw = bytes(self._memory[start : start + min(length, LANE_TEXT)])
                line = raw.decode("ascii", "backslashreplace")
                mark, extra = self.words[_EXTENSIONS + 2 * number], self.words[_EXTENSIONS + 2 * number + 1]
                text = f"{_METHODS[code - 1]} {line}" if code else line
                found.append(Lane(number, since, text, int(extra) if mark == since else 0))
        return sorted(found, key=lambda lane: lane.since_ns)

    def latency(self) -> list[int]:
        """The latency histogram's counts."""
        return list(self.words[_LATENCY : _LATENCY + LATENCY_BUCKETS])


class SharedRow(Row):
    """A row that several threads of one worker write: the read-modify-write of a counter takes a lock."""

    __slots__ = ("_lock",)

    def __init__(self, memory: mmap.mmap, index: int) -> None:
        super().__init__(memory, index)
        self._lock = threading.Lock()

    # begin() writes to its own lane only, and taking a lane is atomic.

    def end(self, status: int, started_ns: int, now_ns: int, bytes_out: int, lane: int = NO_LANE) -> None:
        with self._lock:
            Row.end(self, status, started_ns, now_ns, bytes_out, lane)

    def add(self, word: Word, amount: int = 1) -> None:
        with self._lock:
            Row.add(self, word, amount)


R = TypeVar("R", bound=Row)


class Scoreboard:
    """All rows, and a word of the arbiter's own behind them.

    `rows` bounds how many worker processes may exist at once, draining ones included. `fd` is that of an
    existing scoreboard of so many rows, and `relay` that of its relay; they are kept. Raises OSError if it
    cannot be mapped.
    """

    def __init__(self, rows: int, fd: int = -1, relay: int = -1) -> None:
        self.rows = rows
        self.relay = Relay(relay)
        size = (rows + 1) * ROW_BYTES
        self.fd = fd if fd >= 0 else _new_memory(size)
        self._memory = mmap.mmap(self.fd, size)
        self._arbiter = memoryview(self._memory)[rows * ROW_BYTES :].cast("Q")
        self._views: dict[int, Row] = {}

    def row(self, index: int) -> Row:
        """The row as the arbiter and single-threaded workers use it."""
        view = self._views.get(index)
        if view is None:
            view = self._views[index] = Row(self._memory, index)
        return view

    def row_as(self, kind: type[R], index: int) -> R:
        """The row as another kind sees it."""
        return kind(self._memory, index)

    def shared_row(self, index: int) -> SharedRow:
        """The row for a worker whose threads write it."""
        return SharedRow(self._memory, index)

    def reach(self, index: int) -> None:
        """Row `index` is in use, says the arbiter: nobody needs to look at what lies behind the highest."""
        self._arbiter[1] = max(self._arbiter[1], index + 1)

    def others(self, index: int) -> list[memoryview]:
        """The words of the rows of all workers that exist, without row `index`."""
        found = []
        for other in range(min(self.rows, int(self._arbiter[1]))):
            start = other * ROW_BYTES
            words = memoryview(self._memory)[start : start + ROW_BYTES].cast("Q")
            if other != index and words[Word.PID]:
                found.append(words)
        return found

    @property
    def closing(self) -> bool:
        """The arbiter is stopping, and with it every worker: a listener's queue has nobody else."""
        return bool(self._arbiter[0])

    def close(self) -> None:
        """The arbiter is stopping."""
        self._arbiter[0] = 1

    def __len__(self) -> int:
        return self.rows


def _new_memory(size: int) -> int:
    """The descriptor of `size` zero bytes that only those who inherit it can reach."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("arbiter-scoreboard", os.MFD_CLOEXEC)
    else:
        import tempfile  # no trifle, and for others than Linux

        fd, path = tempfile.mkstemp(prefix="arbiter-scoreboard-")
        os.unlink(path)
    os.ftruncate(fd, size)
    return fd
