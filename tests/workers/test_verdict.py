"""Why a worker or a mold cannot start: an operator's fault in its own words, any other with all there is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from arbiter.errors import AppError, ExitStatus
from arbiter.workers.verdict import failed


def test_an_applications_fault_has_its_own_words_and_status() -> None:
    said = failed("application", AppError("it is broken.", "own traceback"))
    assert (said.problem, said.report, said.status) == ("it is broken.", "own traceback", ExitStatus.APP)


def test_another_fault_has_all_there_is() -> None:
    said = failed("logs", ValueError("odd"))
    assert said.problem == "ValueError in step logs: odd"
    assert "ValueError: odd" in said.report
    assert said.status is ExitStatus.BOOT


def test_a_library_that_cannot_be_read_is_no_riddle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dispatcher that is loaded as `user` is the first to need it when the application needs nothing."""
    circle = tmp_path / "lib"
    circle.symlink_to(circle)
    monkeypatch.setattr(os, "__file__", str(circle / "os.py"))
    said = failed("application", ModuleNotFoundError("No module named 'turtle'", name="turtle"))
    assert said.problem.startswith("step application: it needs 'turtle', a part of Python that this user")
    assert f"{circle} refuses" in said.problem
    assert said.report == ""


def test_a_module_of_somebody_elses_is_told_as_it_is() -> None:
    said = failed("logs", ModuleNotFoundError("No module named 'nowhere'", name="nowhere"))
    assert said.problem == "ModuleNotFoundError in step logs: No module named 'nowhere'"
