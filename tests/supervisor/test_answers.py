"""What the looking words answer, of an arbiter without processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from arbiter.supervisor import answers
from arbiter.supervisor.book import Mold, MoldState
from tests.fakes.views import Arbiter


@pytest.fixture
def arbiter(tmp_path: Path) -> Arbiter:
    return Arbiter(tmp_path)


def test_a_mold_and_what_its_workers_share(arbiter: Arbiter) -> None:
    book, now = arbiter.book, 1000.0
    book.molds[9] = Mold(9, 1, MoldState.READY, pid=49, since=now - 30)
    for child in book.children.values():
        child.mold = 9
    (mold,) = answers.status(arbiter.view, now)["molds"]
    assert mold == {
        "pid": 49,
        "generation": 1,
        "state": "ready",
        "uptime": 30.0,
        "uss": 1000 * 1024,
        "pss": 2000 * 1024,
        "rss": 3000 * 1024,
        "workers": 2,
        "shared": 2000 * 1024,
        "occupied": 3000 * 1024,
    }


def test_a_mold_that_is_being_made_shares_nothing_yet(arbiter: Arbiter) -> None:
    arbiter.book.molds[9] = Mold(9, 1, pid=49, since=1000.0)
    (mold,) = answers.status(arbiter.view, 1000.0)["molds"]
    assert (mold["state"], mold["workers"], mold["shared"], mold["occupied"]) == ("building", 0, 0, 0)


@pytest.mark.parametrize(
    ("most", "pinned", "mode"), [(0, False, "fixed"), (8, False, "auto"), (8, True, "pinned")]
)
def test_whether_the_number_follows_the_load(arbiter: Arbiter, most: int, pinned: bool, mode: str) -> None:
    book = arbiter.book
    book.rules, book.pinned = replace(book.rules, least=1, most=most), pinned
    told = answers.status(arbiter.view, 1000.0)["arbiter"]["scaling"]
    assert told == {"mode": mode, "least": 1, "most": most or book.most, "needed": 0}
