"""The control plane: `arbiterctl`'s other end, inside the arbiter's poll loop.

Neighbours: `service` holds the connections, `peers` says who they are, `answers` what they see; what changes
something goes to the policy as an event. Its one rule: whoever asks is known by the kernel's word, may do
what their role allows, and leaves a line in the log.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from arbiter.control import session as wire
from arbiter.control.commands import Role, Verb
from arbiter.control.session import Fault, FaultKind, Frames, Request
from arbiter.observe.logs import LEVELS
from arbiter.supervisor import answers, waits
from arbiter.supervisor import events as ev
from arbiter.supervisor.book import FOREVER
from arbiter.supervisor.journal import Happening
from arbiter.supervisor.peers import Peer, identify, role_of
from arbiter.supervisor.service import Bounds, Connection, Service
from arbiter.supervisor.view import View
from arbiter.supervisor.waits import Wait
from arbiter.supervisor.watch import Watch

CONNECTIONS: Final = 64
BOUNDS: Final = Bounds(
    connections=CONNECTIONS,
    out=wire.MAX_ANSWER + 65536,
    out_all=2 * wire.MAX_ANSWER,
    stalled=10.0,
    farewell=wire.fault(0, Fault(FaultKind.FULL, f"{CONNECTIONS} connections are open already")),
)
FIRST: Final = 10.0
"""Seconds until a peer must have asked for something."""
IDLE: Final = 300.0
"""Seconds it may be silent after that."""
AT_ONCE: Final = 8
"""Requests of one peer that may be under way."""
DENIALS: Final = 60.0
"""Seconds between two records of peers turned away; in between they are counted."""


class Hands(Protocol):
    """What the arbiter does for the plane beside the policy's actions."""

    def say(self, level: int, name: str, text: str, fields: Mapping[str, Any]) -> None:
        """Into the log and the journal."""
        ...

    def stacks(self, key: int, then: Callable[[str], None]) -> None:
        """Take a child's stacks; `then` gets them."""
        ...

    def log_level(self, level: str) -> None:
        """Set it, here and in the workers."""
        ...

    def check(self, then: Callable[[str], None]) -> bool:
        """Read the configuration in a process of its own; `then` gets what is wrong with it. False: busy."""
        ...

    def metrics(self) -> str:
        """All of them, as text."""
        ...


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A connection as one arbiter hands it to the next.

    out: what is still to be sent; held: the beginning of a request; follow: the request that follows events,
    and their least level; upgrades: those that wait for the upgrade; others: those that wait for something
    else, which nobody will tell them.
    """

    fd: int
    out: bytes
    held: bytes
    follow: tuple[int, int] | None
    upgrades: list[int]
    others: list[int]


@dataclass(frozen=True, slots=True)
class ControlRecord:
    """The control socket as one arbiter hands it to the next."""

    fd: int
    path: str
    sessions: list[SessionRecord]


class Plane:
    """See the module's text. `clock` gives monotonic seconds."""

    def __init__(
        self,
        watch: Watch,
        listener: socket.socket,
        path: str,
        view: View,
        hands: Hands,
        clock: Callable[[], float],
    ) -> None:
        self.path = path
        self.view = view
        self.hands = hands
        self.clock = clock
        self.waits: list[Wait] = []
        self.tickets: dict[int, Wait] = {}
        self.service = Service(watch, listener, BOUNDS, self._greet, clock)
        self._identity = os.lstat(path)
        self._next_ticket = 1
        self._denied = 0
        self._denied_at = -FOREVER
        view.journal.followers.append(self._heard)

    @property
    def due(self) -> float:
        """When to call `service.look` (monotonic s)."""
        return self.service.due

    def stop(self) -> None:
        """Close all; remove the socket if it is still this one."""
        self.service.stop()
        with contextlib.suppress(OSError):
            there = os.lstat(self.path)
            if (there.st_dev, there.st_ino) == (self._identity.st_dev, self._identity.st_ino):
                os.unlink(self.path)

    # -- from one arbiter to the next

    def hand_over(self) -> ControlRecord:
        """The socket, and who is connected."""
        handlers = [one.handler for one in self.service.connections()]
        sessions = [handler.hand_over() for handler in handlers if isinstance(handler, Session)]
        return ControlRecord(self.service.listener.fileno(), self.path, sessions)

    def adopt(self, records: Iterable[SessionRecord]) -> None:
        """Serve on who was connected to another arbiter."""
        for record in records:
            connection = self.service.adopt(record.fd, record.out)
            if connection is not None and isinstance(connection.handler, Session):
                connection.handler.resume(record)

    # -- peers

    def _greet(self, connection: Connection, now: float) -> Session | None:
        peer = identify(connection.sock, self.view.pid)
        role = role_of(peer, self.view.current().config) if peer else None
        if peer is None or role is None:
            self.deny(peer, "may not use the control socket", now)
            who = f"uid {peer.uid}" if peer else "this peer"
            message = f"{who} is in none of control_observers, control_operators, control_admins"
            connection.send(wire.fault(0, Fault(FaultKind.FORBIDDEN, message)))
            return None
        connection.deadline = now + FIRST
        return Session(self, connection, peer, role)

    def deny(self, peer: Peer | None, what: str, now: float) -> None:
        """Log that somebody was turned away, seldom."""
        self._denied += 1
        if now >= self._denied_at + DENIALS:
            more = f" ({self._denied} times since the last such record)" if self._denied > 1 else ""
            self.hands.say(logging.WARNING, "control.denied", f"{peer or 'a peer'} {what}{more}", {})
            self._denied, self._denied_at = 0, now

    # -- words that end later

    def ask(
        self, session: Session, number: int, goal: waits.Goal | None, *asked: ev.Asked
    ) -> Iterator[ev.Event]:
        """Put events before the policy for a request; its answer follows from what becomes of them."""
        wait = Wait(session, number, len(asked), goal)
        self.waits.append(wait)
        for event in asked:
            ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
            self.tickets[ticket] = wait
            yield ev.Asked(event.verb, event.origin, amount=event.amount, key=event.key, ticket=ticket)

    def decided(self, event: ev.Asked, said: list[Happening]) -> None:
        """The policy has dealt with an event."""
        wait = self.tickets.pop(event.ticket, None)
        if wait is not None:
            wait.decided(said, self.view.book)

    def settled(self) -> None:
        """Nothing is pending: see who has what they waited for."""
        for wait in self.waits:
            wait.seen(self.view.book)
        self.waits = [wait for wait in self.waits if not wait.ended]

    def forget(self, session: Session) -> None:
        """A session has ended; what it asked for goes on."""
        for wait in self.waits:
            wait.ended = wait.ended or wait.asker is session
        self.waits = [wait for wait in self.waits if not wait.ended]

    def _heard(self, happening: Happening) -> None:
        for wait in list(self.waits):
            wait.heard(happening)


