"""What a peer is allowed to grow, as plain numbers.

Neighbours: built from the settings by the worker, read by `http1`. Its one rule: every quantity a peer
controls has a bound here, and every bound says in which unit and with which status it is enforced.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Underscores(enum.Enum):
    """What becomes of a request field whose name holds `_` (it would collide with `-` in a CGI environ)."""

    DROP = "drop"
    REFUSE = "refuse"
    DANGEROUS = "dangerous"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one HTTP/1.x connection; sizes in bytes, 0 = no bound where that is allowed."""

    request_line: int = 4094
    """Longest request line without its CRLF -> 414."""
    fields: int = 100
    """Most header fields (and, apart, trailer fields) -> 431."""
    field_size: int = 8190
    """Longest field line without its CRLF; 0 = bounded by `head` alone -> 431."""
    head: int = 65536
    """Request line and all fields together -> 431; the same bound holds for a trailer section."""
    body: int = 0
    """Largest request body after decoding -> 413; 0 = no bound."""
    chunk_line: int = 1024
    """Longest chunk-size line with its extensions -> 400."""
    pipeline: int = 65536
    """Bytes kept of requests that arrive before the current one is answered; past it reading pauses."""
    drain: int = 65536
    """Bytes of an unread body that are read and thrown away to save the connection; past it, it closes."""
    underscores: Underscores = Underscores.DROP
    """What to do with field names that hold an underscore."""
    underscore_allowed: frozenset[bytes] = frozenset()
    """Lower-cased names with `_` that are let through all the same (set only for trusted peers)."""
    plain_head: int = field(init=False, repr=False)
    """A head up to this long cannot break a bound on length, so its lines need no measuring (derived)."""

    def __post_init__(self) -> None:
        bounds = (self.request_line, self.field_size or self.head, self.head)
        object.__setattr__(self, "plain_head", min(bounds))
