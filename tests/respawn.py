"""From a worker's death to the next answer, with broken code on disk: `python -m tests.respawn [kind ...]`.

The example Django project, one worker, so that nobody else can answer, with `warmup_paths` (`--cold`:
without). Each time the worker is killed with SIGKILL and a request is sent at once; it waits in the listener
until the replacement, forked from the mold, answers it, with a page that renders a template and asks the
database.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.processes.server import ROOT, Server, until

EXAMPLE = ROOT / "examples" / "django_project"
APPS = {"sync": "wsgi", "threaded": "wsgi", "asgi": "asgi"}
PAUSE = 2.5
"""Seconds between two deaths: five in ten seconds are replaced at once, more would have to wait."""


def project(directory: Path) -> Path:
    """A copy of the example project with its database."""
    copy = directory / "site"
    shutil.copytree(EXAMPLE, copy)
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, cwd=copy, check=True, timeout=120)
    return copy


def measure(kind: str, times: int, *more: str) -> Iterator[float]:
    """Seconds from each death to the whole answer."""
    with tempfile.TemporaryDirectory() as directory:
        site = project(Path(directory))
        threads = ["--threads", "4"] if kind == "threaded" else []
        options = ["-k", kind, "-w", "1", *threads, *more, f"showcase.{APPS[kind]}:application"]
        # No configuration file: what the example's own would change does not belong here.
        (site / "arbiter.conf.py").unlink()
        with Server(site, *options, copy_apps=False) as server:
            server.get("/")
            (site / "showcase" / "urls.py").write_text('raise RuntimeError("broken on disk")\n')
            for _ in range(times):
                threading.Event().wait(PAUSE)
                (worker,) = until(server.workers, "a worker")
                began = time.monotonic()
                os.kill(worker, signal.SIGKILL)
                server.get("/")
                yield time.monotonic() - began
            assert "broken on disk" not in server.log.text


def main() -> None:
    """Print a line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", "--times", type=int, default=20)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("kinds", nargs="*", default=list(APPS))
    given = parser.parse_args()
    for kind in given.kinds:
        more = () if given.cold else ("--warmup-path", "/")
        took = sorted(1000 * seconds for seconds in measure(kind, given.times, *more))
        text = f"median {statistics.median(took):.0f} ms, from {took[0]:.0f} to {took[-1]:.0f} ms"
        print(f"{kind:9}{text} ({len(took)} deaths)", flush=True)


if __name__ == "__main__":
    main()
