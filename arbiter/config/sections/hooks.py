"""The functions of a configuration file that arbiter calls: gunicorn's server hooks.

Neighbours: `config.table` collects it; `arbiter.hooks` says what the arguments are. Its one rule: an
exception in a hook is logged and harms nothing else.
"""

from __future__ import annotations

from typing import Final

from arbiter.config.hook import Hook
from arbiter.config.setting import Effect, Setting

TITLE: Final = "Hooks"


def _hook(name: str, kind: Hook, text: str, effect: Effect = Effect.WORKERS) -> Setting:
    return Setting(name, kind, None, text, effect=effect, unset="nothing is called")


_ARBITER: Final = Effect.IN_PLACE

SETTINGS: Final = (
    _hook(
        "on_starting",
        Hook("server"),
        "In the arbiter, before the first worker is started; after an upgrade in place again, in the new "
        "program.",
        _ARBITER,
    ),
    _hook("on_reload", Hook("server"), "In the arbiter, when a reload was accepted.", _ARBITER),
    _hook("when_ready", Hook("server"), "In the arbiter, when the first worker is ready.", _ARBITER),
    _hook("pre_fork", Hook("server", "worker"), "In the arbiter, before a worker is forked.", _ARBITER),
    _hook(
        "post_fork",
        Hook("server", "worker"),
        "In a new worker, right after the fork, still as arbiter's user.",
    ),
    _hook("post_worker_init", Hook("worker"), "In a worker that has loaded the application."),
    _hook("worker_int", Hook("worker"), "In a worker that was told to quit (INT or QUIT)."),
    _hook("worker_abort", Hook("worker"), "In a worker that is about to be killed for its `timeout` (ABRT)."),
    _hook(
        "pre_exec",
        Hook("server"),
        "In the arbiter, before an upgrade in place replaces it, with all signals blocked. If it raises, "
        "there is no upgrade.",
        _ARBITER,
    ),
    _hook("pre_request", Hook("worker", "req"), "In a worker, before a request is given to the application."),
    _hook(
        "post_request",
        Hook("worker", "req", "environ", "resp", fewest=2),
        "In a worker, after a request; `environ` and `resp` may be left out of the definition.",
    ),
    _hook("child_exit", Hook("server", "worker"), "In the arbiter, when a worker has ended.", _ARBITER),
    _hook("worker_exit", Hook("server", "worker"), "In a worker that is about to end."),
    _hook(
        "nworkers_changed",
        Hook("server", "new_value", "old_value"),
        "In the arbiter, when the number of workers was set or changed; the old one is None at first.",
        _ARBITER,
    ),
    _hook("on_exit", Hook("server"), "In the arbiter, before it ends.", _ARBITER),
)
