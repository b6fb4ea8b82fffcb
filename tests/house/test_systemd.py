"""systemd/: what is shipped is accepted by systemd itself, and agrees with the exit statuses."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from arbiter.errors import ExitStatus

UNITS = Path(__file__).parents[2] / "systemd"


@pytest.mark.parametrize("names", [("arbiter.service", "arbiter.socket"), ("arbiter@shop.service",)])
def test_systemd_accepts_the_units(tmp_path: Path, names: tuple[str, ...]) -> None:
    """`systemd-analyze verify`; only the program's path is changed, as it must exist where this runs."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for unit in UNITS.iterdir():
        text = re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable} -m arbiter", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    (tmp_path / "arbiter@shop.service").write_text((tmp_path / "arbiter@.service").read_text())
    verify = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in names)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    about_ours = [line for line in verify.stderr.splitlines() if "arbiter" in line or str(tmp_path) in line]
    assert about_ours == []
    assert verify.returncode == 0, verify.stderr


@pytest.mark.parametrize("name", ["arbiter.service", "arbiter@.service"])
def test_no_restart_where_it_cannot_help(name: str) -> None:
    found = re.search(r"(?m)^RestartPreventExitStatus=(.*)$", (UNITS / name).read_text())
    assert found
    assert {int(word) for word in found[1].split()} == {
        ExitStatus.USAGE,
        ExitStatus.IDENTITY,
        ExitStatus.FILES,
        ExitStatus.CONFIG,
    }
