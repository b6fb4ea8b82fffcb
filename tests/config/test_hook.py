"""gunicorn's server hooks as values."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from arbiter.config.hook import Hook
from arbiter.config.table import HOOKS, TABLE
from arbiter.config.unreadable import Unreadable

POST_REQUEST = Hook("worker", "req", "environ", "resp", fewest=2)


def test_a_hook_that_takes_all() -> None:
    def hook(server, worker):
        return server, worker

    assert Hook("server", "worker").read(hook) is hook


def test_a_hook_that_takes_anything() -> None:
    hook: Any = lambda *args: args  # noqa: E731
    assert POST_REQUEST.read(hook) is hook


@pytest.mark.parametrize("count", [2, 3, 4])
def test_gunicorns_shorter_post_request(count: int) -> None:
    hook: Any = {2: lambda a, b: (a, b), 3: lambda a, b, c: (a, b, c), 4: lambda a, b, c, d: (a, b, c, d)}[
        count
    ]
    assert POST_REQUEST.read(hook)(1, 2, 3, 4) == (1, 2, 3, 4)[:count]


def test_other_callables() -> None:
    class Callable:
        def __call__(self, server):
            return server

    assert Hook("server").read(Callable())(7) == 7
    assert Hook("server").read(functools.partial(lambda x, server: (x, server), 1))(2) == (1, 2)
    assert Hook("server").read(print) is print


@pytest.mark.parametrize("value", ["post_fork", 3, None, object, lambda: 1, lambda a, b: 1])
def test_what_is_no_hook_of_one_argument(value: Any) -> None:
    with pytest.raises(Unreadable):
        Hook("server").read(value)


def test_an_async_function_is_refused() -> None:
    async def hook(server):
        pass

    with pytest.raises(Unreadable, match="is async"):
        Hook("server").read(hook)


def test_a_function_is_quoted_by_its_name() -> None:
    def hook(server):
        pass

    kind = Hook("server")
    assert kind.quote(hook) == f"<function {hook.__qualname__}>"
    assert kind.quote(functools.partial(hook)) == "<function partial>"
    assert (kind.quote(object), kind.quote("hook")) == ("<class 'object'>", "'hook'")


def test_every_hook_of_gunicorn_is_there() -> None:
    """gunicorn.md 1.2: names and signatures."""
    signatures = {name: TABLE[name].kind.arguments for name in HOOKS}
    assert signatures == {
        "on_starting": ("server",),
        "on_reload": ("server",),
        "when_ready": ("server",),
        "pre_fork": ("server", "worker"),
        "post_fork": ("server", "worker"),
        "post_worker_init": ("worker",),
        "worker_int": ("worker",),
        "worker_abort": ("worker",),
        "pre_exec": ("server",),
        "pre_request": ("worker", "req"),
        "post_request": ("worker", "req", "environ", "resp"),
        "child_exit": ("server", "worker"),
        "worker_exit": ("server", "worker"),
        "nworkers_changed": ("server", "new_value", "old_value"),
        "on_exit": ("server",),
    }
