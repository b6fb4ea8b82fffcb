"""How many connections wait, asked of the kernel."""

from __future__ import annotations

import contextlib
import socket
import sys
from pathlib import Path

import pytest

from arbiter.supervisor.queues import Queue, queue_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_the_queue_of_a_listener(family: socket.AddressFamily, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        try:
            listener.bind(str(tmp_path / "s") if family is socket.AF_UNIX else ("localhost", 0))
        except OSError as error:
            pytest.skip(f"not on this machine: {error}")
        listener.listen(9)
        assert queue_of(listener) == Queue(0, 9)
        for number in range(1, 4):
            stack.enter_context(socket.socket(family)).connect(listener.getsockname())
            assert queue_of(listener) == Queue(number, 9)
        listener.accept()[0].close()
        assert queue_of(listener) == Queue(2, 9)


def test_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0arbiter-test-queue")
        listener.listen(5)
        assert queue_of(listener) == Queue(0, 5)


def test_what_has_no_queue_has_none() -> None:
    with socket.socket(socket.AF_UNIX) as one:
        pass
    assert queue_of(one) is None
