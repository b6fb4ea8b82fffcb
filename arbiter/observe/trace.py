"""What ties the records of one request together: its id, and the trace it is part of.

Neighbours: the worker kinds have `RequestIds` give each request its id before the application sees it;
`access` puts id and trace into its lines. Its one rule: an id is only taken from a peer that is trusted, and
only if it could be no trouble in a log, a header or a file name.

Sources: W3C Trace Context (level 1) section 3.2 for traceparent; X-Request-ID has no specification.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable
from typing import Final

from arbiter.protocols.events import Field, Request

_usable = re.compile(rb"[0-9A-Za-z._~+/=:@-]{1,128}").fullmatch
_traceparent = re.compile(
    rb"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-[0-9a-f]{2}(?P<more>-.*)?"
).fullmatch
_LONGEST: Final = 256


class RequestIds:
    """Gives requests their ids, in the field `header` ("X-Request-ID").

    The id a trusted peer sent is kept; else one is made: 24 hex digits of the worker and 8 that count. From
    then on the request has exactly one such field, as if the client had sent it, so an application finds it
    where it would look for it (`HTTP_X_REQUEST_ID`, `scope["headers"]`).
    """

    def __init__(self, header: str) -> None:
        self.name = header.lower().encode("ascii")
        self._key = "HTTP_" + header.upper().replace("-", "_")
        self._prefix = os.urandom(12).hex()
        self._count = itertools.count(1)

    def assign(self, request: Request, trusted: bool) -> Request:
        """The request with its id."""
        name = self.name
        sent = [field for field in request.fields if field.pair[0] == name]
        if trusted and len(sent) == 1 and _usable(sent[0].pair[1]):
            return request
        text = f"{self._prefix}{next(self._count) & 0xFFFFFFFF:08x}"
        others = [field for field in request.fields if field.pair[0] != name]
        return request.with_fields([*others, Field((name, text.encode("ascii")), 0, self._key, text)])

    def of(self, fields: Iterable[Field]) -> str:
        """The id in a request's fields, "" if it has none yet."""
        return next((field.text for field in fields if field.pair[0] == self.name), "")


def trace(traceparent: bytes | None) -> tuple[str, str] | None:
    """(trace-id, parent-id) of a traceparent field; None if there is none, or none that is valid."""
    if not traceparent or len(traceparent) > _LONGEST:
        return None
    found = _traceparent(traceparent)
    if found is None or found["version"] == b"ff" or (found["version"] == b"00" and found["more"]):
        return None
    trace_id, parent = found["trace"].decode("ascii"), found["parent"].decode("ascii")
    if not trace_id.strip("0") or not parent.strip("0"):
        return None
    return trace_id, parent


def about(request: Request | None, peer: str | None, ids: RequestIds | None = None) -> dict[str, str]:
    """The fields of a record about a request: method, target, client, request_id, trace_id, parent_id."""
    if request is None:
        return {"client": peer or ""}
    found = {"method": request.method, "target": request.target.decode("latin-1"), "client": peer or ""}
    if ids is not None and (known := ids.of(request.fields)):
        found["request_id"] = known
    for field in request.fields:
        if field.pair[0] == b"traceparent" and (traced := trace(field.pair[1])):
            found["trace_id"], found["parent_id"] = traced
    return found
