"""The benchmark measures what it says, and says what it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import Disappointment, Server, Turn, load_command, read_load, run, servers, table
from tests.processes.server import ROOT

WRK = """Running 1s test @ http://127.0.0.1:8000/
  1 threads and 32 connections
    Latency     1.51ms    1.02ms  12.13ms   88.02%
  21944 requests in 1.00s, 3.35MB read
Requests/sec:  21943.19
Transfer/sec:      3.35MB
"""
AB = """Concurrency Level:      32
Complete requests:      20301
Failed requests:        0
Requests per second:    20299.42 [#/sec] (mean)
"""
LOAD = """#!{python}
import http.client, sys
for number in range(200):
    connection = http.client.HTTPConnection(sys.argv[-1].split("/")[2])
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"Hello, world!\\n"
    connection.close()
print("  200 requests in 1.00s, 1MB read\\nRequests/sec: 200.00")
"""
"""Does as wrk does."""
PEER = """#!{python}
import os, sys
bind = "127.0.0.1:" + sys.argv[sys.argv.index("--port") + 1]
os.execv(sys.executable, [sys.executable, "-m", "arbiter", "-w", "1", "-b", bind, sys.argv[-1]])
"""


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(python=sys.executable))
    path.chmod(0o755)
    return path.parent


@pytest.mark.parametrize(("said", "read"), [(WRK, (21944, 21943.19)), (AB, (20301, 20299.42))])
def test_what_the_load_says(said: str, read: tuple[int, float]) -> None:
    assert read_load(said) == read


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (f"{WRK}  Non-2xx or 3xx responses: 7\n", "Non-2xx or 3xx responses: 7"),
        (f"{WRK}  Socket errors: connect 0, read 0, write 0, timeout 3\n", "timeout 3"),
        (AB.replace("Failed requests:        0", "Failed requests:        4"), "Failed requests: +4"),
        ("unable to connect to 127.0.0.1:8000\n", "unable to connect"),
        ("", "nothing"),
    ],
)
def test_a_load_that_went_wrong_counts_for_nothing(said: str, why: str) -> None:
    with pytest.raises(Disappointment, match=why):
        read_load(said)


def test_a_kept_connection_that_a_server_ends_is_no_fault() -> None:
    assert read_load(f"{WRK}  Socket errors: connect 0, read 21944, write 0, timeout 0\n")


def test_no_program_for_the_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="neither wrk nor ab"):
        load_command(8000, 32, 1)


def test_the_table_has_medians_the_cheapest_first() -> None:
    some = {
        "dear": [Turn(50, 10, 0.5)],
        "cheap": [Turn(9, 900, 0.1), Turn(1, 9000, 1), Turn(7, 1000, 0.9)],
        "dead": [],
    }
    assert table(some).splitlines()[2:] == ["| cheap | 7.0 | 1,000 | 90% |", "| dear | 50.0 | 10 | 50% |"]


def test_peers_are_taken_from_the_first_environment_that_has_them(tmp_path: Path) -> None:
    for name in ("one", "two"):
        program(tmp_path / name / "bin" / "uvicorn", PEER)
    program(tmp_path / "two" / "bin" / "hypercorn", PEER)
    found = {one.name: one.command[0] for one in servers(f"{tmp_path}/one:{tmp_path}/none:{tmp_path}/two")}
    assert found.pop("uvicorn") == str(tmp_path / "one" / "bin" / "uvicorn")
    assert found.pop("hypercorn") == str(tmp_path / "two" / "bin" / "hypercorn")
    assert list(found) == ["arbiter sync", "arbiter threaded", "arbiter asgi"]


def test_a_server_that_ends_is_told_and_the_run_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    broken = Server("broken", [sys.executable, "-c", "raise SystemExit('no such module')"])
    assert run([broken], 1, 1, 1) == {"broken": []}
    assert "bench: broken, round 1: it ended with status 1: no such module" in capsys.readouterr().err


def bench(*options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", "--rounds", "1", "--seconds", "1", *options],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_every_kind_beside_a_peer(tmp_path: Path) -> None:
    path = program(tmp_path / "wrk", LOAD)
    program(tmp_path / "venv" / "bin" / "uvicorn", PEER)
    done = bench(PATH=f"{path}{os.pathsep}{os.environ['PATH']}", BENCH_PEERS=str(tmp_path / "venv"))
    assert done.returncode == 0, done.stderr
    rows = {line.split("|")[1].strip(): line for line in done.stdout.splitlines()[2:]}
    assert sorted(rows) == ["arbiter asgi", "arbiter sync", "arbiter threaded", "uvicorn"]
    assert all("| 200 |" in row for row in rows.values())


@pytest.mark.parametrize("tool", ["wrk", "ab"])
def test_a_real_load(tmp_path: Path, tool: str) -> None:
    real = shutil.which(tool)
    if real is None:
        pytest.skip(f"{tool} is not installed")
    (tmp_path / tool).symlink_to(real)
    done = bench("--clients", "2", "arbiter sync", PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2].startswith("| arbiter sync |")


def test_a_name_that_nobody_has() -> None:
    done = bench("waitress")
    assert done.returncode == 2
    assert "there are arbiter sync, arbiter threaded, arbiter asgi" in done.stderr
