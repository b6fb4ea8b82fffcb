"""What goes over the control socket: frames of JSON, requests and answers. No socket here.

Neighbours: `supervisor.plane` speaks it as the server, `client` as the client. Its one rule: a peer's bytes
are bounded before they are believed; what cannot be understood is one clear fault.

A frame is four bytes of length (big endian) and that many bytes of a JSON object in UTF-8. A request is
{"id": 7, "word": "reload", "with": {"wait": true}}. Any number of {"id": 7, "progress": {...}} may follow,
then one {"id": 7, "result": {...}} or {"id": 7, "fault": {"kind": ..., "message": ...}}.
"""

from __future__ import annotations

import enum
import json
import struct
from dataclasses import dataclass
from typing import Any, Final

from arbiter.control.commands import WORDS, Command, Parameter

MAX_REQUEST: Final = 16 * 1024
"""Bytes of a request's JSON."""
MAX_ANSWER: Final = 4 * 1024 * 1024
"""Bytes of an answer's JSON."""
_LENGTH: Final = struct.Struct("!I")


class FaultKind(enum.Enum):
    """Why a word was not obeyed. Each is an exit status of `arbiterctl` (see `errors.ControlStatus`)."""

    USAGE = "usage"
    """The request cannot be understood."""
    FORBIDDEN = "forbidden"
    """The peer's role does not suffice."""
    REFUSED = "refused"
    """It cannot be done now: no such worker, the arbiter is stopping."""
    FAILED = "failed"
    """It was done and did not succeed: a reload of a broken application."""
    BUSY = "busy"
    """Too much is asked for at once."""
    FULL = "full"
    """There is no room for this connection; whatever was asked over it has not been heard. Ask again."""


class Fault(Exception):
    """A word that is not obeyed, and why."""

    def __init__(self, kind: FaultKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Request:
    """A word with its arguments, all of them checked against the table."""

    id: int
    command: Command
    arguments: dict[str, Any]


class Frames:
    """Bytes to objects; holds at most one incomplete frame of `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()

    @property
    def incomplete(self) -> bool:
        """Whether part of a frame is held."""
        return bool(self._held)

    @property
    def held(self) -> bytes:
        """That part."""
        return bytes(self._held)

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The objects that `data` completes. Raises `Fault` for what is not a frame; then all is lost."""
        self._held += data
        found = []
        while len(self._held) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._held)
            if length > self._limit:
                raise Fault(FaultKind.USAGE, f"a frame of {length} bytes; at most {self._limit} are read")
            end = _LENGTH.size + length
            if len(self._held) < end:
                break
            found.append(_object(bytes(self._held[_LENGTH.size : end])))
            del self._held[:end]
        return found


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise Fault(FaultKind.USAGE, "not JSON") from None
    if not isinstance(value, dict):
        raise Fault(FaultKind.USAGE, "not a JSON object")
    return value


def frame(message: dict[str, Any]) -> bytes:
    """One object as bytes."""
    data = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")
    return _LENGTH.pack(len(data)) + data


def request(number: int, word: str, arguments: dict[str, Any]) -> bytes:
    """A request as bytes."""
    return frame({"id": number, "word": word, "with": arguments})


def progress(number: int, what: dict[str, Any]) -> bytes:
    """One step of a request that goes on."""
    return frame({"id": number, "progress": what})


def result(number: int, what: dict[str, Any]) -> bytes:
    """The end of a request that was obeyed."""
    return frame({"id": number, "result": what})


def fault(number: int, what: Fault) -> bytes:
    """The end of one that was not."""
    return frame({"id": number, "fault": {"kind": what.kind.value, "message": str(what)}})


def read_request(message: dict[str, Any]) -> Request:
    """Check a request against the table of commands. Raises `Fault`."""
    number, word, arguments = message.get("id"), message.get("word"), message.get("with", {})
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 1 << 53:
        raise Fault(FaultKind.USAGE, "a request has a number for its id")
    command = WORDS.get(word) if isinstance(word, str) else None
    if command is None:
        raise Fault(FaultKind.USAGE, f"there is no word {str(word)[:40]!r}")
    if not isinstance(arguments, dict):
        raise Fault(FaultKind.USAGE, "the arguments of a request are an object")
    known = {parameter.name: parameter for parameter in command.parameters}
    for name in arguments:
        if name not in known:
            raise Fault(FaultKind.USAGE, f"{command.word} has no parameter {name[:40]!r}")
    values = {name: _argument(parameter, arguments.get(name)) for name, parameter in known.items()}
    return Request(number, command, values)


def _argument(parameter: Parameter, value: object) -> Any:
    if value is None:
        if parameter.required and not parameter.flags:
            raise Fault(FaultKind.USAGE, f"{parameter.name} is missing")
        return False if parameter.kind == "switch" else None
    wanted = {"switch": bool, "number": int, "text": str}[parameter.kind]
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise Fault(FaultKind.USAGE, f"{parameter.name} is not a {parameter.kind}")
    if isinstance(value, str) and (len(value) > 200 or not value.isprintable()):
        raise Fault(FaultKind.USAGE, f"{parameter.name} is not a word of at most 200 characters")
    if parameter.choices and value not in parameter.choices:
        raise Fault(FaultKind.USAGE, f"{parameter.name} is one of {', '.join(parameter.choices)}")
    return value
