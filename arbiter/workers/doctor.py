"""The fork-safety doctor: what a process holds that its forks must not share.

Neighbours: a mold asks before it lets itself be forked, `cli` for --check-config; docs/fork-safety.md has the
remedy for each finding. Its one rule: it looks and changes nothing, and it names what it finds in words by
which the line that made it can be found; what a fork survives (files, datagrams, a pool that knows of forks)
is passed over.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import stat
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from types import FrameType
from typing import Any, Final

PORTS: Final = {
    3306: "MySQL",
    4222: "NATS",
    5432: "PostgreSQL",
    5671: "RabbitMQ",
    5672: "RabbitMQ",
    6379: "Redis",
    9042: "Cassandra",
    9092: "Kafka",
    9200: "Elasticsearch",
    11211: "memcached",
    27017: "MongoDB",
}
"""Who usually listens there."""

_FORK_AWARE: Final = ("openblas", "jemalloc")
"""Libraries whose own threads know of forks (pthread_atfork(3)), by the names of their files."""
_LIBRARY: Final = os.path.dirname(os.__file__) + os.sep
_STREAMS: Final = (socket.SOCK_STREAM, getattr(socket, "SOCK_SEQPACKET", -1))


def examine(own: Collection[int] = ()) -> list[str]:
    """What forbids to fork this process, a phrase each; empty when nothing does.

    own: descriptors of sockets that are arbiter's. Collect garbage first: what nobody holds any more should
    not be found.
    """
    found = [*_threads(), *_native_threads()]
    loops = list(_loops())
    found += loops
    found += _descriptors(own, loops=bool(loops))
    found += _children()
    found += _libraries()
    return found


def _threads() -> Iterator[str]:
    frames = sys._current_frames()
    for thread in threading.enumerate():
        if thread is threading.main_thread() or not thread.is_alive():
            continue
        where = _place(frames.get(thread.ident or 0))
        yield f"a thread runs: {thread.name!r}{where}"


def _place(frame: FrameType | None) -> str:
    """Where a thread is: its innermost frame outside the standard library, or else its innermost one."""
    chosen = frame
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_LIBRARY) or "site-packages" in frame.f_code.co_filename:
            chosen = frame
            break
        frame = frame.f_back
    if chosen is None:
        return ""
    code = chosen.f_code
    return f", in {code.co_qualname} ({code.co_filename}, line {chosen.f_lineno})"


def _native_threads() -> Iterator[str]:
    """Threads that Python knows nothing of."""
    known = {thread.native_id for thread in threading.enumerate()}
    try:
        unknown = [task for task in os.listdir("/proc/self/task") if int(task) not in known]
    except OSError:
        return
    if not unknown:
        return
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        if any(name in line.rpartition("/")[2].lower() for line in maps for name in _FORK_AWARE):
            return
    names = sorted({_read(f"/proc/self/task/{task}/comm").strip() or task for task in unknown})
    count = f"{len(unknown)} threads run" if len(unknown) > 1 else "a thread runs"
    yield f"{count} that a library has started: {', '.join(names)}"


def _loops() -> Iterator[str]:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return
    # By type(), never isinstance: asking a lazy object for its __class__ would set it up.
    kinds = {kind for kind in set(map(type, gc.get_objects())) if issubclass(kind, asyncio.AbstractEventLoop)}
    for thing in gc.get_objects() if kinds else ():
        if type(thing) in kinds and not thing.is_closed():
            running = "runs" if thing.is_running() else "is open"
            yield f"an event loop {running}: {type(thing).__module__}.{type(thing).__qualname__}"


def _descriptors(own: Collection[int], *, loops: bool) -> Iterator[str]:
    try:
        numbers = sorted(int(name) for name in os.listdir("/proc/self/fd"))
    except OSError:
        return
    for fd in numbers:
        if fd <= 2 or fd in own:
            continue
        try:
            is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # that of the listing itself
        if is_socket:
            yield from _socket(fd, loops=loops)
        elif not loops and ("[eventpoll]" in target or "[io_uring]" in target):
            yield f"descriptor {fd} is {target.removeprefix('anon_inode:')}, whose events forks would share"


def _socket(fd: int, *, loops: bool) -> Iterator[str]:
    with socket.socket(fileno=os.dup(fd)) as sock:
        if sock.type not in _STREAMS:
            return
        with contextlib.suppress(OSError):
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                yield f"a socket listens on {_shown(sock.getsockname())} (descriptor {fd})"
                return
        try:
            peer = sock.getpeername()
        except OSError:
            return  # not connected
        if sock.family == socket.AF_UNIX and not peer:
            peer = sock.getsockname()
            if not peer and loops:
                return  # an event loop's own pair
        yield f"a connection is open to {_shown(peer)} (descriptor {fd})"


def _shown(address: Any) -> str:
    if isinstance(address, tuple):
        host, port = address[:2]
        text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return f"{text}, {PORTS[port]}" if port in PORTS else text
    text = os.fsdecode(address)
    return text.replace("\0", "@") or "an unnamed unix socket"


def _children() -> Iterator[str]:
    """Programs the application has started: only this process can wait for them."""
    for pid in _read(f"/proc/self/task/{os.getpid()}/children").split():
        command = _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
        yield f"a child process runs: {pid} ({command[:100] or 'ended, and not waited for'})"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


# ---------------------------------------------------------------- libraries that are known to break


def _torch(torch: Any) -> bool:
    return bool(torch.cuda.is_initialized())


def _jax(bridge: Any) -> bool:
    return bool(bridge._backends)


def _grpc(cygrpc: Any) -> bool:
    return any(type(thing) is cygrpc.Channel for thing in gc.get_objects())


def _mongo(pymongo: Any) -> bool:
    return any(issubclass(type(thing), pymongo.MongoClient) for thing in gc.get_objects())


def _cupy(cupy: Any) -> bool:
    return True  # the CUDA context comes with the first array, and nothing tells


_KNOWN: Final[tuple[tuple[str, Callable[[Any], bool], str], ...]] = (
    ("torch", _torch, "torch has initialised CUDA"),
    ("jax._src.xla_bridge", _jax, "jax has initialised its backends"),
    ("grpc._cython.cygrpc", _grpc, "a gRPC channel is open"),
    ("pymongo", _mongo, "a pymongo.MongoClient exists, which is not fork-safe"),
    ("cupy", _cupy, "cupy is imported, and CUDA does not survive a fork"),
)
"""Module, whether what it does to this process forbids to fork, and the finding."""


def _libraries() -> Iterator[str]:
    for name, unsafe, finding in _KNOWN:
        module = sys.modules.get(name)
        if module is not None:
            with contextlib.suppress(Exception):  # another version has other insides; the rest still tells
                if unsafe(module):
                    yield finding
