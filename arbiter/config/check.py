"""Rules between settings.

Neighbours: `sources` calls `check` when all values are read. Its one rule: a fault is what cannot work; what
can work but is probably not meant is a notice.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
from collections.abc import Callable, Collection, Iterator
from typing import Final, TypeAlias

from arbiter.config import merging
from arbiter.config.snapshot import Config
from arbiter.errors import Fault
from arbiter.observe.access import check_format

Finding: TypeAlias = Fault | str
"""What a rule yields: a fault, or the sentence of a notice."""


def check(config: Config, unreadable: Collection[str] = ()) -> tuple[list[Fault], list[str]]:
    """The faults and notices of all rules, but for those about a setting that could not be read."""
    faults: list[Fault] = []
    notices: list[str] = []
    for names, rule in _RULES:
        if any(name in unreadable for name in names):
            continue
        for finding in rule(config):
            if isinstance(finding, Fault):
                faults.append(finding)
            else:
                notices.append(finding)
    return faults, notices


def _fault(config: Config, name: str, problem: str, remedy: str) -> Fault:
    entry = dict(config.items())[name]
    return Fault(name, entry.show(), entry.origin, problem, remedy)


def _said(config: Config, name: str) -> str:
    """The setting as a notice begins: `threads = 4 (conf.py:3)`."""
    entry = dict(config.items())[name]
    return f"{name} = {entry.show()} ({entry.origin})"


def _app(config: Config) -> Iterator[Finding]:
    if not config.wsgi_app and not config.print_config:
        yield Fault(
            "wsgi_app",
            "",
            "",
            "no application is named",
            "Write `arbiter module:attribute`, or wsgi_app in the file.",
        )


def _chdir(config: Config) -> Iterator[Finding]:
    if not os.path.isdir(config.chdir):
        yield _fault(config, "chdir", "there is no such directory", "Name an existing one.")


def _pythonpath(config: Config) -> Iterator[Finding]:
    for directory in config.pythonpath:
        if not os.path.exists(directory):
            yield f"pythonpath ({config.origin('pythonpath')}): {directory} does not exist"


def _upload_dir(config: Config) -> Iterator[Finding]:
    if config.tmp_upload_dir is not None and not os.path.isdir(config.tmp_upload_dir):
        yield _fault(config, "tmp_upload_dir", "there is no such directory", "Name an existing one.")


def _bind(config: Config) -> Iterator[Finding]:
    seen = set()
    for address in config.bind:
        if address in seen and not (address.kind == "tcp" and address.port == 0):
            yield _fault(config, "bind", f"has {address} twice", "Write each address once.")
        seen.add(address)
    if config.reuse_port and all(address.kind != "tcp" for address in config.bind):
        yield f"{_said(config, 'reuse_port')} has no effect: no address is one of TCP"


def _scaling(config: Config) -> Iterator[Finding]:
    least, most = config.workers_min, config.workers_max
    if not most:
        if config.origin("workers_min") != "default":
            yield f"{_said(config, 'workers_min')} has no effect without workers_max"
    elif least > most:
        yield _fault(
            config, "workers_min", f"is above workers_max = {most}", "Lower it, or raise workers_max."
        )
    elif not least <= config.workers <= most:
        problem = f"lies outside of workers_min = {least} and workers_max = {most}"
        yield _fault(
            config, "workers", problem, "Leave it out to start with workers_min, or write one within."
        )


def _threads(config: Config) -> Iterator[Finding]:
    if config.threads > 1 and config.worker_class == "asgi":
        yield f"{_said(config, 'threads')} has no effect: an asgi worker serves from one thread"
    if config.threads > 1 and config.worker_class == "sync":
        yield f"{_said(config, 'threads')} makes the sync workers threaded ones"
    if config.worker_connections < config.threads:
        yield _fault(
            config,
            "worker_connections",
            f"is less than threads = {config.threads}, some of which would never have work",
            "Raise it, or lower threads.",
        )


def _jitter(config: Config) -> Iterator[Finding]:
    if config.max_requests_jitter and not config.max_requests:
        yield f"{_said(config, 'max_requests_jitter')} has no effect without max_requests"


def _head(config: Config) -> Iterator[Finding]:
    for name in ("limit_request_line", "limit_request_field_size"):
        if getattr(config, name) > config.limit_request_head:
            yield f"{_said(config, name)} is never reached: limit_request_head is {config.limit_request_head}"


def _loop(config: Config) -> Iterator[Finding]:
    if config.asgi_loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
        yield _fault(config, "asgi_loop", "uvloop is not installed", "Install it, or write auto or asyncio.")


def _access_format(config: Config) -> Iterator[Finding]:
    problem = check_format(config.access_log_format)
    if problem is not None:
        yield _fault(
            config, "access_log_format", problem.rstrip("."), "See access_log_format in the reference."
        )


def _daemon(config: Config) -> Iterator[Finding]:
    if config.daemon and config.errorlog == "-":
        yield f"{_said(config, 'daemon')}: a daemon has no terminal for its log; set errorlog to a file"


def _groups(config: Config) -> Iterator[Finding]:
    if not config.initgroups:
        return
    try:
        pwd.getpwuid(config.user)
    except KeyError:
        problem = f"user {config.user} has no name, so its groups are not known"
        yield _fault(config, "initgroups", problem, "Write a user that has a name, or leave it out.")


def hooks_want_root(config: Config) -> bool:
    """Whether pre_fork or post_fork, which a mold would call as `user`, can count on arbiter's own user."""
    return config.user != os.geteuid() and bool(config.pre_fork or config.post_fork)


