"""What holds for every test: hypothesis without a clock, and tests of processes marked as such."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A deadline per example would assert a time; on a shared machine that is a coin toss.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

_PROCESSES = Path(__file__).parent / "processes"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_PROCESSES):
            item.add_marker(pytest.mark.processes)
