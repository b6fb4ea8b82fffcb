"""The logs of a process as the settings want them, and the operator's own configuration of logging."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arbiter.errors import ConfigError, FilesError
from arbiter.observe import logconfig
from arbiter.observe.logs import Log, Logs


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    while _open:
        _open.pop().close()
    logconfig.reset()
    root.handlers = before


_open: list[Logs] = []


def opened(wanted: Any) -> Logs:
    """Logs that are closed after the test."""
    _open.append(Logs(wanted))
    return _open[-1]


def settings(tmp_path: Path, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "errorlog": str(tmp_path / "error.log"),
        "accesslog": None,
        "loglevel": "info",
        "log_format": "text",
        "log_journald": True,
        "logconfig": None,
        "logconfig_dict": {},
        "logconfig_json": None,
        "syslog": False,
        "syslog_addr": "udp://localhost:514",
        "syslog_prefix": None,
        "syslog_facility": "user",
        "disable_redirect_access_to_syslog": False,
    }
    return SimpleNamespace(**{**values, **changes})


def error_log(tmp_path: Path) -> str:
    return (tmp_path / "error.log").read_text()


LOG = Log("worker 3 (gen 2, pid 41)", {"worker": 3})


def test_text(tmp_path: Path) -> None:
    opened(settings(tmp_path))
    LOG.info("%d things", 3)
    LOG.debug("not this")
    try:
        raise ValueError("boom")
    except ValueError:
        LOG.exception("it failed")
    text = error_log(tmp_path)
    assert "] [worker 3 (gen 2, pid 41)] [INFO] 3 things\n" in text
    assert "\n  ValueError: boom\n" in text
    assert "not this" not in text


def test_what_is_critical_is_on_the_terminal_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    opened(settings(tmp_path)).tell_terminal("arbiter (pid 7)", "no worker\nbecause")
    told = capfd.readouterr().err
    assert "[arbiter (pid 7)] [CRITICAL] no worker\n  because\n" in told
    assert error_log(tmp_path) == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"errorlog": "-"},
        {"errorlog": "/dev/stderr"},
        {
            "logconfig_dict": {
                "handlers": {"mine": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}},
                "loggers": {"arbiter.error": {"handlers": ["mine"]}},
            }
        },
    ],
)
def test_where_the_log_is_the_terminal_nothing_is_said_twice(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    opened(settings(tmp_path, **changes)).tell_terminal("arbiter", "no worker")
    assert capfd.readouterr().err == ""


def test_the_terminal_may_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = opened(settings(tmp_path))
    monkeypatch.setattr(sys, "stderr", None)
    logs.tell_terminal("arbiter", "no worker")
    with open(os.devnull) as closed:
        monkeypatch.setattr(sys, "stderr", SimpleNamespace(fileno=lambda: closed.fileno()))
        logs.tell_terminal("arbiter", "no worker")


def test_json_has_the_events_name_and_fields(tmp_path: Path) -> None:
    opened(settings(tmp_path, log_format="json"))
    LOG.warning("it is late", event="worker.late", fields={"age": 3.5})
    read = json.loads(error_log(tmp_path))
    assert (read["event"], read["worker"], read["age"]) == ("worker.late", 3, 3.5)


def test_what_is_printed_has_a_record_for_each_line(tmp_path: Path) -> None:
    opened(settings(tmp_path, log_format="json", loglevel="critical"))
    LOG.output("stdout", "one\ntwo\n")
    read = [json.loads(line) for line in error_log(tmp_path).splitlines()]
    assert [(one["event"], one["stream"], one["message"]) for one in read] == [
        ("worker.output", "stdout", "one"),
        ("worker.output", "stdout", "two"),
    ]


def test_a_log_that_cannot_be_opened_leaves_nothing_open(tmp_path: Path) -> None:
    with pytest.raises(FilesError, match="accesslog"):
        opened(settings(tmp_path, accesslog=str(tmp_path / "no" / "access.log")))


def test_changed_settings(tmp_path: Path) -> None:
    logs = opened(settings(tmp_path))
    logs.reconfigure(settings(tmp_path, errorlog=str(tmp_path / "other.log"), loglevel="debug"))
    LOG.debug("there")
    assert "there" in (tmp_path / "other.log").read_text()
    assert "there" not in error_log(tmp_path)


def test_changed_settings_that_cannot_be(tmp_path: Path) -> None:
    """A reload never trades a working log for a broken one."""
    logs = opened(settings(tmp_path))
    for wrong in ({"errorlog": str(tmp_path / "no" / "x")}, {"logconfig_dict": {"handlers": 7}}):
        with pytest.raises((FilesError, ConfigError)):
            logs.reconfigure(settings(tmp_path, **wrong))
        LOG.info("still here after %s", *wrong)
    assert error_log(tmp_path).count("still here") == 2


def test_the_access_log_goes_where_it_should(tmp_path: Path) -> None:
    assert opened(settings(tmp_path)).access_targets() == []
    logs = opened(settings(tmp_path, accesslog=str(tmp_path / "access.log")))
    assert logs.access_targets() == [logs.access]


def test_syslog(tmp_path: Path) -> None:
    """gunicorn.md 1.1: syslog, syslog_prefix, disable_redirect_access_to_syslog."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "log"))
        server.settimeout(20)
        where = {"syslog": True, "syslog_addr": f"unix://{tmp_path}/log", "syslog_prefix": "shop"}
        logs = opened(settings(tmp_path, **where))
        LOG.error("hello")
        assert b"<11>arbiter.shop.error: [" in server.recv(999)
        assert "hello" in error_log(tmp_path)
        (target,) = logs.access_targets()
        target.send(b"line\n", lambda: False)
        assert b"<14>arbiter.shop.access: [" in server.recv(999)
        assert (
            opened(settings(tmp_path, disable_redirect_access_to_syslog=True, **where)).access_targets() == []
        )


