"""Warm-up requests: they take the way of real ones, and an application that fails them is not served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arbiter.application import Application
from arbiter.config.snapshot import Config
from arbiter.config.sources import Loader
from arbiter.errors import AppError
from arbiter.workers.warmup import warm_up


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    def make(*paths: str, **more: Any) -> Config:
        values = {"wsgi_app": "a:b", "preload_app": True, "warmup_paths": list(paths), **more}
        return Loader(values, {}, str(tmp_path)).load()

    return make


def wsgi(status: str = "200 OK", seen: list[Any] | None = None) -> Application:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if seen is not None:
            names = (
                "wsgi.url_scheme",
                "HTTP_HOST",
                "SERVER_NAME",
                "SERVER_PORT",
                "PATH_INFO",
                "QUERY_STRING",
            )
            seen.append(tuple(environ[name] for name in names))
        start_response(status, [])
        return [b"x" * 300_000]

    return Application(app, "wsgi", "a:b")


def asgi(status: int = 200, seen: list[Any] | None = None, lifespan: str = "complete") -> Application:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if seen is not None:
            seen.append(scope["type"])
        if scope["type"] == "lifespan":
            if lifespan == "none":
                raise RuntimeError("no lifespan")
            while (await receive())["type"] == "lifespan.startup":
                scope["state"]["pool"] = "open"
                await send({"type": f"lifespan.startup.{lifespan}", "message": "asleep"})
            if seen is not None:
                seen.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        assert (await receive())["type"] == "http.request"
        if seen is not None:
            seen.append((scope["scheme"], scope["path"], scope["query_string"], scope["state"].get("pool")))
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body"})
        assert (await receive())["type"] == "http.disconnect"

    return Application(app, "asgi", "a:b")


def test_without_paths_nothing_is_asked(config: Callable[..., Config]) -> None:
    seen: list[Any] = []
    warm_up(wsgi(seen=seen), config(), seen.append)
    assert seen == []


def test_wsgi(config: Callable[..., Config]) -> None:
    seen: list[Any] = []
    steps: list[str] = []
    warm_up(wsgi(seen=seen), config("/a?b=c", "https://www.example.com/login/"), steps.append)
    assert steps == ["warm-up /a?b=c", "warm-up https://www.example.com/login/"]
    assert seen == [
        ("http", "localhost", "localhost", "80", "/a", "b=c"),
        ("https", "www.example.com", "www.example.com", "443", "/login/", ""),
    ]


def test_asgi_with_its_lifespan_around(config: Callable[..., Config]) -> None:
    seen: list[Any] = []
    warm_up(asgi(seen=seen), config("/a?b=c"), lambda step: None)
    assert seen == ["lifespan", "http", ("http", "/a", b"b=c", "open"), "shutdown"]


def test_asgi_without_a_lifespan(config: Callable[..., Config]) -> None:
    seen: list[Any] = []
    warm_up(asgi(seen=seen, lifespan="none"), config("/"), lambda step: None)
    assert seen == ["lifespan", "http", ("http", "/", b"", None)]
    seen.clear()
    warm_up(asgi(seen=seen), config("/", asgi_lifespan="off"), lambda step: None)
    assert seen[0] == "http"


@pytest.mark.parametrize("app", [wsgi("404 Not Found"), wsgi("302 Found"), asgi(403)])
def test_what_is_below_500_is_an_answer(config: Callable[..., Config], app: Application) -> None:
    warm_up(app, config("/"), lambda step: None)


@pytest.mark.parametrize("app", [wsgi("204 No"), wsgi("302 Found"), asgi(304)])
def test_below_400_there_is_nothing_to_say(config: Callable[..., Config], app: Application) -> None:
    assert warm_up(app, config("/"), lambda step: None) == []


@pytest.mark.parametrize("make", [wsgi, asgi])
def test_what_is_refused_is_told_once_a_path(config: Callable[..., Config], make: Any) -> None:
    def told(status: Any, *paths: str) -> list[str]:
        return warm_up(make(status), config(*paths), lambda step: None)

    gone = "404 No" if make is wsgi else 404
    assert told(gone, "/a", "http://www.example.com/b", "/a", "/a") == [
        "warmup_paths (--warmup-path): GET /a was answered with 404 (Host: localhost)",
        "warmup_paths (--warmup-path): GET http://www.example.com/b was answered with 404 "
        "(Host: www.example.com)",
    ]
    (refused,) = told("400 Bad" if make is wsgi else 400, "/a")
    assert "(Host: localhost; write the path as a URL to ask as another host)" in refused


@pytest.mark.parametrize("app", [wsgi("500 Oh"), wsgi("503 No"), asgi(500)])
def test_500_and_above_are_none(config: Callable[..., Config], app: Application) -> None:
    with pytest.raises(AppError, match=r"warm-up: GET /x was answered with 50[03]\."):
        warm_up(app, config("/x"), lambda step: None)


def test_an_exception_is_told_with_the_applications_own_traceback(config: Callable[..., Config]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise RuntimeError("cold")

    with pytest.raises(AppError, match="was answered with 500") as caught:
        warm_up(Application(app, "wsgi", "a:b"), config("/"), lambda step: None)
    assert "RuntimeError: cold" in caught.value.traceback
    assert "gateways" not in caught.value.traceback

    async def other(scope: dict[str, Any], receive: Any, send: Any) -> None:
        raise RuntimeError("cold")

    with pytest.raises(AppError, match="was not answered") as caught:
        warm_up(Application(other, "asgi", "a:b"), config("/", asgi_lifespan="off"), lambda step: None)
    assert "RuntimeError: cold" in caught.value.traceback


def test_an_incomplete_answer_is_none(config: Callable[..., Config]) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    with pytest.raises(AppError, match="warm-up: GET /"):
        warm_up(Application(app, "asgi", "a:b"), config("/", asgi_lifespan="off"), lambda step: None)


def test_a_lifespan_that_refuses(config: Callable[..., Config]) -> None:
    with pytest.raises(AppError, match=r"lifespan\.startup\.failed\): asleep"):
        warm_up(asgi(lifespan="failed"), config("/"), lambda step: None)
