"""Rows that tell statsd of each request, beside counting it.

Neighbours: `process` gives one to the dispatcher if `statsd_host` is set; `link.scoreboard` has the rows
without. Its one rule: whoever does not use statsd does not pay for it.
"""

from __future__ import annotations

from arbiter.link.scoreboard import NO_LANE, Row, Scoreboard, SharedRow
from arbiter.observe.statsd import Statsd


class ToldRow(Row):
    """See `Row`."""

    __slots__ = ("statsd",)
    statsd: Statsd

    def end(self, status: int, started_ns: int, now_ns: int, bytes_out: int, lane: int = NO_LANE) -> None:
        super().end(status, started_ns, now_ns, bytes_out, lane)
        self.statsd.request(status, max(0, now_ns - started_ns) / 1e6)


class ToldSharedRow(SharedRow):
    """See `SharedRow`."""

    __slots__ = ("statsd",)
    statsd: Statsd

    def end(self, status: int, started_ns: int, now_ns: int, bytes_out: int, lane: int = NO_LANE) -> None:
        super().end(status, started_ns, now_ns, bytes_out, lane)
        self.statsd.request(status, max(0, now_ns - started_ns) / 1e6)


def row_for(scoreboard: Scoreboard, index: int, statsd: Statsd | None, *, shared: bool) -> Row:
    """The row that a worker's dispatcher writes."""
    if statsd is None:
        return scoreboard.shared_row(index) if shared else scoreboard.row(index)
    told = scoreboard.row_as(ToldSharedRow, index) if shared else scoreboard.row_as(ToldRow, index)
    told.statsd = statsd
    return told
