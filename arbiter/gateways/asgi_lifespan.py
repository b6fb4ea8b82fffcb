"""The lifespan of an ASGI application in one worker: startup before the first connection, shutdown after
the last.

Neighbours: `workers.dispatch.tasks` runs it on the loop that serves and says in the log what came of it.
Its one rule: an application that knows nothing of lifespans is served as well as one that does; one that
knows and refuses to start is not served at all.

Sources: asgiref specs/lifespan.rst 2.0.
"""

from __future__ import annotations

import asyncio
import enum
from typing import Any, Final

from arbiter.errors import ResponseError
from arbiter.gateways.asgi_http import Application, Message

SPEC_VERSION: Final = "2.0"


class Outcome(enum.Enum):
    """What became of a startup or a shutdown."""

    COMPLETE = "complete"
    FAILED = "failed"
    """The application said so; the message is in `Lifespan.message`."""
    ABSENT = "absent"
    """It raised or returned without an answer; the exception, if any, is in `Lifespan.error`."""
    LATE = "late"
    """It did not answer in time."""


class Lifespan:
    """One lifespan call. `state` is what scopes get a copy of once startup is complete."""

    def __init__(self, app: Application) -> None:
        self.state: dict[str, Any] = {}
        self.message = ""
        self.error: BaseException | None = None
        self.touched = False
        """The application has called receive(): it knows what a lifespan is."""
        self.task: asyncio.Task[None] | None = None
        self._app = app
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._startup: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._shutdown: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    @property
    def running(self) -> bool:
        """The application's call has not returned."""
        return self.task is not None and not self.task.done()

    async def startup(self, seconds: float | None = None) -> Outcome:
        """Start the application; `seconds` bounds it (None: somebody else does)."""
        self.task = asyncio.get_running_loop().create_task(self._run(), name="lifespan")
        self._to_app.put_nowait({"type": "lifespan.startup"})
        return await self._outcome(self._startup, seconds)

    async def shutdown(self, seconds: float | None) -> Outcome:
        """Tell the application that it is over and wait for its answer; then its call is cancelled."""
        if not self.running:
            return Outcome.ABSENT
        self._to_app.put_nowait({"type": "lifespan.shutdown"})
        outcome = await self._outcome(self._shutdown, seconds)
        await self.cancel()
        return outcome

    async def cancel(self, seconds: float = 1.0) -> None:
        """End the call if it has not returned by itself."""
        if self.task is not None and not self.task.done():
            await asyncio.wait([self.task], timeout=0.05)  # usually it is about to return
            self.task.cancel()
            await asyncio.wait([self.task], timeout=seconds)

    async def _outcome(self, answer: asyncio.Future[Outcome], seconds: float | None) -> Outcome:
        await asyncio.wait([answer], timeout=seconds)
        return answer.result() if answer.done() else Outcome.LATE

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": SPEC_VERSION},
            "state": self.state,
        }
        try:
            await self._app(scope, self._receive, self._send)
        except GeneratorExit:
            raise
        except BaseException as error:  # whatever it is, the worker decides what it means
            self.error = error
        finally:
            for answer in (self._startup, self._shutdown):
                if not answer.done():
                    answer.set_result(Outcome.ABSENT)

    async def _receive(self) -> Message:
        self.touched = True
        return await self._to_app.get()

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        phase, _, verdict = kind.removeprefix("lifespan.").partition(".")
        answer = {"startup": self._startup, "shutdown": self._shutdown}.get(phase)
        outcome = {"complete": Outcome.COMPLETE, "failed": Outcome.FAILED}.get(verdict)
        if answer is None or outcome is None or not kind.startswith("lifespan."):
            raise ResponseError(f"a lifespan does not know messages of type {kind!r}")
        if answer.done():
            raise ResponseError(f"{kind!r}: lifespan.{phase} was already answered")
        if phase == "shutdown" and not self._startup.done():
            raise ResponseError(f"{kind!r} was sent before startup was answered")
        if outcome is Outcome.FAILED:
            self.message = str(message.get("message", ""))
        answer.set_result(outcome)
