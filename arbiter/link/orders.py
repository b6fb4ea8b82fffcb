"""What a mold is told, over its channel to the arbiter, with descriptors where they belong to it.

Neighbours: `supervisor.foundry` gives orders, `workers.mold` takes them; `messages` has the records,
`channel` carries what the mold answers on the same socket pair. Its one rule: giving never blocks, so no more
is given at a time than a socket's buffer holds; taking waits, for a mold has nothing else to do.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Final, TypeAlias

from arbiter.link.messages import Message, decode, encode

_HEAD: Final = struct.Struct("!II")
"""Length of the message, number of descriptors with it."""
MAX_FDS: Final = 250
"""Descriptors with one message; the kernel takes 253 (SCM_MAX_FD)."""

Order: TypeAlias = tuple[Message, list[int]]
"""What is told, and the descriptors that came with it."""


def give(end: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send one order. Raises OSError when the mold is gone or does not take orders, ValueError for more
    descriptors than can be passed.
    """
    if len(fds) > MAX_FDS:
        raise ValueError(f"{len(fds)} descriptors cannot be passed at once")
    body = encode(message)
    data = _HEAD.pack(len(body), len(fds)) + body
    sent = socket.send_fds(end, [data], list(fds)) if fds else end.send(data)
    if sent < len(data):
        raise OSError(f"only {sent} of {len(data)} bytes could be sent")


class Taker:
    """The mold's side."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._held = b""
        self._fds: deque[int] = deque()

    def take(self, most: int) -> list[Order]:
        """Wait for an order; it, and those that have come by then, no more than `most`. Empty when the
        arbiter is gone. Raises ValueError on garbage.
        """
        orders: list[Order] = []
        while len(orders) < most:
            order = self._next()
            if order is not None:
                orders.append(order)
            elif (orders and not self._more_has_come()) or not self._receive():
                break
        return orders

    def _next(self) -> Order | None:
        """The next order that is here as a whole."""
        if len(self._held) < _HEAD.size:
            return None
        length, count = _HEAD.unpack_from(self._held)
        end = _HEAD.size + length
        if len(self._held) < end:
            return None
        body, self._held = self._held[_HEAD.size : end], self._held[end:]
        # The kernel hands descriptors over with the bytes they were sent with, never later.
        return decode(body), [self._fds.popleft() for _ in range(count)]

    def _more_has_come(self) -> bool:
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        return bool(poll.poll(0))

    def _receive(self) -> bool:
        """Wait for more; false when the arbiter is gone."""
        data, fds, _, _ = socket.recv_fds(self._end, 65536, MAX_FDS)
        for fd in fds:
            os.set_inheritable(fd, False)  # recv_fds() takes flags and does not use them
        self._fds.extend(fds)
        self._held += data
        return bool(data)
