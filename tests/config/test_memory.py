"""A configuration remembered, and made again from that."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from arbiter.config.memory import Remembered, recall, remember
from arbiter.config.snapshot import Config, diff
from arbiter.config.sources import Loader

TEXT = """
workers = 3
bind = [":0", "unix:a.sock"]
raw_env = ["A=1", "DJANGO_SETTINGS_MODULE=x.y"]
user = 0
timeout = "2m"
control_operators = {"@0", 0}
logconfig_dict = {"version": 1, "loggers": {}}
secure_scheme_headers = {"X-SCHEME": "https"}
def on_exit(server):
    return 1
"""


def load(directory: Path, text: str, environ: dict[str, str] | None = None, **cli: Any) -> Config:
    (directory / "arbiter.conf.py").write_text(text)
    return Loader({"wsgi_app": "a:b", **cli}, environ or {}, str(directory)).load()


def carried(config: Config) -> Remembered:
    """As it comes out of an upgrade."""
    plain = json.loads(json.dumps(asdict(remember(config))))
    return Remembered([tuple(one) for one in plain["settings"]], [tuple(one) for one in plain["variables"]])


def test_it_is_what_it_was(tmp_path: Path) -> None:
    before = load(tmp_path, TEXT, {"PORT": "80", "ARBITER_THREADS": "5"}, keepalive="7")
    back = recall(carried(before), before, str(tmp_path))
    assert diff(before, back) == []
    assert back.environment() == before.environment()
    assert {name: before.origin(name) for name, _ in before.items()} == {
        name: back.origin(name) for name, _ in back.items()
    }


def test_what_lies_on_disk_by_now_does_not_matter(tmp_path: Path) -> None:
    before = load(tmp_path, TEXT)
    today = load(tmp_path, "workers = 9\nbind = ':1'\nchdir = '..'\ndef on_exit(server):\n    return 2\n")
    back = recall(carried(before), today, str(tmp_path))
    assert (back.workers, back.bind, back.chdir) == (3, before.bind, before.chdir)
    assert back.on_exit is not None and back.on_exit is today.on_exit, "code cannot be carried"


def test_what_cannot_be_read_any_more_is_as_today(tmp_path: Path) -> None:
    before = load(tmp_path, "workers = 3\n")
    remembered = carried(before)
    remembered.settings[:] = [
        (name, origin, "many" if name == "workers" else written)
        for name, origin, written in remembered.settings
        if name != "timeout"
    ]
    remembered.settings.append(("a_setting_of_old", "default", 1))
    today = load(tmp_path, "workers = 5\ntimeout = 99\n")
    back = recall(remembered, today, str(tmp_path))
    assert (back.workers, back.timeout) == (5, 99.0)
