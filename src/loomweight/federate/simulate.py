"""A federation on this machine: the clients' work on an engine, the server's in this process, time simulated."""

import copy
import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..engines import Engine, Inline, Ray, engine_named
from ..engines.progress import track
from ..errors import BadParameter, LoomweightError
from .crew import Crew
from .federation import Federation
from .folder import Folder
from .memories import Memories
from .messages.message import opened, opened_down
from .plain import Lost, Plain, Reply, Task, Tensors
from .saved import plain, resumed, state_of_server, whole
from .server import Server
from .strategy import Strategy
from .trainer import how_of, state_of
from .work import Work
from .world import World

Clients = Mapping[str, Sequence[Tensor]] | Sequence[Sequence[Tensor]]


def simulate(
    model: nn.Module,
    clients: Clients,
    strategy: Strategy,
    rounds: int,
    engine: str | Engine = "inline",
    world: World | None = None,
    folder: str | Path | None = None,
) -> Federation:
    """Train a model on data that stays with its clients.

    The result is the same, to the last bit, on any engine with any number of workers, and after a kill and a second call with the same
    folder, which goes on where the last saved round ended.

    Args:
        model: at the start; it is not changed.
        clients: name -> (inputs, targets), or a list of these.
        strategy: the four hooks.
        rounds: in all, those of an earlier call in the folder among them.
        engine: inline, ray or ray:N.
        world: seed, speeds, hostile clients, faults, test.
        folder: where the state is kept.

    Raises:
        BadParameter: no client or no round; another engine; the folder holds another federation.
        TooFewReplies: too few clients answered well, and the strategy's guard says to stop.
        OutputError: another process is using the folder.

    >>> clients = [(torch.randn(8, 2), torch.randint(2, (8,))) for _ in range(3)]
    >>> simulate(torch.nn.Linear(2, 2), clients, Strategy(), rounds=2).history[-1]["pooled"]
    3
    """
    server = carried_out(model, clients, strategy, rounds, engine, world, folder)
    return Federation(copy.deepcopy(model), state_of(model, server.weights), server.history)


def carried_out(
    model: nn.Module,
    clients: Clients,
    strategy: Strategy,
    rounds: int,
    engine: str | Engine = "inline",
    world: World | None = None,
    folder: str | Path | None = None,
) -> Server:
    """As `simulate`; the server at the end, with all that it knows."""
    named = clients if isinstance(clients, Mapping) else {_numbered(i, len(clients)): data for i, data in enumerate(clients)}
    runner = engine if isinstance(engine, Engine) else engine_named(engine)
    world = world or World()
    if not named or rounds < 1:
        raise BadParameter(f"a federation has at least one client and one round, found {len(named)} and {rounds}.")
    if not isinstance(runner, Inline | Ray):
        raise BadParameter(f"clients run inline or on ray, each in a process with one thread; found {runner}.")
    _fits(world, named, apart=runner != Inline())
    with ExitStack() as stack:
        home = stack.enter_context(Folder(folder)) if folder is not None else None
        if isinstance(runner, Ray):
            stack.enter_context(runner)
        run = Run(model, named, strategy, Crew(model, strategy, named, runner, world), world, home)
        for _ in track(range(run.server.round, rounds), f"{len(named)} clients"):
            run.round()
            if run.server.round % world.every == 0 or run.server.round >= rounds:
                run.test()
                run.save()
        return run.server


def _fits(world: World, clients: Mapping[str, Any], *, apart: bool) -> None:
    """Raise where the world does not fit the clients, who may have processes apart from this one."""
    nameless = [client for client in clients if not isinstance(client, str)]
    if nameless:
        raise BadParameter(f"the names of clients are words, found {nameless[0]!r}; write {str(nameless[0])!r}, or give a list of data.")
    strangers = {*world.attackers, *world.faults, *world.models} - set(clients)
    if strangers:
        raise BadParameter(f"no client is called {sorted(strangers)[0]!r}, of which the world says an attack, a fault or a model.")
    if set(world.attackers) >= set(clients) and any(attack.sees for attack in world.attackers.values()):
        raise BadParameter("every client is hostile, and their attacks look at what honest ones send: leave at least one honest.")
    if not apart and any(fault.kind == "killed" for fault in world.faults.values()):
        raise BadParameter("a client that is killed needs a process of its own: engine='ray'.")


