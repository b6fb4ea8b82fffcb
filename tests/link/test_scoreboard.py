"""The scoreboard: numbers a reader in another process can trust."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from arbiter.link.scoreboard import (
    LANE_TEXT,
    LANE_WORDS,
    LANES,
    LATENCY_BUCKETS,
    LATENCY_SHIFT,
    NO_LANE,
    ROW_WORDS,
    Scoreboard,
    State,
    Word,
)


def test_fields_do_not_overlap_and_fit_into_a_row() -> None:
    spans = {Word.LATENCY: LATENCY_BUCKETS, Word.LANES: LANES * LANE_WORDS, Word.EXTENSIONS: 2 * LANES}
    taken: list[int] = []
    for word in Word:
        taken.extend(range(word, word + spans.get(word, 1)))
    assert len(taken) == len(set(taken))
    assert max(taken) < ROW_WORDS


def test_a_child_writes_and_the_parent_reads() -> None:
    board = Scoreboard(4)
    pid = os.fork()
    if pid == 0:
        row = board.row(2)
        row.begin("GET", b"/slow?x=1", 1_000)
        row.set_state(State.READY)
        os._exit(0)
    os.waitpid(pid, 0)
    row = board.row(2)
    assert row.in_flight == 1
    (lane,) = row.lanes()
    assert (lane.since_ns, lane.text) == (1_000, "GET /slow?x=1")
    assert row[Word.STATE] == State.READY
    assert board.row(1).in_flight == 0


def test_counting_a_request() -> None:
    row = Scoreboard(1).row(0)
    first = row.begin("GET", b"/", 10)
    second = row.begin("POST", b"/b", 20)
    assert [lane.text for lane in row.lanes()] == ["GET /", "POST /b"]
    row.end(200, 10, 10 + (3 << LATENCY_SHIFT), 100, first)
    assert row.in_flight == 1
    assert [lane.text for lane in row.lanes()] == ["POST /b"]
    row.end(503, 20, 21, 5, second)
    assert row.in_flight == 0
    assert row.lanes() == []
    assert (row[Word.REQUESTS], row[Word.STATUS_2XX], row[Word.STATUS_5XX]) == (2, 1, 1)
    assert row[Word.BYTES_OUT] == 105
    assert row.latency()[:3] == [1, 0, 1]


def test_the_time_that_requests_take_grows_evenly_whether_they_are_under_way_or_over() -> None:
    row = Scoreboard(1).row(0)
    assert row.spent_ns(50) == 0
    first = row.begin("GET", b"/", 100)
    second = row.begin("GET", b"/", 200)
    assert row.spent_ns(300) == 300
    row.end(200, 100, 300, 0, first)
    assert row.spent_ns(300) == 300
    row.end(200, 200, 400, 0, second)
    assert row.spent_ns(900) == 400


def test_a_clock_that_stands_still_and_an_endless_request_have_a_bucket() -> None:
    row = Scoreboard(1).row(0)
    row.end(200, 50, 50, 0)
    row.end(200, 0, 1 << 62, 0)
    assert row.latency()[0] == 1
    assert row.latency()[-1] == 1


def test_text_is_cut_and_escaped() -> None:
    row = Scoreboard(1).row(0)
    row.begin("GET", b"/" + b"a" * 500, 1)
    row.begin("PURGE", b"/\xff\n", 2)
    long, odd = row.lanes()
    assert long.text == "GET /" + "a" * (LANE_TEXT - 1)
    assert odd.text == "PURGE /\\xff\n"


def test_more_requests_than_lanes_are_counted_all_the_same() -> None:
    row = Scoreboard(1).row(0)
    lanes = [row.begin("GET", b"/", 5) for _ in range(LANES + 3)]
    assert lanes[-3:] == [NO_LANE] * 3
    assert len(row.lanes()) == LANES
    assert row.in_flight == LANES + 3
    for lane in lanes:
        row.end(200, 5, 6, 0, lane)
    assert row.in_flight == 0
    assert row.lanes() == []
    assert row.begin("GET", b"/", 7) != NO_LANE


def test_an_extension_belongs_to_one_request() -> None:
    row = Scoreboard(1).row(0)
    lane = row.begin("GET", b"/", 10)
    assert row.extend(lane, 10, 500)
    assert row.extend(lane, 10, 30)
    assert row.lanes()[0][1:] == (10, "GET /", 530)
    row.end(200, 10, 600, 0, lane)
    assert not row.extend(lane, 10, 900)
    assert row.lanes() == []
    assert row.begin("GET", b"/", 11) == lane
    assert row.lanes()[0].extra_ns == 0
    assert not row.extend(NO_LANE, 11, 1)


def test_threads_lose_no_count() -> None:
    row = Scoreboard(1).shared_row(0)

    def work() -> None:
        for _ in range(2000):
            row.end(200, 1, 2, 3, row.begin("GET", b"/", 1))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert row[Word.REQUESTS] == 8000
    assert row.in_flight == 0
    assert row[Word.BYTES_OUT] == 24000


def test_clear_leaves_nothing_of_the_former_worker() -> None:
    row = Scoreboard(2).row(1)
    row.begin("GET", b"/old", 1)
    row.clear(pid=5, slot=2, generation=9)
    assert row.lanes() == []
    assert row[Word.REQUESTS] == 0
    assert (row[Word.PID], row[Word.SLOT], row[Word.GENERATION]) == (5, 2, 9)


def test_a_process_that_inherits_the_descriptor_sees_the_same_rows() -> None:
    """As a mold does, which is made by fork and exec."""
    board = Scoreboard(2)
    program = (
        "import sys; from arbiter.link.scoreboard import Scoreboard, Word\n"
        "board = Scoreboard(2, int(sys.argv[1])); board.row(1).words[Word.REQUESTS] += 41\n"
        "print(board.closing)"
    )
    board.row(1).words[Word.REQUESTS] = 1
    board.close()
    command = [sys.executable, "-c", program, str(board.fd)]
    done = subprocess.run(
        command, pass_fds=[board.fd], check=True, capture_output=True, text=True, timeout=60
    )
    assert board.row(1)[Word.REQUESTS] == 42
    assert done.stdout == "True\n"