class Session:
    """One connection to the control socket."""

    def __init__(self, plane: Plane, connection: Connection, peer: Peer, role: Role) -> None:
        self.precious = False
        self._plane = plane
        self._connection = connection
        self._peer = peer
        self._role = role
        self._frames = Frames(wire.MAX_REQUEST)
        self._under_way: set[int] = set()
        self._follower: Callable[[Happening], None] | None = None
        self._follows: tuple[int, int] | None = None

    @property
    def _view(self) -> View:
        return self._plane.view

    @property
    def _now(self) -> float:
        return self._plane.clock()

    # -- the connection

    def received(self, data: bytes) -> Iterator[ev.Event]:
        """Answer what has come, or put it before the policy."""
        try:
            messages = self._frames.feed(data)
            if len(messages) > AT_ONCE:
                raise Fault(FaultKind.BUSY, f"more than {AT_ONCE} requests at once")
        except Fault as fault:
            self._connection.send(wire.fault(0, fault))
            self._connection.finish()
            return
        for message in messages:
            yield from self._obey(message)
        self._rest()

    def ended(self) -> None:
        """The connection is closed."""
        self._plane.forget(self)
        if self._follower is not None:
            self._view.journal.followers.remove(self._follower)
            self._follower = None

    def hand_over(self) -> SessionRecord:
        """This session, for the next arbiter."""
        mine = [wait for wait in self._plane.waits if wait.asker is self]
        upgrades = [wait.number for wait in mine if isinstance(wait.goal, waits.Upgraded)]
        others = self._under_way.difference(upgrades, [self._follows[0]] if self._follows else [])
        sock, out = self._connection.sock, bytes(self._connection.out)
        return SessionRecord(sock.fileno(), out, self._frames.held, self._follows, upgrades, sorted(others))

    def resume(self, record: SessionRecord) -> None:
        """Go on where another arbiter has stopped."""
        self._frames.feed(record.held)
        self._under_way.update(record.upgrades, record.others)
        for number in record.others:
            text = "arbiter itself was replaced meanwhile (upgrade); see how things stand, and ask again"
            self.settle(number, Fault(FaultKind.REFUSED, text))
        if record.follow is not None:
            self._under_way.add(record.follow[0])
            self._follow(*record.follow)
        for number in record.upgrades:
            goal = waits.Upgraded()
            goal.resume(self._view.book)
            self._plane.waits.append(Wait(self, number, 0, goal))
        self._rest()

    def _obey(self, message: dict[str, Any]) -> Iterator[ev.Event]:
        number = message.get("id")
        number = number if isinstance(number, int) else 0
        try:
            request = wire.read_request(message)
            if request.command.role > self._role:
                self._plane.deny(self._peer, f"may not {request.command.word}", self._now)
                raise Fault(FaultKind.FORBIDDEN, self._why_not(request))
            if request.id in self._under_way or len(self._under_way) >= AT_ONCE:
                raise Fault(FaultKind.BUSY, f"the id is in use, or {AT_ONCE} requests are under way")
            self._under_way.add(request.id)
            yield from self._begin(request)
        except Fault as fault:
            self.settle(number, fault)

    def _why_not(self, request: Request) -> str:
        wanted = request.command.role.name.lower()
        if self._peer.below:
            return f"{request.command.word} is not for this arbiter's own workers and what they start"
        return (
            f"{request.command.word} is for {wanted}s; uid {self._peer.uid} is an {self._role.name.lower()} "
            f"(see control_{wanted}s)"
        )

    def _begin(self, request: Request) -> Iterable[ev.Event]:
        """What a word asks of the policy. Who wants to change something leaves one line, before it is done;
        what is refused here says so in it.
        """
        acts = request.command.role > Role.OBSERVER
        try:
            asked = OBEYED[request.command.word](self, request)
        except Fault as fault:
            if acts:
                self._audit(request, str(fault))
            raise
        if acts:
            self._audit(request)
        return asked

    def _audit(self, request: Request, refused: str = "") -> None:
        given = "".join(f" {key}={value}" for key, value in request.arguments.items() if value)
        text = f"control: {request.command.word}{given} ({self._peer})"
        fields: dict[str, Any] = {
            "word": request.command.word,
            "uid": self._peer.uid,
            "peer": self._peer.pid,
        }
        if refused:
            text, fields["refused"] = f"{text} refused: {refused}", refused
        self._plane.hands.say(logging.INFO, "control.act", text, fields)

    def _rest(self) -> None:
        """How long it may be silent now."""
        self.precious = bool(self._under_way) and not self._peer.below
        if self._under_way:
            self._connection.deadline = FOREVER
        else:
            self._connection.deadline = self._now + (FIRST if self._frames.incomplete else IDLE)

    # -- answers

    def _answer(self, request: Request, what: dict[str, Any]) -> tuple[ev.Event, ...]:
        self.settle(request.id, what)
        return ()

    def settle(self, number: int, verdict: dict[str, Any] | Fault) -> None:
        """End a request."""
        self._under_way.discard(number)
        if isinstance(verdict, Fault):
            self._connection.send(wire.fault(number, verdict))
        else:
            self._connection.send(wire.result(number, verdict))
        self._rest()

    def tell(self, number: int, happening: Happening) -> None:
        """Something happened on the way of a request."""
        self._connection.send(wire.progress(number, happening.plain()))

    # -- words

    def _ask(
        self, request: Request, verb: Verb, *, goal: waits.Goal | None = None, amount: int = 1, key: int = 0
    ) -> Iterator[ev.Event]:
        asked = ev.Asked(verb, self._origin, amount=amount, key=key)
        waited = goal if request.arguments.get("wait") else None
        return self._plane.ask(self, request.id, waited, asked)

    @property
    def _origin(self) -> str:
        return f"arbiterctl, {self._peer}"

    def _scale(self, request: Request) -> Iterator[ev.Event]:
        text: str = request.arguments["to"]
        if text == "auto":
            return self._ask(request, Verb.SCALE_AUTO)
        digits = text.lstrip("+-")
        if len(text) - len(digits) > 1 or not digits.isascii() or not digits.isdigit() or len(digits) > 6:
            raise Fault(FaultKind.USAGE, f"{text!r} is not a number of workers: write N, +N, -N or auto")
        verb = {"+": Verb.SCALE_UP, "-": Verb.SCALE_DOWN}.get(text[0], Verb.SCALE)
        least, most = self._view.book.bounds
        if verb is Verb.SCALE and not least <= int(digits) <= most:
            raise Fault(FaultKind.REFUSED, f"there can be from {least} to {most} workers, not {int(digits)}")
        return self._ask(request, verb, goal=waits.Scaled(), amount=int(digits))

    def _recycle(self, request: Request) -> Iterator[ev.Event]:
        if request.arguments["worker"] == "all":
            keys = [child.key for child in self._view.book.serving()]
            if not keys:
                raise Fault(FaultKind.REFUSED, "no worker serves")
        else:
            keys = [self._view.find(request.arguments["worker"]).key]
        goal = waits.Departed(keys) if request.arguments["wait"] else None
        asked = [ev.Asked(Verb.RECYCLE, self._origin, key=key) for key in keys]
        return self._plane.ask(self, request.id, goal, *asked)

    def _show(self, request: Request) -> Iterable[ev.Event]:
        child = self._view.find(request.arguments["worker"])
        return self._answer(request, answers.show(self._view, child, self._now))

    def _stacks(self, request: Request) -> Iterable[ev.Event]:
        child = self._view.find(request.arguments["worker"])
        name, held = child.name, self._view.held(child.pid)

        def then(stacks: str) -> None:
            why = f"(it wrote none{': it is ' + held if held else ''})"
            self.settle(request.id, {"worker": name, "stacks": stacks or why})

        self._plane.hands.stacks(child.key, then)
        return ()

    def _events(self, request: Request) -> Iterable[ev.Event]:
        least = LEVELS.get(request.arguments["level"] or "", 0)
        kept = self._view.journal.recent(_count(request, 1000), least)
        if not request.arguments["follow"]:
            return self._answer(request, {"events": [happening.plain() for happening in kept]})
        if self._follower is not None:
            raise Fault(FaultKind.BUSY, "events are being followed already")
        for happening in kept:
            self.tell(request.id, happening)
        if not self._connection.closed:
            self._follow(request.id, least)
        return ()

    def _follow(self, number: int, least: int) -> None:
        def follow(happening: Happening) -> None:
            if happening.level >= least:
                self.tell(number, happening)

        self._follower, self._follows = follow, (number, least)
        self._view.journal.followers.append(follow)

    def _loglevel(self, request: Request) -> Iterable[ev.Event]:
        level = request.arguments["level"]
        self._plane.hands.log_level(level)  # a generator: not before the line that tells of it
        yield from self._answer(request, {"said": f"log level {level}, until the next reload"})

    def _check(self, request: Request) -> Iterable[ev.Event]:
        def then(problem: str) -> None:
            verdict = Fault(FaultKind.FAILED, problem) if problem else {"said": "the configuration is fine"}
            self.settle(request.id, verdict)

        if not self._plane.hands.check(then):
            raise Fault(FaultKind.BUSY, "a configuration is being checked already")
        return ()


