"""The transport side of a connection of the asgi worker: writing, waiting, closing.

Neighbours: base of `asgi_protocol.HttpConnection` and `asgi_websocket.WebSocketConnection`; asyncio or
uvloop call it. Its one rule: nothing here waits without an end. What a peer can delay has a deadline, kept
as a plain number that the worker's one clock compares once a second; no timer is made per request.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, Final, cast

from arbiter.errors import ResponseError
from arbiter.workers.asgi_service import NEVER, SECOND, Service
from arbiter.workers.limits import LINGER_BYTES, LINGER_SECONDS
from arbiter.workers.unsent import queued

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_FILE_TURN: Final = 1 << 20
"""Most bytes of a file sent before other connections get a turn."""


class AsgiConnection(asyncio.Protocol):
    """What HTTP connections and WebSockets have in common."""

    __slots__ = (
        "_drain_waiters",
        "_linger_left",
        "_write_mark",
        "closing",
        "read_deadline",
        "reading",
        "service",
        "transport",
        "write",
        "write_deadline",
        "write_paused",
    )

    transport: asyncio.Transport
    write: Callable[[bytes], None]
    """Queue bytes for the peer: the transport's own method, one call less per answer."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.read_deadline = NEVER
        self.write_deadline = NEVER
        self.write_paused = False
        self.reading = True
        self.closing = False
        """Nothing more is read as a request, nothing more is answered."""
        self._write_mark = 0
        self._linger_left = LINGER_BYTES
        self._drain_waiters: list[asyncio.Future[None]] | None = None

    # ------------------------------------------------------------------ reading

    def pause(self) -> None:
        """Read nothing until `resume`."""
        if self.reading and not self.transport.is_closing():
            self.reading = False
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if not self.reading and not self.transport.is_closing():
            self.reading = True
            self.transport.resume_reading()

    # ------------------------------------------------------------------ writing

    def writelines(self, pieces: list[bytes]) -> None:
        """As `write`, for several pieces at once; by one gathering system call where the loop does that well.

        asyncio's own transports of Python 3.12 and 3.13 neither pause their protocol in writelines() nor
        stand a connection that was lost (CVE-2024-12254).
        """
        if self.service.gathers:
            self.transport.writelines(pieces)
        else:
            self.write(b"".join(pieces))

    def pause_writing(self) -> None:
        """asyncio: more is queued than the high-water mark allows."""
        self.write_paused = True
        self._watch_writes()

    def resume_writing(self) -> None:
        """asyncio: the peer has taken most of what was queued."""
        self.write_paused = False
        if not self.closing:
            self.write_deadline = NEVER
        self._release()

    async def drained(self) -> None:
        """Wait until the peer has taken enough of what is queued, or is gone."""
        while self.write_paused:
            waiter = self.service.loop.create_future()
            if self._drain_waiters is None:
                self._drain_waiters = []
            self._drain_waiters.append(waiter)
            try:
                await waiter
            finally:
                if self._drain_waiters is not None and waiter in self._drain_waiters:
                    self._drain_waiters.remove(waiter)

    def _release(self) -> None:
        waiters, self._drain_waiters = self._drain_waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def _watch_writes(self) -> None:
        """From now on the peer must take something every `send_timeout`."""
        self._write_mark = self._outstanding()
        limit = self.service.times.send
        self.write_deadline = time.monotonic_ns() + limit if limit < NEVER else NEVER

    def _outstanding(self) -> int:
        """Bytes that the peer has not acknowledged: in the transport's buffer and in the kernel's."""
        raw = self.transport.get_extra_info("socket")
        left = queued(raw.fileno()) if raw is not None else 0
        return self.transport.get_write_buffer_size() + left

    def write_expired(self, now: int) -> bool:
        """The write deadline has come; True when the peer has taken nothing and the connection was aborted.
        """
        if self._outstanding() < self._write_mark:
            self._watch_writes()
            return False
        self.write_deadline = NEVER
        self.abort("the client took nothing of the answer (send_timeout)")
        return True

    # ------------------------------------------------------------------ ending

    def abort(self, reason: str) -> None:
        """Break the connection; what is queued is lost.

        With a reset, not an end: of an answer without a length the end is all a client has to tell it
        complete.
        """
        self.closing = True
        raw = self.transport.get_extra_info("socket")
        if raw is not None:
            try:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            except OSError:
                pass  # not TCP, or gone already
        self.transport.abort()

    def close(self) -> None:
        """Close when all that is queued has been taken."""
        if self.closing and self.transport.is_closing():
            return
        self.closing = True
        self.read_deadline = NEVER
        if self.transport.get_write_buffer_size():
            self._watch_writes()
        self.transport.close()

    def close_lingering(self) -> None:
        """Close so that the peer can read the answer although it is still sending.

        A close with unread bytes is a reset, which may throw the answer away (RFC 9112 9.6): shut down the
        writing side, read and discard for a moment, then close.
        """
        if self.transport.is_closing():
            return
        self.closing = True
        self._watch_writes()
        try:
            if self.transport.can_write_eof():
                self.transport.write_eof()
        except (OSError, RuntimeError):  # the peer was faster
            self.transport.abort()
            return
        self.read_deadline = time.monotonic_ns() + int(LINGER_SECONDS * SECOND)
        self.resume()

    def discard(self, data: bytes) -> None:
        """Bytes that came while lingering."""
        self._linger_left -= len(data)
        if self._linger_left < 0:
            self.transport.abort()

    def lost(self) -> None:
        """Common part of `connection_lost`."""
        self.closing = True
        self.read_deadline = self.write_deadline = NEVER
        self.write_paused = False
        self._release()
        self.service.remove(cast(Any, self))

    # ------------------------------------------------------------------ files

    @property
    def sends_files(self) -> bool:
        """sendfile can be used: wanted, and nothing stands between us and the socket."""
        return self.service.sendfile and self.transport.get_extra_info("sslcontext") is None

    async def read_file(self, file: int, offset: int, count: int) -> bytes:
        """Read a block of a file without holding up the loop while the disk works."""
        return await self.service.loop.run_in_executor(None, os.pread, file, count, offset)

    async def send_file(self, file: int, offset: int, count: int) -> None:
        """Send a range of a file with sendfile(2); raises ResponseError when the file ends early.

        Works on a duplicate of the socket's descriptor, so that both loops' transports are left in peace;
        the caller writes nothing meanwhile. Returns early when the peer is gone.
        """
        transport = self.transport
        await self._flushed()
        raw = transport.get_extra_info("socket")
        if raw is None or transport.is_closing():
            return
        out = os.dup(raw.fileno())
        try:
            turn = _FILE_TURN
            while count:
                try:
                    sent = os.sendfile(out, file, offset, min(count, _FILE_TURN))
                except BlockingIOError:
                    await self._writable(out)
                    if transport.is_closing():
                        return
                    continue
                except (BrokenPipeError, ConnectionError):
                    self.abort("the client disconnected")
                    return
                if not sent:
                    raise ResponseError("the file ended before the promised count of bytes")
                offset += sent
                count -= sent
                turn -= sent
                if turn <= 0:
                    turn = _FILE_TURN
                    await asyncio.sleep(0)
        finally:
            os.close(out)

    async def _flushed(self) -> None:
        """Wait until the transport's own buffer is empty."""
        transport = self.transport
        if transport.is_closing():
            return
        low, high = transport.get_write_buffer_limits()
        transport.set_write_buffer_limits(high=0)  # calls pause_writing() if anything is queued
        try:
            await self.drained()
        finally:
            if not transport.is_closing():
                transport.set_write_buffer_limits(high=high, low=low)

    async def _writable(self, descriptor: int) -> None:
        """Wait until the socket takes bytes; the peer must take something every `send_timeout`."""
        loop = self.service.loop
        limit = self.service.times.send
        seconds = limit / SECOND if limit < NEVER else None
        writable = asyncio.Event()
        loop.add_writer(descriptor, writable.set)
        try:
            while not writable.is_set() and not self.transport.is_closing():
                before = queued(descriptor)
                try:
                    await asyncio.wait_for(writable.wait(), seconds)
                except TimeoutError:
                    if queued(descriptor) >= before:
                        self.abort("the client took nothing of the answer (send_timeout)")
        finally:
            loop.remove_writer(descriptor)


def hung_up(sock: Any) -> bool:
    """A unix socket whose peer has closed it altogether, not merely shut down its sending side.

    TCP cannot tell the two apart until something is written; unix sockets report the hang-up (POLLHUP).
    """
    if sock is None or sock.family != getattr(socket, "AF_UNIX", None):
        return False
    poll = select.poll()
    poll.register(sock.fileno(), 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))
