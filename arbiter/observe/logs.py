"""The error log: what arbiter and its workers say, each record with a name, values and the process's name.

Neighbours: everything above logs through a `Log`; the records go through the standard library's `logging`
(logger "arbiter.error"), so `logconfig_dict` and an application's own handlers work as they do everywhere.
Its one rule: logging never harms the service. A full disk or a closed pipe costs the record, which is
counted and told when writing works again; it never waits, never raises and never prints a traceback.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from arbiter.errors import FilesError
from arbiter.observe import logconfig
from arbiter.observe.formats import JsonFormatter, PrefixFormatter, TextFormatter
from arbiter.observe.handlers import JournalHandler, SinkHandler, SyslogHandler
from arbiter.observe.journal import Journal, leads_to_journal
from arbiter.observe.logconfig import ACCESS_LOGGER, ERROR_LOGGER
from arbiter.observe.sinks import Sink, Target
from arbiter.observe.syslog import Syslog

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


class LogSettings(logconfig.LogConfig, Protocol):
    """The settings read here (a `Config` has them)."""

    errorlog: str
    accesslog: str | None
    loglevel: str
    log_format: str
    log_journald: bool
    syslog: bool
    syslog_addr: str
    syslog_prefix: str | None
    syslog_facility: str
    disable_redirect_access_to_syslog: bool


class Log:
    """A process's voice: the methods of a standard logger, each record signed with the process's name.

    `event` names what happened, for programs; `fields` are the values that belong to it, and `context` those
    that belong to the process (worker, generation, pid). `error_log` and `access_log` are the standard
    loggers, as on gunicorn's logger object.
    """

    def __init__(self, who: str, context: Mapping[str, Any] | None = None) -> None:
        self.who = who
        self.context = dict(context or {})
        self.error_log = logging.getLogger(ERROR_LOGGER)
        self.access_log = logging.getLogger(ACCESS_LOGGER)

    def log(
        self,
        level: int,
        message: str,
        *args: object,
        event: str = "",
        fields: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """As `logging.Logger.log`."""
        if self.error_log.isEnabledFor(level):
            said = {**self.context, **fields} if fields else self.context
            extra = {**(kwargs.pop("extra", None) or {}), "who": self.who, "event": event, "fields": said}
            self.error_log.log(level, message, *args, extra=extra, **kwargs)

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

    def output(self, stream: str, text: str, **fields: Any) -> None:
        """Lines that an application has printed to `stream`, a record each, whatever the log's level is."""
        for line in text.splitlines():
            record = self.error_log.makeRecord(
                ERROR_LOGGER,
                logging.INFO,
                "",
                0,
                "%s",
                (line,),
                None,
                extra={
                    "who": self.who,
                    "event": "worker.output",
                    "fields": {**self.context, **fields, "stream": stream},
                },
            )
            self.error_log.handle(record)

    def named(self, who: str, context: Mapping[str, Any] | None = None) -> Log:
        """The same log under another process's name."""
        return Log(who, context)


class Outputs:
    """What is open for one set of settings. Raises `FilesError` when something cannot be opened."""

    def __init__(self, settings: LogSettings) -> None:
        self.settings = settings
        self.access: Sink | None = None
        self.syslog: Syslog | None = None
        self.access_syslog: Syslog | None = None
        self.journal: Journal | None = None
        self.error = Sink(settings.errorlog, _number(sys.stderr, 2), "errorlog")
        try:
            self._open_others(settings)
        except BaseException:
            self.close()
            raise

    def _open_others(self, settings: LogSettings) -> None:
        if settings.accesslog:
            self.access = Sink(settings.accesslog, _number(sys.stdout, 1), "accesslog")
        if settings.syslog:
            name = f"arbiter.{settings.syslog_prefix}" if settings.syslog_prefix else "arbiter"
            where, facility = settings.syslog_addr, settings.syslog_facility
            self.syslog = Syslog(where, facility, f"{name}.error")
            if not settings.disable_redirect_access_to_syslog:
                self.access_syslog = Syslog(where, facility, f"{name}.access")
        self.journalled = leads_to_journal(self.error.fileno(), os.environ)
        if self.journalled and settings.log_journald and settings.log_format == "text":
            try:
                self.journal = Journal()
            except OSError:
                pass  # lines with priorities do as well

    def handlers(self) -> list[logging.Handler]:
        """The handlers of the error log."""
        found: list[logging.Handler] = []
        if self.journal is not None:
            found.append(JournalHandler(self.journal))
        else:
            handler = SinkHandler(self.error)
            handler.setFormatter(self._formatter())
            found.append(handler)
        if self.syslog is not None:
            syslog = SyslogHandler(self.syslog)
            if self.settings.log_format == "json":
                syslog.setFormatter(JsonFormatter())
            found.append(syslog)
        return found

    def _formatter(self) -> logging.Formatter:
        if self.settings.log_format == "json":
            return PrefixFormatter(JsonFormatter()) if self.journalled else JsonFormatter()
        if self.journalled:
            return PrefixFormatter()
        dull = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return TextFormatter(colour=self.error.isatty() and not dull)

    def sinks(self) -> list[Sink]:
        """The files."""
        return [sink for sink in (self.error, self.access) if sink is not None]

    def close(self) -> None:
        """Give the descriptors back."""
        for output in (*self.sinks(), self.syslog, self.access_syslog, self.journal):
            if output is not None:
                output.close()


