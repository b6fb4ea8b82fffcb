"""From a spec to a callable and its kind; and what is said when that fails."""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arbiter import application
from arbiter.application import load, prepare_paths, style
from arbiter.errors import AppError, ExitStatus

Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module into a fresh directory on the path; returns its name. All is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)

    def module(name: str, source: str) -> str:
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        return name

    yield module
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        path = [*getattr(sys.modules[name], "__path__", ()), file]
        if any(str(place).startswith(str(tmp_path)) for place in path):
            del sys.modules[name]


def refusal(spec: str, worker_class: str = "auto") -> AppError:
    with pytest.raises(AppError) as caught:
        load(spec, worker_class)
    assert caught.value.status is ExitStatus.APP
    assert "\n" not in str(caught.value), "one sentence or two, on one line"
    own = os.path.dirname(application.__file__) + os.sep
    assert own not in caught.value.traceback
    assert "importlib" not in caught.value.traceback
    return caught.value


# ---------------------------------------------------------------- the kinds


def wsgi(environ, start_response):
    return [b""]


async def asgi(scope, receive, send):
    pass


def asgi2(scope):
    async def instance(receive, send):
        await send({"scope": scope, "message": await receive()})

    return instance


class Asgi2Class:
    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        await send({"scope": self.scope, "message": await receive()})


class Asgi3Instance:
    async def __call__(self, scope, receive, send):
        pass


class Asgi3Endpoint:
    """As Starlette's HTTPEndpoint: the class is the application."""

    def __init__(self, scope, receive, send):
        pass

    def __await__(self):
        yield


class WsgiInstance:
    def __call__(self, environ, start_response):
        return []


class WsgiClass:
    """PEP 3333: the class is the application, its instance the iterable."""

    def __init__(self, environ, start_response):
        pass

    def __iter__(self):
        yield b""


class SlotCall:
    """As Sentry's middleware: `__call__` is set on the instance."""

    __slots__ = ("__call__",)

    def __init__(self, call):
        self.__call__ = call


class Holder:
    async def method(self, scope, receive, send):
        pass

    def wsgi_method(self, environ, start_response):
        return []

    @classmethod
    def on_class(cls, environ, start_response):
        return []


@functools.wraps(asgi)
def decorated(*args, **kwargs):
    return asgi(*args, **kwargs)


def marked(*args):
    return asgi(*args)


marked._is_coroutine = object()  # as asgiref.sync.markcoroutinefunction before Python 3.12


def configured(config, environ, start_response):
    return []


async def configured_asgi(config, scope, receive, send):
    pass


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (wsgi, "wsgi"),
        (asgi, "asgi3"),
        (asgi2, "asgi2"),
        (Asgi2Class, "asgi2"),
        (Asgi3Instance(), "asgi3"),
        (Asgi3Endpoint, "asgi3"),
        (WsgiInstance(), "wsgi"),
        (WsgiClass, "wsgi"),
        (SlotCall(Asgi3Instance().__call__), "asgi3"),
        (Holder().method, "asgi3"),
        (Holder().wsgi_method, "wsgi"),
        (Holder.on_class, "wsgi"),
        (decorated, "asgi3"),
        (marked, "asgi3"),
        (functools.partial(configured, {}), "wsgi"),
        (functools.partial(configured_asgi, {}), "asgi3"),
        (functools.partial(functools.partial(configured_asgi), {}), "asgi3"),
        (functools.partial(wsgi, start_response=None), "unknown"),
        (lambda environ, start_response: [], "wsgi"),
        (lambda environ, start_response, extra=None: [], "wsgi"),
        (lambda env, *rest: [], "wsgi"),
        (lambda scope, *rest: None, "asgi3"),
        (lambda scope, receive=None: None, "asgi2"),
        (lambda *args: [], "unknown"),
        (lambda: wsgi, "factory"),
        (lambda config=None: wsgi, "factory"),
        (Asgi3Instance, "class"),
        (WsgiInstance, "class"),
        (print, "unknown"),
    ],
)
def test_style(app: Any, expected: str) -> None:
    assert style(app) == expected


