"""What happens during the chaos: somebody who kills and hangs workers, and an operator, at the same time.

Each of them draws from a `random.Random` of their own, so a seed replays what is done, if not when the
machine gets to it.
"""

from __future__ import annotations

import random
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable

from tests.chaos.service import BROKEN, HANGING, WORKERS, Service, send
from tests.processes.server import DEADLINE, gone

Act = Callable[[], None]
FEWEST, MOST = 2, WORKERS + 2
"""Workers the operator scales to."""
NEXT = r"(?:reload|rollback) (?:done|failed)"


class Actor(threading.Thread):
    """Does one thing after the other until told to cease; `acts` is what, with how often.

    pause: the mean of the seconds between two acts.
    """

    def __init__(self, service: Service, seed: str, pause: float) -> None:
        super().__init__(daemon=True)
        self.service = service
        self.chance = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.problem: BaseException | None = None
        self.acts: dict[str, tuple[int, Act]] = {}
        self._pause = pause
        self._cease = threading.Event()

    def run(self) -> None:
        names, weights = list(self.acts), [weight for weight, _ in self.acts.values()]
        try:
            while not self._cease.wait(self.chance.expovariate(1 / self._pause)):
                (name,) = self.chance.choices(names, weights)
                self.acts[name][1]()
                self.done[name] += 1
        except BaseException as error:
            self.problem = error

    def cease(self) -> None:
        """End after what is under way."""
        self._cease.set()
        self.join(120.0)
        assert not self.is_alive(), "an act does not end"
        if self.problem is not None:
            raise self.problem


class Killer(Actor):
    """Kills and hangs processes."""

    def __init__(self, service: Service, seed: str, pause: float) -> None:
        super().__init__(service, seed, pause)
        self.acts = {
            "kill -9": (4, lambda: self._kill(signal.SIGKILL)),
            "SEGV from outside": (1, lambda: self._kill(signal.SIGSEGV)),
            "TERM of a worker": (2, self._term),
            "SIGSTOP for a while": (2, self._freeze),
            "kill -9 of the mold": (2, self._break_mold),
            **{path: (1, lambda path=path: self._hang(path)) for path in ("/sleep", "/spin", "/c-code")},
            **{path: (1, lambda path=path: self._hang(path)) for path in ("/leave", "/crash")},
        }

    def _victim(self) -> int | None:
        """Any worker: one that boots, serves or drains."""
        workers = sorted(self.service.server.workers())
        return self.chance.choice(workers) if workers else None

    def _kill(self, number: int) -> None:
        victim = self._victim()
        if victim is not None:
            self.service.kill(victim, number)

    def _term(self) -> None:
        """What an operator should not do, and what costs nothing all the same."""
        victim = self._victim()
        if victim is not None:
            send(victim, signal.SIGTERM)

    def _freeze(self) -> None:
        victim = self._victim()
        if victim is not None and self.service.stop(victim) is not None:
            self._cease.wait(self.chance.uniform(0.5, 3.5))
            send(victim, signal.SIGCONT)

    def _break_mold(self) -> None:
        for mold in sorted(self.service.server.molds()):
            send(mold, signal.SIGKILL)

    def _hang(self, path: str) -> None:
        """A request that does not come back; until its worker has been diagnosed and is gone."""
        server, name = self.service.server, f"trouble{sum(self.done.values())}"
        with socket.create_connection((server.host, server.port), timeout=DEADLINE) as sock:
            sock.sendall(f"GET {path}?{name} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            inflicted = self.service.hung(path, name)
            if inflicted is not None:
                assert gone(inflicted.pid, DEADLINE), f"worker {inflicted.pid} hangs ({path}) and lives on"


class Operator(Actor):
    """Reloads, rolls back and scales."""

    def __init__(self, service: Service, seed: str, pause: float) -> None:
        super().__init__(service, seed, pause)
        self.acts = {
            "reload": (4, self._reload),
            "reload, broken import": (2, lambda: self._fail(lead=BROKEN)),
            "reload, hanging import": (
                1,
                lambda: self._fail(lead=HANGING, settings="boot_timeout = 1\n"),
            ),
            "reload, bad setting": (2, lambda: self._fail(settings="workerz = 3\n")),
            "reload, not Python": (1, lambda: self._fail(settings="workers = (\n")),
            "reload, recycling": (2, lambda: self._reload(settings="max_requests = 200\n")),
            "three reloads at once": (1, self._burst),
            "rollback": (2, lambda: self._ctl("rollback")),
            "recycle": (2, self._recycle),
            "scale": (3, lambda: self._ctl("scale", str(self.chance.randint(FEWEST, MOST)))),
            "TTIN": (1, lambda: self._signal(signal.SIGTTIN)),
            "TTOU": (1, lambda: self._signal(signal.SIGTTOU)),
        }

    def _reload(self, settings: str = "") -> None:
        """It may fail: somebody may kill the worker that goes ahead."""
        self.service.deploy(settings=settings)
        self.service.reload(NEXT)

    def _fail(self, *, lead: str = "", settings: str = "") -> None:
        self.service.deploy(lead=lead, settings=settings)
        try:
            self.service.reload("reload failed")
        finally:
            self.service.deploy()

    def _burst(self) -> None:
        self.service.deploy()
        for _ in range(2):
            self._signal(signal.SIGHUP)
        self.service.reload(NEXT)

    def _recycle(self) -> None:
        self._ctl("recycle", str(self.chance.randint(1, WORKERS)))

    def _signal(self, number: int) -> None:
        """TTOU stops at one; the scale that follows sooner or later brings the rest back."""
        self.service.server.signal(number)

    def _ctl(self, *words: str) -> None:
        """It may be refused: there may be nothing to go back to, or that worker may have gone."""
        self.service.server.ctl(*words, status=None, timeout=90.0)
