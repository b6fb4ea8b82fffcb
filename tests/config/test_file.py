"""The configuration file: found, executed, its lines, and which of its names are settings."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arbiter.config import file
from arbiter.config.file import Executed, FileError

Run = Callable[..., Executed]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Execute a text as conf.py; what it left in the process is taken back at the end."""
    done: list[Executed] = []

    def execute(source: str, name: str = "conf.py") -> Executed:
        (tmp_path / name).write_text(textwrap.dedent(source))
        executed = file.execute(name, str(tmp_path))
        done.append(executed)
        return executed

    yield execute
    for executed in reversed(done):
        executed.footprint.undo()


def suspects(executed: Executed) -> list[str]:
    return [fault.setting for fault in file.settings(executed)[1]]


# ---------------------------------------------------------------- lines


def test_every_way_to_bind_a_name_leaves_its_line(run: Run) -> None:
    executed = run(
        """\
        workers = 2
        if workers > 1:
            threads = 4
        else:
            threads = 1
        for backlog in (1, 2):
            pass
        (timeout, keepalive) = 1, 2
        bind = [
            "a",
        ]
        umask: int = 0
        max_requests = 1
        max_requests += 1
        if (user := "x"):
            pass
        def on_exit(server):
            pass
        """
    )
    names = "workers threads backlog timeout keepalive bind umask max_requests user on_exit"
    assert {name: executed.lines[name] for name in names.split()} == {
        "workers": 1,
        "threads": 3,
        "backlog": 6,
        "timeout": 8,
        "keepalive": 8,
        "bind": 9,
        "umask": 12,
        "max_requests": 14,
        "user": 15,
        "on_exit": 17,
    }
    assert executed.origin("threads") == "conf.py:3"


def test_names_set_by_other_means_have_no_line(run: Run) -> None:
    executed = run("globals()['workers'] = 3\ndef f():\n    global threads\n    threads = 2\nf()\n")
    assert executed.names["workers"] == 3
    assert executed.origin("workers") == executed.origin("threads") == "conf.py"


def test_a_star_import_is_where_its_names_come_from(run: Run, tmp_path: Path) -> None:
    (tmp_path / "base_conf_for_star.py").write_text("workers = 5\n\ntimeout = 9\n")
    executed = run("\nfrom base_conf_for_star import *\ntimeout = 8\n")
    assert executed.names["workers"] == 5
    assert executed.origin("workers") == "conf.py:2"
    assert executed.origin("timeout") == "conf.py:3"


def test_the_file_runs_as_a_module_does(run: Run, tmp_path: Path) -> None:
    executed = run(
        """\
        from __future__ import annotations
        import dataclasses
        here = __file__
        factor = 3
        table = {name: factor for name in ("a", "b")}
        class Inner:
            doubled = factor * 2
        @dataclasses.dataclass
        class Data:
            field: "int" = 1
        def compute():
            return factor + Inner.doubled + Data().field + len(table)
        workers = compute()
        del factor
        main = __name__
        """
    )
    assert executed.names["workers"] == 12
    assert "factor" not in executed.names
    assert executed.names["here"] == str(tmp_path / "conf.py")
    assert executed.names["main"] != "__main__"


def test_hooks_keep_their_globals(run: Run) -> None:
    executed = run("_count = []\ndef on_exit(server):\n    _count.append(server)\n    return len(_count)\n")
    hook: Any = executed.names["on_exit"]
    assert [hook(1), hook(2)] == [1, 2]


# ---------------------------------------------------------------- found


def test_path_forms(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/a.py").write_text("workers = 1\n")
    assert file.execute("etc/a.py", str(tmp_path)).shown == "etc/a.py"
    assert file.execute("file:etc/a.py", str(tmp_path)).shown == "etc/a.py"
    absolute = str(tmp_path / "etc/a.py")
    assert file.execute(absolute, "/").origin("workers") == f"{absolute.removeprefix('/')}:1"
    assert file.execute(absolute, str(tmp_path / "other")).shown == absolute


def test_its_own_directory_is_importable(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/helper_of_conf.py").write_text("count = 4\n")
    (tmp_path / "helper_in_cwd.py").write_text("more = 1\n")
    (tmp_path / "etc/a.py").write_text(
        "from helper_of_conf import count\nfrom helper_in_cwd import more\nworkers = count + more\n"
    )
    executed = file.execute("etc/a.py", str(tmp_path))
    executed.footprint.undo()
    assert executed.names["workers"] == 5


def test_a_module(tmp_path: Path) -> None:
    package = tmp_path / "conf_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "base.py").write_text("count = 6\n")
    (package / "live.py").write_text("from .base import count\n\nworkers = count\n")
    executed = file.execute("python:conf_package.live", str(tmp_path))
    executed.footprint.undo()
    assert executed.names["workers"] == 6
    assert executed.origin("workers") == "conf_package/live.py:3"


def test_a_module_is_read_anew_by_the_next_load(tmp_path: Path) -> None:
    (tmp_path / "conf_module_anew.py").write_text("from conf_base_anew import count as workers\n")
    for count in (1, 2, 3):
        (tmp_path / "conf_base_anew.py").write_text(f"count = {count}\n")
        executed = file.execute("python:conf_module_anew", str(tmp_path))
        assert executed.names["workers"] == count
        executed.footprint.undo()


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("missing.py", "No such file"),
        (".", "Is a directory"),
        ("python:no_such_module_here", "no such module"),
        ("python:sys", "no such module"),
        ("python:a b", "no such module"),
        ("python:broken_parent.x", "cannot be imported: RuntimeError: parent"),
    ],
)
def test_what_cannot_be_found(tmp_path: Path, where: str, says: str) -> None:
    (tmp_path / "broken_parent").mkdir()
    (tmp_path / "broken_parent/__init__.py").write_text("raise RuntimeError('parent')\n")
    with pytest.raises(FileError) as caught:
        file.execute(where, str(tmp_path))
    assert says in caught.value.fault.problem
    assert where.removesuffix(".") in caught.value.fault.value
    assert caught.value.fault.remedy