class Run:
    """Events in the order of simulated time: tasks that end, and rounds that close."""

    def __init__(self, model: nn.Module, clients: Mapping[str, Any], strategy: Strategy, crew: Crew, world: World, home: Folder | None) -> None:
        self.model, self.strategy, self.crew, self.world, self.home = model, strategy, crew, world, home
        state = dict(model.state_dict(keep_vars=True))
        how = how_of(model, strategy)
        frozen = tuple(name for name in how if isinstance(state[name], nn.Parameter) and not state[name].requires_grad)
        self.now = 0.0
        saved = home.load(strategy, list(clients), world.seed) if home else None
        if saved:
            self.server = resumed(state, strategy, saved["server"], frozen)
            self.now, self.flying = saved["now"], [(time, number, whole(task)) for time, number, task in _landed(saved)]
        else:
            self.server, self.flying = Server(state, strategy, list(clients), world.seed, frozen), []
        self.memories = Memories(home.clients if home else None, saved["files"] if saved else None)
        self.seen: dict[str, Tensors] = saved["seen"] if saved else {}
        self._pending: dict[int, Iterator[tuple[int, tuple[Reply | Lost, Plain]]]] = {}

    def round(self) -> None:
        """One round of the server."""
        server = self.server
        self.dispatch()
        while not server.enough and self._lands_in_time:
            self.land()
            if not server.enough:
                self.dispatch()
        self.close()

    def close(self) -> None:
        """End the round, and let go of tasks that were given up with it."""
        server = self.server
        if not server.enough and server.closes is not None:
            self.now = max(self.now, server.closes)
        server.close(self.now)
        self.flying = [item for item in self.flying if server.out.get(item[2].client) == item[2].round]
        heapq.heapify(self.flying)
        self._pending = {number: self._pending[number] for _, number, _ in self.flying if number in self._pending}
        self.crew.forget()

    @property
    def _lands_in_time(self) -> bool:
        """Whether an answer comes before the round ends in any case, or just then."""
        closes = self.server.closes
        return bool(self.flying) and (closes is None or self.flying[0][0] <= closes)

    def dispatch(self, there: Collection[str] | None = None) -> None:
        """Send out what the server gives, to these clients where they are named."""
        present = self._present() if there is None else self._present() & set(there)
        for task in self.server.tasks(self.now, present if self.strategy.pooling.continuous or there is not None else None):
            time = self.now + (self.world.speeds.duration(task.client, task.number, self._steps(task)) if self.world.speeds else 0.0)
            fault = self.world.faults.get(task.client)
            if task.client not in present or (fault and fault.kind == "hangs" and fault.now(task)):
                time = float("inf")
            heapq.heappush(self.flying, (time, task.number, task))

    def _present(self) -> set[str]:
        speeds = self.world.speeds
        return {client for client in self.server.clients if speeds is None or speeds.present(client, self.server.round)}

    def _steps(self, task: Task) -> int:
        return self.strategy.local.count(len(self.crew.clients[task.client][0]), task.steps)

    def land(self) -> Reply | Lost:
        """Take the next answer to the server."""
        time, number, task = heapq.heappop(self.flying)
        if time == float("inf"):
            late = Lost(task.client, task.round, "late", "it has not answered")
            self.server.push(late, self.now)
            return late
        self.now = max(self.now, time)
        if number not in self._pending:
            self._start([(time, number, task), *self.flying])
        reply, memory = self._result(number)
        if self.strategy.pooling.continuous:
            reply = self._watched(task, reply, memory)
        fault = self.world.faults.get(task.client)
        if self.world.speeds and self.world.speeds.fails(task.client, number):
            reply = Lost(task.client, task.round, "died", "it dropped out")
        elif fault and fault.kind == "nothing" and fault.now(task):
            reply = Lost(task.client, task.round, "nothing", "its answer is empty")
        elif isinstance(reply, Reply):
            self.memories.put(task.client, memory)
        self.server.push(reply, self.now)
        return reply

    def _start(self, flying: list[tuple[float, int, Task]]) -> None:
        """Work that is not begun yet, in the order in which it will end."""
        fresh = sorted((item for item in flying if item[1] not in self._pending and item[0] < float("inf")), key=lambda item: item[:2])
        tasks = [task for _, _, task in fresh]
        hostile = not self.strategy.pooling.continuous and any(task.client in self.world.attackers for task in tasks)
        replies = self._forged(tasks) if hostile else self.crew.work(tasks, self.memories.get)
        numbered = zip([task.number for task in tasks], replies, strict=True)
        self._pending.update({number: numbered for _, number, _ in fresh})

    def _result(self, number: int) -> tuple[Reply | Lost, Plain]:
        """Results come in the order of landing; those of tasks that were given up in between are passed over."""
        return next(result for found, result in self._pending.pop(number) if found == number)

    def _watched(self, task: Task, reply: Reply | Lost, memory: Plain) -> Reply | Lost:
        """Where clients answer one by one, attackers see what each honest client has sent last."""
        if not self.world.attackers or not isinstance(reply, Reply):
            return reply
        if task.client in self.world.attackers:
            return self._hostile(task, reply, memory, list(self.seen.values()))
        self.seen[task.client] = opened(self.strategy.parts, reply.update, self.server.like(task.client))
        return reply

    def _hostile(self, task: Task, reply: Reply, memory: Plain, honest: list[Tensors]) -> Reply:
        attack = self.world.attackers[task.client]
        if honest or not attack.sees:
            reply = attack.forge(reply, honest, np.random.default_rng([self.world.seed, task.number, 1]))
        return self._packed(reply, task, memory)

    def _forged(self, tasks: list[Task]) -> Iterator[tuple[Reply | Lost, Plain]]:
        """Attackers see what the honest clients among them send, so all of it is made first."""
        results = list(self.crew.work(tasks, self.memories.get))
        honest = [
            opened(self.strategy.parts, reply.update, self.server.like(task.client))
            for task, (reply, _) in zip(tasks, results, strict=True)
            if isinstance(reply, Reply) and task.client not in self.world.attackers
        ]
        for task, (reply, memory) in zip(tasks, results, strict=True):
            yield self._hostile(task, reply, memory, honest) if task.client in self.world.attackers and isinstance(reply, Reply) else reply, memory

    def _packed(self, reply: Reply, task: Task, memory: Plain) -> Reply:
        """A forged update goes through the message as an honest one does, as far as it can."""
        update = reply.update
        task = replace(task, weights=opened_down(self.strategy.parts, task.weights, self.server.like(task.client), task.client))
        work = Work(self.model, task, (), self.strategy.local, memory, {}, {}, None, torch.Generator().manual_seed(task.seed))
        try:
            for part in self.strategy.parts:
                update = part.pack(update, work)
        except (LoomweightError, RuntimeError, LookupError, ValueError):
            return reply
        return replace(reply, update=update)

    def test(self) -> None:
        """Numbers of the model as it is now, in the last line of the history."""
        if self.world.test:
            model = copy.deepcopy(self.model)
            model.load_state_dict(self.weights())
            model.eval()
            self.server.history[-1].update({key: float(value) for key, value in self.world.test(model).items()})

    def weights(self) -> dict[str, Tensor]:
        """The state dict of the model as it is now."""
        return state_of(self.model, self.server.weights)

    def save(self) -> None:
        """The state after a round, in the folder."""
        if self.home:
            files = self.memories.save(self.server.round)
            versions = {str(id(task.weights)): task.weights for _, _, task in self.flying} | {str(id(t.shared)): t.shared for _, _, t in self.flying}
            flying = [
                [time, number, plain(replace(task, weights={}, shared={})), str(id(task.weights)), str(id(task.shared))] for time, number, task in self.flying
            ]
            state = {"server": state_of_server(self.server), "now": self.now, "seen": self.seen, "files": files, "versions": versions, "flying": flying}
            self.home.save(state, self.strategy, list(self.server.clients), self.world.seed)
            self.memories.sweep()


def _landed(saved: Plain) -> Iterator[tuple[float, int, Plain]]:
    for time, number, task, weights, shared in saved["flying"]:
        yield time, number, {**task, "weights": saved["versions"][weights], "shared": saved["versions"][shared]}


def _numbered(index: int, count: int) -> str:
    return str(index).zfill(len(str(count - 1)))
