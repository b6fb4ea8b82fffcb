"""Metrics and health of a real arbiter, scraped while it is well, while it hangs, and by enemies."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.processes.server import KINDS, Held, Server, until
from tests.processes.test_control import heap

Serve = Callable[..., Server]


def port_of(server: Server) -> int:
    return int(server.log.wait(r"Metrics at: http://127\.0\.0\.1:(\d+)")[1])


def fetch(port: int, path: str, accept: str = "*/*", method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers={"Accept": accept})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def values(text: str, name: str) -> dict[str, float]:
    """The samples of a name, by their labels as written."""
    found = re.findall(rf"^{name}(\{{.*\}})? (\S+)$", text, re.MULTILINE)
    return {labels: float(value) for labels, value in found}


def total(text: str, name: str) -> float:
    return sum(values(text, name).values())


@pytest.fixture
def server(serve: Serve, options: list[str]) -> Server:
    return serve("-w", "2", "--metrics-bind", "127.0.0.1:0", *options)


def test_what_was_served_is_counted(server: Server) -> None:
    for _ in range(20):
        server.get()
    port = port_of(server)
    until(lambda: total(fetch(port, "/metrics")[1], "arbiter_requests_total") == 20, "20 requests counted")
    text = fetch(port, "/metrics")[1]
    assert total(text, "arbiter_request_duration_seconds_count") == 20
    assert total(text, "arbiter_request_duration_seconds_sum") > 0
    assert values(text, "arbiter_ready") == {"": 1.0}
    assert values(text, "arbiter_workers")['{state="ready"}'] == 2
    assert set(values(text, "arbiter_worker_uss_bytes")) == {'{slot="1"}', '{slot="2"}'}
    assert min(values(text, "arbiter_worker_uss_bytes").values()) > 1 << 20
    assert total(text, "arbiter_response_bytes_total") > 0
    assert total(text, "arbiter_connections_accepted_total") == 20


def test_counters_never_fall_when_workers_die(server: Server) -> None:
    port = port_of(server)
    last: dict[str, float] = {}

    def look() -> str:
        text = fetch(port, "/metrics")[1]
        counters = re.findall(r"^# TYPE (\S+) (?:counter|histogram)$", text, re.MULTILINE)
        for name in counters:
            for suffix in ("", "_bucket", "_count", "_sum"):
                for labels, value in values(text, name + suffix).items():
                    key = f"{name}{suffix}{labels}"
                    assert value >= last.get(key, 0.0), key
                    last[key] = value
        return text

    for round in range(3):
        for _ in range(10):
            server.get()
        until(lambda n=round: total(look(), "arbiter_requests_total") >= 10 * (n + 1), "the requests counted")
        victims = server.workers()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        until(lambda v=victims: len(server.workers() - v) == 2, "successors")
        until(lambda: values(look(), "arbiter_workers")['{state="ready"}'] == 2, "successors ready")
    text = look()
    assert total(text, "arbiter_requests_total") >= 30
    assert values(text, "arbiter_worker_restarts_total")['{cause="died"}'] == 6


def test_reloads_are_counted_by_verdict(serve: Serve) -> None:
    server = serve("-w", "1", "--metrics-bind", "127.0.0.1:0", "wsgi_app")
    server.reload()
    server.rewrite(KINDS["sync"], 'VERSION = "one"', "VERSION = 1/0")
    server.reload(expect="reload failed")
    verdicts = values(fetch(port_of(server), "/metrics")[1], "arbiter_reloads_total")
    assert verdicts['{verdict="done"}'] == 1
    assert verdicts['{verdict="failed"}'] == 1


def test_openmetrics_for_those_who_ask(server: Server) -> None:
    text = fetch(port_of(server), "/metrics", "application/openmetrics-text; version=1.0.0")[1]
    assert text.endswith("# EOF\n")
    assert "# TYPE arbiter_requests counter\n" in text
    assert "# TYPE arbiter_build info\n" in text


def test_all_workers_stopped_and_it_answers_soon(server: Server) -> None:
    """Must hold: /metrics and /livez within 100 ms with every worker stopped, and the stuck ones named."""
    port = port_of(server)
    pids = server.workers()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        for path in ("/metrics", "/livez"):
            times = []
            for _ in range(5):
                began = time.monotonic()
                status, text = fetch(port, path)
                times.append(time.monotonic() - began)
                assert status == 200
            assert min(times) < 0.1, (path, times)
            if path == "/livez":
                assert all(f"pid {pid}) is stopped" in text for pid in pids)
            else:
                until(lambda: total(fetch(port, "/metrics")[1], "arbiter_worker_held") == 2, "both named")
        status, text = fetch(port, "/readyz")
        assert (status, "min_ready = 1" in text) == (503, True)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert fetch(port, "/readyz")[0] == 200


def test_readiness_goes_first(serve: Serve) -> None:
    """An operator's drain, and a stop: /readyz says no while requests are still answered."""
    server = serve("-w", "1", "--metrics-bind", "127.0.0.1:0", "wsgi_app")
    port = port_of(server)
    assert fetch(port, "/startupz")[0] == fetch(port, "/readyz")[0] == 200
    server.ctl("drain")
    assert fetch(port, "/readyz") == (503, "not ready: drained by an operator\n")
    assert "pid=" in server.get()
    server.ctl("undrain")
    assert fetch(port, "/readyz")[0] == 200
    with Held(server, "a") as held:
        server.signal(signal.SIGTERM)
        until(lambda: fetch(port, "/readyz") == (503, "not ready: stopping\n"), "no readiness")
        assert fetch(port, "/livez")[0] == 200
        held.let_go()
        assert held.answer().status == 200
    assert server.wait() == 0


