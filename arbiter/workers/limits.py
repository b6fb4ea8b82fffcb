"""The settings that bound a connection, as the plain numbers the connections work with.

Neighbours: reads the `Config`; `core` and the asgi dispatcher hand the results to `http1` and to their
connections. Its one rule: settings are read here once per worker, never on the way of a request.
"""

from __future__ import annotations

from dataclasses import dataclass

from arbiter.config.snapshot import Config
from arbiter.protocols.limits import Limits, Underscores

LINGER_SECONDS = 1.0
"""How long a refused peer may take to read its answer before the connection is closed."""
LINGER_BYTES = 65536
"""How much of what a refused peer still sends is read and thrown away (a close with unread bytes is a
reset).
"""
DRAIN_GRACE = 1.0
"""While draining: how long an idle connection stays open for a request that was already on its way."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long a peer may take; seconds, rates in bytes per second."""

    keepalive: float = 5.0
    """Idle between two requests; then the connection is closed in silence. 0: no second request."""
    header: float = 10.0
    """A whole head, from its first byte (the first: from accept); then 408, or silence if no byte came."""
    body: float = 30.0
    """Silence within a body; then 408."""
    body_rate: float = 240.0
    """What a body must amount to per second on the average once `body` seconds have gone by; 0: any rate."""
    send: float = 60.0
    """A peer that takes nothing of its answer; then the connection is aborted."""

    def body_deadline(self, began: float, now: float, received: int) -> float:
        """Until when the next part of a body must come that began at `began` and has `received` bytes."""
        silence = now + self.body
        if self.body_rate <= 0:
            return silence
        return min(silence, began + self.body + received / self.body_rate)

    @property
    def shortest(self) -> float:
        """No deadline set now lies nearer than this; a linger's does, and is told to the sweep."""
        return min(self.keepalive or self.header, self.header, self.body, self.send)


def time_limits(config: Config) -> TimeLimits:
    """Return the settings' time limits; a limit of 0 other than keepalive's and the rate's means none."""
    return TimeLimits(
        keepalive=float(config.keepalive),
        header=_limit(config.header_timeout),
        body=_limit(config.body_timeout),
        body_rate=float(config.body_min_rate),
        send=_limit(config.send_timeout),
    )


def _limit(seconds: float) -> float:
    return float(seconds) if seconds > 0 else float("inf")


def protocol_limits(config: Config) -> Limits:
    """Return the settings' bounds on what a peer sends."""
    return Limits(
        request_line=config.limit_request_line or config.limit_request_head,
        fields=config.limit_request_fields,
        field_size=config.limit_request_field_size,
        head=config.limit_request_head,
        body=config.limit_request_body,
        chunk_line=config.limit_request_chunk_line,
        pipeline=config.limit_request_pipeline,
        drain=config.limit_request_drain,
        underscores=Underscores(config.header_map),
    )
