"""A generation: one configuration in force, and what was made of it.

Neighbours: `arbiter` keeps them by number, `spawn` makes workers of them. Its one rule: a generation never
changes; a reload makes the next one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from arbiter.config.snapshot import Config
from arbiter.hooks import ServerFace
from arbiter.supervisor.book import FOREVER, Rules
from arbiter.supervisor.listeners import Listener

SURGE_SHARE = 0.25
"""How many workers of a new generation may start at once, as a share of all; at least one."""


@dataclass(frozen=True, slots=True)
class Generation:
    """See the module's text."""

    number: int
    config: Config
    listeners: list[Listener]
    server: ServerFace

    @property
    def rules(self) -> Rules:
        """The numbers the policy goes by."""
        config = self.config
        return Rules(
            workers=config.workers,
            boot_timeout=config.boot_timeout or FOREVER,
            timeout=config.timeout,
            graceful_timeout=config.graceful_timeout,
            surge=max(1, math.floor(config.workers * SURGE_SHARE)),
            can_pause=config.daemon,
        )
