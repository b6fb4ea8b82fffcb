"""The command: what it prints, and the status it ends with. Serving is somebody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arbiter.cli import main
from arbiter.config.snapshot import Config
from arbiter.config.sources import Loader
from arbiter.errors import ExitStatus, FilesError
from arbiter.version import __version__

WSGI = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n"


class Served:
    """Stands for the arbiter: keeps what it was given."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.configs: list[Config] = []
        self.loaders: list[Loader] = []

    def __call__(self, loader: Loader, config: Config) -> int:
        self.loaders.append(loader)
        self.configs.append(config)
        return self.status


class Command:
    """Runs the command in a directory and keeps what it said."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str, serve: Any = None, **environ: str) -> int:
        status = main.run(arguments, environ, str(self.directory), serve or Served(), words=main._read_here)
        self.out, self.err = self._capsys.readouterr()
        return status


@pytest.fixture
def command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Command]:
    """--check-config changes the process as a worker would; all of it is taken back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    environ, modules = dict(os.environ), set(sys.modules)
    yield Command(tmp_path, capsys)
    os.environ.clear()
    os.environ.update(environ)
    for name in set(sys.modules) - modules:
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def test_it_serves_what_was_asked(command: Command) -> None:
    served = Served(status=3)
    assert command("-w", "2", "--no-sendfile", "site_app:app", serve=served, ARBITER_THREADS="4") == 3
    (config,) = served.configs
    assert (config.app, config.workers, config.threads, config.sendfile) == ("site_app:app", 2, 4, False)
    (command.directory / "arbiter.conf.py").write_text("timeout = 7\n")
    assert served.loaders[0].load().timeout == 7, "the loader reads anew, for a reload"


def test_version_and_help(command: Command) -> None:
    assert command("--version") == 0
    assert command.out == f"arbiter {__version__}\n"
    for flag in ("-h", "--help"):
        assert command(flag) == 0
        assert "--worker-class" in command.out


def test_a_command_line_that_cannot_be_understood(command: Command) -> None:
    served = Served()
    assert command("--workerz", "3", serve=served) == ExitStatus.USAGE
    assert "--workers" in command.err
    assert "dirty" not in command.err, "what does nothing is not proposed"
    assert command("a:b", "c:d") == ExitStatus.USAGE
    assert command("--host", "0.0.0.0", "a:b", serve=served) == ExitStatus.USAGE
    assert "No such option '--host', which is uvicorn's. Write -b HOST:PORT." in command.err
    assert "statsd" not in command.err
    assert served.configs == []


def test_a_configuration_that_is_refused(command: Command) -> None:
    served = Served()
    assert command("-w", "many", "-t", "soon", serve=served) == ExitStatus.CONFIG
    assert command.err.startswith("arbiter: 3 faults in the configuration:\n")
    assert "workers = 'many' (--workers): is not a whole number" in command.err
    assert "Traceback" not in command.err
    assert served.configs == []


def test_what_the_operator_can_mend_is_a_sentence(command: Command) -> None:
    def serve(loader: Loader, config: Config) -> int:
        raise FilesError("pidfile = '/x': cannot be written.")

    assert command("a:b", serve=serve) == ExitStatus.FILES
    assert command.err == "arbiter: pidfile = '/x': cannot be written.\n"


def test_print_config(command: Command) -> None:
    served = Served()
    assert command("--print-config", "-w", "3", serve=served) == 0
    assert [line.split() for line in command.out.splitlines() if line.startswith("workers ")] == [
        ["workers", "=", "3", "#", "--workers"]
    ]
    assert served.configs == []


def test_check_config(command: Command) -> None:
    (command.directory / "site_checked.py").write_text(
        f"import os\nassert os.environ['SOME'] == 'thing'\n{WSGI}"
    )
    served = Served()
    assert command("--check-config", "-e", "SOME=thing", "-w", "2", "site_checked:app", serve=served) == 0
    assert "site_checked:app is WSGI, for 2 sync workers on 127.0.0.1:8000." in command.out
    assert served.configs == []


def test_check_config_says_what_is_wrong(command: Command) -> None:
    (command.directory / "site_broken.py").write_text("import nothing_of_that_name\n")
    assert command("--check-config", "site_broken:app") == ExitStatus.APP
    sentence, _, traceback = command.err.partition("\n\n")
    assert sentence.startswith("arbiter: application 'site_broken:app': site_broken cannot be imported")
    assert 'site_broken.py", line 1' in traceback
    assert f"{os.sep}arbiter{os.sep}application.py" not in traceback
    assert command("--check-config", "nowhere:app") == ExitStatus.APP
    assert "No module named 'nowhere'" in command.err


def test_check_config_shows_the_notices(command: Command) -> None:
    (command.directory / "site_noted.py").write_text(WSGI)
    assert command("--check-config", "--worker-tmp-dir", "/dev/shm", "site_noted:app") == 0
    assert "note: worker_tmp_dir" in command.err


def test_check_config_tells_where_the_settings_module_was_named(command: Command) -> None:
    (command.directory / "site_django.py").write_text("from django.conf import settings\nsettings.DEBUG\n")
    # A process of its own: Django reads its settings once.
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "arbiter",
            "--check-config",
            "--django-settings",
            "site.nothere",
            "site_django",
        ],
        cwd=command.directory,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == ExitStatus.APP
    assert "DJANGO_SETTINGS_MODULE = 'site.nothere' (--django-settings)" in result.stderr


def test_a_check_does_not_wait_for_threads_of_the_application(command: Command) -> None:
    (command.directory / "site_threads.py").write_text(
        f"import threading\nthreading.Thread(target=threading.Event().wait).start()\n{WSGI}"
    )
    result = subprocess.run(
        [sys.executable, "-m", "arbiter", "--check-config", "site_threads:app"],
        cwd=command.directory,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0
    assert "is in order" in result.stdout


def test_a_reader_that_has_read_enough(tmp_path: Path) -> None:
    """`arbiter --print-config | head -1` ends quietly."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "arbiter", "--print-config", "a:b"]
    result = subprocess.run(
        command, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60
    )
    os.close(write)
    assert result.stderr == ""
    assert result.returncode == 0


@pytest.mark.parametrize("link", [True, False])
def test_the_directory_by_the_name_it_was_entered_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: bool
) -> None:
    """A release behind a symbolic link: a reload shall follow the link anew."""
    (tmp_path / "release").mkdir()
    (tmp_path / "current").symlink_to("release")
    monkeypatch.chdir(tmp_path / "release")
    pwd = str(tmp_path / ("current" if link else "elsewhere"))
    assert main._cwd({"PWD": pwd}) == (pwd if link else str(tmp_path / "release"))
    assert main._cwd({}) == main._cwd({"PWD": "current"}) == str(tmp_path / "release")
