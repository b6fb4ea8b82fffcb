"""The fields of an answer, as applications give them, to checked lines of its head.

Neighbours: `response` puts heads together from them; `gateways.wsgi` has a memo of its own for its pairs of
`str`. Its one rule: a line is checked before it is remembered (RFC 9110 5.1, 5.5), and what a field means
for the framing is found out in the same look; so an answer whose fields were given before costs one look-up
a field.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Final, TypeAlias

from arbiter.errors import ResponseError
from arbiter.protocols.fields import CONTROLS, is_token, may_be_secret
from arbiter.protocols.memo import Memo

PLAIN, LENGTH, DATE, SERVER, UPGRADE, DROP, CLOSE = range(7)
"""What a field is to its answer: nothing special, the four that have a say, hop-by-hop, and a `Connection`
that says close. From `UPGRADE` on they are not passed on (RFC 9110 7.6.1).
"""

_KINDS: Final = {
    b"content-length": LENGTH,
    b"date": DATE,
    b"server": SERVER,
    b"upgrade": UPGRADE,
    b"transfer-encoding": DROP,
    b"keep-alive": DROP,
    b"proxy-connection": DROP,
    b"te": DROP,
    b"connection": DROP,
}
_CHANGING: Final = frozenset(
    {
        *(b"date", b"etag", b"expires", b"last-modified", b"x-request-id"),
        *(b"location", b"content-location", b"refresh", b"link"),
    }
)
"""Fields whose values seldom come again, or are addresses that may be signed."""
_LENGTH_DIGITS: Final = 19
LONGEST: Final = 256
"""Bytes of name and value of a field that is remembered, at most."""
_SHORT_LENGTH: Final = 4
"""Digits of a Content-Length that is worth remembering."""

AnswerField: TypeAlias = tuple[bytes, int, int]
"""(line with its CRLF, kind, Content-Length or -1)."""


def judge(name: bytes, value: bytes) -> AnswerField:
    """Check one field; raises `ResponseError`, or TypeError where something else than bytes was given."""
    if not isinstance(name, bytes):
        raise TypeError(f"a name is bytes, not {type(name).__name__}")
    if is_token(name) is None:
        raise ResponseError(f"bad name of a response field: {name[:80]!r}")
    lower = name.lower()
    kind = _KINDS.get(lower, PLAIN)
    if kind == DROP:
        return b"", CLOSE if lower == b"connection" and _says_close(value) else DROP, -1
    length = _length_value(value) if kind == LENGTH else -1
    line = b"".join((name, b": ", value, b"\r\n"))
    if len(line) - len(line.translate(None, CONTROLS)) != 2:
        raise ResponseError(f"control byte in the response field {name.decode('ascii')}")
    return line, kind, length


def worth_keeping(name: bytes, size: int, field: AnswerField) -> bool:
    """Whether a judged field is likely to come again as it is, and may be kept.

    name: as it was given; size: of name and value. A credential stays nowhere longer than its answer.
    """
    _, kind, length = field
    if size > LONGEST or kind >= DROP:
        return False
    if kind == LENGTH:
        return length < 10**_SHORT_LENGTH
    lower = name.lower()
    return lower not in _CHANGING and not may_be_secret(lower)


def plain_lines(headers: Iterable[tuple[bytes, bytes]], dropped: Container[bytes] = ()) -> bytes:
    """The lines of an interim response or a trailer section, checked like those of an answer."""
    try:
        judged = [
            judge(name, value)
            for name, value in headers
            if name.lower() not in _KINDS and name.lower() not in dropped
        ]
    except (TypeError, ValueError, AttributeError) as error:
        raise ResponseError(f"the fields of a response are pairs: {error}") from error
    return b"".join(line for line, _, _ in judged)


def _length_value(value: bytes) -> int:
    if type(value) is not bytes or not value.isdigit() or len(value) > _LENGTH_DIGITS:
        raise ResponseError(f"bad content-length of a response: {value!r:.80}")
    return int(value)


def _says_close(value: bytes) -> bool:
    return b"close" in [option.strip(b" \t") for option in bytes(value).lower().split(b",")]


class AnswerFields(Memo[tuple[bytes, bytes], AnswerField]):
    """Pairs of bytes to their lines."""

    __slots__ = ()

    def make(self, key: tuple[bytes, bytes]) -> AnswerField:
        name, value = key
        return judge(name, value)

    def keeps(self, key: tuple[bytes, bytes], value: AnswerField) -> bool:
        # Nothing but plain bytes: a subclass may be equal to what it is not, and a memoryview holds more.
        if type(key) is not tuple or type(key[0]) is not bytes or type(key[1]) is not bytes:
            return False
        return worth_keeping(key[0], len(key[0]) + len(key[1]), value)


FIELDS: Final = AnswerFields()
"""Of this process."""