class Logs:
    """The logs of one arbiter, opened once and inherited by its workers.

    Raises `FilesError` when one cannot be opened, `ConfigError` for a logconfig that does not work.
    """

    def __init__(self, settings: LogSettings) -> None:
        self._owner: tuple[int, int] | None = None
        self._outputs = Outputs(settings)
        try:
            self._install(self._outputs)
        except BaseException:
            logconfig.reset()
            self._outputs.close()
            raise

    def _install(self, outputs: Outputs) -> None:
        settings = outputs.settings
        logconfig.reset()
        logger = logging.getLogger(ERROR_LOGGER)
        logger.handlers = outputs.handlers()
        logconfig.apply(settings, TextFormatter)
        if logger.level == logging.NOTSET:
            logger.setLevel(LEVELS[settings.loglevel])
        access = logging.getLogger(ACCESS_LOGGER)
        if access.level == logging.NOTSET:
            access.setLevel(logging.INFO)  # as gunicorn: not what the application has the root logger at

    @property
    def error(self) -> Sink:
        """The file of the error log."""
        return self._outputs.error

    @property
    def access(self) -> Sink | None:
        """The file of the access log, if there is one."""
        return self._outputs.access

    def access_targets(self) -> list[Target]:
        """Where the access log's lines go; none when it is off or the operator's handlers have it."""
        if self.access_logger() is not None:
            return []
        targets = self._outputs.access, self._outputs.access_syslog
        return [target for target in targets if target is not None]

    def access_logger(self) -> logging.Logger | None:
        """The logger "arbiter.access" if the operator's `logconfig` has given it handlers."""
        logger = logging.getLogger(ACCESS_LOGGER)
        return logger if logger.handlers else None

    def close(self) -> None:
        """Give everything back; what is logged from now on goes nowhere."""
        logconfig.reset()
        self._outputs.close()

    def give_to(self, uid: int, gid: int) -> None:
        """Let the workers' user own the files, also those that will be opened in their place."""
        self._owner = uid, gid
        for sink in self._outputs.sinks():
            sink.give_to(uid, gid)
        for handler in _file_handlers():
            if os.geteuid() == 0:
                os.chown(handler.baseFilename, uid, gid)

    def leave_terminal(self) -> None:
        """The standard streams now lead somewhere else (a daemon's to nowhere): follow them."""
        for sink in self._outputs.sinks():
            sink.reattach()

    def tell_terminal(self, who: str, text: str) -> None:
        """Say what is critical on standard error, too, unless that is where the log goes: whoever starts a
        service looks there first. (A daemon's leads to nowhere.)
        """
        if sys.stderr is None:  # closed by whoever started this; descriptor 2 may be anything
            return
        number = _number(sys.stderr, 2)
        record = logging.LogRecord(ERROR_LOGGER, logging.CRITICAL, "", 0, "%s", (text,), None)
        record.__dict__.update(who=who)
        with contextlib.suppress(OSError, FilesError):
            if any(os.path.sameopenfile(fd, number) for fd in self._descriptors()):
                return
            sink = Sink("-", number, "errorlog")
            sink.write(TextFormatter().format(record) + "\n")
            sink.close()

    def _descriptors(self) -> Iterator[int]:
        """Where the error log goes, as far as that has descriptors."""
        logger = logging.getLogger(ERROR_LOGGER)
        for handler in [*logger.handlers, *(logging.getLogger().handlers if logger.propagate else ())]:
            if isinstance(handler, SinkHandler | JournalHandler):
                yield self.error.fileno()  # the journal is what takes its place
            elif isinstance(handler, logging.StreamHandler) and (fd := _number(handler.stream, -1)) >= 0:
                yield fd

    def reopen(self, *, access: bool = True) -> None:
        """Reopen all files (USR1), the access log's only if `access`.

        Raises `FilesError` naming those that cannot be; the old ones stay in use.
        """
        problems = []
        for sink in self._outputs.sinks():
            if sink is self.error or access:
                try:
                    sink.reopen()
                except (OSError, FilesError) as error:
                    problems.append(str(error))
        for handler in _file_handlers():
            _reopen(handler)
        if problems:
            raise FilesError(" ".join(problems))

    def reconfigure(self, settings: LogSettings) -> None:
        """Apply changed settings: what is new is opened before the old is let go.

        Raises `FilesError` or `ConfigError`; then everything is as it was.
        """
        if _same(self._outputs.settings, settings):
            self._outputs.settings = settings
            return
        fresh = Outputs(settings)
        try:
            self._install(fresh)
        except BaseException:
            self._install(self._outputs)
            fresh.close()
            raise
        self._outputs.close()
        self._outputs = fresh
        if self._owner is not None:
            self.give_to(*self._owner)


def check(settings: LogSettings) -> None:
    """Try the settings in a process of no consequence; raises as `Logs` does."""
    Logs(settings)


def _number(stream: Any, usual: int) -> int:
    """The descriptor of a standard stream."""
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):  # there is none, or it is one of Python's own making
        return usual


_READ: Final = tuple(
    name for base in reversed(LogSettings.__mro__) for name in getattr(base, "__annotations__", {})
)


def _same(old: LogSettings, new: LogSettings) -> bool:
    if new.logconfig or new.logconfig_json:
        return False  # the file's text may be another
    return all(getattr(old, name) == getattr(new, name) for name in _READ)


def _file_handlers() -> list[logging.FileHandler]:
    """The files that the operator's `logconfig` has opened for our loggers."""
    loggers = logging.getLogger(ERROR_LOGGER), logging.getLogger(ACCESS_LOGGER)
    handlers = {id(handler): handler for logger in loggers for handler in logger.handlers}
    return [handler for handler in handlers.values() if isinstance(handler, logging.FileHandler)]


def _reopen(handler: logging.FileHandler) -> None:
    """As gunicorn: close what was open, and let the next record open it."""
    handler.acquire()
    try:
        if handler.stream is not None:
            handler.stream.close()
            handler.stream = handler._open()
    finally:
        handler.release()
