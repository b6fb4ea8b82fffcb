"""The kernel's merging of equal pages: what is missing is named, and asking for it harms nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from arbiter.config import merging


def told(root: Path, run: str) -> None:
    (root / "sys/kernel/mm/ksm").mkdir(parents=True)
    (root / "sys/kernel/mm/ksm/run").write_text(run)


@pytest.mark.parametrize(("run", "works"), [("1\n", True), ("0\n", False), ("2\n", False), ("", True)])
def test_the_kernel_must_have_been_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str, works: bool
) -> None:
    monkeypatch.setattr(merging, "asked", lambda: False)
    told(tmp_path, run)
    assert (merging.obstacle(str(tmp_path)) == "") is works
    assert works or "echo 1 > /sys/kernel/mm/ksm/run" in merging.obstacle(str(tmp_path))


def test_a_kernel_that_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "asked", lambda: None)
    told(tmp_path, "1\n")
    assert "this kernel cannot" in merging.obstacle(str(tmp_path))


def test_no_other_system_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging.sys, "platform", "darwin")
    monkeypatch.setattr(merging.ctypes, "CDLL", None)
    merging.ask()
    assert merging.asked() is None


@pytest.mark.skipif(merging.asked() is None, reason="this kernel cannot merge pages")
def test_it_is_as_was_asked_for() -> None:
    program = "from arbiter.config.merging import ask, asked\nprint(asked())\nask()\nprint(asked())"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "True"]
