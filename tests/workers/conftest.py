"""Both WSGI kinds by the same tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fakes.workers import Served


@pytest.fixture(params=["sync", "threaded"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serve(kind: str) -> Iterator[Callable[..., Served]]:
    """Start a dispatcher; it is stopped after the test."""
    running: list[Served] = []

    def start(app: Callable[..., Any], **options: Any) -> Served:
        served = Served(kind, app, **options)
        running.append(served.__enter__())
        return served

    yield start
    for served in running:
        served.__exit__(None, None, None)
