"""Stacks asked for are handed out, without arbiter's own frames."""

from __future__ import annotations

import logging
import os

from arbiter.link.stacks import DUMP_SIGNAL, StackFile
from arbiter.supervisor import dumps
from arbiter.supervisor.dumps import LONGEST, PATIENCE, Dumps, trim

OURS = os.path.dirname(os.path.dirname(os.path.abspath(dumps.__file__)))


class Log:
    def __init__(self) -> None:
        self.records: list[tuple[int, str]] = []
        self.fields: object = None

    def log(self, level: int, message: str, *args: object, **more: object) -> None:
        self.records.append((level, message % args))
        self.fields = more.get("fields")

    def error(self, message: str, *args: object, **more: object) -> None:
        self.log(logging.ERROR, message, *args, **more)


def name(key: int) -> tuple[str, dict[str, int]]:
    return f"worker {key} (gen 1, pid 4{key})", {"worker": key, "generation": 1, "pid": 40 + key}


def test_who_asks_gets_the_stacks_a_little_later() -> None:
    sent: list[tuple[int, int]] = []
    waiting = Dumps(Log(), lambda key, number: sent.append((key, number)), name)  # type: ignore[arg-type]
    file = StackFile()
    waiting.add(3, file)
    got: list[str] = []
    waiting.ask(3, 100.0, got.append)
    assert sent == [(3, DUMP_SIGNAL)]
    assert waiting.due == 100.0 + PATIENCE / 2
    os.write(
        file.fileno(),
        b'Current thread 0x1 (most recent call first):\n  File "/app/views.py", line 5 in view\n',
    )
    waiting.collect(100.0)
    waiting.collect(100.0 + PATIENCE / 2)
    assert got == []
    waiting.collect(100.0 + PATIENCE)
    assert len(got) == 1
    assert 'File "/app/views.py", line 5 in view' in got[0]
    assert waiting.due == float("inf")
    waiting.bury(3)


def test_everybody_who_asks_gets_the_same() -> None:
    waiting = Dumps(Log(), lambda key, number: None, name)  # type: ignore[arg-type]
    file = StackFile()
    waiting.add(3, file)
    one: list[str] = []
    other: list[str] = []
    waiting.ask(3, 100.0, one.append)
    waiting.ask(3, 100.1, other.append)
    os.write(file.fileno(), b"Thread 0x1")
    waiting.collect(100.0 + PATIENCE / 2)
    waiting.collect(100.0 + PATIENCE)
    assert one == other == ["Thread 0x1"]
    waiting.bury(3)


def test_a_worker_that_dies_or_writes_nothing_keeps_nobody_waiting() -> None:
    waiting = Dumps(Log(), lambda key, number: None, name)  # type: ignore[arg-type]
    waiting.add(1, StackFile())
    got: list[str] = []
    waiting.ask(1, 0.0, got.append)
    waiting.bury(1)
    waiting.ask(1, 0.0, got.append)
    waiting.collect(PATIENCE)
    assert got == ["", ""]


def test_a_dump_is_handed_out_whole() -> None:
    waiting = Dumps(Log(), lambda key, number: None, name)  # type: ignore[arg-type]
    file = StackFile()
    waiting.add(1, file)
    got: list[str] = []
    waiting.ask(1, 0.0, got.append)
    for _ in range(3):
        os.write(file.fileno(), b"more ")
        waiting.collect(waiting.due)
        assert got == []
    waiting.collect(waiting.due)
    assert got == ["more more more"]


def test_a_worker_without_a_processor_is_given_time() -> None:
    waiting = Dumps(Log(), lambda key, number: None, name)  # type: ignore[arg-type]
    file = StackFile()
    waiting.add(1, file)
    got: list[str] = []
    waiting.ask(1, 0.0, got.append)
    waiting.collect(PATIENCE)
    assert got == []
    assert PATIENCE < waiting.due < LONGEST
    os.write(file.fileno(), b"Thread 0x1")
    waiting.collect(waiting.due)
    waiting.collect(waiting.due)
    assert got == ["Thread 0x1"]
    waiting.ask(1, 10.0, got.append)
    waiting.collect(10.0 + LONGEST)
    assert got[1:] == [""]
    waiting.bury(1)


def test_the_last_words_of_a_crash_are_told() -> None:
    log = Log()
    waiting = Dumps(log, lambda key, number: None, name)  # type: ignore[arg-type]
    file = StackFile()
    waiting.add(1, file)
    os.write(file.fileno(), b"Fatal Python error: Segmentation fault\n")
    waiting.bury(1)
    assert log.records == [
        (logging.ERROR, "last words of worker 1 (gen 1, pid 41):\nFatal Python error: Segmentation fault")
    ]
    assert log.fields == {"worker": 1, "generation": 1, "pid": 41}


def test_arbiters_own_frames_are_left_out() -> None:
    stacks = (
        "Thread 0x0 (most recent call first):\n"
        "  <no Python frame>\n"
        "\n"
        "Thread 0x1 (most recent call first):\n"
        f'  File "{OURS}/workers/core.py", line 112 in _turn\n'
        f'  File "{OURS}/workers/core.py", line 104 in run\n'
        "\n"
        "Current thread 0x2 (most recent call first):\n"
        '  File "/app/views.py", line 5 in view\n'
        f'  File "{OURS}/gateways/wsgi.py", line 187 in run\n'
        '  File "<frozen runpy>", line 88 in _run_code\n'
        "\n"
        "Task Task-3: GET /, begun 1.2 s ago (most recent call first):\n"
        '  File "/app/views.py", line 9 in other\n'
        "Task Task-4 (most recent call first):\n"
        "  (waiting in arbiter)\n"
    )
    assert trim(stacks) == (
        "Thread 0x0 (most recent call first):\n"
        "  <no Python frame>\n"
        "\n"
        "Current thread 0x2 (most recent call first):\n"
        '  File "/app/views.py", line 5 in view\n'
        "\n"
        "Task Task-3: GET /, begun 1.2 s ago (most recent call first):\n"
        '  File "/app/views.py", line 9 in other\n'
        "Task Task-4 (most recent call first):\n"
        "  (waiting in arbiter)\n"
        "\n"
        "(1 more thread waits in arbiter)"
    )
    idle = f'Current thread 0x1 (most recent call first):\n  File "{OURS}/workers/core.py", line 1 in run\n'
    assert trim(idle) == "(1 thread waits in arbiter)"
    assert trim(f"{idle}\n{idle}") == "(2 threads wait in arbiter)"
    assert trim("") == ""


def test_a_stack_file_can_be_written_again_after_it_was_read() -> None:
    file = StackFile()
    for word in (b"one", b"two"):
        os.write(file.fileno(), word)
        assert file.written()
        assert file.take() == word.decode()
        assert not file.written()
    file.close()
