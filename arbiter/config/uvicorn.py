"""Options of uvicorn that arbiter does not have, and what to write instead.

Neighbours: `options` answers with these sentences where a flag is not known. Its one rule: nothing here is
understood: a command line of uvicorn's is put right once, and does not half work. Flags that both have
(`--workers`, `--root-path`), or gunicorn and uvicorn (`--reload`, in `gunicorn`), are not here.
"""

from __future__ import annotations

from typing import Final

from arbiter.config.gunicorn import RELOAD

_BIND: Final = "Write -b HOST:PORT."
_FORWARDED: Final = (
    "Forwarded and X-Forwarded-* are believed of the peers in --forwarded-allow-ips, and of nobody with "
    "--forwarded-allow-ips ''."
)
_ACCESS: Final = "There is an access log only with --access-logfile FILE, or - for standard output."
_NO_TLS: Final = "arbiter does not speak TLS yet. Let a proxy in front do it."

INSTEAD: Final[dict[str, str]] = {
    "--host": _BIND,
    "--port": _BIND,
    "--uds": "Write -b unix:PATH.",
    "--fd": "Write -b fd://N.",
    "--factory": 'Call the factory in the name of the application: "module:factory()".',
    "--app-dir": "Write --chdir DIRECTORY, or --pythonpath DIRECTORY to only import from it.",
    "--proxy-headers": _FORWARDED,
    "--no-proxy-headers": _FORWARDED,
    "--interface": "Write -k asgi or -k sync; without it arbiter finds out.",
    "--loop": "Write --asgi-loop auto, asyncio or uvloop.",
    "--lifespan": "Write --asgi-lifespan auto, on or off.",
    "--http": "arbiter has one parser. Leave the option out.",
    "--ws": "arbiter speaks WebSocket by itself. Leave the option out.",
    "--ws-max-size": "Write --websocket-max-message-size SIZE.",
    "--ws-ping-interval": "Write --websocket-ping-interval SECONDS.",
    "--ws-ping-timeout": "Write --websocket-ping-timeout SECONDS.",
    "--ws-per-message-deflate": "Write --websocket-compression or --no-websocket-compression.",
    "--access-log": _ACCESS,
    "--no-access-log": _ACCESS,
    "--limit-concurrency": "Write --worker-connections COUNT: what is beyond it waits in the queue.",
    "--limit-max-requests": "Write --max-requests COUNT.",
    "--limit-max-requests-jitter": "Write --max-requests-jitter COUNT.",
    "--timeout-keep-alive": "Write --keep-alive SECONDS.",
    "--timeout-graceful-shutdown": "Write --graceful-timeout SECONDS.",
    "--timeout-worker-healthcheck": "Write --timeout SECONDS.",
    "--no-server-header": "Write --server-header ''.",
    "--reload-dir": RELOAD,
    "--reload-delay": RELOAD,
    "--reload-include": RELOAD,
    "--reload-exclude": RELOAD,
    "--ssl-keyfile": _NO_TLS,
    "--ssl-certfile": _NO_TLS,
    "--ssl-keyfile-password": _NO_TLS,
    "--ssl-cert-reqs": _NO_TLS,
    "--ssl-ca-certs": _NO_TLS,
    "--ssl-ciphers": _NO_TLS,
}
"""By flag."""
