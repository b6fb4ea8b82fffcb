"""Rules between settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from arbiter.config import check
from arbiter.config.sources import Loader
from arbiter.errors import ConfigError


def load(directory: Path, **cli: Any) -> Any:
    return Loader({"wsgi_app": "a:b", **cli}, {}, str(directory)).load()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"wsgi_app": None}, "no application is named"),
        ({"chdir": "missing"}, "there is no such directory"),
        ({"tmp_upload_dir": "missing"}, "there is no such directory"),
        ({"bind": [":1", "0.0.0.0:1"]}, "has 0.0.0.0:1 twice"),
        ({"threads": "8", "worker_connections": "4"}, "is less than threads = 8"),
        ({"access_log_format": "%(nothing)s"}, "has no atom"),
        ({"workers_min": "5", "workers_max": "4"}, "is above workers_max = 4"),
        ({"workers": "5", "workers_min": "2", "workers_max": "4"}, "lies outside of workers_min = 2 and"),
        ({"workers": "1", "workers_min": "2", "workers_max": "4"}, "lies outside of workers_min = 2 and"),
        ({"initgroups": True, "user": "54321"}, "user 54321 has no name"),
    ],
)
def test_what_cannot_work_is_a_fault(tmp_path: Path, values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **values)
    assert says in str(caught.value)
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].remedy


def test_uvloop_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="uvloop is not installed"):
        load(tmp_path, asgi_loop="uvloop")
    assert load(tmp_path, asgi_loop="auto").asgi_loop == "auto"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"threads": "2", "worker_class": "asgi"}, "threads = 2 (--threads) has no effect"),
        ({"threads": "2", "worker_class": "sync"}, "makes the sync workers threaded ones"),
        ({"max_requests_jitter": "5"}, "has no effect without max_requests"),
        ({"workers_min": "2"}, "workers_min = 2 (--workers-min) has no effect without workers_max"),
        ({"limit_request_line": "1M"}, "is never reached"),
        ({"daemon": True}, "has no terminal"),
        ({"worker_tmp_dir": "/dev/shm"}, "is not needed"),
        ({"reuse_port": True, "bind": ["unix:a"]}, "no address is one of TCP"),
        ({"pythonpath": ["missing"]}, "does not exist"),
    ],
)
def test_what_is_probably_not_meant_is_a_notice(tmp_path: Path, values: dict[str, Any], says: str) -> None:
    notices = load(tmp_path, **values).notices
    assert len(notices) == 1
    assert says in notices[0]
    assert notices[0].endswith(".")


def test_memory_that_nobody_would_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check.merging, "obstacle", lambda: "the kernel is told nothing")
    (notice,) = load(tmp_path, memory_merge=True).notices
    assert notice == "memory_merge = True (--memory-merge) has no effect: the kernel is told nothing."
    monkeypatch.setattr(check.merging, "obstacle", lambda: "")
    assert load(tmp_path, memory_merge=True).notices == ()


def test_the_defaults_are_in_order(tmp_path: Path) -> None:
    assert load(tmp_path).notices == ()


def test_who_lets_the_number_follow_the_load_need_not_say_where_it_begins(tmp_path: Path) -> None:
    assert load(tmp_path, workers_min="3", workers_max="8").workers == 3
    assert load(tmp_path, workers="5", workers_min="3", workers_max="8").workers == 5


def test_ports_that_the_kernel_chooses_may_be_many(tmp_path: Path) -> None:
    assert len(load(tmp_path, bind=["127.0.0.1:0", "127.0.0.1:0"]).bind) == 2


def test_a_rule_about_an_unreadable_setting_is_silent(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, threads="x", worker_connections="0", chdir=str(tmp_path / "missing"))
    assert sorted(fault.setting for fault in caught.value.faults) == [
        "chdir",
        "threads",
        "worker_connections",
    ]


def test_print_config_needs_no_application(tmp_path: Path) -> None:
    assert load(tmp_path, wsgi_app=None, print_config=True).app == ""


def test_users_of_this_process(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert (config.user, config.group) == (os.geteuid(), os.getegid())
