"""Where control sockets lie: the same list for who makes and who looks."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from arbiter.control import places


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("shop", "shop"),
        ("mysite.asgi:application", "mysite.asgi-application"),
        ("../../etc/passwd", "etc-passwd"),
        ("", "arbiter"),
        ("x" * 200, "x" * 48),
        ("søren", "s-ren"),
    ],
)
def test_a_name_is_a_file_name(name: str, safe: str) -> None:
    assert places.safe_name(name) == safe


def test_the_order_of_places() -> None:
    environ = {"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/xdg"}
    assert list(places.candidates("shop", "/srv/shop.pid", environ, 1000))[:5] == [
        "/run/a/shop.ctl",
        "/run/b/shop.ctl",
        "/srv/shop.ctl",
        "/xdg/arbiter/shop.ctl",
        "/run/user/1000/arbiter/shop.ctl",
    ]


def test_root_has_a_place_of_its_own() -> None:
    assert "/run/arbiter/shop.ctl" in places.candidates("shop", None, {}, 0)
    assert "/run/arbiter/shop.ctl" not in places.candidates("shop", None, {}, 1000)


def test_a_directory_others_may_write_to_will_not_do(tmp_path: Path) -> None:
    assert places.prepare(str(tmp_path / "fresh"))
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o700
    (tmp_path / "fresh").chmod(0o777)
    assert not places.prepare(str(tmp_path / "fresh"))
    assert not places.prepare(str(tmp_path / "missing" / "below"))
    (tmp_path / "file").touch()
    assert not places.prepare(str(tmp_path / "file"))


def test_only_sockets_are_found(tmp_path: Path) -> None:
    directory = tmp_path / "arbiter"
    directory.mkdir()
    (directory / "file.ctl").touch()
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(directory / "one.ctl"))
        found = places.found({"XDG_RUNTIME_DIR": str(tmp_path)}, os.geteuid(), str(tmp_path))
    assert [path for path in found if path.startswith(str(tmp_path))] == [str(directory / "one.ctl")]


@pytest.mark.skipif(not os.path.exists(places.LISTENING), reason="only Linux tells")
def test_sockets_that_are_listened_at_are_found_wherever_they_lie(tmp_path: Path) -> None:
    elsewhere = tmp_path / "with a blank"
    elsewhere.mkdir()
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        one.bind(str(elsewhere / "one.ctl"))
        one.listen()
        other.bind(str(elsewhere / "other.sock"))
        other.listen()
        mine = places.found({}, os.geteuid(), "/")
        nobodys = places.found({}, 54321, "/")
    assert [path for path in mine if path.startswith(str(tmp_path))] == [str(elsewhere / "one.ctl")]
    assert not [path for path in nobodys if path.startswith(str(tmp_path))]
    assert str(elsewhere / "one.ctl") not in places.found({}, os.geteuid(), "/")