def test_min_ready(serve: Serve) -> None:
    server = serve("-w", "2", "--min-ready", "2", "--metrics-bind", "127.0.0.1:0", "wsgi_app")
    port = port_of(server)
    assert fetch(port, "/readyz")[0] == 200
    pid = min(server.workers())
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: fetch(port, "/readyz")[0] == 503, "not ready: the stop has been noticed")
    finally:
        os.kill(pid, signal.SIGCONT)


def test_the_queue_of_each_listener(serve: Serve, tmp_path: Path) -> None:
    """Connections that nobody has accepted are counted, on TCP and on a unix socket."""
    path = str(tmp_path / "q.sock")
    server = serve("-w", "1", "--metrics-bind", "127.0.0.1:0", "-b", f"unix:{path}", "wsgi_app")
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    peers: list[socket.socket] = []
    try:
        for _ in range(3):
            peers.append(socket.create_connection(("127.0.0.1", server.port)))
        for _ in range(2):
            peers.append(socket.socket(socket.AF_UNIX))
            peers[-1].connect(path)
        queues = values(fetch(port_of(server), "/metrics")[1], "arbiter_listener_queue")
        assert queues == {
            f'{{listener="http://127.0.0.1:{server.port}"}}': 3,
            f'{{listener="unix:{path}"}}': 2,
        }
    finally:
        os.kill(worker, signal.SIGCONT)
        for peer in peers:
            peer.close()


def test_a_reload_moves_the_address(serve: Serve, tmp_path: Path) -> None:
    server = serve("wsgi_app", config="metrics_bind = '127.0.0.1:0'\n")
    before = port_of(server)
    path = tmp_path / "m.sock"
    server.write_config(f"metrics_bind = 'unix:{path}'\n")
    server.reload()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(30)
        peer.connect(str(path))
        peer.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert peer.recv(65536).startswith(b"HTTP/1.1 200")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", before))


