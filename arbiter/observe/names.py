"""The names of the records that are not decisions of the arbiter's policy (those: `control.happenings`).

Neighbours: whoever logs names its record; JSON and the journal show the name, docs/logging.md explains it.
Its one rule: a name is stable and says what happened; a program goes by the name, people by the text.
"""

from __future__ import annotations

from typing import Final

NAMES: Final[dict[str, str]] = {
    "arbiter.starting": "arbiter starts; `version`",
    "arbiter.listening": "an address is listened on; `url`",
    "arbiter.stopped": "the last child is gone; the last record",
    "arbiter.failed": "a daemon could not start, and its terminal is gone",
    "pidfile.stale": "the process that the pidfile names is something else; it is taken over",
    "config.notice": "something in the configuration has no effect or looks like a mistake",
    "config.unread": "a reload found the configuration good and could then not read it",
    "control.listening": "where `arbiterctl` finds the arbiter; `path`",
    "control.failed": "there is no control socket, and why",
    "metrics.listening": "where metrics and health are answered; `url`",
    "metrics.failed": "a reload could not move them",
    "statsd.failed": "the host of statsd is not known",
    "hook.failed": "a server hook raised; `hook`, with the traceback",
    "mold.check": "a warning of Django's system checks",
    "mold.warmup": "the application refused one of `warmup_paths`",
    "worker.fork_failed": "no process could be made",
    "worker.output": "a line that a worker printed (`capture_output`, wsgi.errors); `stream`",
    "worker.orphaned": "the arbiter died, and a worker of it leaves; `arbiter` was its process id",
    "worker.last_words": "what the interpreter wrote while a worker died",
    "loop.blocked": "the event loop was held up for longer than `loop_lag_warning`; `seconds`, `stacks`",
    "accept.paused": "a worker cannot accept: no descriptors or memory",
    "accept.again": "and can again",
    "connection.refused": "a connection ended before a request: a bad PROXY header",
    "connection.failed": "a connection could not be taken up or ended",
    "request.refused": "a request that breaks HTTP's rules was refused",
    "request.late": "a client took too long over a request",
    "request.overdue": "a request was cancelled: it took longer than `request_timeout`",
    "request.unkept": "a request's body could not be kept on disk",
    "request.failed": "the application raised, or did not answer; `method`, `target`, `client`",
    "request.faulty": "the application's answer broke a rule",
    "request.cut": "a request was not served to its end: the worker had to leave",
    "request.stubborn": "application calls that did not end when they were cancelled",
    "websocket.failed": "the application raised in a WebSocket",
    "websocket.unserved": "somebody asks for WebSockets and the application has none (once)",
    "lifespan.absent": "the application has no ASGI lifespan",
    "lifespan.failed": "it failed to start, to stop, or died in between",
    "lifespan.ended": "it returned while the worker serves",
    "lifespan.late": "its shutdown took longer than `lifespan_timeout`",
    "task.failed": "an exception in a task or callback of the application's own",
    "log.dropped": "`records` before this one could not be written",
    "logs.reopen_failed": "a worker could not open a log file anew; the old one is in use",
    "accesslog.blocked": "the access log cannot be written; its lines are kept, then dropped; `problem`",
    "accesslog.dropped": "it is written again, or too slowly, or the worker ends; `lines` were dropped",
    "accesslog.failed": "a line could not be made",
    "message": "a record without a name: a hook's or an extension's own",
}
"""Each name and its meaning."""