# ---------------------------------------------------------------- broken


@pytest.mark.parametrize(
    ("source", "origin", "says"),
    [
        ("workers = 1\nbind = = 2\n", "conf.py:2", "is not Python: invalid syntax in `bind = = 2`"),
        ("x = 1\n\nraise RuntimeError('why')\n", "conf.py:3", "RuntimeError: why"),
        ("def f():\n    return {}['key']\n\nf()\n", "conf.py:2", "KeyError: 'key'"),
        ("import sys\nsys.exit('no')\n", "conf.py:2", "SystemExit: no"),
        ("workers = undefined\n", "conf.py:1", "NameError"),
        ("import no_such_module_at_all\n", "conf.py:1", "No module named 'no_such_module_at_all'"),
        ("import json\n\njson.loads('{')\n", "conf.py:3", "decoder.py"),
        ("import broken_helper_of_conf\n", "conf.py:1", "broken_helper_of_conf.py:2"),
        ("a = 1\x00\n", "conf.py", "is not Python"),
    ],
)
def test_a_broken_file(tmp_path: Path, source: str, origin: str, says: str) -> None:
    (tmp_path / "broken_helper_of_conf.py").write_text("\ndef f(:\n")
    (tmp_path / "conf.py").write_text(source)
    with pytest.raises(FileError) as caught:
        file.execute("conf.py", str(tmp_path))
    assert caught.value.fault.origin.startswith(origin)
    assert says in str(caught.value.fault)
    assert caught.value.fault.remedy


def test_an_interrupt_is_not_a_fault(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        file.execute("conf.py", str(tmp_path))


# ---------------------------------------------------------------- names


def test_settings_are_found(run: Run) -> None:
    found, faults = file.settings(
        run("workers = 1\napp = 'a:b'\ncertfile = 'x'\ndef on_exit(server): pass\n")
    )
    assert faults == []
    assert set(found) == {"workers", "app", "certfile", "on_exit"}


def test_the_files_own_affairs_are_no_settings(run: Run) -> None:
    """What a real gunicorn.conf.py has besides settings."""
    executed = run(
        """\
        import multiprocessing
        import os.path as path
        from os import environ, getcwd
        from pathlib import Path
        _private = 1
        BASE_DIR = Path(getcwd())
        PORT = 8000
        cores = multiprocessing.cpu_count()
        bind_port = environ.get("NOWHERE", PORT)
        bind = f"127.0.0.1:{bind_port}"
        workers = cores * 2
        WORKERS = workers
        for line in ():
            pass
        with open(__file__) as source_file:
            pass
        def helper(x): return x
        class Filter: pass
        make = lambda: 1
        def post_fork(server, worker):
            server.log.info(banner)
        banner = "hello"
        """
    )
    assert suspects(executed) == []


@pytest.mark.parametrize(
    ("source", "name", "says"),
    [
        ("workerz = 3", "workerz", "the nearest is workers. Correct the name, or write _workerz"),
        ("time_out = 3", "time_out", "the nearest is timeout"),
        ("\nqqq = 3", "qqq", "qqq = 3 (conf.py:2): there is no such setting. Correct"),
        ("WORKERS = 3", "WORKERS", "settings are in lower case. Write workers"),
        (
            "def post_forks(server, worker): pass",
            "post_forks",
            "there is no such hook; the nearest is post_fork.",
        ),
        ("workerz = 1\nworkerz += 1", "workerz", "conf.py:2"),
        ("globals()['workerz'] = 1", "workerz", "(conf.py)"),
        ("many = 'x' * 1000", "many", "..."),
    ],
)
def test_what_may_have_been_meant_as_a_setting_is_refused(
    run: Run, source: str, name: str, says: str
) -> None:
    _, faults = file.settings(run(source + "\n"))
    assert [fault.setting for fault in faults] == [name]
    assert says in str(faults[0])


def test_names_of_a_star_import_are_refused_only_when_near(run: Run, tmp_path: Path) -> None:
    (tmp_path / "base_of_names.py").write_text("workerz = 5\nqqqq = 1\n")
    assert suspects(run("from base_of_names import *\n")) == ["workerz"]


def test_a_module_by_the_name_of_a_setting_is_none(run: Run) -> None:
    found, faults = file.settings(run("import os as user\n"))
    assert found == {}
    assert faults == []