def test_an_address_in_use_is_told_before_anything_starts(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = serve("--metrics-bind", address, "wsgi_app", ready=False)
        assert server.wait() == 5
    assert f"metrics_bind = '{address}' (--metrics-bind): the address is in use" in server.log.text


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
        (b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
        (b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", b"405"),
        (b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", b"413"),
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"GET /livez HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"414"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)
def test_strict_and_small(serve: Serve, request_: bytes, status: bytes) -> None:
    server = serve("-w", "1", "--metrics-bind", "127.0.0.1:0", "wsgi_app")
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=30) as peer:
        peer.sendall(request_)
        assert peer.recv(65536).split(b" ")[1] == status


def test_ten_thousand_hostile_connections_leave_it_as_it_was(serve: Serve) -> None:
    """Must hold: refused or answered, memory flat, and a scraper gets through meanwhile."""
    server = serve("-w", "1", "--metrics-bind", "127.0.0.1:0", "wsgi_app")
    port = port_of(server)
    _attack(port, 2000)
    before = heap(server.pid)
    stop = threading.Event()

    def scrape() -> list[int]:
        answered = []
        while not stop.is_set():
            # One that says nothing for as long as it takes the enemies to fill the house may have to go, too.
            with contextlib.suppress(OSError, http.client.HTTPException):
                answered.append(fetch(port, "/livez")[0])
        return answered

    with ThreadPoolExecutor(1) as pool:
        scraper = pool.submit(scrape)
        try:
            _attack(port, 10_000)
        finally:
            stop.set()
        assert 200 in scraper.result()
    # What was used once is kept, a MiB at a time; each of ten thousand adds nothing to it.
    assert heap(server.pid) - before < 2048, (before, heap(server.pid))
    assert fetch(port, "/livez")[0] == 200
    assert "pid=" in server.get()


def _attack(port: int, times: int) -> None:
    held: list[socket.socket] = []
    words = (
        b"",
        b"GET /met",
        b"\x00\xff" * 4000,
        b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 100,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 9000,
    )
    for number in range(times):
        peer = socket.create_connection(("127.0.0.1", port), timeout=30)
        try:
            peer.sendall(words[number % len(words)])
        except (BrokenPipeError, ConnectionResetError):
            pass
        held.append(peer)
        if len(held) > 300:
            held.pop(0).close()
    for peer in held:
        peer.close()


def test_statsd_is_told_with_gunicorns_names(serve: Serve, options: list[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(30)
        address = f"127.0.0.1:{statsd.getsockname()[1]}"
        server = serve(
            "-w",
            "1",
            "--statsd-host",
            address,
            "--statsd-prefix",
            "shop",
            "--enable-backlog-metric",
            *options,
        )
        server.get()
        wanted = {
            "shop.gunicorn.requests",
            "shop.gunicorn.request.duration",
            "shop.gunicorn.request.status.200",
            "shop.gunicorn.workers",
            "shop.gunicorn.backlog",
        }
        while wanted:
            wanted -= {line.split(":")[0] for line in statsd.recv(4096).decode().splitlines()}


@pytest.mark.parametrize("preload", ["--preload", "--no-preload"])
def test_the_applications_own_metrics_survive_its_workers(
    serve: Serve, tmp_path: Path, preload: str
) -> None:
    """Also when the application was imported in a mold: each worker counts by its own number."""
    pytest.importorskip("prometheus_client")
    (tmp_path / "counted.py").write_text(
        "from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest\n"
        "from prometheus_client.multiprocess import MultiProcessCollector\n"
        "orders = Counter('orders', 'Orders.')\n"
        "least = Gauge('least', 'Of all processes.', multiprocess_mode='min')\n"
        "def application(environ, start_response):\n"
        "    orders.inc()\n"
        "    least.set(5)\n"
        "    registry = CollectorRegistry()\n"
        "    MultiProcessCollector(registry)\n"
        "    body = generate_latest(registry)\n"
        "    start_response('200 OK', [('Content-Length', str(len(body)))])\n"
        "    return [body]\n"
    )
    (tmp_path / "files").mkdir()
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "files")}
    server = serve("-w", "1", preload, "--max-requests", "5", "counted", env=environment)
    assert "least 5.0" in server.get(), "neither a mold's nor another's"
    first = server.workers()
    for number in range(2, 31):
        assert f"orders_total {number}.0" in server.get()
    until(lambda: not first & server.workers(), "a successor")
    assert "orders_total 31.0" in server.get()
    files = [path.stem for path in (tmp_path / "files").iterdir()]
    keys = {int(stem.rpartition("_")[2]) for stem in files}
    assert {key for key in keys if key < 3}, "those of rows"
    assert len(keys) <= 4, "a mold's, and those of three rows"
