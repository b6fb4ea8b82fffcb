"""How reloads prove themselves, when workers are replaced, and how a stop begins.

Neighbours: `config.table` collects it; `supervisor` acts on it. Its one rule: see `config.setting`.
"""

from __future__ import annotations

from typing import Final

from arbiter.config.quantities import Duration, Size
from arbiter.config.setting import Effect, Setting
from arbiter.config.surge import Surge
from arbiter.config.warmup import WarmUp

TITLE: Final = "Supervision"

SETTINGS: Final = (
    Setting(
        "reload_max_surge",
        Surge(),
        "25%",
        "How many workers of a new generation may start at once beside the old ones, as a number or a share "
        "of `workers`; at least one. The first always goes ahead alone.",
        flags=("--reload-max-surge",),
        effect=Effect.IN_PLACE,
    ),
    Setting(
        "reload_soak",
        Duration(),
        0.5,
        "Seconds a worker of a new generation serves beside its predecessor before that one drains. If it "
        "dies, or the new generation answers with 5xx more than three times as often as the old one (at "
        "least 20 requests, more than 2 %), the reload fails and the old generation stays. 0: no soak.",
        flags=("--reload-soak",),
        effect=Effect.IN_PLACE,
        least=0,
    ),
    Setting(
        "readiness_path",
        WarmUp(),
        None,
        "A path, or a URL whose host and scheme the application is to see, that every new worker is asked "
        "for through a private socket before it accepts anything. An answer of 400 or above, or none within "
        "`boot_timeout`, is a failed start: a reload is then off, and the log has status and body.",
        flags=("--readiness-path",),
        unset="a worker is ready when its application is loaded (ASGI: and its lifespan started)",
    ),
    Setting(
        "drain_delay",
        Duration(),
        0,
        "Seconds between a request to stop and the stop; everything goes on meanwhile, only readiness is "
        "withdrawn. For load balancers that notice late (Kubernetes). A second request skips the wait.",
        flags=("--drain-delay",),
        effect=Effect.IN_PLACE,
        least=0,
    ),
    Setting(
        "max_worker_age",
        Duration(),
        0,
        "Seconds after which a worker is replaced (its successor serves first). 0: never.",
        flags=("--max-worker-age",),
        effect=Effect.IN_PLACE,
        least=1,
        zero=True,
    ),
    Setting(
        "max_worker_memory",
        Size(),
        0,
        "Memory of a worker's own (USS, in bytes) beyond which it is replaced; its successor serves first. "
        "0: no limit.",
        flags=("--max-worker-memory",),
        effect=Effect.IN_PLACE,
        least=0,
    ),
    Setting(
        "max_worker_memory_hard",
        Size(),
        0,
        "Memory of a worker's own (USS, in bytes) beyond which it is drained at once, while its successor "
        "starts. 0: no limit.",
        flags=("--max-worker-memory-hard",),
        effect=Effect.IN_PLACE,
        least=0,
    ),
)
