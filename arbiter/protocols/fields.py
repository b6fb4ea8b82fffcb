"""The rules for header fields: what a field line may look like and which fields HTTP itself reads.

Neighbours: `http1.head` parses request fields with it, `http1.body` trailers, `http1.response` borrows its
tokens. Its one rule: a line is judged once, strictly (RFC 9110 5, RFC 9112 5), and the verdict is a pure
function of the line's bytes; so verdicts can be kept and shared between requests and nothing a peer sends
can bend them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from arbiter.errors import ArbiterError
from arbiter.protocols.events import BadRequest, Field, FieldKind
from arbiter.protocols.memo import Memo

CONTROLS = bytes(byte for byte in range(0x20) if byte != 0x09) + b"\x7f"
"""What no field value may hold: every control byte but HTAB (RFC 9110 5.5)."""

CONTENT_LENGTH = int(FieldKind.CONTENT_LENGTH)
TRANSFER_ENCODING = int(FieldKind.TRANSFER_ENCODING)
CONNECTION = int(FieldKind.CONNECTION)
EXPECT = int(FieldKind.EXPECT)
HOST = int(FieldKind.HOST)
UPGRADE = int(FieldKind.UPGRADE)
SECRET = int(FieldKind.SECRET)
FORWARDING = int(FieldKind.FORWARDING)
UNDERSCORE = int(FieldKind.UNDERSCORE)

is_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
"""RFC 9110 5.6.2: the alphabet of methods and field names."""

_LENGTH_DIGITS = 19
"""Digits of the largest Content-Length looked at: 10**19 - 1 is past every file and every limit."""

_is_host = re.compile(
    rb"(?: (?: [A-Za-z0-9\-._~!$&'()*+,;=] | %[0-9A-Fa-f]{2} )+ | \[ [0-9A-Fa-f:.]{2,45} \] )"
    rb"(?: : [0-9]{0,5} )?",
    re.VERBOSE,
).fullmatch
"""uri-host [":" port] of RFC 3986 3.2.2, without IPvFuture and zone identifiers."""


class Refusal(ArbiterError):
    """The peer broke the protocol; `fault` is the event that says so, for `Http1Connection.refuse`.

    `Http1Connection` turns it into that event; of the functions others call only `ForwardedPolicy.resolve`
    raises it.
    """

    def __init__(self, status: int, reason: str, detail: bytes = b"") -> None:
        super().__init__(status, reason)
        self.fault = BadRequest(status, reason, repr(bytes(detail[:200])) if detail else "")


_KINDS = {
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"expect": EXPECT,
    b"host": HOST,
    b"upgrade": UPGRADE,
    b"forwarded": FORWARDING,
}
_SECRET_HINTS = (b"auth", b"cookie", b"key", b"pass", b"secret", b"session", b"token")
"""A name with one of these in it names a value that is, or may be, a credential."""

_NOT_KEPT = (SECRET, UNDERSCORE)

_Name = tuple[bytes, int, str]
"""What is known of a field name: (lower-cased, kind, environ key)."""


def environ_key(name: bytes) -> str:
    """The CGI key of a lower-cased field name (RFC 3875 4.1.18); "" for `Proxy` (httpoxy, CVE-2016-5385)."""
    if name == b"proxy":
        return ""
    key = name.decode("ascii").upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") and b"_" not in name else "HTTP_" + key


def may_be_secret(name: bytes) -> bool:
    """Whether the values of a (lower-cased) field name are, or may be, credentials."""
    return any(hint in name for hint in _SECRET_HINTS)


def _classify(name: bytes) -> _Name:
    lower = name.lower()
    kind = _KINDS.get(lower, 0)
    if not kind:
        if b"_" in lower:
            kind = UNDERSCORE
        elif may_be_secret(lower):
            kind = SECRET
        elif lower.startswith(b"x-forwarded-"):
            kind = FORWARDING
    return lower, kind, environ_key(lower)


class _Names(Memo[bytes, _Name]):
    """Names as they came, to what they mean."""

    LONGEST = 64

    __slots__ = ()

    def make(self, key: bytes) -> _Name:
        if is_token(key) is None:
            raise _bad_name(key)
        return _classify(key)

    def keeps(self, key: bytes, value: _Name) -> bool:
        return len(key) <= self.LONGEST


def _bad_name(name: bytes) -> Refusal:
    if not name:
        return Refusal(400, "empty field name")
    if name[0] in b" \t":
        return Refusal(400, "obsolete line folding", name)
    if name[-1] in b" \t":
        return Refusal(400, "whitespace before colon", name)
    return Refusal(400, "bad field name", name)


def _check_length(value: bytes) -> None:
    if not value.isdigit() or len(value) > _LENGTH_DIGITS:
        raise Refusal(400, "bad content-length", value)


def _check_host(value: bytes) -> None:
    if value and _is_host(value) is None:
        raise Refusal(400, "bad host", value)


def _check_coding(value: bytes) -> None:
    """RFC 9112 6.1: only one `chunked` is served; other well-formed codings are 501, the rest 400."""
    codings = value.lower().split(b",")
    if codings == [b"chunked"]:
        return
    codings = [coding.strip(b" \t") for coding in codings]
    if any(is_token(coding) is None for coding in codings) or b"chunked" in codings[:-1] or len(codings) > 4:
        raise Refusal(400, "bad transfer-encoding", value)
    raise Refusal(501, "transfer coding not implemented", value)


_CHECKS = {CONTENT_LENGTH: _check_length, TRANSFER_ENCODING: _check_coding, HOST: _check_host}


def check_host(value: bytes) -> None:
    """Refuse a value that is not `uri-host [":" port]` (RFC 9112 3.2); raises `Refusal` 400. Empty passes."""
    _check_host(value)


def parse_field(line: bytes) -> Field:
    """Judge one field line, given without its CRLF; raises `Refusal` (RFC 9112 5)."""
    name, colon, value = line.partition(b":")
    if not colon:
        raise Refusal(400, "field line without a colon", line) if line[:1].strip() else _bad_name(line)
    lower, kind, key = _NAMES[name]
    value = value.strip(b" \t")
    if len(value.translate(None, CONTROLS)) != len(value):
        raise Refusal(400, "control byte in a field value", line)
    if kind in _CHECKS:
        _CHECKS[kind](value)
    # What Field(...) does in twice the time.
    return tuple.__new__(Field, ((lower, value), kind, key, value.decode("latin-1")))


class FieldCache(Memo[bytes, Field]):
    """Raw field lines to judged fields: `cache[line]` parses only what it has not seen.

    Clients repeat their lines, so one look-up replaces parsing. The key is the whole line, byte for byte,
    and the value depends on nothing else: what one peer sends cannot change what another's line means.
    Bounded in entries and in entry size (about 1 MiB at worst); secrets are never kept.
    """

    LONGEST = 256

    __slots__ = ()

    def make(self, key: bytes) -> Field:
        return parse_field(key)

    def keeps(self, key: bytes, value: Field) -> bool:
        return value[1] not in _NOT_KEPT and len(key) <= self.LONGEST


_NAMES = _Names()
FIELDS = FieldCache()
"""The cache of this process. Threads may share it: its operations are atomic, a lost entry costs a parse."""


def mark_forwarding(names: Iterable[bytes]) -> None:
    """Have these lower-cased names read as `FORWARDING` too: fields by which the operator's proxy speaks.

    Called while a worker is set up, before it reads; what is known of names and lines so far is forgotten.
    """
    new = {name: FORWARDING for name in names if name not in _KINDS}
    if any(_classify(name)[1] != FORWARDING for name in new):
        _KINDS.update(new)
        _NAMES.forget()
        FIELDS.forget()
