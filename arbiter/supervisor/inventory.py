"""All that an arbiter would hand over, gathered from where it lies; and put there again by the next one.

Neighbours: `arbiter` has one, `handover.State` is what it makes, `heir` has it adopt that. Its one rule:
gathering changes nothing, so that a program which cannot hand over goes on as if nobody had asked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from arbiter.config.memory import remember
from arbiter.hooks import WorkerFace
from arbiter.link.stacks import StackFile
from arbiter.observe.logs import Log
from arbiter.supervisor.dumps import Dumps
from arbiter.supervisor.estate import Estate
from arbiter.supervisor.foundry import Foundry
from arbiter.supervisor.generation import Generation
from arbiter.supervisor.handover import GenerationRecord, ListenerRecord, State
from arbiter.supervisor.output import Outputs
from arbiter.supervisor.outside import Outside


@dataclass(frozen=True, slots=True)
class Inventory:
    """See the module's text. `faces` are what hooks are shown of workers, by key."""

    estate: Estate
    faces: dict[int, WorkerFace]
    foundry: Foundry
    dumps: Dumps
    outputs: Outputs
    outside: Outside

    def state(self, generations: Mapping[int, Generation], current: Generation) -> State:
        """What a new program in this process needs to go on."""
        estate, view = self.estate, self.outside.view
        # A generation that is kept may have given up an address; it is opened again if it comes back.
        opened = {
            number: [one for one in each.listeners if one.socket.fileno() >= 0]
            for number, each in generations.items()
        }
        listeners = list({id(one): one for some in opened.values() for one in some}.values())
        return State(
            pid=os.getpid(),
            started=estate.started,
            book=estate.book,
            scoreboard=estate.scoreboard.fd,
            relay=estate.scoreboard.relay.fd,
            size=estate.scoreboard.rows,
            rows=dict(estate.rows),
            lifeline=estate.lifeline,
            children=estate.watch.hand_over(),
            stacks=self.dumps.hand_over(),
            pipes=self.outputs.hand_over(),
            listeners=[ListenerRecord(one.socket.fileno(), one.address, one.path) for one in listeners],
            generations=[
                GenerationRecord(
                    number, remember(each.config), [listeners.index(one) for one in opened[number]]
                )
                for number, each in generations.items()
            ],
            current=current.number,
            began=remember(estate.began),
            outside=self.outside.hand_over(),
            journal=view.journal.hand_over(),
            ledger=view.ledger.hand_over(),
        )

    def adopt(self, state: State, log: Log) -> None:
        """Take over what another program in this process has gathered, but for what is `outside`."""
        estate, book = self.estate, self.estate.book
        for record in state.children:
            receiver = estate.watch.adopt(record)
            receiver.take_fds = partial(self.outputs.take, record.key)
            self.dumps.add(record.key, StackFile(state.stacks[record.key]))
            if record.key in book.molds:
                self.foundry.adopt(record.key, receiver.end)
            elif record.key in book.children:
                self._acquaint(record.key, log)
        for pipe in state.pipes:
            self.outputs.adopt(pipe)
        self.outside.view.journal.adopt(state.journal)
        self.outside.view.ledger.adopt(state.ledger)

    def _acquaint(self, key: int, log: Log) -> None:
        """Make the face of a worker again."""
        child, current = self.estate.book.children[key], self.estate.current
        generation = self.estate.generations.get(child.generation, current)
        face = WorkerFace(generation.config, log, age=key, nr=child.slot, ppid=os.getpid())
        face.pid = child.pid
        self.faces[key] = current.server.WORKERS[child.pid] = face
