"""Clients' work, spread by an engine: models and data are put once where all workers see them."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from ..engines import Engine
from ..engines.shared import Here, Shared
from ..errors import LoomweightError
from .faults import ClientDied
from .plain import Lost, Plain, Reply, Task
from .strategy import Strategy
from .trainer import Trainer
from .world import World

log = logging.getLogger("loomweight.federate")
#: the trainer of this process, by its crew's number: one at a time
_trainers: dict[str, Trainer] = {}


@dataclass(frozen=True)
class Errand:
    """A task as it travels to a worker: large things are where all workers see them."""

    task: Task
    weights: Shared
    shared: Shared
    data: Shared
    memory: Plain
    kit: int = 0


@dataclass(frozen=True)
class Worker:
    """What a worker does with an errand. What fails there, the user's model on a client's data too, is that client's failure; the log has the whole of it."""

    number: str
    kits: tuple[Shared, ...]
    world: World
    attackers: frozenset[str] = field(default_factory=frozenset)

    def __call__(self, errand: Errand) -> tuple[Reply | Lost, Plain]:
        """The reply, and what the client keeps."""
        task = replace(errand.task, weights=errand.weights.get(), shared=errand.shared.get())
        fault, attack = self.world.faults.get(task.client), self.world.attackers.get(task.client)
        data = errand.data.get()
        try:
            if fault:
                fault.strike(task)
            trainer = _trainer(f"{self.number}/", errand.kit, self.kits, bare=attack is not None)
            reply, memory = trainer(attack.data(data) if attack else data, task, errand.memory)
        except ClientDied as error:
            return Lost(task.client, task.round, "died", str(error)), errand.memory
        except (RuntimeError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError) as error:
            log.warning("client %r cannot train", task.client, exc_info=error)
            words = (str(error).strip() or "no message").splitlines()[0]
            return Lost(task.client, task.round, "died", f"it cannot train: {type(error).__name__}: {words}"), errand.memory
        return reply, memory


def _trainer(number: str, index: int, kits: Sequence[Shared], *, bare: bool) -> Trainer:
    """An attacker's update is not packed before it is forged."""
    key = f"{number}{index}{'*' if bare else ''}"
    if key not in _trainers:
        for old in [other for other in _trainers if not other.startswith(number)]:
            del _trainers[old]
        model, strategy = kits[index].get()
        _trainers[key] = Trainer(model, strategy, packs=not bare)
    return _trainers[key]


class Crew:
    """Workers with the model, the strategy and the clients' data.

    Args:
        model: as at the start.
        strategy: of the federation.
        clients: name -> (inputs, targets).
        engine: that spreads the work.
        world: with faults and attackers.
    """

    def __init__(self, model: nn.Module, strategy: Strategy, clients: Mapping[str, Sequence[Tensor]], engine: Engine, world: World) -> None:
        self.engine, self.clients, self.world = engine, clients, world
        models = list({id(one): one for one in (model, *world.models.values())}.values())
        self.kits = {client: [one is own for one in models].index(True) for client, own in world.models.items()}
        kits = tuple(engine.share((one, strategy)) for one in models)
        self.worker = Worker(f"{id(self)}-{next(_numbers)}", kits, replace(world, test=None, speeds=None, models={}))
        self._held: dict[int, tuple[Any, Shared]] = {}
        self._data: dict[str, Shared] = {}

    def work(self, tasks: Sequence[Task], memory: Callable[[str], Plain]) -> Iterator[tuple[Reply | Lost, Plain]]:
        """Replies in the order of the tasks, made as they are asked for."""
        errands = (replace(self._errand(task, memory), kit=self.kits.get(task.client, 0)) for task in tasks)
        for task, result in zip(tasks, self.engine.attempt(self.worker, errands), strict=True):
            if isinstance(result, LoomweightError):
                yield Lost(task.client, task.round, "died", str(result)), memory(task.client)
            else:
                yield result

    def forget(self) -> None:
        """Let go of weights that no task needs any more."""
        self._held.clear()

    def _errand(self, task: Task, memory: Callable[[str], Plain]) -> Errand:
        return Errand(replace(task, weights={}, shared={}), self._once(task.weights), self._once(task.shared), self._data_of(task.client), memory(task.client))

    def _data_of(self, client: str) -> Shared:
        """Put once where that costs a copy; in this process the mapping is asked each time, which may make the data then."""
        data = self._data.get(client) or self.engine.share(tuple(self.clients[client]))
        if not isinstance(data, Here):
            self._data[client] = data
        return data

    def _once(self, value: Any) -> Shared:
        """The same object is put once, and again only after `forget`."""
        if id(value) not in self._held:
            self._held[id(value)] = (value, self.engine.share(value))
        return self._held[id(value)][1]


def _count() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


_numbers = _count()
