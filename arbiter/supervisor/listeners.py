"""The listening sockets: bound once by the arbiter, inherited by every worker.

Neighbours: `host` binds the first set, a reload that changes `bind` the next; `systemd` hands over sockets.
Its one rule: a new address is bound before an old one is given up, and an address that stays keeps its very
socket with all that is queued on it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from arbiter.config.address import Address
from arbiter.config.snapshot import Config
from arbiter.errors import ListenError

PROBE_TIMEOUT: Final = 1.0
"""Seconds to find out whether somebody still serves a unix socket that is in the way."""

SO_ATTACH_FILTER: Final = 26
_NO_SYN: Final = (
    (0x30, 0, 0, 13),  # ldb [13]: the flags of the TCP header
    (0x54, 0, 0, 0x12),  # and SYN|ACK
    (0x15, 0, 1, 0x02),  # jeq SYN, drop, take
    (0x06, 0, 0, 0),  # ret 0: drop
    (0x06, 0, 0, 0xFFFFFFFF),  # ret all: take
)

_REASONS: Final = {
    errno.EADDRINUSE: (
        "the address is in use. Another server (or an earlier arbiter) has it: "
        "stop that one, or choose another address."
    ),
    errno.EACCES: (
        "permission denied. Ports below 1024 need root, CAP_NET_BIND_SERVICE, or a systemd socket unit; "
        "a unix socket needs a directory this user may write to."
    ),
    errno.EADDRNOTAVAIL: "this machine has no such address.",
    errno.ENOENT: "its directory does not exist.",
}


@dataclass(slots=True)
class Listener:
    """One bound, listening, non-blocking socket. `path` is the unix socket file to remove at the end, or
    "".
    """

    address: Address
    socket: socket.socket
    path: str = ""

    @property
    def url(self) -> str:
        """As the log shows it: `http://127.0.0.1:8000`, `unix:/run/app.sock`."""
        name = self.socket.getsockname()
        if self.socket.family == socket.AF_UNIX:
            text = name.decode() if isinstance(name, bytes) else name
            return f"unix:{text}".replace("\0", "@")
        host, port = name[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def open_all(
    config: Config, inherited: Iterable[socket.socket] = (), had: Iterable[Listener] = ()
) -> list[Listener]:
    """The listeners for `config.bind`: those of `had` that stay, and new ones for the rest.

    inherited: sockets passed by the service manager; they take the place of `bind`.
    Raises `ListenError`; nothing that was opened for this call is then left open.
    """
    passed = [_adopt(sock) for sock in inherited]
    if passed:
        return passed
    kept = {listener.address: listener for listener in had}
    result: list[Listener] = []
    fresh: list[Listener] = []
    try:
        for address in config.bind:
            listener = kept.get(address)
            if listener is None:
                listener = open_one(address, config)
                fresh.append(listener)
            result.append(listener)
    except ListenError:
        close_all(fresh)
        raise
    return result


def close_all(listeners: Iterable[Listener], *, unlink: bool = True) -> None:
    """Close the arbiter's copies and remove unix socket files; leave alone what is closed already."""
    for listener in listeners:
        if listener.socket.fileno() < 0:
            continue  # its path may be somebody else's by now
        listener.socket.close()
        if unlink and listener.path:
            with contextlib.suppress(OSError):
                os.unlink(listener.path)


def deafen(listener: Listener) -> None:
    """Let no new connection begin on a TCP listener of our own; what is queued on it stays and can be
    accepted.

    A listener that is closed resets what is queued, and what gets queued between the last accept and the
    close. A socket filter (socket(7), SO_ATTACH_FILTER) drops segments with SYN and without ACK: whoever
    connects now tries again a second later and finds the port closed, or its next owner. Sockets that
    others own (the service manager, a parent) are left alone: they go on queueing for the next arbiter.
    """
    sock = listener.socket
    if sys.platform != "linux" or sock.family == socket.AF_UNIX or listener.address.kind == "fd":
        return
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _NO_SYN))
    program = struct.pack("HL", len(_NO_SYN), ctypes.addressof(code))
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def open_one(address: Address, config: Config, setting: str = "bind") -> Listener:
    """A new listener for an address of the named setting. Raises `ListenError`."""
    try:
        if address.kind == "fd":
            return _listening(address, _from_fd(address), config)
        if address.kind == "unix":
            return _open_unix(address, config)
        # Bytes, where they will do: of a text Python asks IDNA, whose tables would stay.
        host = address.host.encode() if address.host.isascii() else address.host
        family, _, _, _, target = socket.getaddrinfo(
            host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if config.reuse_port and setting == "bind":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(target)
            return _listening(address, sock, config)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, f"{error.strerror or error}.")
        raise ListenError(f"{setting} = {str(address)!r} ({config.origin(setting)}): {reason}") from error


def _open_unix(address: Address, config: Config) -> Listener:
    path = address.path
    if not path.startswith("\0"):
        _clear_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(config.umask or 0)
    try:
        sock.bind(path)
        if not path.startswith("\0") and os.geteuid() == 0:
            os.chown(path, config.user, config.group)
        return _listening(address, sock, config, "" if path.startswith("\0") else path)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(before)


def _clear_stale(path: str) -> None:
    """Remove a socket file that nobody serves any more; raise EADDRINUSE for anything else."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except TimeoutError:
            raise OSError(errno.EADDRINUSE, "in use") from None
        else:
            raise OSError(errno.EADDRINUSE, "in use")


def _from_fd(address: Address) -> socket.socket:
    try:
        return socket.socket(fileno=os.dup(address.fd))
    except OSError as error:
        raise OSError(error.errno, f"descriptor {address.fd} is not an open socket") from error


def _adopt(sock: socket.socket) -> Listener:
    sock.setblocking(False)
    return Listener(Address.inherited(sock.fileno()), sock)


def _listening(address: Address, sock: socket.socket, config: Config, path: str = "") -> Listener:
    sock.listen(config.backlog)
    sock.setblocking(False)
    sock.set_inheritable(False)
    return Listener(address, sock, path)
