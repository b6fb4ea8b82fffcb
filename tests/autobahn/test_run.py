"""The judge of `make autobahn`, and the suite itself where it is installed already."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.autobahn import run


def verdict(behavior: str, close: str = "OK") -> dict[str, str]:
    return {"behavior": behavior, "behaviorClose": close}


def test_what_is_good_and_what_is_a_fault() -> None:
    verdicts = {
        "7.1.10": verdict("FAILED"),
        "7.1.2": verdict("OK", "WRONG CODE"),
        "6.4.1": verdict("NON-STRICT"),
        "9.1.1": verdict("INFORMATIONAL", "INFORMATIONAL"),
        "13.3.1": verdict("UNIMPLEMENTED"),
    }
    assert run.faults(verdicts) == [
        "7.1.2: OK, close WRONG CODE",
        "7.1.10: FAILED, close OK",
        "13.3.1: UNIMPLEMENTED, close OK",
    ]
    assert "5 cases: 1 FAILED, 1 OK, 1 NON-STRICT" in run.summary(verdicts)


def test_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "CLIENT", tmp_path / "client")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYTHON2", sys.executable)
    monkeypatch.setattr(sys, "argv", ["autobahn"])
    assert run.main() == 2
    assert "no Python 2.7 with pip" in capsys.readouterr().err


@pytest.mark.timeout(300)
def test_the_quick_cases(tmp_path: Path) -> None:
    """Framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, and a little compression."""
    if not run.CLIENT.exists():
        pytest.skip("the Autobahn|Testsuite is not installed; `make autobahn` installs and runs all of it")
    cases = [*(f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7)), "12.1.1", "13.1.1"]
    verdicts = run.run(run.client(), cases, [], tmp_path / "report")
    assert len(verdicts) > 200
    assert run.faults(verdicts) == []
