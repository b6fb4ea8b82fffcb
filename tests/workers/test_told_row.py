"""A row that tells statsd counts as any other does."""

from __future__ import annotations

import pytest

from arbiter.link.scoreboard import Scoreboard, Word
from arbiter.workers.told_row import row_for


class Statsd:
    def __init__(self) -> None:
        self.told: list[tuple[int, float]] = []

    def request(self, status: int, milliseconds: float) -> None:
        self.told.append((status, milliseconds))


@pytest.mark.parametrize("shared", [False, True])
def test_each_request_is_told_and_counted(shared: bool) -> None:
    board, statsd = Scoreboard(3), Statsd()
    row = row_for(board, 2, statsd, shared=shared)  # type: ignore[arg-type]
    lane = row.begin("GET", b"/", 1_000_000)
    assert board.row(2).in_flight == 1
    row.end(503, 1_000_000, 3_500_000, 10, lane)
    assert statsd.told == [(503, 2.5)]
    assert board.row(2)[Word.STATUS_5XX] == 1
    assert board.row(2).in_flight == 0


def test_without_statsd_it_is_the_plain_one() -> None:
    board = Scoreboard(1)
    assert row_for(board, 0, None, shared=False) is board.row(0)
    assert type(row_for(board, 0, None, shared=True)) is type(board.shared_row(0))
