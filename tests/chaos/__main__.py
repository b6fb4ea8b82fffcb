"""`make chaos`: a minute of load on each worker kind while workers are killed, hung, replaced and rolled.

Two hands are at work at the same time. One kills workers and molds, stops them, makes them hang in Python and
in C, exit and crash; the other reloads what is good, broken, hanging or wrongly configured, rolls back,
recycles and scales. All the while, keep-alive and closing clients count what they get. At the end there must
be no loss but of requests that were in a worker that was killed or hung, no process and no descriptor
left over, and a whole service with the code that was deployed last; otherwise the status is 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import HEAD, chaos
from tests.chaos.service import APPS


def main() -> int:
    """Run the rounds and print the table; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for each worker kind")
    parser.add_argument("--kind", action="append", choices=list(APPS), help="all, if none is given")
    parser.add_argument("--seed", type=int, help="what a round before has printed, to do the same again")
    parser.add_argument("--no-preload", action="store_true", help="no mold: workers load by themselves")
    parser.add_argument("--log", help="a file for the server's logs, written when something is wrong")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.randrange(1 << 32)
    options = ["--no-preload"] if given.no_preload else []
    print(f"seed {seed}\n{HEAD}", flush=True)
    status = 0
    for kind in given.kind or APPS:
        with tempfile.TemporaryDirectory(prefix="arbiter-chaos-") as directory:
            verdict = chaos(Path(directory), kind, given.seconds, seed, *options)
        print(verdict.line(), flush=True)
        print("          " + ", ".join(f"{count} {name}" for name, count in verdict.done.most_common()))
        for fault in verdict.faults[:20]:
            print(f"          {fault}", flush=True)
        if verdict.faults:
            status = 1
            if given.log:
                with Path(given.log).open("a") as file:
                    file.write(f"--- {kind}, seed {seed}\n{verdict.log}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
