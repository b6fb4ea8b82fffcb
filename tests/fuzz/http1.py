"""A seeded mutational fuzzer for the HTTP/1.x connection; no coverage feedback, no dependency.

As a test it runs a fixed number of rounds (`test_http1.py`); by hand as long as you like:

    python -m tests.fuzz.http1 --seconds 600 --seed 7

Every round takes a file of `corpus/`, damages it a few times and checks what must hold for any bytes. A
failing input is printed, to be added to the corpus with its fix.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from arbiter.protocols.events import BadRequest, Data, EndOfBody, Event, Request
from arbiter.protocols.fields import CONTROLS
from tests.fakes.http1 import connection, conversation, converse, head, story
from tests.fakes.oracle import beside_h11

CORPUS = Path(__file__).parent / "corpus"
STATUSES = {400, 405, 413, 414, 417, 431, 501, 505}
LIMITS = {"request_line": 200, "field_size": 300, "head": 1000, "fields": 12, "chunk_line": 60, "body": 400}

TOKENS = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"\0",
        b" ",
        b"\t",
        b"\x0b",
        b"\x85",
        b"\xa0",
        b":",
        b";",
        b",",
        b'"',
        b"%",
    ),
    *(b"GET / HTTP/1.1\r\n", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"Host: a\r\n", b"Content-Length: 5\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding", b"chunked", b"Content-Length: ", b"#"),
    *(
        b"Expect: 100-continue\r\n",
        b"Connection: close\r\n",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n",
        b"f" * 16,
        b"0x",
    ),
    *(b"http://a/", b"*", b"+", b"-1", b"_", b"\r\n \t", b"a" * 100, b"X: " + b"a" * 290 + b"\r\n"),
]


def corpus() -> dict[str, bytes]:
    """The seeds by file name."""
    return {path.name: path.read_bytes() for path in sorted(CORPUS.iterdir())}


def damaged(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """One mutation."""
    at = rng.randrange(len(data) + 1)
    upto = min(len(data), at + rng.choice((1, 1, 2, 4, 16, 64)))
    other = rng.choice(others)
    cut = rng.randrange(len(other) + 1)
    mutations: list[Callable[[], bytes]] = [
        lambda: data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :],
        lambda: data[:at] + rng.choice(TOKENS) + data[at:],
        lambda: data[:at] + rng.choice(TOKENS) + data[upto:],
        lambda: data[:at] + data[upto:],
        lambda: data[:upto] + data[at:],
        lambda: data[:at] + other[cut:],
        lambda: data + other,
        lambda: data.replace(b"\r\n", rng.choice((b"\n", b"\r", b"\r\n\t", b"\r\n\r\n")), 1),
        lambda: data[:at],
        lambda: data[:at] + data[at:upto].swapcase() + data[upto:],
    ]
    return rng.choice(mutations)()[:5000]


def inputs(seed: int) -> Iterator[bytes]:
    """An endless stream of inputs, the same for the same seed."""
    rng = random.Random(seed)
    seeds = list(corpus().values())
    good = [data for name, data in corpus().items() if name.startswith("good-")]
    while True:
        data = rng.choice(good if rng.random() < 0.8 else seeds)
        for _ in range(rng.choice((1, 1, 2, 4))):
            data = damaged(rng, data, seeds)
        yield data


def check(data: bytes, seed: int = 0) -> list[Event]:
    """What must hold for any bytes; AssertionError where it does not. Returns the events."""
    events, written = conversation([data], **LIMITS)
    rng = random.Random(seed)
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(1, 6)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    split, split_written = conversation(pieces, **LIMITS)
    assert list(story(split)) == list(story(events)), "a split changes the events"
    assert split_written == written, "a split changes the answers"
    ours, theirs = beside_h11(events, data)
    assert ours == theirs, "we complete what h11 does not"
    for event in events:
        if isinstance(event, BadRequest):
            check_refusal(event)
        elif isinstance(event, Request):
            check_request(event)
        elif isinstance(event, EndOfBody):
            assert all(field.pair[0] not in (b"host", b"content-length") for field in event.trailers)
        elif isinstance(event, Data):
            assert 0 < len(event.data) <= LIMITS["body"]
    check_repeated(data)
    check_memory(data)
    return events


def check_refusal(event: BadRequest) -> None:
    """A refusal is one of ours and quotes nobody."""
    assert event.status in STATUSES, event.status
    assert event.reason.isascii()
    assert event.reason.isprintable()
    assert len(event.reason) < 60


def check_request(request: Request) -> None:
    """What gateways rely on, and that the request means the same when it is written out again."""
    assert request.path[:1] == b"/" or (request.path == b"*" and request.method == "OPTIONS")
    assert not set(request.target) & set(CONTROLS + b" #")
    assert request.version in ("1.0", "1.1")
    assert request.chunked == (request.length == -1)
    assert request.ended == (request.length == 0)
    names = [field.pair[0] for field in request.fields]
    assert names.count(b"host") <= 1
    assert not (b"content-length" in names and b"transfer-encoding" in names)
    for field in request.fields:
        name, value = field.pair
        assert name == name.lower()
        assert value == value.strip(b" \t")
        assert not set(value) & set(CONTROLS)
        assert field.text.encode("latin-1") == value
    line = b"%b %b HTTP/%b" % (request.method.encode(), request.target, request.version.encode())
    again = connection(**LIMITS).receive(
        head(*(b"%b: %b" % f.pair for f in request.fields), line=line, host=None)
    )
    assert isinstance(again[0], Request), again[0].reason  # type: ignore[union-attr]
    assert [field.pair for field in again[0].fields] == [field.pair for field in request.fields]


def check_repeated(data: bytes) -> None:
    """What came before on a connection, be it the same, changes nothing."""
    conn = connection(**LIMITS)
    told: list[list[tuple[object, ...]]] = []
    while len(told) < 4 and conn.keep_alive and conn._phase == 0 and not conn._empty_lines:
        events: list[Event] = []
        converse(conn, conn.receive(data), events)
        told.append(list(story(events)))
    assert all(one == told[0] for one in told), "what comes again is read in another way"


def check_memory(data: bytes) -> None:
    """A connection whose requests nobody answers holds no more than its bounds."""
    conn = connection(**LIMITS, pipeline=100)
    for start in range(0, len(data), 50):
        if not conn.wants_read:
            break
        conn.receive(data[start : start + 50])
        assert len(conn._held) <= LIMITS["head"] + 100 + 50


def main() -> int:
    """The command line: rounds until the time is over; status 1 and the input at the first failure."""
    parser = argparse.ArgumentParser(description="Fuzz the HTTP/1.x connection.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    outcomes: Counter[str] = Counter()
    for number, data in enumerate(inputs(options.seed)):
        if time.monotonic() > end:
            break
        try:
            events = check(data, number)
        except Exception as error:
            print(f"round {number}, seed {options.seed}: {error!r}\n{data!r}", file=sys.stderr)
            return 1
        outcomes.update(
            event.reason if isinstance(event, BadRequest) else type(event).__name__ for event in events
        )
    for outcome, count in outcomes.most_common():
        print(f"{count:9} {outcome}")
    return 0


def rounds(count: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """The first `count` inputs of a seed, numbered."""
    return islice(enumerate(inputs(seed)), count)


if __name__ == "__main__":
    sys.exit(main())
