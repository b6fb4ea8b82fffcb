"""A generation: one configuration in force, and what was made of it.

Neighbours: `arbiter` keeps them by number, `spawn` makes workers of them. Its one rule: a generation never
changes; a reload makes the next one.
"""

from __future__ import annotations

from dataclasses import dataclass

from arbiter.config.check import hooks_want_root
from arbiter.config.snapshot import Config
from arbiter.config.surge import surge_of
from arbiter.hooks import ServerFace
from arbiter.supervisor.book import FOREVER, Rules
from arbiter.supervisor.foundry import SUPPORTED
from arbiter.supervisor.listeners import Listener


def preload_of(config: Config) -> str:
    """The setting `preload_app` as far as it can be done here: "on", "auto" or "off"."""
    if not SUPPORTED or (config.preload_app == "auto" and hooks_want_root(config)):
        return "off"
    return config.preload_app


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
            graceful_timeout=config.graceful_timeout,
            surge=surge_of(config.reload_max_surge, config.workers),
            can_pause=config.daemon,
            soak=config.reload_soak,
            drain_delay=config.drain_delay,
            preload=preload_of(config),
            rollback_keep=config.rollback_keep,
            least=config.workers_min,
            most=config.workers_max,
        )
