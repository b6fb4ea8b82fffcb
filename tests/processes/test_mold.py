"""The mold: workers come from an image of the application in memory, whatever lies on disk."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from arbiter.config import merging
from tests.processes.load import Load
from tests.processes.server import KINDS, Held, Server, gone, until

Serve = Callable[..., Server]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a mold needs subreapers")

BROKEN = 'raise RuntimeError("deliberately broken")\nVERSION ='


@pytest.fixture
def preload(options: list[str]) -> list[str]:
    return ["--preload", *options]


def test_workers_are_the_arbiters_children_and_the_molds_application(
    serve: Serve, preload: list[str]
) -> None:
    server = serve("-w", "3", *preload)
    server.log.wait(r"mold \(gen 1, pid \d+\) ready")
    assert len(server.workers()) == 3
    assert len(server.molds()) == 1
    assert re.search(r"mold \d+ \(gen 1\) ready, .* 3 workers share \S+M of \S+M\n", server.ctl("status"))
    assert "pid=" in server.get()
    assert server.get("/descriptors").strip().endswith("descriptors=0,1,2"), "everything else is closed"


def test_a_killed_worker_comes_back_with_the_code_that_was_running(
    serve: Serve, kind: str, preload: list[str]
) -> None:
    """Broken code on disk and kill -9: the replacement serves the old code, as if nothing were there."""
    server = serve("-w", "2", *preload)
    server.rewrite(KINDS[kind], "VERSION =", BROKEN)
    for _ in range(3):
        before = server.workers()
        victim = min(before)
        mark = server.mark()
        os.kill(victim, signal.SIGKILL)
        server.log.wait(r"worker \d \(gen 1, pid \d+\) ready", since=mark)
        until(lambda victim=victim: len(server.workers() - {victim}) == 2, "a replacement")
    assert all("version=one" in server.get() for _ in range(10))
    assert "deliberately broken" not in server.log.text


def test_of_django_too_whatever_it_would_load_at_its_first_request(
    serve: Serve, kind: str, tmp_path: Path
) -> None:
    """The URLconf and the views: no request has been made when the code on disk breaks."""
    (tmp_path / "views.py").write_text(
        "from django.http import HttpResponse\ndef index(request): return HttpResponse('as it was')\n"
    )
    (tmp_path / "urls.py").write_text(
        "from django.urls import path\nimport views\nurlpatterns = [path('', views.index)]\n"
    )
    for name in ("wsgi", "asgi"):
        (tmp_path / f"app_{name}.py").write_text(
            "from django.conf import settings\n"
            "settings.configure(ROOT_URLCONF='urls', SECRET_KEY='x', ALLOWED_HOSTS=['*'])\n"
            f"from django.core.{name} import get_{name}_application\napplication = get_{name}_application()\n"
        )
    threads = ["--threads", "4"] if kind == "threaded" else []
    app = "app_asgi" if kind == "asgi" else "app_wsgi"
    server = serve("-w", "1", "-k", kind, *threads, app, directory=tmp_path, copy_apps=False)
    for name in ("views", "urls"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('broken on disk')\n")
    assert server.get() == "as it was"
    (victim,) = server.workers()
    os.kill(victim, signal.SIGKILL)
    assert server.get() == "as it was"
    server.reload(expect=r"reload failed: .*Django's URLconf 'urls' cannot be loaded: RuntimeError: broken")
    assert server.get() == "as it was"


def test_a_good_reload_under_load(serve: Serve, kind: str, preload: list[str]) -> None:
    server = serve("-w", "3", *preload)
    first = server.workers()
    with Load((server.host, server.port), 4, keepalive=False) as load:
        load.wait_ok(50)
        server.rewrite(KINDS[kind], '"one"', '"two"')
        server.reload()
        load.wait_ok(50)
    assert load.lost == 0, f"{load.verdict()}\n{server.log.text}"
    assert "version=two" in server.get()
    assert all(gone(pid) for pid in first)
    assert len(server.molds()) == 2, "the one in force, and the one a rollback would go back to"


def test_a_broken_reload_touches_no_worker(serve: Serve, kind: str, preload: list[str]) -> None:
    """The new mold fails before any worker of it is forked; what dies meanwhile is re-forked as it was."""
    server = serve("-w", "2", *preload)
    before = server.workers()
    with Load((server.host, server.port), 4, keepalive=False) as load:
        server.rewrite(KINDS[kind], "VERSION =", BROKEN)
        server.reload(expect=r"reload failed: .*generation 1 goes on")
        load.wait_ok(50)
        assert server.workers() == before
        assert server.log.count("^ *RuntimeError: deliberately broken") == 1, server.log.text
        until(lambda: len(server.molds()) == 1, "the failed mold gone")
    assert load.lost == 0, f"{load.verdict()}\n{server.log.text}"
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len(server.workers() - before) == 1, "a replacement")
    assert "version=one" in server.get()


def test_a_mold_that_dies_is_made_anew(serve: Serve, preload: list[str]) -> None:
    server = serve("-w", "2", *preload)
    before = server.workers()
    (mold,) = server.molds()
    mark = server.mark()
    os.kill(mold, signal.SIGKILL)
    server.log.wait(rf"mold \(gen 1, pid {mold}\) was killed by SIGKILL.*the workers go on", since=mark)
    server.log.wait(r"mold \(gen 1, pid \d+\) ready", since=mark)
    assert server.workers() == before, "nobody else took notice"
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len(server.workers() - before) == 1, "a replacement")
    assert "version=one" in server.get()


def test_a_mold_that_cannot_be_made_anew_is_an_alarm_and_no_more(
    serve: Serve, kind: str, preload: list[str]
) -> None:
    """The last resort: what is missing is loaded from disk, where repaired code is served again."""
    server = serve("-w", "2", *preload)
    before = server.workers()
    server.rewrite(KINDS[kind], "VERSION =", BROKEN)
    (mold,) = server.molds()
    mark = server.mark()
    os.kill(mold, signal.SIGKILL)
    server.log.wait(r"\[CRITICAL\] mold \(gen 1, pid \d+\): .*the workers go on", since=mark)
    assert server.workers() == before
    assert "version=one" in server.get()
    server.rewrite(KINDS[kind], BROKEN, "VERSION =")
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len(server.workers() - before) == 1, "a replacement")
    server.log.wait(r"mold \(gen 1, pid \d+\) ready", since=mark)


def test_mold_and_workers_go_with_their_arbiter(serve: Serve, preload: list[str]) -> None:
    """kill -9 of the arbiter, a request in hand: all gone within a second, and the port is free."""
    server = serve("-w", "3", *preload)
    everybody = server.workers() | server.molds()
    assert len(everybody) == 4
    with Held(server, "a"):
        os.kill(server.pid, signal.SIGKILL)
        assert all(gone(pid, timeout=2.0) for pid in everybody)
    with socket.create_server((server.host, server.port)):
        pass


def test_term_ends_everything(serve: Serve, preload: list[str]) -> None:
    server = serve("-w", "3", *preload)
    everybody = server.workers() | server.molds()
    assert server.stop() == 0
    assert all(gone(pid) for pid in everybody)


def test_term_while_the_first_mold_is_built(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time, pathlib\npathlib.Path('begun').touch()\ntime.sleep(60)\n")
    server = serve("--preload", "slow:application", ready=False)
    until((tmp_path / "begun").exists, "the import")
    assert server.stop() == 0


def test_thirty_two_workers(serve: Serve, preload: list[str]) -> None:
    server = serve("-w", "32", *preload)
    assert len(server.workers()) == 32
    assert server.stop() == 0


def test_what_pre_fork_leaves_behind_is_for_the_worker_it_was_called_for(
    serve: Serve, preload: list[str]
) -> None:
    """As in gunicorn, where the fork follows at once; however many workers are asked for together."""
    server = serve(
        "-w",
        "6",
        *preload,
        config=(
            "last = None\n"
            "def pre_fork(server, worker):\n    global last\n    last = worker.nr\n"
            "def post_fork(server, worker):\n    worker.log.info('made %s for %s', last, worker.nr)\n"
        ),
    )
    made = re.findall(r"made (\d) for (\d)", server.log.text)
    assert sorted(made) == [(str(slot), str(slot)) for slot in range(1, 7)]


# -- what does not survive a fork

UNSAFE = {
    "thread": (
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,), name='ticker', daemon=True).start()\n",
        r"a thread runs: 'ticker'",
    ),
    "connection": (
        "import socket\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "client = socket.create_connection(listener.getsockname())\n",
        r"a connection is open to 127\.0\.0\.1:\d+",
    ),
    "loop": ("import asyncio\nloop = asyncio.new_event_loop()\n", r"an event loop is open"),
    "child": (
        "import subprocess as sub\nchild = sub.Popen(['cat'], stdin=sub.PIPE)\n",
        r"a child process runs: \d+ \(cat\)",
    ),
}
APP = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'served']\n"


@pytest.mark.parametrize("what", list(UNSAFE))
def test_what_does_not_survive_a_fork_is_named_and_not_forked(
    serve: Serve, tmp_path: Path, what: str
) -> None:
    source, finding = UNSAFE[what]
    (tmp_path / "unsafe.py").write_text(source + APP)
    server = serve("-w", "2", "unsafe", env={"ARBITER_PRELOAD_APP": "auto"})
    assert re.search(finding, server.log.text), server.log.text
    assert server.log.count("does not survive a fork") == 1
    assert server.get() == "served"
    until(lambda: not server.molds(), "the mold gone")
    os.kill(min(server.workers()), signal.SIGKILL)
    assert server.get() == "served"
    assert server.stop() == 0


def test_with_preload_app_true_it_is_forked_with_a_warning(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "unsafe.py").write_text(UNSAFE["thread"][0] + APP)
    server = serve("-w", "2", "--preload", "unsafe")
    assert "preload_app = True forks it all the same" in server.log.text
    assert server.get() == "served"
    assert len(server.molds()) == 1


# -- what a mold asks of an application


def test_warm_up(serve: Serve, kind: str, preload: list[str]) -> None:
    server = serve("--warmup-path", "/warm", "--warmup-path", "https://www.example.com/warmer", *preload)
    assert "pid=" in server.get()
    assert server.stop() == 0


def test_a_warm_up_that_is_refused_is_told(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "choosy.py").write_text(
        "def application(environ, start_response):\n"
        "    known = environ['HTTP_HOST'] == 'www.example.com'\n"
        "    start_response('200 OK' if known or environ['REMOTE_PORT'] != '0' else '400 Bad', [])\n"
        "    return [b'served']\n"
    )
    paths = ["--warmup-path", "/a", "--warmup-path", "/a", "--warmup-path", "http://www.example.com/b"]
    server = serve("--preload", *paths, "choosy")
    assert server.get() == "served"
    assert server.log.count("GET /a was answered with 400 \\(Host: localhost; write the path as a URL") == 1
    assert "www.example.com/b was" not in server.log.text


@pytest.mark.parametrize(
    "answer", ["start_response('503 No', [])", "raise RuntimeError('cold')", "environ.x"]
)
def test_an_application_that_does_not_answer_the_warm_up_is_not_served(
    serve: Serve, tmp_path: Path, answer: str
) -> None:
    (tmp_path / "cold.py").write_text(
        f"def application(environ, start_response):\n    {answer}\n    return []\n"
    )
    server = serve("--preload", "--warmup-path", "/x?y=1", "cold", ready=False)
    assert server.wait() == 4
    assert "warm-up: GET /x?y=1 was answered with 50" in server.log.text
    assert server.log.text.count("Traceback") <= 1
    assert f"{os.sep}arbiter{os.sep}workers" not in server.log.text


@pytest.mark.skipif(merging.asked() is None, reason="this kernel cannot merge pages")
@pytest.mark.parametrize("preload", ["--preload", "--no-preload"])
def test_memory_is_merged_where_that_is_asked_for(serve: Serve, tmp_path: Path, preload: str) -> None:
    (tmp_path / "merged.py").write_text(
        "from arbiter.config.merging import asked\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [f'merged={asked()}'.encode()]\n"
    )
    options = ["-k", "sync", preload]
    assert serve(*options, "merged").get() == "merged=False"
    server = serve("--memory-merge", *options, "merged")
    assert server.get() == "merged=True"
    assert ("echo 1 > /sys/kernel/mm/ksm/run" in server.log.text) is bool(merging.obstacle())


def test_a_broken_application_ends_the_first_start_with_its_status(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text('raise RuntimeError("deliberately broken")\n')
    server = serve("-w", "3", "--preload", "broken:application", ready=False)
    assert server.wait() == 4
    assert server.log.text.count("Traceback") == 1
    assert server.log.count("CRITICAL") == 1
    assert f"{os.sep}arbiter{os.sep}workers" not in server.log.text


def test_an_import_that_hangs_ends_at_boot_timeout_with_its_stack(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(600)\n")
    server = serve("--preload", "--boot-timeout", "8", "hangs:application", ready=False)
    assert server.wait() == 3
    assert "hangs in step application" in server.log.text
    assert re.search(r"hangs\.py\", line 2", server.log.text), server.log.text


def test_hooks_are_called_where_the_application_is(serve: Serve) -> None:
    """pre_fork in the process that forks, which has the application; the others as always."""
    config = (
        "import os\npreload_app = True\nworkers = 1\n"
        "def on_starting(server):\n    server.log.info('on_starting in %s', os.getpid())\n"
        "    os.environ['FROM_HOOK'] = 'yes'\n"
        "def pre_fork(server, worker):\n"
        "    server.log.info('pre_fork in %s of %s', os.getpid(), server.pid)\n"
        "def post_fork(server, worker):\n    server.log.info('post_fork in %s', os.getpid())\n"
        "def child_exit(server, worker):\n    server.log.info('child_exit in %s', os.getpid())\n"
    )
    server = serve("wsgi_app", config=config)
    ((mold,), (worker,)) = server.molds(), server.workers()
    assert "FROM_HOOK=yes" in server.get("/environ?FROM_HOOK")
    assert server.stop() == 0
    for line in (
        f"on_starting in {server.pid}",
        f"pre_fork in {mold} of {server.pid}",
        f"post_fork in {worker}",
        f"child_exit in {server.pid}",
    ):
        assert server.log.count(line) == 1, server.log.text
    assert re.search(rf"\[mold \(gen 1, pid {mold}\)\].*pre_fork in", server.log.text), server.log.text
    assert re.search(rf"\[worker 1 \(gen 1, pid {worker}\)\].*post_fork in", server.log.text)


def test_logs_are_opened_again_for_the_workers_to_come(serve: Serve, tmp_path: Path) -> None:
    server = serve("-w", "1", "--preload", "--access-logfile", "access.log", "wsgi_app:application")
    access = tmp_path / "access.log"
    access.rename(tmp_path / "access.log.1")
    mark = server.mark()
    server.signal(signal.SIGUSR1)
    server.log.wait("logs reopened", since=mark)
    until(access.exists, "a new file")
    (worker,) = server.workers()
    os.kill(worker, signal.SIGKILL)
    assert "pid=" in until(lambda: server.get("/later"), "service")
    until(lambda: "/later" in access.read_text(), "the line in the new file")
