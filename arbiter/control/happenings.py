"""The names of what an arbiter says, once.

Neighbours: `supervisor.policy` says them, `arbiterctl events` and the JSON log show them, docs/control.md is
made from this table. Its one rule: a name is stable and says what happened, its record's text says why; a
program goes by the name.
"""

from __future__ import annotations

from typing import Final

HAPPENINGS: Final[dict[str, str]] = {
    "arbiter.ready": "the first full set of workers serves",
    "arbiter.leaving": "a stop was asked for and begins after `drain_delay`",
    "arbiter.stopping": "a stop has begun",
    "arbiter.paused": "all workers stop, the arbiter stays",
    "arbiter.ignored": "something was asked for that cannot be done now",
    "readiness.off": "`/readyz` says no, by an operator's word",
    "readiness.on": "and yes again",
    "reload.reading": "a reload was asked for; the configuration is being read",
    "reload.superseded": "a newer reload takes the place of the one under way",
    "reload.starting": "the configuration was accepted; workers of the new generation start",
    "reload.refused": "the configuration was refused; nothing has changed",
    "reload.failed": "the new generation does not start or does not serve well; the old one goes on",
    "reload.done": "the new generation is in force",
    "upgrade.asked": "arbiter itself is to be replaced; what is installed now is proving itself",
    "upgrade.refused": "it did not, and why; nothing has changed",
    "upgrade.proved": "it did: it takes over as soon as nothing is half done",
    "upgrade.done": "the new program has taken over; workers are replaced by a reload",
    "mold.ready": "a mold has loaded the application; workers are forked from it",
    "mold.shares": "the first full set of workers serves, and this is what they share",
    "mold.unsafe": "the application does not survive a fork, and why",
    "mold.failed": "a mold could not be made; if it is that of the generation in force, the alarm",
    "mold.hangs": "a mold is not ready within `boot_timeout`, with its stacks; or it does not fork",
    "mold.died": "a mold has gone unasked; the workers go on",
    "rollback.asked": "the generation before is to come back",
    "rollback.starting": "workers of the generation before start",
    "rollback.refused": "it cannot be had: one of its addresses is in use",
    "rollback.failed": "it does not come back; the present one goes on",
    "rollback.done": "it is in force again",
    "rollback.over": "the generation before is kept no longer",
    "scale": "the number of workers has changed",
    "scale.auto": "the number of workers follows the load, and by which figures",
    "scale.limited": "the load needs more workers than there can be: `workers_max`, memory or processors",
    "worker.ready": "a worker serves",
    "worker.retiring": "a worker is to be replaced, and why",
    "worker.ended": "a worker that was told to go has gone",
    "worker.died": "a worker has gone unasked: how, and what was in work",
    "worker.boot_failed": "a worker did not start, and when the next try is",
    "worker.boot_hangs": "a worker is not ready within `boot_timeout`; with its stacks",
    "worker.stuck": "a worker is late beyond `timeout`; with its stacks",
    "worker.late": "a worker is late through no fault of its own (stopped, traced, starved): left alone",
    "worker.killed": "a worker is killed, by an operator's word or because it did not end in time",
    "worker.unkillable": "a killed worker is still there: the kernel holds it",
    "request.slow": "a request is in work for longer than `slow_request`; with its stacks",
    "request.poison": "several workers died while the same request was in work",
    "logs.reopened": "USR1: the log files are open anew",
    "logs.failed": "the arbiter could not open one; the old one is in use",
    "control.act": "somebody changes something through the control socket, or is `refused`, and why",
    "control.denied": "somebody was turned away from it",
    "policy.impossible": "a worker did what cannot be: a bug in arbiter",
}
"""Each name and its meaning."""
