"""How many workers there are, of which kind, and how long they may take.

Neighbours: `config.table` collects it; `supervisor` and `workers` act on it. Its one rule: see
`config.setting`.
"""

from __future__ import annotations

from typing import Final

from arbiter.config.kinds import Choice
from arbiter.config.quantities import Duration, Integer, Workers
from arbiter.config.setting import Effect, Setting

TITLE: Final = "Workers"

_ASGI: Final = (
    "uvicorn",
    "uvicorn.workers.uvicornworker",
    "uvicorn.workers.uvicornh11worker",
    "uvicorn_worker.uvicornworker",
    "uvicorn_worker.uvicornh11worker",
    "uvicorn_worker._workers.uvicornworker",
    "gunicorn.workers.gasgi.asgiworker",
)
_GREEN: Final = (
    "arbiter has no workers on green threads. Use threaded (with threads) for a WSGI application, "
    "asgi for an ASGI one."
)

SETTINGS: Final = (
    Setting(
        "workers",
        Workers(),
        1,
        "How many worker processes serve. `auto` is one for each CPU that affinity and the control "
        "group's quota allow. With `workers_max`: how many there are at the start; if this is not set, "
        "`workers_min`.",
        flags=("-w", "--workers"),
        effect=Effect.IN_PLACE,
        variables=("WEB_CONCURRENCY",),
        least=1,
        most=4096,
    ),
    Setting(
        "workers_min",
        Integer(),
        1,
        "With `workers_max`: there are never fewer workers than this.",
        flags=("--workers-min",),
        effect=Effect.IN_PLACE,
        least=1,
        most=4096,
    ),
    Setting(
        "workers_max",
        Workers(),
        0,
        "Let the number of workers follow the load, from `workers_min` to this: more at once when requests "
        "ask for them and memory and processors allow it, fewer slowly when they do not (docs/autoscale.md). "
        "`auto` is one for each CPU. `arbiterctl scale`, TTIN and TTOU hold a number until "
        "`arbiterctl scale auto`. 0: there are `workers`.",
        flags=("--workers-max",),
        effect=Effect.IN_PLACE,
        least=1,
        most=4096,
        zero=True,
    ),
    Setting(
        "worker_class",
        Choice(
            "auto",
            "sync",
            "threaded",
            "asgi",
            meanings={
                "gthread": "threaded",
                "gunicorn.workers.gthread.threadworker": "threaded",
                "gunicorn.workers.sync.syncworker": "sync",
                **dict.fromkeys(_ASGI, "asgi"),
            },
            refused={
                **dict.fromkeys(
                    ("gevent", "gevent_wsgi", "gevent_pywsgi", "eventlet", "tornado", "meinheld"), _GREEN
                ),
                "egg:meinheld#gunicorn_worker": _GREEN,
            },
        ),
        "auto",
        "How a worker serves. `sync`: WSGI, one request at a time; `threaded`: WSGI, `threads` requests "
        "at a time; `asgi`: ASGI on asyncio; `auto`: what the application is (WSGI: threaded if "
        "`threads` is above 1). gunicorn's and uvicorn's names (`gthread`, "
        "`uvicorn.workers.UvicornWorker`) are understood.",
        flags=("-k", "--worker-class"),
    ),
    Setting(
        "threads",
        Integer(),
        1,
        "Threads per worker for a WSGI application; more than one makes a sync worker a threaded one.",
        flags=("--threads",),
        least=1,
        most=1024,
    ),
    Setting(
        "worker_connections",
        Integer(),
        1000,
        "Open connections per worker; above that the worker accepts no more, and they wait in the kernel.",
        flags=("--worker-connections",),
        least=1,
        most=1_000_000,
    ),
    Setting(
        "max_requests",
        Integer(),
        0,
        "After so many requests a worker is replaced (its successor serves first). 0: never.",
        flags=("--max-requests",),
        least=0,
    ),
    Setting(
        "max_requests_jitter",
        Integer(),
        0,
        "Up to so many requests are added to `max_requests`, at random, so that workers are not replaced "
        "together.",
        flags=("--max-requests-jitter",),
        least=0,
    ),
    Setting(
        "timeout",
        Duration(),
        30,
        "Seconds without a sign of life (sync, threaded: on one request) after which a worker is killed and "
        "replaced; its stacks are logged first. 0: never.",
        flags=("-t", "--timeout"),
        effect=Effect.IN_PLACE,
        least=0.5,
        zero=True,
    ),
    Setting(
        "request_timeout",
        Duration(),
        0,
        "Seconds a request may take, from its head to the end of its answer. asgi: the call is cancelled "
        "and, if nothing of an answer is out, 504 is sent; other requests go on. sync, threaded: as with "
        "`timeout`, whose place it takes for requests: the worker's stacks are logged, it is replaced, and "
        "what else it works on may end. A view that needs longer calls `arbiter.extend_deadline(seconds)`. "
        "0: never.",
        flags=("--request-timeout",),
        least=0.1,
        zero=True,
    ),
    Setting(
        "slow_request",
        Duration(),
        0,
        "Seconds after which a request still in work is told in the log, once, with the worker's stacks; "
        "it goes on. 0: never.",
        flags=("--slow-request",),
        effect=Effect.IN_PLACE,
        least=0.1,
        zero=True,
    ),
    Setting(
        "graceful_timeout",
        Duration(),
        30,
        "Seconds a worker that should stop has to finish the requests it has; what still runs then is "
        "cut and logged.",
        flags=("--graceful-timeout",),
        least=0,
    ),
    Setting(
        "boot_timeout",
        Duration(),
        60,
        "Seconds a new worker has until it is ready: import of the application and start of its "
        "lifespan. Then it is killed, and the start counts as failed. 0: no limit.",
        flags=("--boot-timeout",),
        effect=Effect.IN_PLACE,
        least=1,
        zero=True,
    ),
)
