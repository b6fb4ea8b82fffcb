"""From "myproject.asgi:application" to a callable and its kind.

Neighbours: a worker loads its application here, `cli` does so for --check-config. Its one rule: whatever goes
wrong while the operator's code is found, imported or called is one sentence that says what to do, followed by
the operator's own part of the traceback and nobody else's.

Sources: PEP 3333 (WSGI), the ASGI specification 3.0 ("Applications", "Legacy Applications").
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any, Final, Literal, TypeAlias

from arbiter.config.footprint import forget_listings
from arbiter.config.nearest import nearest
from arbiter.config.snapshot import Config
from arbiter.errors import AppError

Kind: TypeAlias = Literal["wsgi", "asgi"]
Style: TypeAlias = Literal["wsgi", "asgi3", "asgi2", "factory", "class", "unknown"]
"""How a callable wants to be called; "factory" and "class" make an application but are none."""

DEFAULT_ATTRIBUTES: Final = ("application", "app")
"""What an application is called when only its module is given, the likelier first."""
DJANGO: Final = "DJANGO_SETTINGS_MODULE"

_WSGI_NAMES: Final = frozenset({"environ", "env", "wsgi_environ"})
_PACKAGE: Final = os.path.dirname(os.path.abspath(__file__)) + os.sep
_ABSENT: Final = object()
_SERVES: Final = {"sync": "wsgi", "threaded": "wsgi", "asgi": "asgi"}


@dataclass(frozen=True, slots=True)
class Application:
    """A loaded application. callable: `(environ, start_response)` or `(scope, receive, send)`, by `kind`."""

    callable: Callable[..., Any]
    kind: Kind
    spec: str


def prepare_paths(config: Config) -> None:
    """Enter `chdir`, and make it and `pythonpath` importable, before all else. Raises `AppError`."""
    try:
        os.chdir(config.chdir)
    except OSError as error:
        raise AppError(
            f"chdir = {config.chdir!r} ({config.origin('chdir')}): cannot be entered: {error.strerror}. "
            "Name a directory that workers may enter."
        ) from error
    wanted = list(dict.fromkeys([*config.pythonpath, config.chdir]))
    sys.path[:] = [*wanted, *(directory for directory in sys.path if directory not in wanted)]
    # What was found in a directory before the fork may be out of date: its time stamp is coarse.
    forget_listings()


def dispatcher_name(app: Application, config: Config) -> Literal["sync", "threaded", "asgi"]:
    """Which dispatcher serves the application; more than one thread makes sync threaded, as in gunicorn."""
    if app.kind == "asgi":
        return "asgi"
    return "threaded" if config.worker_class == "threaded" or config.threads > 1 else "sync"


def load(spec: str, worker_class: str = "auto", django_origin: str = "") -> Application:
    """Import and resolve an application, and find out its kind.

    spec: `module`, `module:attribute`, `module:attribute.attribute` or `module:factory(1, name="literal")`.
    worker_class: "auto", or the kind of worker the application must suit. django_origin: where
    DJANGO_SETTINGS_MODULE came from, for messages. Raises `AppError`.
    """
    module_name, _, expression = spec.partition(":")
    steps = _Steps(spec, django_origin)
    module = steps.import_module(module_name.strip())
    found = steps.default(module) if not expression.strip() else steps.evaluate(module, expression.strip())
    return _serve_as(found, spec, worker_class)


# ---------------------------------------------------------------- finding it


class _Steps:
    """The steps from a spec to an object; they share what messages need."""

    def __init__(self, spec: str, django_origin: str) -> None:
        self.spec = spec
        self._django_origin = f" ({django_origin})" if django_origin else ""

    def import_module(self, name: str) -> ModuleType:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if (name == missing or name.startswith(f"{missing}.")) and not _own_frames(error.__traceback__):
                raise AppError(self._no_module(name, missing)) from None
            raise self._broken(error, f"{name} cannot be imported") from None
        except (Exception, SystemExit) as error:
            raise self._broken(error, f"{name} cannot be imported") from None

    def default(self, module: ModuleType) -> Any:
        """The application of a module that was named without an attribute."""
        for name in DEFAULT_ATTRIBUTES:
            found = self._get(module, name, module.__name__)
            if found is not _ABSENT:
                return found
        raise AppError(
            f"application {self.spec!r}: module {module.__name__} has neither application nor app. "
            f"{self._instead(module, DEFAULT_ATTRIBUTES[0])}"
        )

    def evaluate(self, module: ModuleType, expression: str) -> Any:
        """The value of `attribute`, `attribute.attribute` or `factory(literals)` in the module."""
        try:
            tree = ast.parse(expression, mode="eval").body
        except SyntaxError:
            raise AppError(self._malformed(expression)) from None
        if not isinstance(tree, ast.Call):
            return self._attribute(module, tree, expression)
        factory = self._attribute(module, tree.func, expression)
        try:
            args = [ast.literal_eval(node) for node in tree.args]
            kwargs = {node.arg: ast.literal_eval(node.value) for node in tree.keywords if node.arg}
            if len(kwargs) != len(tree.keywords):
                raise ValueError("**")
        except (ValueError, TypeError):
            raise AppError(
                f"application {self.spec!r}: the arguments of a factory must be literals: 'name', 1, True."
            ) from None
        return self._call(factory, args, kwargs)

    def _attribute(self, module: ModuleType, node: ast.expr, expression: str) -> Any:
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            raise AppError(self._malformed(expression))
        found: Any = module
        path = module.__name__
        for name in [node.id, *names]:
            inner = self._get(found, name, path)
            if inner is _ABSENT:
                what = "module " if found is module else ""
                raise AppError(
                    f"application {self.spec!r}: {what}{path} has no attribute {name!r}. "
                    f"{self._instead(found, name)}"
                )
            found = inner
            path = f"{path}.{name}"
        return found

    def _get(self, place: Any, name: str, path: str) -> Any:
        try:
            return getattr(place, name, _ABSENT)
        except (Exception, SystemExit) as error:  # a property, or a module's own __getattr__
            raise self._broken(error, f"{path}.{name} cannot be had") from None

    def _call(self, factory: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if not callable(factory):
            raise AppError(
                f"application {self.spec!r}: {_describe(factory)} cannot be called. Leave the brackets out."
            )
        try:
            made = factory(*args, **kwargs)
        except (Exception, SystemExit) as error:
            raise self._broken(error, "the factory failed") from None
        if inspect.iscoroutine(made):
            made.close()
            raise AppError(
                f"application {self.spec!r}: the factory is an async function. Make it a plain one that "
                "returns the application."
            )
        return made

    # -- what to say

    def _malformed(self, expression: str) -> str:
        return (
            f"application {self.spec!r}: {expression!r} is not the name of an attribute. "
            "Write module:attribute, or module:factory() with literal arguments."
        )

    def _no_module(self, name: str, missing: str) -> str:
        """The application's own module does not exist."""
        package, _, last = missing.rpartition(".")
        if package:
            parent = sys.modules.get(package)
            places = list(getattr(parent, "__path__", ()))
            where = f"package {package} ({', '.join(places)})" if places else f"module {package}, no package,"
            start = f"application {self.spec!r}: No module named {missing!r}: {where} has none of that name."
        else:
            places = [os.path.abspath(place) for place in sys.path if _is_project(place)]
            start = (
                f"application {self.spec!r}: No module named {missing!r}; looked in {', '.join(places)} and "
                "where Python has its packages."
            )
        near = nearest(last, sorted(_modules_in(places)), 3, 0.6)
        if near:
            dotted = [f"{package}.{word}" if package else word for word in near]
            return f"{start} Nearest: {', '.join(dotted)}."
        return f"{start} Correct the name, or say with --chdir or --pythonpath where it is."

    def _instead(self, place: Any, name: str) -> str:
        near = nearest(name, [word for word in dir(place) if word[0] != "_"], 3, 0.6)
        if near:
            return f"Nearest: {', '.join(near)}."
        module = self.spec.partition(":")[0]
        served = list(_applications(place)) if isinstance(place, ModuleType) else []
        if served:
            return f"It has {', '.join(f'{module}:{word}' for word in served[:5])}."
        return "Name an attribute that is a WSGI or ASGI application."

    def _broken(self, error: BaseException, what: str) -> AppError:
        """The operator's code raised: the sentence that helps most, and the operator's part of the trace."""
        return AppError(f"application {self.spec!r}: {self._cause(error, what)}", own_traceback(error))

    def _cause(self, error: BaseException, what: str) -> str:
        if _is_improperly_configured(error) and "settings are not configured" in str(error):
            return (
                f"Django has no settings: {DJANGO} is not set. Set django_settings, or -e {DJANGO}=..., "
                "or let the project's asgi.py or wsgi.py set it."
            )
        settings = os.environ.get(DJANGO, "")
        if isinstance(error, ImportError) and error.name and _covers(error.name, settings):
            return (
                f"{DJANGO} = {settings!r}{self._django_origin}: No module named {error.name!r}. "
                "Correct it, or say with --chdir or --pythonpath where the project is."
            )
        if isinstance(error, SyntaxError):
            return f"{what}: SyntaxError in {error.filename}, line {error.lineno}: {error.msg}."
        if isinstance(error, ModuleNotFoundError):
            return f"{what}: {of_python(error.name or '') or _not_installed(error.name or '')}"
        if isinstance(error, SystemExit):
            return f"{what}: it called sys.exit({error.code!r})."
        if _is_improperly_configured(error):
            return f"{what}: Django's configuration is wrong: {error}"
        return f"{what}: {_first_line(error)}"


