"""EPOLLEXCLUSIVE in the epoll of somebody else's loop: set, paused, put back, taken out; never in the way."""

from __future__ import annotations

import asyncio
import os
import re
import select
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from arbiter.workers import exclusive
from arbiter.workers.exclusive import ExclusiveReaders

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}
needs_epoll = pytest.mark.skipif(not hasattr(select, "EPOLLEXCLUSIVE"), reason="Linux")


@pytest.fixture(params=list(LOOPS))
def loop_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Bench:
    """A loop, a descriptor that a test makes readable, and what was called."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.readers = ExclusiveReaders(loop)
        self.sock, self.peer = socket.socketpair()
        self.sock.setblocking(False)
        self.called = 0

    def ready(self) -> None:
        self.called += 1
        self.sock.recv(100)

    def watch(self) -> None:
        self.readers.watch(self.sock.fileno(), self.ready)

    async def turns(self, count: int = 6) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def poke(self) -> int:
        """Make it readable, let the loop see it; how often it was called by then."""
        self.peer.send(b"x")
        await self.turns()
        await asyncio.sleep(0.002)
        return self.called

    def exclusive(self) -> bool:
        found = []
        for name in os.listdir("/proc/self/fdinfo"):
            try:
                with open(f"/proc/self/fdinfo/{name}") as file:
                    found += re.findall(rf"tfd:\s+{self.sock.fileno()}\s+events:\s+([0-9a-f]+)", file.read())
            except OSError:
                continue
        return bool(found) and all(int(mask, 16) & select.EPOLLEXCLUSIVE for mask in found)

    def close(self) -> None:
        self.readers.forget(self.sock.fileno())
        self.readers.close()
        self.sock.close()
        self.peer.close()


def run(loop_kind: str, test: Callable[[Bench], Awaitable[Any]]) -> None:
    loop = LOOPS[loop_kind]()

    async def main() -> None:
        bench = Bench(loop)
        try:
            await test(bench)
        finally:
            bench.close()

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


@needs_epoll
def test_the_flag_is_set_and_the_reader_called(loop_kind: str) -> None:
    async def test(bench: Bench) -> None:
        bench.watch()
        await bench.turns()
        assert bench.exclusive()
        assert [await bench.poke() for _ in range(3)] == [1, 2, 3]

    run(loop_kind, test)


@needs_epoll
def test_a_pause_and_what_came_in_it(loop_kind: str) -> None:
    async def test(bench: Bench) -> None:
        bench.watch()
        await bench.turns()
        for expected in range(1, 4):
            bench.readers.unwatch(bench.sock.fileno())
            assert not bench.exclusive()
            assert await bench.poke() == expected - 1
            bench.watch()
            await bench.turns()
            await asyncio.sleep(0.002)
            assert bench.called == expected
            assert bench.exclusive()

    run(loop_kind, test)


def test_a_pause_at_once(loop_kind: str) -> None:
    """Before the loop has got round to registering anything."""

    async def test(bench: Bench) -> None:
        bench.watch()
        bench.readers.unwatch(bench.sock.fileno())
        assert await bench.poke() == 0
        bench.watch()
        await bench.turns()
        await asyncio.sleep(0.002)
        assert bench.called == 1

    run(loop_kind, test)


def test_forgotten_is_free_for_others(loop_kind: str) -> None:
    """The number of a closed descriptor comes back, and the loop must not take it for the old one."""

    async def test(bench: Bench) -> None:
        bench.watch()
        await bench.turns()
        number = bench.sock.fileno()
        bench.readers.forget(number)
        bench.sock.close()
        bench.sock, other = socket.socketpair()
        bench.sock.setblocking(False)
        assert bench.sock.fileno() == number
        seen: list[int] = []
        loop = asyncio.get_running_loop()
        loop.add_reader(number, lambda: seen.append(len(bench.sock.recv(100))))
        other.send(b"ab")
        await bench.turns()
        await asyncio.sleep(0.002)
        assert seen == [2]
        assert bench.called == 0
        loop.remove_reader(number)
        other.close()

    run(loop_kind, test)


@pytest.mark.parametrize("fault", ["no /proc", "two candidates"])
def test_where_the_epoll_is_not_to_be_told_the_plain_reader_stays(
    loop_kind: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: Bench) -> None:
        second = select.epoll()
        if fault == "no /proc":
            monkeypatch.setattr(exclusive.os, "listdir", _absent)
        else:
            second.register(bench.sock.fileno(), select.EPOLLPRI)
        bench.watch()
        await bench.turns(10)
        assert await bench.poke() == 1
        bench.readers.unwatch(bench.sock.fileno())
        assert await bench.poke() == 1
        bench.watch()
        await bench.turns()
        await asyncio.sleep(0.002)
        assert bench.called == 2
        monkeypatch.undo()
        assert not bench.exclusive()
        second.close()

    run(loop_kind, test)


def _absent(path: str) -> list[str]:
    raise FileNotFoundError(path)
