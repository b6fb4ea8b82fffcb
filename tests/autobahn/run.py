"""`make autobahn`: the Autobahn|Testsuite's fuzzing client against an echo application on arbiter.

The client is a Python 2.7 program. It is installed, with the releases of requirements.txt, into a directory
of its own that git ignores; where there is no Python 2.7, or its packages cannot be had, that is said and
the exit status is 2. Otherwise: every case's verdict is counted, those that failed are named, and the
status is 1 if there are any. The report's pages, with the bytes of every case, are in build/autobahn.

The suite's own words: OK, NON-STRICT (right in the end, but not at the first chance), INFORMATIONAL (nothing
is demanded), UNIMPLEMENTED (an extension that was not agreed on), FAILED, UNCLEAN and WRONG CODE (of the
close).
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.processes.server import ROOT, Server

HERE = Path(__file__).parent
CLIENT = ROOT / ".venv-autobahn"
REPORT = ROOT / "build" / "autobahn"
CASES = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*", "12.*", "13.*")
"""All there are: groups 8 and 11 do not exist."""
GOOD = frozenset({"OK", "NON-STRICT", "INFORMATIONAL"})
VIRTUALENV = "virtualenv==16.7.12"
"""The last one that is a single file and makes environments of Python 2.7."""
INSTALLING = 900.0
RUNNING = 3600.0
"""Seconds after which a step has failed; the whole suite takes some minutes."""


Verdicts = dict[str, dict[str, str]]
"""Of each case, among others: `behavior` and `behaviorClose`."""


class Missing(Exception):
    """What the suite needs and this machine does not have."""


def pythons() -> Iterator[tuple[str, dict[str, str]]]:
    """Interpreters that may be Python 2.7: $PYTHON2, those on PATH, those that pyenv keeps."""
    for name in (os.environ.get("PYTHON2", ""), "python2.7", "python2"):
        if found := name and shutil.which(name):
            yield found, dict(os.environ)
    if shutil.which("pyenv"):
        kept = subprocess.run(
            ["pyenv", "whence", "python2.7"], capture_output=True, text=True, timeout=60, check=False
        )
        for version in kept.stdout.split():
            yield "python2.7", {**os.environ, "PYENV_VERSION": version}


def python2() -> tuple[str, dict[str, str]]:
    """The first of them that is one and has pip, with the environment to run it in."""
    question = "import sys, pip; sys.exit(sys.version_info[:2] != (2, 7))"
    for python, env in pythons():
        if not subprocess.run([python, "-c", question], env=env, capture_output=True, check=False).returncode:
            return python, env
    raise Missing("no Python 2.7 with pip is on this machine (or named by PYTHON2); the suite needs one")


def client() -> Path:
    """The fuzzing client's program, installed if it was not, or not with these releases."""
    wanted = HERE / "requirements.txt"
    mark = CLIENT / hashlib.sha256(wanted.read_bytes()).hexdigest()[:16]
    if not mark.exists():
        python, env = python2()
        shutil.rmtree(CLIENT, ignore_errors=True)
        maker = CLIENT / "virtualenv"
        print(f"installing the Autobahn|Testsuite into {CLIENT.relative_to(ROOT)}", flush=True)
        _install([python, "-m", "pip", "install", "--target", str(maker), VIRTUALENV], env)
        _install([python, "-m", "virtualenv", str(CLIENT)], {**env, "PYTHONPATH": str(maker)})
        # The compiled half of the suite's WebSocket library is for its speed; it needs a C compiler.
        _install([str(CLIENT / "bin" / "pip"), "install", "-r", str(wanted)], env)
        mark.touch()
    return CLIENT / "bin" / "wstest"


def _install(command: list[str], env: Mapping[str, str]) -> None:
    quiet = {**env, "PYTHONWARNINGS": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=INSTALLING, check=False)
    if done.returncode:
        words = " ".join(Path(word).name if word.startswith(str(ROOT)) else word for word in command)
        raise Missing(f"`{words}` failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def run(
    program: Path, cases: list[str], options: list[str], report: Path = REPORT
) -> dict[str, dict[str, str]]:
    """The verdict of each case."""
    shutil.rmtree(report, ignore_errors=True)
    report.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(HERE / "echo.py", place)
        with Server(
            Path(place), "-k", "asgi", "-w", "1", *options, "echo:application", copy_apps=False
        ) as server:
            spec = {
                "outdir": str(report),
                "servers": [{"agent": "arbiter", "url": f"ws://{server.host}:{server.port}"}],
                "cases": cases,
                "exclude-cases": [],
                "exclude-agent-cases": {},
            }
            (Path(place) / "spec.json").write_text(json.dumps(spec))
            ran = subprocess.run(
                [program, "-m", "fuzzingclient", "-s", "spec.json"],
                cwd=place,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=RUNNING,
                check=False,
            )
            (report / "client.log").write_text(ran.stdout)
            (report / "server.log").write_text(server.log.text)
    index = report / "index.json"
    if not index.exists():
        raise Missing(f"the client wrote no report (exit status {ran.returncode}):\n{ran.stdout[-2000:]}")
    verdicts: Verdicts = json.loads(index.read_text())["arbiter"]
    return verdicts


def faults(verdicts: Verdicts) -> list[str]:
    """The cases that did not go well, each with its verdicts: of the behaviour, and of the close."""
    return [
        f"{case}: {verdict['behavior']}, close {verdict['behaviorClose']}"
        for case, verdict in sorted(
            verdicts.items(), key=lambda one: [int(part) for part in one[0].split(".")]
        )
        if not {verdict["behavior"], verdict["behaviorClose"]} <= GOOD
    ]


def summary(verdicts: Verdicts) -> str:
    """The counts, in a line or two."""
    counts = collections.Counter(verdict["behavior"] for verdict in verdicts.values())
    closes = collections.Counter(verdict["behaviorClose"] for verdict in verdicts.values())
    told = ", ".join(f"{number} {word}" for word, number in counts.most_common())
    told_closes = ", ".join(f"{number} {word}" for word, number in closes.most_common())
    return f"Autobahn: {len(verdicts)} cases: {told}\ntheir closes: {told_closes}"


def main() -> int:
    """Run the suite and say how it went."""
    parser = argparse.ArgumentParser(prog="make autobahn", description="Autobahn|Testsuite against arbiter")
    parser.add_argument("--cases", default=",".join(CASES), help="with commas: 1.*,6.12.*,7.1.3")
    parser.add_argument("options", nargs="*", help="more of arbiter's command line, after --")
    asked = parser.parse_args()
    try:
        verdicts = run(client(), asked.cases.split(","), asked.options)
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 2
    print(summary(verdicts))
    for fault in faults(verdicts):
        print(fault)
    return 1 if faults(verdicts) or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
