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


def claim(tmp_path: Path, cmdline: bytes | None) -> tuple[str, str]:
    """Claim a pidfile of a live process with this command line (None: /proc does not tell).

    What was said, and what the file has then.
    """
    pid = os.getppid()
    path, place = tmp_path / "arbiter.pid", tmp_path / "proc" / str(pid)
    path.write_text(f"{pid}\n")
    if cmdline is not None:
        place.mkdir(parents=True)
        (place / "cmdline").write_bytes(cmdline)
    try:
        said = Pidfile(str(path), tmp_path / "proc").claim()
    except FilesError as error:
        said = str(error)
    return said, path.read_text().strip()


@pytest.mark.parametrize(
    "cmdline",
    [
        b"arbiter: master [shop]\0",
        b"/srv/shop/bin/python\0/srv/shop/bin/arbiter\0-p\0run.pid\0shop\0",
        b"python3\0-m\0arbiter\0shop\0",
        b"gunicorn: master [shop]",
        b"/usr/bin/python3\0/usr/bin/gunicorn\0shop\0",
        None,
    ],
)
def test_one_of_a_live_arbiter_is_refused(tmp_path: Path, cmdline: bytes | None) -> None:
    said, pid = claim(tmp_path, cmdline)
    assert f"process {os.getppid()} is running and owns it" in said
    assert int(pid) == os.getppid()
    with pytest.raises(FilesError) as caught:
        Pidfile(str(tmp_path / "arbiter.pid"), tmp_path / "proc").check()
    assert caught.value.status is ExitStatus.FILES


@pytest.mark.parametrize(
    ("cmdline", "shown"),
    [
        (b"bash\0", "'bash'"),
        (b"sleep\0" + b"9" * 4000, "9999')"),
        (b"/bin/echo\0\x1b[31m\xff\n", r"'/bin/echo \x1b[31m"),
        (b"", "without a command line"),
        (b"arbiter: worker 3 [shop]\0", "'arbiter: worker 3 [shop]'"),
        (b"arbiter: mold of generation 1 [shop]\0", "arbiter: mold"),
        (b"gunicorn: worker [shop]\0", "gunicorn: worker"),
    ],
)
def test_one_of_a_process_that_has_got_the_id_is_taken_over(
    tmp_path: Path, cmdline: bytes, shown: str
) -> None:
    said, pid = claim(tmp_path, cmdline)
    assert f"is stale, and taken over: process {os.getppid()}, which it names, is no arbiter" in said
    assert shown in said
    assert len(said) < 400 and said.isprintable()
    assert int(pid) == os.getpid()


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