def _not_installed(name: str) -> str:
    return (
        f"it needs {name!r}, which is neither installed here ({sys.prefix}) nor in the project. "
        "Install it, or run arbiter from the environment that has it."
    )


def of_python(name: str) -> str:
    """What to say when the module `name` of Python's own is not found; "" if it is not one of them.

    Imports nothing: it might not be found either.
    """
    top, dot, _ = name.partition(".")
    library = os.path.dirname(os.__file__)
    file = getattr(sys.modules.get(top), "__file__", None) or library
    if top not in sys.stdlib_module_names or not file.startswith(library):  # or the project's by that name
        return ""
    parts = [place for place in sys.path if place.startswith(library + os.sep)]
    for place in [library, *parts]:
        refusal = _refusal(place)
        if refusal is not None:
            directory, reason = refusal
            return (
                f"it needs {name!r}, a part of Python that this user (uid {os.geteuid()}) cannot read: "
                f"the interpreter's library is {place}, and {directory} refuses: {reason}. "
                "Let the user read it, or use a Python that everybody may read."
            )
    if dot:
        return ""
    return (
        f"it needs {name!r}, a part of Python that this one ({library}) does not have. Install the rest of "
        "this Python (distributions keep parts of it in packages of their own), or use a complete one."
    )


def _refusal(place: str) -> tuple[str, str] | None:
    """The directory on the way to `place`, or that itself, that this process may not use; and why."""
    parent = os.sep
    for part in place.split(os.sep)[1:]:
        child = os.path.join(parent, part)
        try:
            os.stat(child)
        except FileNotFoundError:
            return None
        except OSError as error:
            # It is the directory above that lets nobody pass; of other faults the entry itself is the cause.
            return parent if isinstance(error, PermissionError) else child, error.strerror or str(error)
        parent = child
    try:
        os.listdir(place)
    except OSError as error:
        return place, error.strerror or str(error)
    return None


