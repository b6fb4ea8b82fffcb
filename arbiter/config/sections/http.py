"""What a client may send, how long it may take, and how it is answered.

Neighbours: `config.table` collects it; `workers.limits` turns it into plain numbers. Its one rule: see
`config.setting`.
"""

from __future__ import annotations

from typing import Final

from arbiter.config.kinds import Choice, YesNo
from arbiter.config.network import FieldValue
from arbiter.config.quantities import Duration, Integer, Size
from arbiter.config.setting import Setting
from arbiter.config.system import Path

TITLE: Final = "HTTP"

SETTINGS: Final = (
    Setting(
        "keepalive",
        Duration(),
        2,
        "Seconds a connection may be idle between two requests. Behind a proxy that keeps connections, "
        "choose more than the proxy does. 0: one request per connection.",
        flags=("--keep-alive",),
        least=0,
    ),
    Setting(
        "header_timeout",
        Duration(),
        10,
        "Seconds a client has to send the whole head of a request; then 408, or silence if it sent nothing. "
        "0: no limit.",
        flags=("--header-timeout",),
        least=0.1,
        zero=True,
    ),
    Setting(
        "body_timeout",
        Duration(),
        30,
        "Seconds of silence within a request's body; then 408. 0: no limit.",
        flags=("--body-timeout",),
        least=0.1,
        zero=True,
    ),
    Setting(
        "body_min_rate",
        Size(),
        240,
        "Bytes per second that a request's body must amount to on the average once `body_timeout` has "
        "gone by; slower: 408. 0: any rate.",
        flags=("--body-min-rate",),
        least=0,
    ),
    Setting(
        "send_timeout",
        Duration(),
        60,
        "Seconds a client may take none of its answer; then the connection is cut. 0: no limit.",
        flags=("--send-timeout",),
        least=0.1,
        zero=True,
    ),
    Setting(
        "limit_request_line",
        Size(),
        4094,
        "Longest request line; above: 414. 0: bounded by `limit_request_head` alone.",
        flags=("--limit-request-line",),
        least=16,
        most=1 << 24,
        zero=True,
    ),
    Setting(
        "limit_request_fields",
        Integer(),
        100,
        "Most header fields of a request, and most trailer fields; above: 431.",
        flags=("--limit-request-fields",),
        least=1,
        most=32768,
    ),
    Setting(
        "limit_request_field_size",
        Size(),
        8190,
        "Longest header field; above: 431. 0: bounded by `limit_request_head` alone.",
        flags=("--limit-request-field_size", "--limit-request-field-size"),
        least=16,
        most=1 << 24,
        zero=True,
    ),
    Setting(
        "limit_request_head",
        Size(),
        "64K",
        "Longest head of a request, its line and all its fields; above: 431. Trailers have the same bound.",
        flags=("--limit-request-head",),
        least=512,
        most=1 << 24,
    ),
    Setting(
        "limit_request_body",
        Size(),
        0,
        "Longest body of a request; above: 413. 0: no limit.",
        flags=("--limit-request-body",),
        least=0,
    ),
    Setting(
        "limit_request_drain",
        Size(),
        "64K",
        "How much of a body that the application did not read is read and thrown away, so that the "
        "connection can be used again; above, the connection is closed.",
        flags=("--limit-request-drain",),
        least=0,
    ),
    Setting(
        "limit_request_pipeline",
        Size(),
        "64K",
        "How much is kept of requests that a client sends before it has the answer to the one before; above, "
        "arbiter stops reading from it until there is room.",
        flags=("--limit-request-pipeline",),
        least=512,
        most=1 << 24,
    ),
    Setting(
        "limit_request_chunk_line",
        Size(),
        1024,
        "Longest line with the size of a chunk, its extensions included; above: 400.",
        flags=("--limit-request-chunk-line",),
        least=16,
        most=1 << 20,
    ),
    Setting(
        "body_spool",
        Size(),
        "1M",
        "Request bodies longer than this are kept in a temporary file while a WSGI application waits for "
        "them.",
        flags=("--body-spool",),
        least=0,
    ),
    Setting(
        "tmp_upload_dir",
        Path(),
        None,
        "The directory of these temporary files.",
        flags=("--tmp-upload-dir",),
        unset="the system's (`TMPDIR`, `/tmp`)",
    ),
    Setting(
        "sendfile",
        YesNo(),
        True,
        "Send files with `sendfile(2)` where the interface allows it.",
        flags=("--sendfile",),
    ),
    Setting(
        "server_header",
        FieldValue(),
        "arbiter",
        "The `Server` field of answers; empty: none.",
        flags=("--server-header",),
    ),
    Setting(
        "header_map",
        Choice("drop", "refuse", "dangerous"),
        "drop",
        "What becomes of a request field whose name has an underscore, which in a WSGI environ cannot be "
        "told from one with a hyphen: `drop` it, `refuse` the request, or let it through, which is "
        "`dangerous`.",
        flags=("--header-map",),
    ),
)
