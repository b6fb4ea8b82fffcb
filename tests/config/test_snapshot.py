"""The frozen configuration, and the difference of two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arbiter.config.setting import Effect
from arbiter.config.snapshot import Config, diff
from arbiter.config.sources import Loader
from arbiter.config.table import TABLE


def load(directory: Path, text: str = "", **cli: Any) -> Config:
    (directory / "arbiter.conf.py").write_text(text)
    return Loader({"wsgi_app": "a:b", **cli}, {}, str(directory)).load()


def test_attributes(tmp_path: Path) -> None:
    config = load(tmp_path, "workers = 3\n", timeout="2m")
    assert config.workers == 3
    assert config.timeout == 120.0
    assert config.app == config.wsgi_app == "a:b"
    assert config.origin("workers") == "arbiter.conf.py:1"
    assert config.origin("timeout") == "--timeout"
    assert config.origin("threads") == "default"
    assert [name for name, _ in config.items()] == list(TABLE)
    assert "workers=3" in repr(config)
    assert "threads" not in repr(config)
    with pytest.raises(KeyError):
        config.origin("nothing")
    with pytest.raises(AttributeError):
        config.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_it_is_frozen(tmp_path: Path) -> None:
    config = load(tmp_path)
    with pytest.raises(AttributeError, match="frozen"):
        config.workers = 3
    with pytest.raises(AttributeError, match="frozen"):
        del config.workers
    assert config.workers == 1


def test_nothing_has_changed(tmp_path: Path) -> None:
    text = "_x = 1\ndef on_exit(server):\n    return _x\ndef post_request(worker, req):\n    pass\n"
    assert diff(load(tmp_path, text), load(tmp_path, text)) == []


def test_what_has_changed_and_what_to_do(tmp_path: Path) -> None:
    before = load(tmp_path, "workers = 2\ndef on_exit(server):\n    return 1\n")
    after = load(
        tmp_path,
        "workers = 3\nbind = ':0'\nkeepalive = 5\ndaemon = True\nerrorlog = 'x'\n"
        "def on_exit(server):\n    return 2\ndef post_request(worker, req): pass\n",
    )
    changes = {change.name: change for change in diff(before, after)}
    assert {name: change.effect for name, change in changes.items()} == {
        "workers": Effect.IN_PLACE,
        "bind": Effect.REBIND,
        "keepalive": Effect.WORKERS,
        "daemon": Effect.RESTART,
        "errorlog": Effect.IN_PLACE,
        "on_exit": Effect.IN_PLACE,
        "post_request": Effect.WORKERS,
    }
    assert (changes["workers"].old, changes["workers"].new) == (2, 3)
    assert str(changes["workers"]) == "workers: 2 -> 3"
    assert str(changes["bind"]) == "bind: ['127.0.0.1:8000'] -> ['0.0.0.0:0']"
    assert str(changes["post_request"]) == "post_request: None -> <function post_request>"
    assert str(changes["on_exit"]) == "on_exit: <function on_exit> -> <function on_exit>"


def test_a_change_of_a_secret_does_not_tell_it(tmp_path: Path) -> None:
    before = load(tmp_path, "raw_env = ['KEY=hidden']\n")
    (change,) = diff(before, load(tmp_path, "raw_env = ['KEY=secret']\n"))
    assert "hidden" not in str(change) and "secret" not in str(change)


def test_hooks_that_close_over_other_values_differ(tmp_path: Path) -> None:
    text = "def _make(n):\n    def hook(server):\n        return n\n    return hook\non_exit = _make({})\n"
    assert diff(load(tmp_path, text.format(1)), load(tmp_path, text.format(1))) == []
    changed = diff(load(tmp_path, text.format(1)), load(tmp_path, text.format(2)))
    assert [change.name for change in changed] == ["on_exit"]
