"""What a configuration file does to the process, taken back and made again."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from arbiter.config.footprint import Footprint, forget_listings


@pytest.fixture
def helper(tmp_path: Path) -> Path:
    (tmp_path / "footprint_helper.py").write_text("value = 1\n")
    return tmp_path


def change() -> None:
    import footprint_helper

    assert footprint_helper.value
    os.environ["FOOTPRINT_NEW"] = "1"
    os.environ["FOOTPRINT_OLD"] = "changed"
    os.environ.pop("FOOTPRINT_GONE")
    sys.path.insert(0, "/footprint")


def state() -> tuple[object, ...]:
    names = ("FOOTPRINT_NEW", "FOOTPRINT_OLD", "FOOTPRINT_GONE")
    environ = [os.environ.get(name) for name in names]
    return environ, "footprint_helper" in sys.modules, "/footprint" in sys.path


BEFORE = ([None, "old", "here"], False, False)
AFTER = (["1", "changed", None], True, True)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOOTPRINT_NEW", raising=False)
    monkeypatch.setenv("FOOTPRINT_OLD", "old")
    monkeypatch.setenv("FOOTPRINT_GONE", "here")


def test_undo_and_redo(helper: Path) -> None:
    footprint = Footprint()
    path = list(sys.path)
    with footprint.taken(str(helper)):
        change()
        assert sys.path[1] == str(helper)
    assert str(helper) not in sys.path
    assert state() == AFTER
    footprint.undo()
    assert state() == BEFORE
    assert sys.path == path
    footprint.redo()
    assert state() == AFTER
    footprint.undo()
    assert state() == BEFORE


def test_a_body_that_raises_leaves_nothing(helper: Path) -> None:
    def body() -> None:
        with Footprint().taken(str(helper)):
            change()
            raise KeyError

    with pytest.raises(KeyError):
        body()
    assert state() == BEFORE


def test_no_byte_code_is_written(helper: Path) -> None:
    """A helper edited twice within a second must not be taken from its byte code."""
    footprint = Footprint()
    before = sys.dont_write_bytecode
    with footprint.taken(str(helper)):
        change()
    footprint.undo()
    assert not (helper / "__pycache__").exists()
    assert sys.dont_write_bytecode is before


def test_modules_of_the_library_and_of_packages_stay(tmp_path: Path) -> None:
    installed = tmp_path / "site-packages"
    installed.mkdir()
    (installed / "footprint_installed.py").write_text("")
    footprint = Footprint()
    with footprint.taken(str(installed)):
        import footprint_installed  # noqa: F401
    footprint.undo()
    assert "footprint_installed" in sys.modules
    del sys.modules["footprint_installed"]


def test_a_module_that_has_just_come_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the directory has been looked into, and its time stamp is as it was."""
    monkeypatch.syspath_prepend(str(tmp_path))
    looked_into = os.stat(tmp_path)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("footprint_late")
    (tmp_path / "footprint_late.py").write_text("")
    os.utime(tmp_path, ns=(looked_into.st_atime_ns, looked_into.st_mtime_ns))
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("footprint_late")
    forget_listings()
    importlib.import_module("footprint_late")
    del sys.modules["footprint_late"]


def test_a_configuration_file_loads_nothing_of_the_library(tmp_path: Path) -> None:
    """An arbiter keeps what it has loaded for as long as it lives."""
    (tmp_path / "a.conf.py").write_text("wsgi_app = 'a:b'\nworkers = 3\nkeepalive = 5\n")
    program = (
        "import sys, arbiter.cli.serving\n"
        "from arbiter.config.sources import Loader\n"
        "before = set(sys.modules)\n"
        f"assert Loader({{'config': 'a.conf.py'}}, {{}}, {str(tmp_path)!r}).load().workers == 3\n"
        "print(sorted(set(sys.modules) - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("['__config__']\n", "")
