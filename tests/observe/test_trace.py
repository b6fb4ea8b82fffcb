"""Request ids and W3C trace context."""

from __future__ import annotations

import re

import pytest

from arbiter.observe.trace import RequestIds, trace
from tests.fakes.exchanges import field, request

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (f"00-{TRACE}-{PARENT}-01", True),
        (f"00-{TRACE}-{PARENT}-00", True),
        (f"cc-{TRACE}-{PARENT}-01-what-comes-later", True),
        (f"00-{TRACE}-{PARENT}-01-more", False),
        (f"ff-{TRACE}-{PARENT}-01", False),
        (f"00-{'0' * 32}-{PARENT}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{PARENT}-01", False),
        (f"00-{TRACE}-{PARENT}", False),
        (f'00-{TRACE}-{PARENT}-01"', False),
        (f"cc-{TRACE}-{PARENT}-01-{'x' * 300}", False),
        ("", False),
    ],
)
def test_traceparent(header: str, found: bool) -> None:
    """Trace Context 3.2.2: what must be ignored is."""
    assert trace(header.encode()) == ((TRACE, PARENT) if found else None)


def test_ids_are_made_and_differ() -> None:
    ids = RequestIds("X-Request-ID")
    made = []
    for _ in range(100):
        asked = ids.assign(request(), trusted=False)
        made.append(ids.of(asked.fields))
        assert asked.fields[-1].key == "HTTP_X_REQUEST_ID"
        assert asked.fields[-1].pair == (b"x-request-id", made[-1].encode())
    assert len(set(made)) == 100
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)


@pytest.mark.parametrize(
    ("sent", "trusted", "kept"),
    [
        (["abc-1"], True, True),
        (["abc-1"], False, False),
        (["abc-1", "abc-2"], True, False),
        ([""], True, False),
        (["a b"], True, False),
        (['a"'], True, False),
        (["x" * 129], True, False),
        (["a\nb"], True, False),
    ],
)
def test_whose_id_is_kept(sent: list[str], trusted: bool, kept: bool) -> None:
    ids = RequestIds("X-Request-ID")
    before = request(fields=[field("Host", "x"), *(field("X-Request-ID", value) for value in sent)])
    asked = ids.assign(before, trusted)
    assert len(before.fields) == 1 + len(sent)  # the next request may be the same object
    values = [one.text for one in asked.fields if one.pair[0] == b"x-request-id"]
    assert len(values) == 1
    assert (values == sent) is kept
    assert asked.fields[0].text == "x"