def test_style_of_the_frameworks(write: Write) -> None:
    """Flask, Starlette, FastAPI, Django (asgiref), and a middleware around it."""
    import asgiref.wsgi
    import fastapi
    import flask
    import starlette.applications
    import starlette.middleware.errors
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler

    assert style(flask.Flask("x")) == "wsgi"
    assert style(flask.Flask) == "class"
    assert style(fastapi.FastAPI()) == "asgi3"
    assert style(fastapi.FastAPI) == "class"
    assert style(starlette.applications.Starlette()) == "asgi3"
    assert style(starlette.middleware.errors.ServerErrorMiddleware(asgi)) == "asgi3"
    assert style(asgiref.wsgi.WsgiToAsgi(wsgi)) == "asgi3"
    assert style(object.__new__(ASGIHandler)) == "asgi3"
    assert style(object.__new__(WSGIHandler)) == "wsgi"


def test_an_asgi_2_application_is_called_in_the_way_of_asgi_3(write: Write) -> None:
    """asgi.md, legacy applications: app(scope)(receive, send)."""
    write("legacy", "from tests.test_application import asgi2 as app, Asgi2Class as other")
    for spec in ("legacy:app", "legacy:other"):
        app = load(spec, "auto")
        assert app.kind == "asgi"
        assert style(app.callable) == "asgi3"
        sent: list[Any] = []

        async def receive() -> str:
            return "message"

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        asyncio.run(app.callable({"type": "http"}, receive, send))
        assert sent == [{"scope": {"type": "http"}, "message": "message"}]


# ---------------------------------------------------------------- specs

SITE = """
    class Site:
        def __init__(self, name, debug=False):
            self.name, self.debug = name, debug
        def __call__(self, environ, start_response):
            return [self.name.encode()]

    class api:
        async def main(scope, receive, send): pass
        class inner:
            main = Site("deep")

    def create(name="made", *, debug=False):
        return Site(name, debug)

    app = Site("app")
"""


def test_specs(write: Write) -> None:
    write("site_module", SITE)
    assert load("site_module", "auto").callable.name == "app"
    assert load("site_module:app", "auto").spec == "site_module:app"
    assert load("site_module:api.main", "auto").kind == "asgi"
    assert load("site_module:api.inner.main", "auto").callable.name == "deep"
    assert load("site_module:create()", "auto").callable.name == "made"
    assert load('site_module:create("x", debug=True)', "auto").callable.debug is True
    assert load('site_module:create(name = "y")', "auto").callable.name == "y"


def test_application_comes_before_app(write: Write) -> None:
    write("both", "def app(environ, start_response): ...\nasync def application(scope, receive, send): ...\n")
    assert load("both", "auto").kind == "asgi"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("site_module:ap", "Nearest: app, api"),
        ("site_module:api.mian", "site_module.api has no attribute 'mian'. Nearest: main"),
        ("site_module:zzz", "It has site_module:app."),
        ("site_module:create", 'write "site_module:create()"'),
        ("site_module:Site", 'write "site_module:Site()"'),
        ("site_module:create(1 + x)", "must be literals"),
        ("site_module:create(*[1])", "must be literals"),
        ("site_module:create(**{})", "must be literals"),
        ("site_module:create(", "is not the name of an attribute"),
        ("site_module:a-b", "is not the name of an attribute"),
        ("site_module:create()()", "is not the name of an attribute"),
        ("site_module:app.name", "the str 'app'"),
        ("site_module:api.inner()", "an object of the class api.inner"),
        ("site_module:app.name()", "cannot be called. Leave the brackets out"),
    ],
)
def test_what_a_wrong_spec_is_told(write: Write, spec: str, says: str) -> None:
    write("site_module", SITE)
    error = refusal(spec)
    assert says in str(error)
    assert error.traceback == ""


def test_a_module_without_an_application(write: Write) -> None:
    write("bare", "import os\nother = 1\n")
    assert "has neither application nor app" in str(refusal("bare"))


def test_an_async_factory(write: Write) -> None:
    write("late", "async def create(): ...\n")
    assert "async function" in str(refusal("late:create()"))


# ---------------------------------------------------------------- worker classes

TWO = """
    def w(environ, start_response): ...
    async def a(scope, receive, send): ...
    def anything(*args): ...
"""


@pytest.mark.parametrize(
    ("attribute", "worker_class", "kind"),
    [
        ("w", "auto", "wsgi"),
        ("w", "sync", "wsgi"),
        ("w", "threaded", "wsgi"),
        ("a", "asgi", "asgi"),
        ("anything", "asgi", "asgi"),
        ("anything", "threaded", "wsgi"),
    ],
)
def test_the_worker_class_decides_what_looking_cannot(
    write: Write, attribute: str, worker_class: str, kind: str
) -> None:
    write(
        "two",
        TWO,
    )
    assert load(f"two:{attribute}", worker_class).kind == kind