# -- logconfig

OWN = {
    "version": 1,
    "formatters": {"short": {"format": "%(levelname)s:%(message)s"}},
    "handlers": {"file": {"class": "logging.FileHandler", "filename": "", "formatter": "short"}},
    "loggers": {},
}


def own(tmp_path: Path, name: str, **logger: Any) -> dict[str, Any]:
    config = json.loads(json.dumps(OWN))
    config["handlers"]["file"]["filename"] = str(tmp_path / "own.log")
    config["loggers"][name] = {"handlers": ["file"], **logger}
    return config


@pytest.mark.parametrize("name", ["arbiter.error", "gunicorn.error"])
def test_a_logger_with_handlers_is_the_operators(tmp_path: Path, name: str) -> None:
    opened(settings(tmp_path, logconfig_dict=own(tmp_path, name, level="WARNING")))
    LOG.info("no")
    LOG.warning("yes")
    assert (tmp_path / "own.log").read_text() == "WARNING:yes\n"
    assert error_log(tmp_path) == ""


def test_other_loggers_stay_as_they_are(tmp_path: Path) -> None:
    opened(settings(tmp_path, logconfig_dict=own(tmp_path, "myapp")))
    LOG.info("here")
    logging.getLogger("myapp").error("there")
    assert "here" in error_log(tmp_path)
    assert (tmp_path / "own.log").read_text() == "ERROR:there\n"


@pytest.mark.parametrize("name", ["arbiter.access", "gunicorn.access"])
def test_the_access_logger(tmp_path: Path, name: str) -> None:
    logs = opened(settings(tmp_path, accesslog="-", logconfig_dict=own(tmp_path, name)))
    assert logs.access_targets() == []
    logger = logs.access_logger()
    assert logger is not None
    logger.info("line")
    assert (tmp_path / "own.log").read_text() == "INFO:line\n"


def test_gunicorns_own_handlers_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files that only give loggers rely on `console` and `error_console`."""
    config = {"loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["error_console"]}}}
    opened(settings(tmp_path, logconfig_dict=config))
    LOG.info("on the console")
    assert "[worker 3 (gen 2, pid 41)] [INFO] on the console" in capsys.readouterr().err


def test_a_json_file(tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text(json.dumps(own(tmp_path, "gunicorn.error")))
    opened(settings(tmp_path, logconfig_json=str(tmp_path / "log.json")))
    LOG.error("yes")
    assert (tmp_path / "own.log").read_text() == "ERROR:yes\n"


INI = """
[loggers]
keys=root, gunicorn.error

[handlers]
keys=file

[formatters]
keys=short

[logger_root]
handlers=

[logger_gunicorn.error]
level=INFO
handlers=file
qualname=gunicorn.error
propagate=0

[handler_file]
class=FileHandler
formatter=short
args=("%(here)s/own.log",)

[formatter_short]
format=%(levelname)s:%(message)s
"""


def test_an_ini_file(tmp_path: Path) -> None:
    """gunicorn.md 1.1, logconfig; `%(here)s` as gunicorn has it."""
    (tmp_path / "log.ini").write_text(INI)
    opened(settings(tmp_path, logconfig=str(tmp_path / "log.ini")))
    LOG.error("yes")
    assert (tmp_path / "own.log").read_text() == "ERROR:yes\n"


def test_handlers_of_files_are_reopened(tmp_path: Path) -> None:
    """USR1, as gunicorn."""
    logs = opened(settings(tmp_path, logconfig_dict=own(tmp_path, "arbiter.error")))
    LOG.error("one")
    (tmp_path / "own.log").rename(tmp_path / "own.log.1")
    logs.reopen()
    LOG.error("two")
    assert (tmp_path / "own.log.1").read_text() == "ERROR:one\n"
    assert (tmp_path / "own.log").read_text() == "ERROR:two\n"


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"logconfig_dict": {"version": 2}}, "logconfig_dict: Unsupported version: 2"),
        (
            {"logconfig_dict": {"handlers": {"x": {"class": "no.such.Handler"}}}},
            "Unable to configure handler 'x': .*no.such",
        ),
        ({"logconfig": "/no/such.ini"}, "logconfig = '/no/such.ini'.*No such file"),
        ({"logconfig_json": "/no/such.json"}, "logconfig_json = '/no/such.json'.*No such file"),
    ],
)
def test_what_is_wrong_with_a_configuration(tmp_path: Path, how: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        opened(settings(tmp_path, **how))
    assert logging.getLogger("arbiter.error").handlers == []


def test_lines_for_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JOURNAL_STREAM names standard error, and the journal's socket is not there: priorities."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        status = os.fstat(ours.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        monkeypatch.setattr(sys, "stderr", SimpleNamespace(fileno=ours.fileno, flush=lambda: None))
        monkeypatch.setattr("arbiter.observe.journal.SOCKET", str(tmp_path / "none"))
        opened(settings(tmp_path, errorlog="-", log_journald=False))
        LOG.warning("careful")
        assert theirs.recv(999) == b"<4>worker 3 (gen 2, pid 41): careful\n"