def _covers(missing: str, dotted: str) -> bool:
    """Whether `missing` is `dotted` or a package that it is in."""
    return bool(dotted) and (dotted == missing or dotted.startswith(f"{missing}."))


def _is_improperly_configured(error: BaseException) -> bool:
    kind = type(error)
    return kind.__name__ == "ImproperlyConfigured" and kind.__module__.startswith("django.")


def _first_line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    name = type(error).__name__
    return f"{name}: {text}" if text else f"{name}."


def _is_project(directory: str) -> bool:
    """Whether a directory of the path is neither the standard library's nor that of installed packages."""
    library = os.path.dirname(os.__file__)
    installed = not {"site-packages", "dist-packages"}.isdisjoint(directory.split(os.sep))
    return os.path.isdir(directory or os.curdir) and not directory.startswith(library) and not installed


def _modules_in(directories: list[str]) -> set[str]:
    """The names one could import from the directories."""
    found = set()
    for directory in directories:
        try:
            entries = list(os.scandir(directory or os.curdir))
        except OSError:
            continue
        for entry in entries:
            word, dot, ending = entry.name.partition(".")
            if word.isidentifier() and (ending == "py" if dot else entry.is_dir()):
                found.add(word)
    return found


def _applications(module: ModuleType) -> Iterator[str]:
    """Names in the module that could be served."""
    for name, value in vars(module).items():
        if name.startswith("_") or isinstance(value, type | ModuleType) or not callable(value):
            continue
        at_home = getattr(value, "__module__", None) == module.__name__ or not inspect.isroutine(value)
        if at_home and style(value) in ("wsgi", "asgi3", "asgi2"):
            yield name


