"""The number of workers follows real load, and no request is lost on the way up or down."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from arbiter.supervisor.autoscale import CALM, FALL, STEP
from tests.processes.installed import Installed
from tests.processes.load import Load
from tests.processes.server import Server, until

Serve = Callable[..., Server]

NAPS = {
    "wsgi": """
import os, time
def application(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"] or 0))
    start_response("200 OK", [])
    return [b"pid=%d\\n" % os.getpid()]
""",
    "asgi": """
import os, time
async def application(scope, receive, send):
    time.sleep(float(scope["query_string"] or 0))  # so the loop is late
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"pid=%d\\n" % os.getpid()})
""",
}
KINDS = {"sync": ("wsgi",), "threaded": ("wsgi", "--threads", "2"), "asgi": ("asgi",)}


HASTY = [
    ("supervisor/autoscale.py", f"{name}: Final = {value:.1f}\n", f"{name}: Final = {value / 10}\n")
    for name, value in (("CALM", CALM), ("FALL", FALL), ("STEP", STEP))
]
"""An arbiter that has a tenth of the patience."""


def start(serve: Serve, directory: Path, kind: str, *options: str, **how: Any) -> Server:
    name, *more = KINDS[kind]
    (directory / "naps.py").write_text(NAPS[name])
    return serve("-k", kind, *more, *options, "naps", directory=directory, copy_apps=False, **how)


def scaling(server: Server) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(server.ctl("status", "--json"))["arbiter"]["scaling"]
    return told


@pytest.mark.parametrize("kind", list(KINDS))
def test_load_raises_the_number_at_once_and_says_why(serve: Serve, tmp_path: Path, kind: str) -> None:
    server = start(serve, tmp_path, kind, "--workers-max", "4")
    assert len(server.workers()) == 1
    with Load((server.host, server.port), 12, keepalive=False, path="/?0.2") as load:
        server.log.wait(r"-> 4 workers: load \d+\.\d, \d+ queued: \d+ needed")
        until(lambda: len(server.workers()) == 4, "4 workers")
        load.wait_ok(30)
        if kind != "asgi":
            server.log.wait(r"no more than 4 workers: .*workers_max = 4")
    assert load.lost == 0, f"{load.verdict()}\n{server.log.text}"
    assert "(1 to 4 by load)" in server.ctl("status")
    events = server.ctl("events")
    assert "scale.auto" in events
    assert kind == "asgi" or "scale.limited" in events


def test_a_queue_on_a_unix_socket_counts_too(serve: Serve, tmp_path: Path) -> None:
    server = start(serve, tmp_path, "sync", "--workers-max", "4", "-b", "unix:s.sock")
    with Load(str(tmp_path / "s.sock"), 12, keepalive=False, path="/?0.2") as load:
        server.log.wait(r"-> 4 workers: load \d+\.\d, [1-9]\d* queued")
        load.wait_ok(30)
    assert load.lost == 0, f"{load.verdict()}\n{server.log.text}"


def test_calm_lowers_it_one_by_one_and_loses_nothing(
    serve: Serve, tmp_path: Path, installed: Installed
) -> None:
    """As the rule says, but in a tenth of its time."""
    installed.copy("hasty", *HASTY)
    server = start(serve, tmp_path, "sync", "--workers-max", "4", env={"PYTHONPATH": str(installed.link)})
    address = (server.host, server.port)
    with Load(address, 8, keepalive=False, path="/?0.2") as load:
        server.log.wait(r"-> 4 workers")
        load.wait_ok(20)
    mark = server.mark()
    with Load(address, 2, keepalive=False) as fresh, Load(address, 2, keepalive=True) as kept:
        server.log.wait(r"4 -> 3 workers: load 0\.\d for \d+ s: \d needed", since=mark)
        until(lambda: len(server.workers()) == 3, "3 workers")
        fresh.wait_ok(30)
        kept.wait_ok(30)
    for one in (load, fresh, kept):
        assert one.lost == 0, f"{one.verdict()}\n{server.log.text}"


def test_an_operators_word_holds_until_it_is_taken_back(serve: Serve, tmp_path: Path) -> None:
    server = start(serve, tmp_path, "sync", "--workers-max", "4")
    assert scaling(server) == {"mode": "auto", "least": 1, "most": 4, "needed": 1}
    server.signal(signal.SIGTTIN)
    server.log.wait(r"scale-up \(signal TTIN\): 1 -> 2 workers; held until")
    assert scaling(server)["mode"] == "pinned"
    assert "held, else 1 to 4 by load" in server.ctl("status")
    with Load((server.host, server.port), 8, keepalive=False, path="/?0.2") as load:
        load.wait_ok(20)
        assert len(server.workers()) == 2
        assert "there can be from 1 to 4 workers, not 9" in server.ctl("scale", "9", status=None)
        assert "2 workers, from now on 1 to 4 by the load" in server.ctl("scale", "auto")
        server.log.wait(r"2 -> \d workers: load")
        assert "follows the load already" in server.ctl("scale", "auto", status=None)
    assert load.lost == 0, f"{load.verdict()}\n{server.log.text}"


def test_it_goes_on_after_an_upgrade_in_place(serve: Serve, tmp_path: Path) -> None:
    server = start(serve, tmp_path, "sync", "--workers-max", "4")
    server.ctl("scale", "2", "--wait")
    server.ctl("upgrade", "--wait")
    assert scaling(server) == {"mode": "pinned", "least": 1, "most": 4, "needed": 0}
    assert len(server.workers()) == 2
    server.ctl("scale", "auto")
    with Load((server.host, server.port), 12, keepalive=False, path="/?0.2") as load:
        server.log.wait(r"2 -> \d workers: load")
        load.wait_ok(20)
    assert load.lost == 0, f"{load.verdict()}\n{server.log.text}"


def test_a_reload_changes_the_bounds(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "naps.py").write_text(NAPS["wsgi"])
    config = "wsgi_app = 'naps'\nworkers_min = 3\nworkers_max = 4\n"
    server = serve(config=config, directory=tmp_path, copy_apps=False)
    assert len(server.workers()) == 3
    server.write_config(config.replace("3", "2").replace("4", "2"))
    server.reload()
    server.log.wait(r"reload \(workers_min = 2, workers_max = 2\): 3 -> 2 workers")
    until(lambda: len(server.workers()) == 2, "2 workers")
    server.write_config("wsgi_app = 'naps'\n")
    server.reload(r"reload \(workers = 1\): 2 -> 1 worker")
    until(lambda: len(server.workers()) == 1, "1 worker")
    assert "workers_max is not set" in server.ctl("scale", "auto", status=None)


def test_an_arbiter_without_load_is_hardly_ever_woken(serve: Serve, tmp_path: Path) -> None:
    """Of all its processes together; and the first connection after that is noticed."""
    server = start(serve, tmp_path, "sync", "--workers-min", "4", "--workers-max", "8")

    def switches() -> int:
        return sum(
            psutil.Process(pid).num_ctx_switches().voluntary for pid in (server.pid, *server.workers())
        )

    before, since = switches(), server.mark()
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        nobody.settimeout(10)
        with pytest.raises(TimeoutError):
            nobody.accept()
    assert switches() - before <= 2 * 10, server.log.text
    with Load((server.host, server.port), 12, keepalive=False, path="/?0.2") as load:
        server.log.wait(r"-> \d workers: load", since=since)
    assert load.lost == 0, f"{load.verdict()}\n{server.log.text}"
    assert not re.search("ERROR|Traceback", server.log.text)