OBEYED: Final[dict[str, Callable[[Session, Request], Iterable[ev.Event]]]] = {
    "status": lambda s, r: s._answer(r, answers.status(s._view, s._now)),
    "top": lambda s, r: s._answer(r, answers.status(s._view, s._now)),
    "show": Session._show,
    "stacks": Session._stacks,
    "slow": lambda s, r: s._answer(r, {"slow": s._view.journal.dumps(_count(r, 32))}),
    "events": Session._events,
    "reload": lambda s, r: s._ask(r, Verb.RELOAD, goal=waits.Reloaded()),
    "upgrade": lambda s, r: s._ask(r, Verb.UPGRADE, goal=waits.Upgraded()),
    "rollback": lambda s, r: s._ask(r, Verb.ROLLBACK, goal=waits.RolledBack()),
    "generations": lambda s, r: s._answer(r, answers.generations(s._view, s._now)),
    "scale": Session._scale,
    "recycle": Session._recycle,
    "drain": lambda s, r: s._ask(r, Verb.DRAIN),
    "undrain": lambda s, r: s._ask(r, Verb.UNDRAIN),
    "kill": lambda s, r: s._ask(r, Verb.KILL, key=s._view.find(r.arguments["worker"]).key),
    "reopen-logs": lambda s, r: s._ask(r, Verb.REOPEN_LOGS),
    "loglevel": Session._loglevel,
    "config": lambda s, r: s._answer(r, answers.config(s._view, r.arguments["name"])),
    "check": Session._check,
    "metrics": lambda s, r: s._answer(r, {"text": s._plane.hands.metrics()}),
    "stop": lambda s, r: s._ask(r, Verb.QUIT if r.arguments["now"] else Verb.STOP, goal=waits.Stopped()),
    "ping": lambda s, r: s._answer(r, answers.ping(s._view)),
    "version": lambda s, r: s._answer(r, answers.version()),
}
"""What a session does for each word."""


def _count(request: Request, default: int) -> int:
    count = request.arguments["count"]
    if count is None:
        return default
    if count < 1:
        raise Fault(FaultKind.USAGE, "count is at least 1")
    return int(count)