# ---------------------------------------------------------------- its kind


def style(app: Callable[..., Any]) -> Style:
    """How a callable wants to be called, by looking at it; it is not called.

    A coroutine function of three arguments is ASGI 3, a class or function of one is ASGI 2's outer callable,
    two arguments are WSGI's. A decorator that keeps the signature (functools.wraps) is looked through.
    """
    if isinstance(app, type):
        return _style_of_class(app)
    call = app if inspect.isroutine(app) or _is_partial(app) else app.__call__  # type: ignore[operator]
    counts, first = _accepts(call)
    if _is_coroutine_function(call):
        return "asgi3" if 3 in counts else "unknown"
    return _style_of_signature(counts, first)


def _style_of_class(app: type) -> Style:
    counts, first = _accepts(app)
    found = _style_of_signature(counts, first)
    if found == "asgi2" and not _is_coroutine_function(inspect.getattr_static(app, "__call__", None)):
        found = "unknown"
    if found == "asgi3" and not hasattr(app, "__await__"):
        found = "unknown"
    if found == "wsgi" and not hasattr(app, "__iter__"):
        found = "unknown"
    if found in ("unknown", "factory") and "__call__" in dir(app):
        return "class"  # its instances may be applications, but it is none
    return found


def _style_of_signature(counts: frozenset[int], first: str) -> Style:
    if not counts:
        return "unknown"
    certain: dict[frozenset[int], Style] = {
        frozenset({3}): "asgi3",
        frozenset({2}): "wsgi",
        frozenset({1}): "asgi2",
        frozenset({0}): "factory",
    }
    if counts in certain:
        # One argument left of a WSGI application whose start_response is bound: nobody's interface.
        return "unknown" if 1 in counts and first in _WSGI_NAMES else certain[counts]
    if first in _WSGI_NAMES and 2 in counts:
        return "wsgi"
    if first == "scope":
        return "asgi3" if 3 in counts else "asgi2"
    if counts <= {0, 1}:
        return "factory"
    if 0 not in counts and 1 not in counts:
        return "wsgi" if 2 in counts else "asgi3"
    return "unknown"


def _accepts(call: Any) -> tuple[frozenset[int], str]:
    """With how many positional arguments, of 0 to 3, it can be called; and the name of the first one."""
    try:
        signature = inspect.signature(call)
    except (ValueError, TypeError):
        return frozenset(), ""
    counts = set()
    for count in range(4):
        try:
            signature.bind(*[None] * count)
        except TypeError:
            continue
        counts.add(count)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [name for name, parameter in signature.parameters.items() if parameter.kind in kinds]
    return frozenset(counts), names[0] if names else ""


