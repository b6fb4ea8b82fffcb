"""The head of an HTTP/1.x request: bytes to `Request`.

Neighbours: uses `fields` for the lines; `connection` finds the end of the head and calls `parse_head`, or
`scan_head` while the head is incomplete. Its one rule: `parse_head` is the only judge of a complete head,
and `scan_head` refuses nothing that `parse_head` would have let through, so no split of the bytes changes a
verdict.

Policy on the request-target (RFC 9112 3.2): control bytes, space and "#" are refused; bytes above 0x7F,
which RFC 3986 does not allow but browsers and old clients send raw, are passed through untouched in target,
path and query.
"""

from __future__ import annotations

import re

from arbiter.protocols.events import Field, Kept, Request
from arbiter.protocols.fields import (
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    FIELDS,
    FORWARDING,
    HOST,
    SECRET,
    TRANSFER_ENCODING,
    UNDERSCORE,
    UPGRADE,
    Refusal,
    check_host,
    is_token,
    parse_field,
)
from arbiter.protocols.limits import Limits, Underscores

_METHODS = {
    method.encode("ascii"): method
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "REPORT", "PURGE")
}
"""Methods whose str is at hand; any other token passes just as well (CONNECT is not among them on
purpose).
"""

_NOT_IN_TARGET = bytes(range(0x21)) + b"\x7f#"
_is_version = re.compile(rb"HTTP/[0-9]\.[0-9]").fullmatch
_TLS_HANDSHAKE = 0x16
_CR = 0x0D
_SLASH = 0x2F


def parse_head(head: bytes, limits: Limits) -> Request:
    """Judge a complete head, given without its final CRLF CRLF; raises `Refusal` (RFC 9112 3 to 6)."""
    lines = head.split(b"\r\n")
    request = Request()
    _read_request_line(lines.pop(0), request)
    if len(lines) > limits.fields:
        raise Refusal(431, "too many header fields")
    fields = request.fields = list(map(FIELDS.__getitem__, lines))
    request.length = 0
    request.upgrade = b""
    request.chunked = request.expect_continue = request.forwarded = False
    request.ended = True
    request.kept = None
    hosts = 0
    special: list[Field] | None = None
    for field in fields:
        kind = field[1]
        if kind:
            if kind == HOST:
                hosts += 1
            elif kind == CONNECTION and field[0][1] == b"keep-alive" and request.keep_alive:
                pass  # every browser's line, and in HTTP/1.1 without effect
            elif kind != SECRET:
                if special is None:
                    special = []
                special.append(field)
    if hosts != 1 and (hosts or request.version == "1.1"):
        raise Refusal(400, "more than one host field" if hosts else "missing host field")
    if special is not None:
        _read_special_fields(request, special, limits)
    if request.path[0] != _SLASH:
        _read_other_target(request)
    return request


def parse_head_again(line: bytes, before: Request) -> Request | None:
    """Judge the request line of a head whose other lines were the same `before`.

    None where more than those lines had a say then, or has now: ask `parse_head`. Raises `Refusal`.
    """
    if before.target[0] != _SLASH or before.expect_continue:
        return None
    request = Request()
    _read_request_line(line, request)
    if request.version != before.version or request.target[0] != _SLASH:
        return None
    if before.kept is None:
        before.kept = Kept()
    request.fields = before.fields
    request.length = before.length
    request.chunked = before.chunked
    request.ended = before.ended
    request.expect_continue = False
    request.forwarded = before.forwarded
    request.keep_alive = before.keep_alive
    request.upgrade = before.upgrade
    request.kept = before.kept
    return request


def _read_request_line(line: bytes, request: Request) -> None:
    """RFC 9112 3: exactly method SP request-target SP HTTP-version."""
    try:
        method, target, version = line.split(b" ")
    except ValueError:
        raise _bad_request_line(line) from None
    name = _METHODS.get(method)
    request.method = _other_method(method, line) if name is None else name
    if version == b"HTTP/1.1":
        request.version = "1.1"
        request.keep_alive = True
    else:
        _check_version(version)
        request.version = "1.0"
        request.keep_alive = False
    if not target or len(target.translate(None, _NOT_IN_TARGET)) != len(target):
        raise Refusal(400, "bad request-target", target)
    request.target = target
    request.path, _, request.query = target.partition(b"?")
    if not request.path:
        raise Refusal(400, "bad request-target", target)