def test_a_mismatch_is_told(write: Write) -> None:
    write(
        "two",
        TWO,
    )
    assert "is a WSGI application, and worker_class = asgi serves ASGI" in str(refusal("two:w", "asgi"))
    assert "is an ASGI application, and worker_class = sync serves WSGI" in str(refusal("two:a", "sync"))
    assert "worker_class = threaded serves WSGI" in str(refusal("two:a", "threaded"))
    assert "Say it with worker_class" in str(refusal("two:anything"))


@pytest.mark.parametrize(
    ("kind", "worker_class", "threads", "name"),
    [
        ("asgi", "auto", 1, "asgi"),
        ("asgi", "asgi", 8, "asgi"),
        ("wsgi", "auto", 1, "sync"),
        ("wsgi", "auto", 4, "threaded"),
        ("wsgi", "sync", 1, "sync"),
        ("wsgi", "sync", 4, "threaded"),
        ("wsgi", "threaded", 1, "threaded"),
    ],
)
def test_dispatcher_name(kind: Any, worker_class: str, threads: int, name: str) -> None:
    config: Any = SimpleNamespace(worker_class=worker_class, threads=threads)
    assert application.dispatcher_name(application.Application(wsgi, kind, "x"), config) == name


# ---------------------------------------------------------------- code that fails


def test_the_applications_own_module_is_missing(write: Write, tmp_path: Path) -> None:
    write("project.settings", "")
    write("project.asgi", "")
    error = refusal("projekt.asgi:application")
    assert "No module named 'projekt'" in str(error)
    assert str(tmp_path) in str(error)
    assert "Nearest: project." in str(error)
    assert error.traceback == ""
    error = refusal("project.azgi:application")
    assert "No module named 'project.azgi'" in str(error)
    assert "Nearest: project.asgi." in str(error)
    assert "--pythonpath" in str(refusal("qqqqqq:application"))


def test_a_module_in_what_is_no_package(write: Write) -> None:
    write("flat", "")
    assert "module flat, no package" in str(refusal("flat.asgi"))


def test_a_dependency_is_missing(write: Write) -> None:
    write("needy", "import no_such_dependency_at_all\n")
    error = refusal("needy:app")
    assert "it needs 'no_such_dependency_at_all'" in str(error)
    assert sys.prefix in str(error)
    assert "needy.py" in error.traceback
    assert "No module named 'no_such_dependency_at_all'" in error.traceback


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process believes the standard library to be: an empty directory."""
    place = tmp_path / "home" / "lib" / "python3"
    place.mkdir(parents=True)
    monkeypatch.setattr(os, "__file__", str(place / "os.py"))
    return place


MISSING = "raise ModuleNotFoundError('no such module', name={0!r})\n"


def test_a_part_of_python_that_this_one_does_not_have(write: Write, library: Path) -> None:
    write("clock", MISSING.format("tkinter"))
    error = str(refusal("clock:app"))
    assert f"it needs 'tkinter', a part of Python that this one ({library}) does not have" in error
    assert "in the project" not in error


def test_a_part_of_python_that_cannot_be_read(write: Write, library: Path) -> None:
    """Nothing is refused to root, so here the way to the library is a circle."""
    write("clock", MISSING.format("turtle"))
    library.rmdir()
    library.symlink_to(library)
    error = str(refusal("clock:app"))
    assert "it needs 'turtle', a part of Python that this user" in error
    assert f"the interpreter's library is {library}, and {library} refuses: Too many" in error


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_home_that_lets_nobody_pass_is_named() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as home:  # not in tmp_path, which is nobody else's to enter
        library = os.path.join(home, "lib")
        os.mkdir(library, 0o700)
        for mode, refusing in ((0o700, home), (0o755, library)):
            os.chmod(home, mode)
            os.seteuid(65534)
            try:
                assert application._refusal(library) == (refusing, "Permission denied")
            finally:
                os.seteuid(0)


def test_a_name_of_pythons_that_is_the_projects(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    write("this.__init__", "import this.views\n")
    assert "it needs 'this.views', which is neither installed here" in str(refusal("this.wsgi:app"))


def test_a_module_that_imports_a_missing_part_of_itself(write: Write) -> None:
    """The missing name begins like the application's, but it was the project that asked for it."""
    write("proj.__init__", "import proj.missing\n")
    error = refusal("proj.wsgi:app")
    assert "it needs 'proj.missing'" in str(error)
    assert "proj/__init__.py" in error.traceback


