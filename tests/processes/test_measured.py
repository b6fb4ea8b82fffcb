"""The programs behind the documentation's figures still run; what they measure is nobody's to assert."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.processes.server import ROOT

LIMIT = 400.0
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="they look at Linux's processes")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("tests.balance -w 2 sync", r"sync +2 workers +400 kept, burst +\d+\.\d +\d+\.\d\n"),
        ("tests.respawn -n 1 asgi", r"asgi +median \d+ ms, from \d+ to \d+ ms \(1 deaths\)\n"),
        (
            "tests.compared -n 1 -w 2 --requests 40",
            r"arbiter +\d+\.\d\d s +\d+\.\d MiB\narbiter, warmup_paths +\d+\.\d\d s +\d+\.\d MiB\n",
        ),
    ],
    ids=["balance", "respawn", "compared"],
)
def test_it_prints_its_table(command: str, says: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT
    )
    assert ran.returncode == 0, ran.stderr
    assert re.search(says, ran.stdout), ran.stdout
