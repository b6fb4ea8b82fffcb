"""The journal is bounded in records and in bytes, and counts what it was told."""

from __future__ import annotations

import logging

import pytest

from arbiter.supervisor.journal import MOST, MOST_BYTES, MOST_DUMPS, MOST_TEXT, Happening, Journal


@pytest.fixture
def journal() -> Journal:
    return Journal(lambda: 1000.0)


def test_the_latest_are_kept(journal: Journal) -> None:
    for number in range(MOST * 3):
        journal.add(logging.INFO, "scale", f"{number}", {})
    kept = journal.recent()
    assert len(kept) == MOST
    assert kept[-1].text == str(MOST * 3 - 1)
    assert [one.text for one in journal.recent(2)] == [str(MOST * 3 - 2), str(MOST * 3 - 1)]


def test_long_texts_are_cut_for_keeping_and_whole_for_who_listens(journal: Journal) -> None:
    heard: list[Happening] = []
    journal.followers.append(heard.append)
    for _ in range(100):
        journal.add(logging.ERROR, "reload.failed", "x" * 50_000 + "end", {})
    assert all(len(one.text) == 50_003 for one in heard)
    kept = journal.recent()
    assert sum(len(one.text) for one in kept) <= MOST_BYTES
    assert all(len(one.text) <= MOST_TEXT + 10 and one.text.endswith("end") for one in kept)


def test_a_level_chooses(journal: Journal) -> None:
    journal.add(logging.INFO, "worker.ready", "a", {})
    journal.add(logging.ERROR, "worker.died", "b", {})
    assert [one.text for one in journal.recent(level=logging.WARNING)] == ["b"]
    assert [one.text for one in journal.since(1)] == ["b"]


def test_dumps_are_bounded(journal: Journal) -> None:
    for number in range(MOST_DUMPS * 2):
        journal.add_dump(logging.WARNING, "request.slow", str(number), {}, "s" * 100_000)
    kept = journal.dumps()
    assert len(kept) == MOST_DUMPS
    assert all(len(one["stacks"]) == MOST_TEXT for one in kept)
    assert kept[-1]["text"] == str(MOST_DUMPS * 2 - 1)


@pytest.mark.parametrize(
    ("name", "reason", "cause"),
    [
        ("worker.retiring", "max_requests reached: 1000", "max_requests"),
        ("worker.retiring", "recycled (arbiterctl, uid 0, pid 7)", "recycled"),
        ("worker.retiring", "whatever a worker says", "other"),
        ("worker.died", "", "died"),
        ("worker.stuck", "", "stuck"),
        ("worker.boot_failed", "", "boot_failed"),
    ],
)
def test_causes_are_few(journal: Journal, name: str, reason: str, cause: str) -> None:
    journal.add(logging.INFO, name, "", {"reason": reason})
    assert journal.causes == {cause: 1}


def test_a_follower_may_leave_while_it_is_told(journal: Journal) -> None:
    def leave(happening: Happening) -> None:
        journal.followers.remove(leave)

    journal.followers.append(leave)
    journal.add(logging.INFO, "scale", "", {})
    assert journal.followers == []
