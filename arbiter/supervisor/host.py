"""From an accepted configuration to a running arbiter, and back out again.

Neighbours: `cli` calls `serve` with the worker's entry point (so that supervisor and workers never import
each other). Its one rule: whatever can be found wrong is found before the terminal is given up and before
anything is changed.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import grp
import os
import pwd
import sys
from collections.abc import Callable

from setproctitle import setproctitle

from arbiter import hooks
from arbiter.config.footprint import forget_listings
from arbiter.config.snapshot import Config
from arbiter.config.sources import Loader
from arbiter.errors import ExitStatus, IdentityError, OperatorError
from arbiter.hooks import ServerFace
from arbiter.observe.logs import Log, Logs
from arbiter.supervisor import listeners as sockets
from arbiter.supervisor import systemd
from arbiter.supervisor.arbiter import Arbiter, Entry
from arbiter.supervisor.estate import Estate
from arbiter.supervisor.generation import Generation
from arbiter.supervisor.pidfile import Pidfile
from arbiter.version import __version__


def serve(loader: Loader, config: Config, entry: Entry) -> ExitStatus:
    """Run an arbiter in this process until it has stopped; the process's exit status.

    Raises `OperatorError` (bind, user, files) before anything has been started.
    """
    check_identity(config)
    logs = Logs(config)
    dress(config, logs)
    pidfile = Pidfile(config.pidfile or "")
    pidfile.check()
    inherited = systemd.take_sockets(os.environ)
    listeners = sockets.open_all(config, inherited)
    if config.daemon:
        daemonize()
        logs.leave_terminal()
    log = Log(f"arbiter (pid {os.getpid()})")
    try:
        note = pidfile.claim()
        if note:
            log.warning("%s", note, event="pidfile.stale")
        return _serve(loader, config, entry, logs, log, listeners)
    except OperatorError as error:
        if config.daemon:
            log.critical("%s", error, event="arbiter.failed")  # the terminal is gone
        raise
    finally:
        sockets.close_all(listeners)
        pidfile.release()


def _serve(
    loader: Loader, config: Config, entry: Entry, logs: Logs, log: Log, listeners: list[sockets.Listener]
) -> ExitStatus:
    server = ServerFace(config, log, [listener.url for listener in listeners])
    log.info("Starting arbiter %s", __version__, event="arbiter.starting", fields={"version": __version__})
    for notice in config.notices:
        log.warning("%s", notice, event="config.notice")
    try:
        hooks.call(config, "on_starting", server)
    except Exception as error:
        log.exception("hook on_starting raised", event="hook.failed", fields={"hook": "on_starting"})
        why = f"hook on_starting raised {type(error).__name__}: {error}. Nothing has been started."
        raise OperatorError(why, status=ExitStatus.CONFIG) from error
    for listener in listeners:
        said = {"url": listener.url}
        log.info("Listening at: %s", listener.url, event="arbiter.listening", fields=said)
    generation = Generation(1, config, listeners, server)
    estate = Estate.found(generation)
    arbiter = Arbiter(estate, loader, logs, log, entry, systemd.Notifier(os.environ))

    def run() -> ExitStatus:
        arbiter.outside.open(config, os.environ)
        return arbiter.run()

    return live(arbiter, run)


def dress(config: Config, logs: Logs) -> None:
    """Have the arbiter's title, and log files that belong to the workers' user."""
    setproctitle(f"arbiter: master [{config.proc_name}]")
    if os.geteuid() == 0 and config.user != 0:
        logs.give_to(config.user, config.group)


def live(arbiter: Arbiter, run: Callable[[], ExitStatus]) -> ExitStatus:
    """The arbiter's life, and what is done and said at its end."""
    log = arbiter.log
    try:
        slim()
        status = run()
    finally:
        try:
            hooks.call(arbiter.current.config, "on_exit", arbiter.current.server)
        except Exception:
            log.exception("hook on_exit raised", event="hook.failed", fields={"hook": "on_exit"})
    log.info("stopped", event="arbiter.stopped")
    return status


def slim() -> None:
    """Give back what reading the command line and the configuration has left behind.

    The arbiter will hardly allocate again, so what the allocator keeps for it (a fifth of its memory) would
    be kept for nothing; and what it has goes out of the collector's sight, whose marks would make every
    forked worker copy it.
    """
    forget_listings()
    gc.collect()
    gc.freeze()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl needs none
        if trim is not None:
            trim(0)


def check_identity(config: Config) -> None:
    """Raises `IdentityError` if the workers will not be able to become `user` and `group`."""
    if (config.user, config.group) == (os.geteuid(), os.getegid()) or os.geteuid() == 0:
        return
    raise IdentityError(
        f"user = {_user(config.user)}, group = {_group(config.group)}: only root can switch to another user, "
        f"and this is {_user(os.geteuid())}. Start arbiter as root, or leave both settings out."
    )


def _user(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def _group(gid: int) -> str:
    with contextlib.suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return str(gid)


def daemonize() -> None:
    """Leave the terminal: a session of its own, no controlling terminal, standard streams on /dev/null."""
    if os.fork():
        os._exit(ExitStatus.OK)
    os.setsid()
    if os.fork():
        os._exit(ExitStatus.OK)
    sys.stdout.flush()
    sys.stderr.flush()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
