"""The environ of PEP 3333, and what a server puts into it.

Neighbours: the dispatchers make one template per connection (`environ_template`) and one environ per
request (`build_environ`); `wsgi` runs the application with it. Its one rule: an environ is a plain dict of
its own for each request, and holds what this request and this connection are, nothing of the process's
environment.

Choices where PEP 3333 and RFC 3875 leave one: PATH_INFO is percent-decoded throughout, %2F included; the
request target as sent is in RAW_URI and REQUEST_URI. Fields that came more than once are joined with ",",
Cookie with "; " (RFC 6265 5.4). A chunked body has been collected, so CONTENT_LENGTH tells its size and
Transfer-Encoding is not passed on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TextIO, TypeAlias
from urllib.parse import unquote_to_bytes

from arbiter.gateways.wsgi import FileWrapper
from arbiter.protocols.events import Request
from arbiter.version import __version__

Environ: TypeAlias = dict[str, Any]

SOFTWARE = f"arbiter/{__version__}"
LONGEST_LINE = 65536
"""Characters of an unfinished line of wsgi.errors that are kept."""
UNIX_NAME = "localhost"
"""SERVER_NAME on a unix socket, which has a path but no host; PEP 3333 wants it never empty."""


class ErrorStream:
    """`wsgi.errors`: text from any thread, handed on line by line.

    write_lines: called with one or more whole lines, their last newline included; must be thread-safe.
    """

    def __init__(self, write_lines: Callable[[str], object]) -> None:
        self._write_lines = write_lines
        self._begun: dict[int, str] = {}
        """Of each thread: the beginning of a line."""

    def write(self, text: str) -> int:
        """Take in text; only whole lines go out, so those of several threads do not mix."""
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        thread = threading.get_ident()
        lines, newline, rest = (self._begun.pop(thread, "") + text).rpartition("\n")
        if len(rest) > LONGEST_LINE:
            lines, newline, rest = lines + newline + rest, "\n", ""
        if rest:
            self._begun[thread] = rest
        if newline:
            self._write_lines(lines + newline)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """As `write`, for each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Let go of this thread's unfinished line."""
        rest = self._begun.pop(threading.get_ident(), "")
        if rest:
            self._write_lines(rest + "\n")


def environ_template(
    *,
    server: tuple[str, int] | None,
    peer: tuple[str, int] | None,
    scheme: str,
    root_path: str,
    errors: ErrorStream | TextIO,
    multithread: bool,
    multiprocess: bool,
) -> Environ:
    """Return what all requests of one connection share.

    server, peer: (address, port) of either end; None on a unix socket, where REMOTE_ADDR is "" and the
    server is "localhost" on the scheme's port.
    """
    environ: Environ = {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.errors": errors,
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
        "SERVER_SOFTWARE": SOFTWARE,
        "SERVER_NAME": server[0] if server else UNIX_NAME,
        "SERVER_PORT": str(server[1]) if server else default_port(scheme),
        "REMOTE_ADDR": peer[0] if peer else "",
        "SCRIPT_NAME": script_name(root_path),
        # Unless a request says otherwise:
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
    }
    if peer:
        environ["REMOTE_PORT"] = str(peer[1])
    return environ


def default_port(scheme: str) -> str:
    """The port a URL of that scheme means when it names none."""
    return "443" if scheme == "https" else "80"


def script_name(root_path: str) -> str:
    """Return a mount point as SCRIPT_NAME: "" for the root, else with a leading and no trailing slash."""
    path = root_path.strip("/")
    return "/" + path.encode("utf-8").decode("latin-1") if path else ""


def build_environ(template: Environ, request: Request, stream: Any, length: int = -1) -> Environ:
    """Return a request's environ.

    stream: becomes wsgi.input. length: the size of a chunked body, now that it has been collected; -1 for any
    other.
    """
    kept = request.kept
    known = kept.gateway if kept is not None else None
    if known is None:
        environ = template.copy()
        _add_fields(environ, request)
        _add_target(environ, request)
        if kept is not None:
            kept.gateway = environ.copy(), request.method, request.target
    else:
        last, method, target = known
        environ = last.copy()
        if request.target != target or request.method != method:
            _add_target(environ, request)
    environ["wsgi.input"] = stream
    if length >= 0:
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        environ["CONTENT_LENGTH"] = str(length)
    return environ


def _add_fields(environ: Environ, request: Request) -> None:
    """What the header says, and in which version."""
    if request.version != "1.1":
        environ["SERVER_PROTOCOL"] = "HTTP/1.0"
    for _pair, _kind, key, text in request.fields:
        if key in environ:  # a field that came twice: nothing of the template begins with HTTP_ or CONTENT_
            separator = "; " if key == "HTTP_COOKIE" else ","
            environ[key] = f"{environ[key]}{separator}{text}"
        elif key:
            environ[key] = text


def _add_target(environ: Environ, request: Request) -> None:
    """What the request line says."""
    path = request.path
    query = request.query
    environ["REQUEST_METHOD"] = request.method
    environ["RAW_URI"] = environ["REQUEST_URI"] = target = request.target.decode("latin-1")
    if b"%" in path:
        environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1")
    else:
        environ["PATH_INFO"] = path.decode("latin-1") if query or path != request.target else target
    environ["QUERY_STRING"] = query.decode("latin-1") if query else ""
    if environ["SCRIPT_NAME"]:
        mount(environ, environ["SCRIPT_NAME"])


def mount(environ: Environ, prefix: str) -> None:
    """Set SCRIPT_NAME; take the prefix off PATH_INFO where it is still there.

    A proxy may or may not have cut it off before it passed the request on; SCRIPT_NAME + PATH_INFO is the
    outer path either way.
    """
    environ["SCRIPT_NAME"] = prefix
    path = environ["PATH_INFO"]
    if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
        environ["PATH_INFO"] = path[len(prefix) :]


def set_origin(
    environ: Environ,
    *,
    client: tuple[str, int] | None,
    scheme: str,
    host: bytes | None,
    port: int | None,
    prefix: str,
) -> None:
    """Replace what the connection says by what a trusted proxy says of the client.

    client, host, port: None where the proxy said nothing; prefix: "" likewise.
    """
    if client is not None:
        environ["REMOTE_ADDR"] = client[0]
        if client[1]:
            environ["REMOTE_PORT"] = str(client[1])
        else:
            environ.pop("REMOTE_PORT", None)
    if host is not None:
        environ["HTTP_HOST"] = host.decode("latin-1")
    if port:
        environ["SERVER_PORT"] = str(port)
    elif scheme != environ["wsgi.url_scheme"] and environ["SERVER_PORT"] in ("80", "443"):
        environ["SERVER_PORT"] = default_port(scheme)
    environ["wsgi.url_scheme"] = scheme
    if prefix:
        mount(environ, script_name(prefix))
