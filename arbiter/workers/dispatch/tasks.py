"""The asgi worker: one event loop, a task per application call.

Neighbours: `process` runs it; `accept` says when to take connections, `asgi_protocol` serves them,
`gateways.asgi_lifespan` frames the whole. Its one rule: the worker outlives whatever the application does.
An application can fail its own request, its own task, even raise SystemExit; the loop goes on until the
orders say otherwise.

Its end, step by step: take what the kernel has queued and close the listeners; answer what has begun, each
last answer with `Connection: close`; close kept connections after a short grace; tell streams; cut and log
what is left at the deadline; end the lifespan.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from arbiter.counted import counted
from arbiter.errors import ExitStatus
from arbiter.gateways.asgi_http import HttpCycle
from arbiter.gateways.asgi_lifespan import Lifespan, Outcome
from arbiter.link.messages import DRAINING
from arbiter.link.scoreboard import Word
from arbiter.workers.accept import Acceptor, Source
from arbiter.workers.asgi_protocol import HttpConnection
from arbiter.workers.asgi_proxy import ProxiedConnection
from arbiter.workers.asgi_service import SECOND, Connection, Cycle, Service
from arbiter.workers.context import WorkerContext
from arbiter.workers.exclusive import ExclusiveReaders
from arbiter.workers.gate import Gate
from arbiter.workers.limits import DRAIN_GRACE
from arbiter.workers.loop_lag import LoopLag
from arbiter.workers.orders import Stop
from arbiter.workers.readiness import KEPT, Probe
from arbiter.workers.task_stacks import describe

TICK: Final = 1.0
"""Seconds between two looks at the deadlines of connections."""
SHORTEST_TICK: Final = 0.01
BEAT: Final = 5.0
"""Seconds an idle worker sleeps at most: its sign of life on the scoreboard."""
WARNING: Final = 2.0
"""Seconds before the deadline at which what still runs hears http.disconnect (half the time left, if less).
"""
CANCEL_GRACE: Final = 1.0
"""Seconds that cancelled application calls have to clean up."""
NAMED: Final = 5
"""Of those that do not end, how many the record names."""
_OWN_TASKS: Final = frozenset({"arbiter"})


class Tasks:
    """The dispatcher of worker_class asgi."""

    def __init__(self, ctx: WorkerContext) -> None:
        self.ctx = ctx
        self.loop = _new_loop(ctx.config.asgi_loop)
        self.loop.set_exception_handler(self._loop_exception)
        self.service: Service
        self._acceptor: Acceptor
        self._readers = ExclusiveReaders(self.loop)
        self._stop: asyncio.Event
        self._timer: asyncio.TimerHandle | None = None
        self._lag = LoopLag(ctx.config.loop_lag_warning, ctx.row, ctx.log)
        self._next_look = 0
        self._bound = ctx.config.worker_connections
        self._status: int = ExitStatus.OK

    def run(self) -> int:
        """Serve until told to stop and the rest is done; the process's exit status."""
        loop = self.loop
        asyncio.set_event_loop(loop)
        main = loop.create_task(self._main(), name="arbiter")
        main.add_done_callback(lambda _: loop.stop())
        try:
            while not main.done():
                try:
                    loop.run_forever()
                except (SystemExit, KeyboardInterrupt) as error:
                    # Out of a task of the application's own making, or a callback: no order to end.
                    self.ctx.log.error(
                        "the application raised %r in a task; ignored",
                        error,
                        exc_info=error,
                        event="task.failed",
                    )
            main.result()
            return self._status
        finally:
            self._tear_down()

    # ------------------------------------------------------------------ the worker's life

    async def _main(self) -> None:
        ctx, loop = self.ctx, self.loop
        service = self.service = Service(ctx, loop)
        self._stop = asyncio.Event()
        loop.add_reader(ctx.orders.fileno(), self._ordered)
        ctx.tell_tasks(self._describe_tasks)
        lifespan = await self._start_lifespan()
        if lifespan is None and self._status != ExitStatus.OK:
            return
        if lifespan is not None:
            service.state = lifespan.state
        gate = Gate(ctx.scoreboard, ctx.row, service.load) if ctx.scoreboard is not None else None
        self._acceptor = Acceptor(ctx.listeners, self, self._adopt, self._room, ctx.log, gate)
        service.room_again = self._room_again
        self._tick()
        ready = not ctx.config.readiness_path or await self._prove()
        self._ordered()
        if ready and not self._stop.is_set():
            self._acceptor.start()
            ctx.ready()
            self._ordered()
            await self._stop.wait()
        await self._drain()
        if self._timer is not None:
            self._timer.cancel()
        if lifespan is not None:
            await self._end_lifespan(lifespan)

    async def _prove(self) -> bool:
        """Answer one request before anybody else's; False (and told) if it is not answered well."""
        probe = Probe(self.ctx.config)
        self.ctx.enter(probe.step)
        self._adopt(probe.theirs, None, probe.theirs)
        answered = asyncio.ensure_future(self._answered(probe))
        stopped = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait([answered, stopped], return_when=asyncio.FIRST_COMPLETED)
        for waiting in (answered, stopped):
            waiting.cancel()
        await asyncio.wait([answered, stopped])
        probe.close()
        if probe.over and probe.problem:
            self._refuse(probe.problem)
            return False
        return True

    async def _answered(self, probe: Probe) -> None:
        while not probe.over:
            probe.take(await self.loop.sock_recv(probe.sock, KEPT))

    def _ordered(self) -> None:
        """The orders' descriptor is readable."""
        if self.ctx.orders.read() is not Stop.NO:
            self._stop.set()
            self.service.changed.set()

    # ------------------------------------------------------------------ lifespan

    async def _start_lifespan(self) -> Lifespan | None:
        """Start the application's lifespan; None when it has none, or (with a status) when it may not
        serve.
        """
        mode = self.ctx.config.asgi_lifespan
        if mode == "off":
            return None
        lifespan = Lifespan(self.ctx.app)
        starting = asyncio.ensure_future(lifespan.startup())
        stopped = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not starting.done():  # told to stop before it was up
            starting.cancel()
            await lifespan.cancel()
            return None
        outcome = starting.result()
        if outcome is Outcome.COMPLETE:
            assert lifespan.task is not None
            lifespan.task.add_done_callback(lambda _: self._lifespan_died(lifespan))
            return lifespan
        if outcome is Outcome.FAILED:
            await lifespan.cancel()
            message = lifespan.message or "no message was given"
            self._refuse(f"the application failed to start (lifespan.startup.failed): {message}")
            return None
        if mode == "on":
            self._refuse(
                lifespan.error
                or "the application left its lifespan without an answer, and asgi_lifespan is 'on'"
            )
            return None
        self._lifespan_absent(lifespan)
        return None

    def _refuse(self, error: BaseException | str) -> None:
        self._status = ExitStatus.BOOT
        self.ctx.log.error(
            "%s", error if isinstance(error, str) else f"lifespan startup: {error!r}", event="lifespan.failed"
        )
        self.ctx.boot_failed(error)

    def _lifespan_absent(self, lifespan: Lifespan) -> None:
        """specs/lifespan.rst: an exception means "not supported". One that knew what it was asked is told
        of loudly.
        """
        log, error = self.ctx.log, lifespan.error
        if lifespan.touched and error is not None:
            log.warning(
                "the application raised during lifespan startup; serving without a lifespan, as ASGI asks "
                "(asgi_lifespan = 'on' makes it fatal)",
                exc_info=error,
                event="lifespan.absent",
            )
        else:
            log.info(
                "the application has no lifespan (%s)",
                "it returned at once" if error is None else str(error) or type(error).__name__,
                event="lifespan.absent",
            )

    def _lifespan_died(self, lifespan: Lifespan) -> None:
        """It returned or raised while the worker serves: told, and served on."""
        if self._stop.is_set():
            return
        if lifespan.error is not None:
            self.ctx.log.error(
                "the application's lifespan has ended with an exception",
                exc_info=lifespan.error,
                event="lifespan.failed",
            )
        else:
            self.ctx.log.info(
                "the application's lifespan has returned; shutdown will not be told to it",
                event="lifespan.ended",
            )

    async def _end_lifespan(self, lifespan: Lifespan) -> None:
        log, seconds = self.ctx.log, self.ctx.config.lifespan_timeout
        if not lifespan.running or self.ctx.orders.stop is Stop.QUIT:
            return
        outcome = await lifespan.shutdown(seconds or None)
        if outcome is Outcome.FAILED:
            text = lifespan.message or "no message was given"
            log.error("lifespan.shutdown.failed: %s", text, event="lifespan.failed")
        elif outcome is Outcome.LATE:
            log.error(
                "the application's shutdown took more than %g s (lifespan_timeout); left",
                seconds,
                event="lifespan.late",
            )
        elif lifespan.error is not None and not isinstance(lifespan.error, asyncio.CancelledError):
            log.error(
                "the application raised during lifespan shutdown",
                exc_info=lifespan.error,
                event="lifespan.failed",
            )

    # ------------------------------------------------------------------ accepting

    def watch(self, source: Source) -> None:
        """As `accept.ListenerWatch`."""
        self._readers.watch(source.fileno(), self._acceptor.ready, source)

    def unwatch(self, source: Source) -> None:
        """As `accept.ListenerWatch`."""
        self._readers.unwatch(source.fileno())

    def forget(self, source: Source) -> None:
        """As `accept.ListenerWatch`."""
        self._readers.forget(source.fileno())

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """As `accept.ListenerWatch`."""
        self.loop.call_later(seconds, call)

    def _room(self) -> int:
        return self._bound - self.service.load()

    def _room_again(self) -> None:
        if not self._acceptor.watching and not self.service.draining and self._room() > 0:
            self._acceptor.resume()

    def _adopt(self, sock: socket.socket, address: Any, listener: socket.socket) -> bool:
        """Make a transport for an accepted socket."""
        service = self.service
        service.row.add(Word.ACCEPTED)
        if not service.load():
            self._wake_up()
        protocol: HttpConnection | ProxiedConnection
        if service.proxy_mode != "off" and service.proxies.trusts(address[0] if address else None):
            protocol = ProxiedConnection(service, address)
        else:
            protocol = HttpConnection(service, address)
        service.expect(protocol)
        _step(
            self.loop.connect_accepted_socket(lambda: protocol, sock),
            lambda error: self._opened(protocol, error),
        )
        return True

    def _opened(self, protocol: Connection, error: BaseException | None) -> None:
        if error is not None:
            self.ctx.log.error(
                "an accepted connection could not be taken up", exc_info=error, event="connection.failed"
            )
            self.service.remove(protocol)

    # ------------------------------------------------------------------ the clock

    def _tick(self) -> None:
        """Every beat of the lag's while there are connections, every `BEAT` seconds otherwise."""
        service = self.service
        now = service.tick()
        look = now >= self._next_look
        if look:
            self._next_look = now + int(TICK * SECOND)
            service.expire()
        pause = BEAT
        if service.connections or service.opening or service.draining:
            pause = min(self._lag.beat, max(SHORTEST_TICK, service.expire_requests()))
            self._lag.turned(pause)
        else:
            self._lag.rest()
        self._timer = self.loop.call_later(pause, self._tick)
        if look:
            self._acceptor.look()

    def _wake_up(self) -> None:
        """The first connection after a pause: the clock is stale and slow."""
        if self._timer is not None:
            self._timer.cancel()
        self.service.tick()
        pause = min(self._lag.beat, self.service.times.request / SECOND)
        self._lag.turned(pause)
        self._timer = self.loop.call_later(pause, self._tick)

    def _describe_tasks(self) -> str:
        """See `WorkerContext.tell_tasks`."""
        now = time.monotonic_ns()
        running = self.service.running.copy()
        oldest_first = sorted(running, key=lambda cycle: getattr(cycle, "started_ns", now))
        requests = {cycle.task: _called(cycle, now) for cycle in oldest_first if cycle.task is not None}
        return describe(self.loop, requests, _OWN_TASKS)

    # ------------------------------------------------------------------ the end

    async def _drain(self) -> None:
        """Answer what has begun, within the time the orders give."""
        service, orders = self.service, self.ctx.orders
        room = max(0, self._room())
        service.draining = True
        service.keeps_alive = False
        if orders.stop is Stop.QUIT:
            self._acceptor.close()
        else:
            self.ctx.enter(DRAINING)
            self._acceptor.drain(room if orders.last else 0)
            now = time.monotonic_ns()
            for connection in tuple(service.connections):
                connection.drain(now)
            await self._quiet(time.monotonic() + DRAIN_GRACE)
            service.tick()
            service.expire()
            left = orders.deadline - time.monotonic()
            await self._quiet(orders.deadline - min(WARNING, left / 2))
            for connection in tuple(service.connections):
                connection.warn()
            await self._quiet(orders.deadline)
        await self._cut()

    async def _quiet(self, until: float) -> None:
        """Wait until nothing is left to do, a QUIT order, or the time (monotonic seconds)."""
        service = self.service
        while service.connections or service.running or service.opening:
            left = until - time.monotonic()
            if left <= 0 or self.ctx.orders.stop is Stop.QUIT:
                return
            service.changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(service.changed.wait(), min(left, 3600.0))

    async def _cut(self) -> None:
        """End what is left, one record each."""
        service, log = self.service, self.ctx.log
        quitting = self.ctx.orders.stop is Stop.QUIT
        reason = "the worker was told to quit" if quitting else "graceful_timeout has passed"
        service.cutting = True
        now = time.monotonic_ns()
        tasks: dict[asyncio.Task[None], Cycle] = {}
        for cycle in tuple(service.running):
            log.warning("cut: %s (%s)", _called(cycle, now), reason, event="request.cut")
            if cycle.task is not None:
                tasks[cycle.task] = cycle
        for connection in tuple(service.connections):
            connection.cut(reason)
        for task in tasks:
            task.cancel()
        if tasks:
            ended, _ = await asyncio.wait(tasks, timeout=CANCEL_GRACE)
            now = time.monotonic_ns()
            stubborn = [_called(cycle, now) for task, cycle in tasks.items() if task not in ended]
            if stubborn:
                who = counted(len(stubborn), "application call")
                listed = "; ".join(stubborn[:NAMED])
                more = f"; and {len(stubborn) - NAMED} more" if len(stubborn) > NAMED else ""
                text = "%s did not end when cancelled: %s%s; the worker leaves all the same"
                log.warning(text, who, listed, more, event="request.stubborn")
        await self._quiet(time.monotonic() + 0.2)  # answers of the cut ones leave, transports close

    def _tear_down(self) -> None:
        """Give the loop back; never wait for what the application left running."""
        loop = self.loop
        self._lag.close()
        with contextlib.suppress(Exception):
            leftovers = asyncio.all_tasks(loop)
            for task in leftovers:
                task.cancel()
            if leftovers:
                loop.run_until_complete(asyncio.wait(leftovers, timeout=CANCEL_GRACE))
            loop.run_until_complete(asyncio.wait_for(loop.shutdown_asyncgens(), CANCEL_GRACE))
        asyncio.set_event_loop(None)
        self._readers.close()
        loop.close()
        gc.collect(0)

    def _loop_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What asyncio would print: a task of the application whose exception nobody took, and the like."""
        error = context.get("exception")
        if isinstance(error, ConnectionError):
            self.ctx.log.debug("%s: %r", context.get("message"), error)
            return
        self.ctx.log.error(
            "in the event loop: %s", context.get("message"), exc_info=error, event="task.failed"
        )


def _called(cycle: Cycle, now: int) -> str:
    """An application call, for people."""
    if isinstance(cycle, HttpCycle):
        seconds = (now - cycle.started_ns) / SECOND
        return f"{cycle.request.method} {cycle.scope['path']}, begun {seconds:.1f} s ago"
    return f"WebSocket {cycle.scope['path']}"


def _new_loop(wanted: str) -> asyncio.AbstractEventLoop:
    """The event loop of setting `asgi_loop`."""
    if wanted in ("auto", "uvloop"):
        try:
            import uvloop
        except ImportError:
            if wanted == "uvloop":
                raise
        else:
            return uvloop.new_event_loop()
    return asyncio.SelectorEventLoop()


def _step(opening: Coroutine[Any, Any, Any], done: Callable[[BaseException | None], None]) -> None:
    """Run a coroutine that waits for futures, without the cost of a task.

    connect_accepted_socket() makes the transport at once and then waits for one future, set when
    connection_made() was called; a task for that costs more than the rest of accepting.
    """

    def resume(waited: asyncio.Future[Any] | None) -> None:
        try:
            future = opening.send(None)
        except StopIteration:
            done(None)
        except BaseException as error:  # reported, whatever it was
            done(error)
        else:
            future._asyncio_future_blocking = False  # what a task does on taking a future
            future.add_done_callback(resume)

    resume(None)
