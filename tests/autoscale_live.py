"""The step of `tests.autoscale`, for real, in four minutes: `python -m tests.autoscale_live [OPTIONS]`.

A real arbiter with these further options, and real connections that come when the load says, each with a
request that takes as long as the load says. What is measured is how much longer each took. Prints what the
table of docs/autoscale.md has for the simulated one, and what was lost.
"""

from __future__ import annotations

import asyncio
import collections
import json
import re
import sys
import tempfile
import time
from pathlib import Path

from tests.autoscale import LEAST, LOADS, MOST
from tests.processes.server import Server

APP = """
import os, time
def application(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"] or 0))
    start_response("200 OK", [("Content-Length", "3")])
    return [b"ok\\n"]
"""
TIMEOUT = 30.0


async def ask(port: int, seconds: float) -> float:
    """One request that takes so long; how much longer it took (s)."""
    began = time.monotonic()
    async with asyncio.timeout(TIMEOUT):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /?{seconds:.4f} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(b"ok\n"):
        raise ConnectionError(repr(answer[:80]))
    return time.monotonic() - began - seconds


async def run(port: int, requests: list[tuple[float, float]]) -> list[float | BaseException]:
    """Every request at its time."""
    began = time.monotonic()
    tasks = []
    for when, seconds in requests:
        await asyncio.sleep(max(0.0, began + when - time.monotonic()))
        tasks.append(asyncio.create_task(ask(port, seconds)))
    return await asyncio.gather(*tasks, return_exceptions=True)


def workers(events: list[dict[str, object]], count: int, began: float, ended: float) -> tuple[float, int]:
    """How many workers there were on the average, and how often their number, first `count`, changed."""
    total, since = 0.0, began
    changes = [(float(e["time"]), str(e["text"])) for e in events if e["name"] == "scale.auto"]  # type: ignore[arg-type]
    for when, text in changes:
        total += count * (when - since)
        since, count = when, int(re.findall(r"\d+ -> (\d+)", text)[0])
    return (total + count * (ended - since)) / (ended - began), len(changes)


def main() -> None:
    """Run it and print the outcome."""
    requests = next(iter(LOADS.values()))()
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "naps.py").write_text(APP)
        bounds = [] if "-w" in sys.argv else ["--workers-min", str(LEAST), "--workers-max", str(MOST)]
        options = ["-k", "sync", *bounds, *sys.argv[1:], "naps"]
        with Server(Path(directory), *options, copy_apps=False) as server:
            first, began = len(server.workers()), time.time()
            outcomes = asyncio.run(run(server.port, requests))
            ended = time.time()
            told = [json.loads(line) for line in server.ctl("events", "--json").splitlines()]
            average, changes = workers(told, first, began, ended)
    lost = collections.Counter(repr(one) for one in outcomes if isinstance(one, BaseException))
    waits = sorted(one for one in outcomes if isinstance(one, float))
    print(f"{len(outcomes)} requests, lost: {dict(lost) or 'none'}")
    for share in (0.5, 0.9, 0.99):
        print(f"{share:.0%} waited at most {waits[int(len(waits) * share)]:.3f} s")
    print(f"{average:.0f} workers on the average, {changes} changes")
    for event in told:
        if event["name"].startswith("scale"):
            print(f"{event['time'] - began:6.1f} s  {event['text']}")


if __name__ == "__main__":
    main()