def _is_coroutine_function(call: Any) -> bool:
    # Before Python 3.12 asgiref and asyncio mark callables with this attribute instead of inspect's.
    return inspect.iscoroutinefunction(call) or getattr(call, "_is_coroutine", None) is not None


def _is_partial(app: Any) -> bool:
    return hasattr(app, "func") and hasattr(app, "args") and hasattr(app, "keywords")


class _DoubleCallable:
    """An ASGI 2 application called in the way of ASGI 3."""

    __slots__ = ("_app",)

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        await self._app(scope)(receive, send)


def _serve_as(app: Any, spec: str, worker_class: str) -> Application:
    """The application in the form that workers of the class call. Raises `AppError` if it has none."""
    if not callable(app):
        raise AppError(
            f"application {spec!r} is {_describe(app)}, which is no application: it cannot be called. "
            "Name a WSGI or ASGI callable."
        )
    found = style(app)
    module, _, attribute = spec.partition(":")
    if found in ("factory", "class"):
        what = "a class" if found == "class" else "a function that takes no request: perhaps a factory"
        raise AppError(
            f"application {spec!r} is {what}. If calling it makes the application, write "
            f'"{module}:{attribute or getattr(app, "__name__", DEFAULT_ATTRIBUTES[0])}()".'
        )
    if found == "unknown":
        if worker_class == "auto":
            raise AppError(
                f"application {spec!r}: nothing tells whether {_describe(app)} is WSGI or ASGI. "
                "Say it with worker_class: sync, threaded or asgi."
            )
        found = "asgi3" if worker_class == "asgi" else "wsgi"
    kind: Kind = "wsgi" if found == "wsgi" else "asgi"
    if worker_class != "auto" and _SERVES[worker_class] != kind:
        article = "an" if kind == "asgi" else "a"
        raise AppError(
            f"application {spec!r} is {article} {kind.upper()} application, and "
            f"worker_class = {worker_class} serves {_SERVES[worker_class].upper()}. "
            f"Leave worker_class out, or write {'asgi' if kind == 'asgi' else 'sync or threaded'}."
        )
    return Application(_DoubleCallable(app) if found == "asgi2" else app, kind, spec)


def _describe(value: Any) -> str:
    if isinstance(value, ModuleType):
        return f"the module {value.__name__}"
    name = getattr(value, "__qualname__", None)
    if name:
        return f"{name} ({type(value).__name__})"
    if isinstance(value, str | int | float | list | tuple | dict | bool | None):
        return f"the {type(value).__name__} {value!r:.60}"
    return f"an object of the class {type(value).__qualname__}"


# ---------------------------------------------------------------- tracebacks


def own_traceback(error: BaseException) -> str:
    """The traceback, with all exceptions of its chain, but without frames of arbiter and of importlib."""
    report = traceback.TracebackException.from_exception(error)
    _strip(report, set())
    return "".join(report.format())


def _strip(report: traceback.TracebackException, seen: set[int]) -> None:
    if id(report) in seen:
        return
    seen.add(id(report))
    if report.stack:
        report.stack = traceback.StackSummary.from_list(
            [frame for frame in report.stack if _is_own(frame.filename)]
        )
    below = [report.__cause__, report.__context__, *(getattr(report, "exceptions", None) or ())]
    for one in below:
        if one is not None:
            _strip(one, seen)


def _own_frames(trace: TracebackType | None) -> bool:
    return any(_is_own(frame.filename) for frame in traceback.extract_tb(trace, limit=None))


def _is_own(filename: str) -> bool:
    """Whether a frame is neither arbiter's nor the import machinery's."""
    machinery = filename.startswith("<frozen importlib") or filename == importlib.__file__
    return not machinery and not filename.startswith(_PACKAGE)