def _bad_request_line(line: bytes) -> Refusal:
    if line.count(b" ") == 1 and line.split(b" ")[1][:1] == b"/":
        return Refusal(400, "HTTP/0.9 is not served", line)
    return Refusal(400, "malformed request line", line)


def _other_method(method: bytes, line: bytes) -> str:
    """Unknown methods are the application's business (RFC 9110 9.1); only CONNECT would change the
    connection.
    """
    if is_token(method) is None:
        raise Refusal(400, "malformed request line", line)
    if method == b"CONNECT":
        raise Refusal(405, "CONNECT is not served")
    return method.decode("ascii")


def _check_version(version: bytes) -> None:
    if version == b"HTTP/1.0":
        return
    if _is_version(version) is None:
        raise Refusal(400, "malformed HTTP version", version)
    raise Refusal(505, "only HTTP/1.0 and HTTP/1.1 are served here", version)


def _read_special_fields(request: Request, special: list[Field], limits: Limits) -> None:
    """The fields HTTP itself reads, and the framing they decide (RFC 9112 6.3)."""
    lengths = codings = underscores = 0
    connection: list[bytes] = []
    upgrade: list[bytes] = []
    for field in special:
        value = field[0][1]
        kind = field[1]
        if kind == CONNECTION:
            connection.append(value.lower())
        elif kind == CONTENT_LENGTH:
            lengths += 1
            request.length = int(value)
        elif kind == TRANSFER_ENCODING:
            codings += 1
        elif kind == FORWARDING:
            request.forwarded = True
        elif kind == UPGRADE:
            upgrade.append(value.lower())
        elif kind == EXPECT:
            _read_expectation(request, value)
        elif kind == UNDERSCORE:
            underscores += 1
    if lengths or codings:
        _decide_framing(request, lengths, codings, limits)
    if connection:
        _read_connection(request, connection, upgrade)
    if underscores:
        _treat_underscores(request, limits)
    if request.ended:
        request.expect_continue = False


def _decide_framing(request: Request, lengths: int, codings: int, limits: Limits) -> None:
    """One framing or a refusal: every ambiguity here is request smuggling (RFC 9112 6.1, 6.3, 11.2)."""
    if codings:
        if lengths:
            raise Refusal(400, "both transfer-encoding and content-length")
        if codings > 1:
            raise Refusal(400, "repeated transfer-encoding")
        if request.version != "1.1":
            raise Refusal(400, "transfer-encoding in HTTP/1.0")
        request.chunked = True
        request.length = -1
        request.ended = False
        return
    if lengths > 1:
        raise Refusal(400, "repeated content-length")
    if limits.body and request.length > limits.body:
        raise Refusal(413, "request body too large")
    request.ended = not request.length


def _read_expectation(request: Request, value: bytes) -> None:
    """RFC 9110 10.1.1: an expectation of an HTTP/1.0 client is ignored, one we do not know is refused."""
    if request.version != "1.1":
        return
    if value.lower() != b"100-continue":
        raise Refusal(417, "unknown expectation", value)
    request.expect_continue = True


def _read_connection(request: Request, values: list[bytes], upgrade: list[bytes]) -> None:
    """RFC 9112 9.3: `close` wins wherever it stands; `keep-alive` matters to HTTP/1.0 only."""
    if values == [b"keep-alive"]:
        request.keep_alive = True
        return
    options = {option.strip(b" \t") for value in values for option in value.split(b",")}
    if b"close" in options:
        request.keep_alive = False
    elif b"keep-alive" in options:
        request.keep_alive = True
    if b"upgrade" in options and request.version == "1.1":
        request.upgrade = b", ".join(upgrade)


