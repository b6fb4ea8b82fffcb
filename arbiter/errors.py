"""Every exit status and every exception family of arbiter, on one page.

Neighbours: everything imports this module; it imports nothing of arbiter. Its one rule: an exception says
whose fault it was. An operator's fault is a sentence with the thing, its value, where it came from and the
remedy; it is shown without a traceback. An application's fault carries the application's own traceback, cut
of arbiter's frames. A peer's fault is answered with a status and counted. Whatever is none of these is ours.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from arbiter.counted import counted


class ExitStatus(enum.IntEnum):
    """The exit statuses of `arbiter`; documented in docs/signals.md and stable."""

    OK = 0
    """Stopped as asked, or a check found nothing wrong."""
    FAILURE = 1
    """An unexpected fault: a bug in arbiter; the log holds the traceback."""
    USAGE = 2
    """The command line cannot be understood (click's own status)."""
    BOOT = 3
    """At the first start no worker became ready (as in gunicorn)."""
    APP = 4
    """The application cannot be loaded (as in gunicorn)."""
    LISTEN = 5
    """An address cannot be bound: in use, not permitted, not of this machine."""
    IDENTITY = 6
    """The user or group does not exist, or cannot be switched to."""
    FILES = 7
    """A file arbiter must write cannot be written: pidfile, log."""
    CONFIG = 78
    """The configuration was refused (EX_CONFIG of sysexits.h; systemd prints it as such)."""


class ControlStatus(enum.IntEnum):
    """The exit statuses of `arbiterctl`; documented in docs/control.md and stable."""

    OK = 0
    """Done."""
    FAILED = 1
    """Asked for, and it did not succeed: a reload of a broken application, a faulty configuration."""
    USAGE = 2
    """The command line cannot be understood (click's own status)."""
    NOT_FOUND = 3
    """No such arbiter runs, or it has no control socket."""
    FORBIDDEN = 4
    """You may not."""
    AMBIGUOUS = 5
    """Several arbiters run here: say which."""
    REFUSED = 6
    """It cannot be done now: no such worker, the arbiter is stopping."""
    TIMEOUT = 7
    """The arbiter does not answer."""
    GONE = 8
    """The arbiter ended before it had answered."""


class ArbiterError(Exception):
    """Base of all exceptions that arbiter raises on purpose."""


class OperatorError(ArbiterError):
    """Something the operator can mend; `str()` is the whole message, `status` the exit status."""

    status: ExitStatus = ExitStatus.FAILURE

    def __init__(self, message: str, *, status: ExitStatus | None = None) -> None:
        super().__init__(message)
        if status is not None:
            self.status = status


class ListenError(OperatorError):
    """An address cannot be bound."""

    status = ExitStatus.LISTEN


class IdentityError(OperatorError):
    """A user or group is missing or may not be switched to."""

    status = ExitStatus.IDENTITY


class FilesError(OperatorError):
    """A pidfile, log or directory cannot be used."""

    status = ExitStatus.FILES


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with the configuration.

    `setting` is the name as the operator wrote it, `value` its repr ("" when it has none), `origin` where it
    came from ("conf.py:12", "--workers", "environment WEB_CONCURRENCY"), `problem` what is wrong with it and
    `remedy` what to do.
    """

    setting: str
    value: str
    origin: str
    problem: str
    remedy: str = ""

    def __str__(self) -> str:
        what = f"{self.setting} = {self.value}" if self.value else self.setting
        where = f" ({self.origin})" if self.origin else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"{what}{where}: {self.problem}.{remedy}"


class ConfigError(OperatorError):
    """The configuration is refused; `faults` lists all that is wrong with it, never just the first."""

    status = ExitStatus.CONFIG

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        title = f"{counted(len(self.faults), 'fault')} in the configuration"
        super().__init__("\n".join([f"{title}:", *(f"  - {fault}" for fault in self.faults)]))


class AppError(OperatorError):
    """The application cannot be loaded; `traceback` is the user's own part of it ("" when there is none)."""

    status = ExitStatus.APP

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class ControlError(ArbiterError):
    """An arbiter cannot be asked; `str()` is the whole message, `status` the exit status of `arbiterctl`."""

    def __init__(self, message: str, *, status: ControlStatus = ControlStatus.FAILED) -> None:
        super().__init__(message)
        self.status = status


class ResponseError(ArbiterError, RuntimeError):
    """The application broke a rule of HTTP, ASGI or WSGI while answering; raised into the application."""


class PeerGone(ArbiterError, ConnectionError):
    """The client has gone; raised into an application that goes on sending (an OSError, as ASGI 2.4 asks).

    unsent: how many bytes of what was to be written have certainly not left.
    """

    def __init__(self, reason: str, unsent: int = 0) -> None:
        super().__init__(reason)
        self.unsent = unsent
