"""The small parts of answering a request; the whole of it is in test_core.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from arbiter.workers import exchange
from arbiter.workers.exchange import Answered, describe
from tests.fakes.workers import FakeLog


def hello(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    return [b"hello"]


def conn(target: bytes, peer: str | None = "192.0.2.1") -> Any:
    return SimpleNamespace(request=SimpleNamespace(method="GET", target=target), peer=peer)


def test_describe() -> None:
    """Nothing a peer sent can forge a log line."""
    assert describe(conn(b"/a?b")) == "GET /a?b from 192.0.2.1"
    assert describe(conn(b"/caf\xc3\xa9", None)) == "GET /caf\\xc3\\xa9 from unix socket"
    assert len(describe(conn(b"/" + b"x" * 5000))) < 300
    assert describe(SimpleNamespace(request=None, peer="::1")) == "request from ::1"  # type: ignore[arg-type]


def test_ipv4_behind_a_dual_stack_listener() -> None:
    assert exchange._plain_address("::ffff:192.0.2.1") == "192.0.2.1"
    assert exchange._plain_address("::ffff:1") == "::ffff:1"
    assert exchange._plain_address("2001:db8::1") == "2001:db8::1"


def test_max_requests_with_jitter() -> None:
    assert exchange._requests(0, 100) == float("inf")
    assert exchange._requests(10, 0) == 10
    assert {exchange._requests(10, 2) for _ in range(200)} == {10, 11, 12}


def test_errors_go_into_the_log() -> None:
    """wsgi.md 18."""
    log: Any = FakeLog()
    exchange._errors_sink(log)("line\n")
    assert log.of("wsgi.errors") == ["line"]


@pytest.mark.parametrize(("line", "status"), [("200 OK", "200 OK"), ("", "500")])
def test_answer_as_hooks_see_it(line: str, status: str) -> None:
    call: Any = SimpleNamespace(status_line=line, status=int(status[:3]), headers=[("A", "b")], sent=3)
    answered = Answered(call)
    assert (answered.status, answered.status_code, answered.sent) == (status, int(status[:3]), 3)
    assert answered.headers == [("A", "b")]
