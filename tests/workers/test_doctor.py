"""The fork-safety doctor: what it finds, what it passes over. Each case in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

CASES = {
    "nothing": ("", None),
    "a thread": (
        "import threading, time\n"
        "def tick():\n    time.sleep(60)\n"
        "threading.Thread(target=tick, name='ticker', daemon=True).start()\n",
        "a thread runs: 'ticker', in tick (<string>, line ",
    ),
    "a thread that has ended": (
        "import threading\nthread = threading.Thread(target=print)\nthread.start(); thread.join()\n",
        None,
    ),
    "a connection": (
        "import socket\nlistener = socket.create_server(('127.0.0.1', 0))\n"
        "client = socket.create_connection(listener.getsockname())\n"
        "server, _ = listener.accept()\nlistener.close()\n",
        "a connection is open to 127.0.0.1:",
    ),
    "a listener": (
        "import socket\nlistener = socket.create_server(('127.0.0.1', 0))\n",
        "a socket listens on 127.0.0.1:",
    ),
    "a unix connection": (
        "import socket, tempfile, os\npath = os.path.join(tempfile.mkdtemp(), 'a.sock')\n"
        "listener = socket.socket(socket.AF_UNIX); listener.bind(path); listener.listen()\n"
        "client = socket.socket(socket.AF_UNIX); client.connect(path); listener.close()\n",
        "a.sock (descriptor ",
    ),
    "datagrams": (
        "import socket\nstatsd = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "statsd.connect(('127.0.0.1', 8125))\n",
        None,
    ),
    "a socket that is not connected": ("import socket\nsock = socket.socket()\n", None),
    "an open loop": (
        "import asyncio\nloop = asyncio.new_event_loop()\n",
        "an event loop is open: asyncio.unix_events._UnixSelectorEventLoop",
    ),
    "a closed loop": ("import asyncio\nasyncio.run(asyncio.sleep(0))\n", None),
    "a uvloop": ("import uvloop\nloop = uvloop.new_event_loop()\n", "an event loop is open: uvloop.Loop"),
    "uvloop, imported": ("import uvloop, asyncio\n", None),
    "a selector": ("import selectors\nselector = selectors.EpollSelector()\n", "is [eventpoll]"),
    "a child": (
        "import subprocess as sub\nchild = sub.Popen(['cat'], stdin=sub.PIPE)\n",
        "a child process runs: ",
    ),
    "an open file": ("import tempfile\nfile = tempfile.TemporaryFile()\n", None),
    "a lazy object": (
        "import gc\nclass Lazy:\n"
        "    @property\n    def __class__(self): raise SystemExit('set up by the doctor')\n"
        "import asyncio\nlazy = [Lazy()]\n",
        None,
    ),
    "a library": (
        "import sys, types\ntorch = types.ModuleType('torch')\n"
        "torch.cuda = types.SimpleNamespace(is_initialized=lambda: True)\nsys.modules['torch'] = torch\n",
        "torch has initialised CUDA",
    ),
    "another version of a library": (
        "import sys, types\nsys.modules['torch'] = types.ModuleType('torch')\n",
        None,
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_findings(case: str) -> None:
    source, finding = CASES[case]
    program = f"{source}\nfrom arbiter.workers import doctor\nprint('\\n'.join(doctor.examine()))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    found = [line for line in done.stdout.splitlines() if line]
    if finding is None:
        assert found == []
    else:
        assert len(found) == (2 if case == "a connection" else 1), "each end is one"
        assert finding in found[0]


def test_our_own_sockets_are_no_finding() -> None:
    program = (
        "import socket\nfrom arbiter.workers import doctor\nours, theirs = socket.socketpair()\n"
        "print(doctor.examine(own={ours.fileno(), theirs.fileno()}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


def test_a_well_known_port_is_named() -> None:
    program = (
        "from arbiter.workers.doctor import _shown\n"
        "print(_shown(('10.0.0.1', 6379)), '|', _shown(('::1', 5432, 0, 0)), '|', _shown(b'\\0abc'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "10.0.0.1:6379, Redis | [::1]:5432, PostgreSQL | @abc\n"
