"""The control socket's place: stale ones are replaced, live ones left alone."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from arbiter.config.sources import Loader
from arbiter.errors import FilesError
from arbiter.supervisor.rendezvous import open_socket


def config(directory: Path, **settings: Any) -> Any:
    return Loader({"wsgi_app": "x:y", "proc_name": "shop", **settings}, {}, str(directory)).load()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"RUNTIME_DIRECTORY": str(tmp_path / "r")}


def test_a_private_socket_in_a_private_directory(tmp_path: Path, environ: dict[str, str]) -> None:
    sock, path = open_socket(config(tmp_path), environ)
    with sock:
        assert path == str(tmp_path / "r" / "shop.ctl")
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert os.stat(tmp_path / "r").st_mode & 0o777 == 0o700
        assert not sock.get_inheritable()
        assert not sock.getblocking()


def test_a_stale_one_is_replaced(tmp_path: Path, environ: dict[str, str]) -> None:
    for _ in range(2):
        sock, path = open_socket(config(tmp_path), environ)
        sock.close()
    assert path == str(tmp_path / "r" / "shop.ctl")


def test_a_live_one_is_never_stolen(tmp_path: Path, environ: dict[str, str]) -> None:
    first, one = open_socket(config(tmp_path), environ)
    second, other = open_socket(config(tmp_path), environ)
    with first, second:
        assert other == f"{one.removesuffix('.ctl')}.{os.getpid()}.ctl"
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(one)
            first.accept()[0].close()


def test_numbered_ones_of_dead_arbiters_are_removed(tmp_path: Path, environ: dict[str, str]) -> None:
    """They are never in the way, so nobody else would."""
    with subprocess.Popen(["true"]) as ended:
        pass
    gone, other = tmp_path / "r" / f"shop.{ended.pid}.ctl", tmp_path / "r" / f"shelf.{ended.pid}.ctl"
    own, served = tmp_path / "r" / f"shop.{os.getppid()}.ctl", tmp_path / "r" / f"live.{ended.pid}.ctl"
    plain, file = tmp_path / "r" / "shelf.ctl", tmp_path / "r" / f"file.{ended.pid}.ctl"
    open_socket(config(tmp_path), environ)[0].close()
    for path in (gone, other, own, plain):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
    file.touch()
    with socket.socket(socket.AF_UNIX) as elsewhere:
        elsewhere.bind(str(served))
        elsewhere.listen()
        sock, path = open_socket(config(tmp_path), environ)
        sock.close()
    left = {path.name for path in (tmp_path / "r").iterdir()}
    assert left == {"shop.ctl", own.name, served.name, plain.name, file.name}
    assert path == str(tmp_path / "r" / "shop.ctl")


@pytest.mark.parametrize("what", ["file", "directory", "link"])
def test_nothing_else_is_removed(tmp_path: Path, what: str) -> None:
    path, target = tmp_path / "x.ctl", tmp_path / "target"
    if what == "file":
        path.write_text("mine")
    elif what == "directory":
        path.mkdir()
    else:
        target.write_text("mine")
        path.symlink_to(target)
    with pytest.raises(FilesError, match="no socket"):
        open_socket(config(tmp_path, control_socket=str(path)), {})
    assert path.is_symlink() or path.exists()


def test_a_mode_of_ones_own(tmp_path: Path, environ: dict[str, str]) -> None:
    before = os.umask(0o077)
    try:
        sock, path = open_socket(config(tmp_path, control_socket_mode="0o666"), environ)
    finally:
        assert os.umask(before) == 0o077
    with sock:
        assert os.stat(path).st_mode & 0o777 == 0o666


def test_the_pidfiles_neighbour(tmp_path: Path) -> None:
    sock, path = open_socket(config(tmp_path, pidfile="run.pid"), {})
    with sock:
        assert path == str(tmp_path / "run.ctl")


def test_no_place_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FilesError, match=r"control_socket: none can be made .* arbiterctl will not find"):
        open_socket(config(tmp_path, control_socket=str(tmp_path / "file" / "x")), {})
    with pytest.raises(FilesError, match="longer than"):
        open_socket(config(tmp_path, control_socket=str(tmp_path / ("x" * 150))), {})
