"""What goes to statsd is what gunicorn sends."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arbiter.config.address import Address
from arbiter.observe.statsd import Statsd, TellStatsd


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(30)
        yield sock


Make = Callable[..., Statsd]


@pytest.fixture
def statsd() -> Iterator[Make]:
    """Make one that sends to a socket; it is closed in the end."""
    with contextlib.ExitStack() as stack:

        def make(server: socket.socket, prefix: str = "", tags: str = "") -> Statsd:
            host, port = server.getsockname()
            one = Statsd(Address("tcp", host=host, port=port), prefix, tags)
            stack.callback(one.close)
            return one

        yield make


def test_a_request_is_three_metrics_in_one_datagram(server: socket.socket, statsd: Make) -> None:
    statsd(server).request(200, 12.5)
    assert server.recv(4096).decode().splitlines() == [
        "gunicorn.request.duration:12.500|ms",
        "gunicorn.requests:1|c|@1.0",
        "gunicorn.request.status.200:1|c|@1.0",
    ]


@pytest.mark.parametrize(("prefix", "name"), [("shop", "shop.x"), ("shop.", "shop.x"), ("a.b..", "a.b.x")])
def test_the_prefix_ends_in_one_dot(server: socket.socket, statsd: Make, prefix: str, name: str) -> None:
    statsd(server, prefix).increment("x")
    assert server.recv(4096).decode() == f"{name}:1|c|@1.0"


def test_tags_are_datadogs(server: socket.socket, statsd: Make) -> None:
    statsd(server, tags="site:shop,env:live").gauge("gunicorn.workers", 4)
    assert server.recv(4096).decode() == "gunicorn.workers:4|g|#site:shop,env:live"


def test_records_are_counted_by_level(server: socket.socket, statsd: Make) -> None:
    logger = logging.Logger("test")
    logger.addHandler(TellStatsd(statsd(server)))
    logger.info("not this")
    logger.warning("one")
    logger.error("two")
    try:
        raise ValueError
    except ValueError:
        logger.exception("three")
    names = [server.recv(4096).decode().split(":")[0] for _ in range(3)]
    assert names == ["gunicorn.log.warning", "gunicorn.log.error", "gunicorn.log.exception"]


def test_nobody_listens_and_nothing_happens(statsd: Make) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        one = statsd(gone)
    for _ in range(3):
        one.increment("x")


def test_a_unix_socket_may_come_later(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    one = Statsd(Address("unix", path=path), "", "")
    one.increment("lost")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        server.settimeout(30)
        one.increment("x")
        assert server.recv(4096) == b"x:1|c|@1.0"
    one.close()
