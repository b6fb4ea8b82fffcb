"""Settings to plain numbers."""

from __future__ import annotations

import pytest

from arbiter.protocols.limits import Limits, Underscores
from arbiter.workers.limits import TimeLimits, protocol_limits, time_limits
from tests.fakes.workers import settings


def test_protocol_limits_take_every_setting() -> None:
    """http.md 6, 14, 25, 30: each bound has its setting."""
    limits = protocol_limits(
        settings(
            limit_request_line=1,
            limit_request_fields=2,
            limit_request_field_size=3,
            limit_request_head=4,
            limit_request_body=5,
            limit_request_chunk_line=6,
            limit_request_pipeline=7,
            limit_request_drain=8,
            header_map="refuse",
        )
    )
    assert limits == Limits(1, 2, 3, 4, 5, 6, 7, 8, Underscores.REFUSE)


def test_an_unbounded_request_line_is_bounded_by_the_head() -> None:
    assert protocol_limits(settings(limit_request_line=0)).request_line == settings().limit_request_head


def test_no_time_limit_is_for_ever() -> None:
    times = time_limits(settings(header_timeout=0, body_timeout=0, send_timeout=0, keepalive=0))
    assert times.header == times.body == times.send == float("inf")
    assert times.keepalive == 0
    assert times.shortest == float("inf") or times.shortest > 0


@pytest.mark.parametrize(
    ("now", "received", "deadline"),
    [
        (0.0, 0, 30.0),  # nothing yet: silence
        (10.0, 100, 40.0),  # 10 bytes/s: the average holds until 40
        (20.0, 100, 40.0),  # no matter when they came
        (20.0, 100_000, 50.0),  # fast enough: silence alone counts
    ],
)
def test_body_deadline(now: float, received: int, deadline: float) -> None:
    """http.md 35: silence, and a minimum rate after the first `body` seconds."""
    times = TimeLimits(body=30.0, body_rate=10.0)
    assert times.body_deadline(0.0, now, received) == deadline


def test_body_deadline_without_a_rate() -> None:
    assert TimeLimits(body=30.0, body_rate=0.0).body_deadline(0.0, 1000.0, 1) == 1030.0


def test_shortest() -> None:
    """What the sweep relies on: no usual deadline is set nearer than this."""
    assert TimeLimits(keepalive=5.0, header=10.0, body=3.0, send=60.0).shortest == 3.0
    assert TimeLimits(keepalive=0.0, header=10.0, body=30.0, send=60.0).shortest == 10.0
