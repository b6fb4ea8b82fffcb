"""The error log: what arbiter and its workers say, one line a record, under one name per process.

Neighbours: everything above logs through a `Log`; the records go through the standard library's `logging`
(logger "arbiter.error"), so `logconfig_dict` and an application's own handlers work as they do everywhere.
Its one rule: logging never harms the service. A full disk or a closed pipe costs the record, which is
counted and told when writing works again; it never raises and never prints a traceback per request.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import Any, Final, Protocol

from arbiter.errors import FilesError

ERROR_LOGGER: Final = "arbiter.error"
ACCESS_LOGGER: Final = "arbiter.access"

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


class LogSettings(Protocol):
    """The settings read here (a `Config` has them)."""

    errorlog: str
    accesslog: str | None
    loglevel: str
    logconfig_dict: dict[str, Any]


class Sink:
    """One log file, or a standard stream ("-"); lines go out in one write each, so processes may share it.

    Raises `FilesError` when the file cannot be opened at first; a later `reopen` that fails keeps the old
    one.
    """

    def __init__(self, path: str, standard: int, setting: str) -> None:
        self.path = path
        self.dropped = 0
        self._standard = standard
        self._setting = setting
        self._fd = self._open()

    def _open(self) -> int:
        if self.path == "-":
            return self._standard
        try:
            return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise FilesError(
                f"{self._setting} = {self.path!r}: the log cannot be opened: {error.strerror}. "
                "Name a file in a directory that exists and that this user may write to, or '-'."
            ) from error

    def fileno(self) -> int:
        """The descriptor lines are written to."""
        return self._fd

    def write(self, text: str) -> None:
        """Append one or more whole lines; a failure is counted, not raised."""
        if self.dropped:
            text = f"({self.dropped} records before this one could not be written)\n{text}"
        data = text.encode("utf-8", "backslashreplace")
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            self.dropped += 1
        else:
            self.dropped = 0

    def give_to(self, uid: int, gid: int) -> None:
        """Hand the file to the workers' user, who must be able to reopen it."""
        if self.path != "-" and os.geteuid() == 0:
            os.fchown(self._fd, uid, gid)

    def reopen(self) -> None:
        """Follow a rotation: the same path, the file that is there now."""
        if self.path == "-":
            return
        fd = self._open()
        # Same number as before: whoever inherited or duplicated it (capture_output) follows too.
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)


class SinkHandler(logging.Handler):
    """Bridges the standard library's logging to a `Sink`."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self.sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.sink.write(self.format(record) + "\n")
        except Exception:
            self.sink.dropped += 1  # a record that cannot be formatted must not take the caller down


class TextFormatter(logging.Formatter):
    """`[2026-11-21 12:53:50 +0000] [worker 3 (gen 2, pid 41)] [INFO] message`"""

    def format(self, record: logging.LogRecord) -> str:
        who = getattr(record, "who", None) or f"pid {record.process}"
        stamp = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(record.created))
        text = f"[{stamp}] [{who}] [{record.levelname}] {record.getMessage()}"
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            text = f"{text}\n{record.exc_text}"
        return text


class Log:
    """A process's voice: the methods of a standard logger, each record signed with the process's name.

    `error_log` and `access_log` are the standard loggers, as on gunicorn's logger object.
    """

    def __init__(self, who: str) -> None:
        self.who = who
        self.error_log = logging.getLogger(ERROR_LOGGER)
        self.access_log = logging.getLogger(ACCESS_LOGGER)

    def log(self, level: int, message: str, *args: object, **kwargs: Any) -> None:
        """As `logging.Logger.log`."""
        if self.error_log.isEnabledFor(level):
            kwargs["extra"] = {**(kwargs.get("extra") or {}), "who": self.who}
            self.error_log.log(level, message, *args, **kwargs)

    def debug(self, message: str, *args: object, **kwargs: Any) -> None:
        self.log(logging.DEBUG, message, *args, **kwargs)

    def info(self, message: str, *args: object, **kwargs: Any) -> None:
        self.log(logging.INFO, message, *args, **kwargs)

    def warning(self, message: str, *args: object, **kwargs: Any) -> None:
        self.log(logging.WARNING, message, *args, **kwargs)

    def error(self, message: str, *args: object, **kwargs: Any) -> None:
        self.log(logging.ERROR, message, *args, **kwargs)

    def critical(self, message: str, *args: object, **kwargs: Any) -> None:
        self.log(logging.CRITICAL, message, *args, **kwargs)

    def exception(self, message: str, *args: object, **kwargs: Any) -> None:
        """An error with the traceback of the exception being handled."""
        self.error(message, *args, **{"exc_info": True, **kwargs})

    def named(self, who: str) -> Log:
        """The same log under another process's name."""
        return Log(who)


class Logs:
    """The log files of one arbiter, opened once and inherited by its workers.

    Raises `FilesError` when one cannot be opened.
    """

    def __init__(self, settings: LogSettings) -> None:
        self.error = Sink(settings.errorlog, sys.stderr.fileno() if sys.stderr else 2, "errorlog")
        self.access: Sink | None = None
        if settings.accesslog:
            self.access = Sink(settings.accesslog, sys.stdout.fileno() if sys.stdout else 1, "accesslog")
        self._configure(settings)

    def _configure(self, settings: LogSettings) -> None:
        logger = logging.getLogger(ERROR_LOGGER)
        logger.propagate = False
        handler = SinkHandler(self.error)
        handler.setFormatter(TextFormatter())
        logger.handlers = [handler]
        if settings.logconfig_dict:
            from logging.config import dictConfig  # a megabyte that only those who use it should pay for

            dictConfig({"version": 1, "disable_existing_loggers": False, **settings.logconfig_dict})
        logger.setLevel(LEVELS[settings.loglevel])

    def give_to(self, uid: int, gid: int) -> None:
        """Let the workers' user own the files."""
        self.error.give_to(uid, gid)
        if self.access is not None:
            self.access.give_to(uid, gid)

    def reopen(self) -> None:
        """Reopen all files (USR1); raises `FilesError` naming the one that cannot be, the old one stays in
        use.
        """
        self.error.reopen()
        if self.access is not None:
            self.access.reopen()

    def reconfigure(self, settings: LogSettings) -> None:
        """Apply changed settings (reload): new files are opened before the old ones are let go."""
        fresh = Logs(settings)
        for old in (self.error, self.access):
            if old is not None and old.path != "-":
                os.close(old.fileno())
        self.error, self.access = fresh.error, fresh.access
