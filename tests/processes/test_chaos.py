"""A little of `make chaos`, and what makes its account worth something."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.run import chaos
from tests.chaos.service import Infliction, Service, client_ports, stopped
from tests.processes.load import Load, Loss
from tests.processes.server import Server, until

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/net/tcp").exists(), reason="whose a connection is can be read in /proc"
)


@pytest.mark.parametrize("seed", [7])
def test_ten_seconds_of_chaos(kind: str, tmp_path: Path, seed: int) -> None:
    verdict = chaos(tmp_path, kind, 10.0, seed, pace=0.4)
    assert verdict.faults == [], f"{verdict}\n{verdict.log}"
    assert verdict.sent == verdict.answered + verdict.explained
    assert verdict.answered > 200
    assert sum(verdict.done.values()) > 5


def test_what_a_process_has_accepted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address) as one, socket.create_connection(address):
            port = one.getsockname()[1]
            assert client_ports(os.getpid(), address[1]) == set(), "they are in the queue"
            accepted, _ = listener.accept()
            with accepted:
                assert client_ports(os.getpid(), address[1]) == {port}


def test_a_loss_needs_the_very_worker_and_the_very_time() -> None:
    inflicted = Infliction("killed", 41, 100.0, frozenset({5000}))
    assert inflicted.explains(Loss("dropped", "", 5000, 99.0, 100.1))
    assert not inflicted.explains(Loss("dropped", "", 5001, 99.0, 100.1)), "another worker's"
    assert not inflicted.explains(Loss("dropped", "", 5000, 100.1, 100.2)), "a later connection"
    assert not inflicted.explains(Loss("dropped", "", 5000, 99.0, 99.9)), "lost before"
    dying = Infliction("killed with SIGSEGV", 41, 100.0, frozenset({5000}), ended=100.1)
    assert dying.explains(Loss("early", "", 5001, 100.05, 100.1)), "accepted while it died"
    assert not dying.explains(Loss("early", "", 5001, 100.2, 100.3)), "accepted by another"


def test_a_process_that_stands_still() -> None:
    code = "import threading; threading.Thread(target=threading.Event().wait).start(); print(flush=True)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert not stopped(process.pid)
        process.send_signal(signal.SIGSTOP)
        until(lambda: stopped(process.pid), "the stop")
        process.kill()


def test_what_was_not_inflicted_is_not_explained(serve: Callable[..., Server], options: list[str]) -> None:
    server = serve("-w", "2", *options)
    service = Service(server, "sync")
    with Load((server.host, server.port), 1, keepalive=True, path="/exit?3") as load:
        until(lambda: load.lost, "a loss")
    assert len(service.unexplained([load])) == load.lost
