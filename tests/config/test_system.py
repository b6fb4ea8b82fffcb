"""Paths, users, modes, environment variables."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import PurePath
from typing import Any

import pytest

from arbiter.config.system import Group, Path, Umask, User, Variables, join, show_variable
from arbiter.config.unreadable import Unreadable

ROOT = pwd.getpwuid(0).pw_name


def test_path() -> None:
    assert Path().read("logs/error.log") == "logs/error.log"
    assert Path().read(PurePath("a/b")) == "a/b"
    assert Path().read("~/x") == os.path.expanduser("~/x")
    assert Path().resolve("logs/a", "/srv") == "/srv/logs/a"
    assert Path().resolve("/var/a", "/srv") == "/var/a"
    assert Path().resolve("-", "/srv") == "-"
    for wrong in ("", 3, b"x", "a\nb"):
        with pytest.raises(Unreadable):
            Path().read(wrong)


def test_join_keeps_what_a_symbolic_link_may_change() -> None:
    assert join("/srv/current", "../x") == "/srv/current/../x"
    assert join("/srv/app", "./x//y") == "/srv/app/x/y"


def test_user_and_group() -> None:
    assert User().read(ROOT) == User().read(0) == User().read("0") == 0
    assert User().read(54321) == 54321
    assert User().show(0) == repr(ROOT)
    group = grp.getgrgid(0).gr_name
    assert Group().read(group) == 0
    assert Group().show(0) == repr(group)


@pytest.mark.parametrize("value", ["nobody-of-that-name", "a\0b", "\udcff", -1, 1 << 40, True, 1.5, [0]])
def test_no_user(value: Any) -> None:
    for kind in (User(), Group()):
        with pytest.raises(Unreadable):
            kind.read(value)


def test_the_user_nobody_has_heard_of() -> None:
    with pytest.raises(Unreadable, match="is no user of this machine"):
        User().read("nobody-of-that-name")
    with pytest.raises(Unreadable, match="is no group of this machine"):
        Group().read("nobody-of-that-name")


@pytest.mark.parametrize(
    ("value", "mode"), [("022", 0o022), ("0o027", 0o027), (0o077, 0o077), ("0", 0), ("22", 0o22)]
)
def test_umask(value: Any, mode: int) -> None:
    assert Umask().read(value) == mode
    assert Umask().read(Umask().show(mode)) == mode


@pytest.mark.parametrize("value", ["9", "0x1f", "12345", 0o1000, -1, True, None, ""])
def test_no_umask(value: Any) -> None:
    with pytest.raises(Unreadable):
        Umask().read(value)


def test_variables() -> None:
    kind = Variables()
    assert kind.read(["A=1", "B=x=y, z"]) == {"A": "1", "B": "x=y, z"}
    assert kind.read("A=1,2\nB=") == {"A": "1,2", "B": ""}
    assert kind.read({"A": 1}) == {"A": "1"}
    for wrong in (["A"], "A", ["=x"], [3], 3, {"A": None}, {"A=B": "x"}, ["A=\0"]):
        with pytest.raises(Unreadable):
            kind.read(wrong)


def test_what_may_be_a_secret_is_not_shown() -> None:
    shown = Variables().show({"SECRET_KEY": "hunter2", "DEBUG": "1", "DATABASE_URL": "postgres://u:p@h/d"})
    assert "hunter2" not in shown
    assert "postgres" not in shown
    assert "'DEBUG': '1'" in shown
    assert show_variable("API_TOKEN", "x") == "'***'"
    assert Variables().quote(["PASSWORD=hunter2", 3]) == ""
