"""The fuzzer as a test: every seed, then a fixed number of damaged ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from arbiter.protocols.events import BadRequest, Request
from tests.fuzz.http1 import check, corpus, rounds

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(corpus()))
def test_the_corpus(name: str) -> None:
    """http.md 32: each seed holds; good-* are served to the end, bad-* are refused."""
    events = check(corpus()[name])
    refused = any(isinstance(event, BadRequest) for event in events)
    assert refused is name.startswith("bad-")
    if name.startswith("good-"):
        assert any(isinstance(event, Request) for event in events)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_requests(seed: int) -> None:
    """http.md 1 to 32: nothing raises, no split matters, nothing grows, nothing passes that h11 refuses."""
    refused = served = 0
    for number, data in rounds(600, seed):
        events = check(data, number)
        refused += any(isinstance(event, BadRequest) for event in events)
        served += any(isinstance(event, Request) for event in events)
    assert refused > 100
    assert served > 100


def test_it_runs_by_hand() -> None:
    """The command in the module's docstring works."""
    command = [sys.executable, "-m", "tests.fuzz.http1", "--seconds", "0.3", "--seed", "7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Request" in done.stdout
