"""What only ASGI applications have: the event loop, the lifespan, WebSockets.

Neighbours: `config.table` collects it; the asgi dispatcher acts on it. Its one rule: see `config.setting`.
"""

from __future__ import annotations

from typing import Final

from arbiter.config.kinds import Choice, YesNo
from arbiter.config.quantities import Duration, Size
from arbiter.config.setting import Setting

TITLE: Final = "ASGI"

SETTINGS: Final = (
    Setting(
        "asgi_loop",
        Choice("auto", "asyncio", "uvloop"),
        "auto",
        "The event loop: `uvloop`, `asyncio`, or `auto` for uvloop if it is installed.",
        flags=("--asgi-loop",),
    ),
    Setting(
        "asgi_lifespan",
        Choice("auto", "on", "off", meanings={"true": "on", "yes": "on", "false": "off", "no": "off"}),
        "auto",
        "Whether the application is told of start and end: `on` (it must understand), `off`, or `auto` "
        "(if it does).",
        flags=("--asgi-lifespan",),
    ),
    Setting(
        "lifespan_timeout",
        Duration(),
        30,
        "Seconds the application has for the end of its lifespan once its last request is done. Its "
        "start is bounded by `boot_timeout`.",
        flags=("--lifespan-timeout",),
        least=0,
    ),
    Setting(
        "websocket_max_message_size",
        Size(),
        "16M",
        "Longest message a client may send, decompressed; above, the connection is closed with 1009. 0: "
        "no limit.",
        flags=("--websocket-max-message-size",),
        least=0,
    ),
    Setting(
        "websocket_ping_interval",
        Duration(),
        20,
        "Seconds between pings that keep a WebSocket alive and find a dead client. 0: no pings.",
        flags=("--websocket-ping-interval",),
        least=0,
    ),
    Setting(
        "websocket_ping_timeout",
        Duration(),
        20,
        "Seconds a client has to answer a ping; then the connection is closed. 0: no limit.",
        flags=("--websocket-ping-timeout",),
        least=0,
    ),
    Setting(
        "loop_lag_warning",
        Duration(),
        1,
        "Seconds for which the event loop may be held up before that is told in the log, with the line that "
        "held it up and for how long. 0: never.",
        flags=("--loop-lag-warning",),
        least=0.05,
        zero=True,
    ),
    Setting(
        "websocket_compression",
        YesNo(),
        True,
        "Offer permessage-deflate (RFC 7692) to clients that ask for it.",
        flags=("--websocket-compression",),
    ),
    Setting(
        "websocket_close_timeout",
        Duration(),
        5,
        "Seconds a client has to answer a close frame; then the connection is cut.",
        flags=("--websocket-close-timeout",),
        least=0,
    ),
)
