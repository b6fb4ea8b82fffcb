"""What a program is told by the arbiter that starts it."""

from __future__ import annotations

import pytest

from arbiter.supervisor.errand import OPTION, Errand, read


def test_an_errand_is_taken_out_of_the_command_line() -> None:
    argv = ["/x/__main__.py", f"{OPTION}prove:5:6", "-w", "2"]
    orig_argv = ["python", "-X", "dev", "-m", "arbiter", f"{OPTION}prove:5:6", "-w", "2"]
    assert read(argv, orig_argv) == Errand(5, 6)
    assert argv == ["/x/__main__.py", "-w", "2"]
    assert orig_argv == ["python", "-X", "dev", "-m", "arbiter", "-w", "2"]
    assert read(["a", f"{OPTION}take:7"], ["p", "a", f"{OPTION}take:7"]) == Errand(7)


@pytest.mark.parametrize("text", ["take", "take:x", "take:1:2", "prove:1", "give:1", ""])
def test_what_is_no_errand_is_left_for_the_command_line_to_refuse(text: str) -> None:
    argv = ["a", OPTION + text]
    assert read(argv, ["p", *argv]) is None
    assert argv == ["a", OPTION + text]


def test_no_errand() -> None:
    assert read(["a"], ["p", "a"]) is None
    assert read(["a", "-w", f"{OPTION}take:7"], ["p", "a", "-w", f"{OPTION}take:7"]) is None