def test_a_syntax_error(write: Write) -> None:
    write("broken", "x = 1\ndef f(:\n")
    error = refusal("broken:app")
    assert "SyntaxError in" in str(error)
    assert "line 2" in str(error)
    assert "def f(:" in error.traceback


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("raise RuntimeError('deliberate\\nsecond line')", "RuntimeError: deliberate"),
        ("raise KeyError", "KeyError."),
        ("import sys; sys.exit(3)", "sys.exit(3)"),
    ],
)
def test_an_import_that_raises(write: Write, source: str, says: str) -> None:
    write("raises", f"def work():\n    {source}\nwork()\n")
    error = refusal("raises:app")
    assert says in str(error)
    assert "in work" in error.traceback


def test_a_chain_of_exceptions_is_stripped_too(write: Write) -> None:
    write("inner", "raise ValueError('the cause')\n")
    write(
        "outer", "try:\n    import inner\nexcept ValueError as e:\n    raise RuntimeError('wrapped') from e\n"
    )
    error = refusal("outer:app")
    assert "the cause" in error.traceback
    assert "direct cause" in error.traceback


def test_a_factory_that_raises(write: Write) -> None:
    write("fails", "def create(): raise OSError('no database')\n")
    error = refusal("fails:create()")
    assert "the factory failed: OSError: no database" in str(error)
    assert "in create" in error.traceback


def test_a_module_attribute_that_raises(write: Write) -> None:
    source = "def __getattr__(name):\n    if name == 'app': raise RuntimeError('cannot make ' + name)\n"
    write("lazy", source + "    raise AttributeError(name)\n")
    assert "cannot make app" in str(refusal("lazy:app"))


# ---------------------------------------------------------------- Django


@pytest.fixture
def django(write: Write, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Django with its settings not yet read."""
    import django.conf

    monkeypatch.setattr(django.conf, "settings", django.conf.LazySettings())
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    return write


def test_django_without_settings(django: Write) -> None:
    django("unset", "from django.conf import settings\nsettings.DEBUG\n")
    assert "DJANGO_SETTINGS_MODULE is not set" in str(refusal("unset:application"))


def test_django_with_settings_that_do_not_exist(django: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "mysite.nothere")
    django("mysite.wsgi", "from django.conf import settings\nsettings.DEBUG\n")
    with pytest.raises(AppError) as caught:
        load("mysite.wsgi:application", "auto", "conf.py:3")
    assert str(caught.value).startswith(
        "application 'mysite.wsgi:application': DJANGO_SETTINGS_MODULE = 'mysite.nothere' (conf.py:3): "
        "No module named 'mysite.nothere'"
    )


def test_django_with_settings_that_are_wrong(django: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "mysite.settings")
    django("mysite.settings", "ALLOWED_HOSTS = 'a string'\n")
    django("mysite.wsgi", "from django.conf import settings\nsettings.DEBUG\n")
    error = refusal("mysite.wsgi:application")
    assert "Django's configuration is wrong: The ALLOWED_HOSTS setting must be a list or a tuple" in str(
        error
    )
    assert "mysite/wsgi.py" in error.traceback


# ---------------------------------------------------------------- paths


def test_prepare_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/a", str(tmp_path), "/b"])
    monkeypatch.chdir("/")
    config: Any = SimpleNamespace(chdir=str(tmp_path), pythonpath=("/lib/one", "/lib/two"))
    prepare_paths(config)
    assert Path.cwd() == tmp_path
    assert sys.path == ["/lib/one", "/lib/two", str(tmp_path), "/a", "/b"]


def test_a_directory_that_cannot_be_entered(tmp_path: Path) -> None:
    config: Any = SimpleNamespace(
        chdir=str(tmp_path / "gone"), pythonpath=(), origin=lambda name: "conf.py:7"
    )
    with pytest.raises(AppError, match=r"gone' \(conf.py:7\): cannot be entered"):
        prepare_paths(config)
