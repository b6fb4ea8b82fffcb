"""The pidfile: there whole or not at all, and only its owner removes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from arbiter.errors import ExitStatus, FilesError
from arbiter.supervisor.pidfile import Pidfile


def test_claim_and_release(tmp_path: Path) -> None:
    path = tmp_path / "arbiter.pid"
    pidfile = Pidfile(str(path))
    pidfile.claim()
    assert path.read_text() == f"{os.getpid()}\n"
    assert os.listdir(tmp_path) == ["arbiter.pid"]
    pidfile.release()
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "garbage\n", "-1\n", "4194304999\n"])
def test_a_stale_one_is_no_obstacle(tmp_path: Path, text: str) -> None:
    path = tmp_path / "arbiter.pid"
    path.write_text(text)
    pidfile = Pidfile(str(path))
    pidfile.claim()
    assert path.read_text() == f"{os.getpid()}\n"


def test_one_of_a_live_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "arbiter.pid"
    path.write_text(f"{os.getppid()}\n")
    with pytest.raises(FilesError, match="is running and owns it") as caught:
        Pidfile(str(path)).claim()
    assert caught.value.status is ExitStatus.FILES
    assert path.read_text() == f"{os.getppid()}\n"


def test_somebody_elses_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "arbiter.pid"
    path.write_text("1\n")
    Pidfile(str(path)).release()
    assert path.exists()


def test_a_missing_directory_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FilesError, match=r"pidfile = .*cannot be written: No such file"):
        Pidfile(str(tmp_path / "no" / "arbiter.pid")).claim()


def test_none_wanted() -> None:
    pidfile = Pidfile("")
    pidfile.claim()
    pidfile.release()