def _preload(config: Config) -> Iterator[Finding]:
    if config.preload_app == "auto" and hooks_want_root(config):
        hook = "pre_fork" if config.pre_fork else "post_fork"
        yield (
            f"{_said(config, 'preload_app')}: every worker loads the application by itself, so that "
            f"hook {hook} ({config.origin(hook)}) still runs as the user that starts arbiter; with True it "
            "would run as `user`"
        )
    if config.preload_app == "off":
        for name in ("warmup_paths", "django_check"):
            if getattr(config, name) not in ((), "off"):
                yield f"{_said(config, name)} has no effect without preload_app"


def _memory_merge(config: Config) -> Iterator[Finding]:
    if config.memory_merge and (obstacle := merging.obstacle()):
        yield f"{_said(config, 'memory_merge')} has no effect: {obstacle}"


def _worker_tmp_dir(config: Config) -> Iterator[Finding]:
    if config.worker_tmp_dir is not None:
        yield f"{_said(config, 'worker_tmp_dir')} is not needed: there is no heartbeat file"


Rule: TypeAlias = Callable[[Config], Iterator[Finding]]

_RULES: Final[tuple[tuple[tuple[str, ...], Rule], ...]] = (
    (("wsgi_app", "print_config"), _app),
    (("chdir",), _chdir),
    (("chdir", "pythonpath"), _pythonpath),
    (("chdir", "tmp_upload_dir"), _upload_dir),
    (("bind", "reuse_port"), _bind),
    (("workers", "workers_min", "workers_max"), _scaling),
    (("threads", "worker_class", "worker_connections"), _threads),
    (("max_requests", "max_requests_jitter"), _jitter),
    (("limit_request_head", "limit_request_line", "limit_request_field_size"), _head),
    (("asgi_loop",), _loop),
    (("access_log_format",), _access_format),
    (("daemon", "errorlog"), _daemon),
    (("initgroups", "user"), _groups),
    (("preload_app", "user", "pre_fork", "post_fork", "warmup_paths", "django_check"), _preload),
    (("memory_merge",), _memory_merge),
    (("worker_tmp_dir",), _worker_tmp_dir),
)
"""Each rule with the settings it reads."""