def _treat_underscores(request: Request, limits: Limits) -> None:
    """`A_B` and `A-B` share one environ key: whoever may send the first could pass for the second."""
    policy = limits.underscores
    if policy is Underscores.DANGEROUS:
        return
    allowed = limits.underscore_allowed
    kept = [field for field in request.fields if field.kind != UNDERSCORE or field.pair[0] in allowed]
    if policy is Underscores.REFUSE and len(kept) != len(request.fields):
        raise Refusal(400, "underscore in a field name")
    request.fields = kept


def _read_other_target(request: Request) -> None:
    """The asterisk-form and the absolute-form (RFC 9112 3.2.2, 3.2.4); the authority-form is CONNECT's
    alone.
    """
    target = request.target
    if target == b"*":
        if request.method != "OPTIONS":
            raise Refusal(400, "asterisk-form is for OPTIONS only")
        return
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        raise Refusal(400, "bad request-target", target)
    before_query, question, query = rest.partition(b"?")
    authority, slash, path = before_query.partition(b"/")
    if not authority:
        raise Refusal(400, "bad request-target", target)
    check_host(authority)
    request.query = query
    request.path = slash + path
    if not slash:
        request.path = b"*" if request.method == "OPTIONS" and not question else b"/"
    host = parse_field(b"Host: " + authority)
    fields: list[Field] = [host if field.kind == HOST else field for field in request.fields]
    if request.version == "1.0" and host not in fields:
        fields.insert(0, host)
    request.fields = fields


def scan_head(data: bytes, line_start: int, limits: Limits) -> tuple[int, int]:
    """Look for the end of a head that may be incomplete, from `line_start`, the first line not yet complete.

    Returns (end, line_start): `end` is the index of the empty line's CRLF, -1 when it has not come, and
    `line_start` where to go on. Raises `Refusal` as soon as the bytes seen decide it: what is not HTTP at the
    first byte, a bad request line at its end, a bare LF, and 414 or 431 where a bound is passed.
    """
    if not line_start:
        line_start = _scan_request_line(data, limits)
        if not line_start:
            return -1, 0
    return _scan_lines(data, line_start, limits)


def scan_trailers(data: bytes, line_start: int, limits: Limits) -> tuple[int, int]:
    """Like `scan_head` for a trailer section, which may be empty and has no first line of its own."""
    return _scan_lines(data, line_start, limits)


def _scan_request_line(data: bytes, limits: Limits) -> int:
    """Where the first field line starts, 0 while the request line is incomplete."""
    if not data:
        return 0
    if data[0] == _TLS_HANDSHAKE:
        raise Refusal(400, "this port speaks plain HTTP, not TLS")
    if data[0] != _CR and is_token(data[:1]) is None and data[0] != 0x0A:
        raise Refusal(400, "malformed request line", data[:1])
    bound = min(limits.request_line, limits.head)
    newline = data.find(b"\n", 0, bound + 2)
    if newline < 0:
        if len(data) >= bound + 2:
            raise Refusal(414, "request line too long")
        return 0
    _check_line_end(data, 0, newline)
    _read_request_line(data[: newline - 1], Request())
    return newline + 1


def _scan_lines(data: bytes, line_start: int, limits: Limits) -> tuple[int, int]:
    while True:
        ending = data[line_start : line_start + 2]
        if ending == b"\r\n":
            return line_start, line_start
        if ending in (b"", b"\r"):
            return -1, line_start
        bound = min(limits.field_size or limits.head, limits.head - line_start)
        newline = data.find(b"\n", line_start, line_start + bound + 2)
        if newline < 0:
            if len(data) >= line_start + bound + 2:
                raise Refusal(431, "header fields too large")
            return -1, line_start
        _check_line_end(data, line_start, newline)
        line_start = newline + 1


def _check_line_end(data: bytes, line_start: int, newline: int) -> None:
    if newline == line_start or data[newline - 1] != _CR:
        raise Refusal(400, "bare LF")
