"""What a client does with a task: the same code in a simulation, on Ray, and inside Flower."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadParameter, NamesDiffer
from ..weights import Weights
from ..weights.names import difference, matches
from .messages import Message
from .messages.message import opened, opened_down
from .objectives import Term
from .plain import Plain, Reply, Task, Tensors
from .slices import TRAVELS, How, slices
from .strategy import Strategy
from .work import Work


class Trainer:
    """A model that carries out the tasks of clients, one after the other.

    Args:
        model: as at the start of the federation; tensors that do not travel are taken from it.
        strategy: as at the server.
        packs: False leaves updates unpacked, for an attack to change them first.

    >>> trainer = Trainer(torch.nn.Linear(2, 2), Strategy())
    >>> data = torch.randn(8, 2), torch.randint(2, (8,))
    >>> reply, memory = trainer(data, Task("ann", 0, trainer.travelling()), {})
    >>> reply.weight, sorted(reply.update)
    (8.0, ['bias', 'weight'])
    """

    def __init__(self, model: nn.Module, strategy: Strategy, *, packs: bool = True) -> None:
        self.model = copy.deepcopy(model)
        self.strategy, self.packs = strategy, packs
        self.how = how_of(self.model, strategy)
        self.live = {name: tensor for name, tensor in self.model.state_dict(keep_vars=True).items() if name in self.how}
        for name, tensor in self.live.items():
            if self.how[name] == "keep" and isinstance(tensor, nn.Parameter):
                tensor.requires_grad_(False)
        self.own = {name: tensor.detach().clone() for name, tensor in self.live.items() if self.how[name] not in TRAVELS}

    def travelling(self) -> Tensors:
        """The model's tensors that travel, as they are now."""
        return {name: tensor.detach().clone() for name, tensor in self.live.items() if self.how[name] in TRAVELS}

    def __call__(self, data: Sequence[Tensor], task: Task, memory: Plain) -> tuple[Reply, Plain]:
        """Train, and say what changed.

        Args:
            data: (inputs, targets); several inputs may stand before the targets.
            task: of the server.
            memory: what this client has kept; it is not changed.

        Returns:
            The reply, and the memory for this client's next task.

        Raises:
            NamesDiffer, ShapesDiffer: the task's weights are not those of the model.
        """
        memory = {key: dict(value) for key, value in memory.items()}
        task = replace(task, weights=opened_down(self.strategy.parts, task.weights, self.live, task.client))
        with _alone(task.seed):
            work = self._begun(data, task, memory)
            with work.exits:
                _trained(work, self.strategy.terms)
                return self._reply(work), {key: value for key, value in memory.items() if value}

    def _begun(self, data: Sequence[Tensor], task: Task, memory: Plain) -> Work:
        received = task.weights
        expected = [name for name, how in self.how.items() if how in TRAVELS]
        if set(received) != set(expected):
            raise NamesDiffer(f"the weights for client {task.client!r} are not those of the model: {difference(expected, received)}.")
        mine = {name: tensor for name, tensor in self.own.items() if name not in memory.get("local", {})} | memory.get("local", {})
        with torch.no_grad():
            for name, tensor in self.live.items():
                tensor.copy_(_fitting(received[name] if name in received else mine[name], tensor, name))
        params = {name: tensor for name, tensor in self.live.items() if isinstance(tensor, nn.Parameter) and tensor.requires_grad}
        local = self.strategy.local
        optimizer = local.optimizer(list(params.values())) if params else None
        for group in optimizer.param_groups if optimizer else ():
            group["lr"] *= local.schedule(task.round) if local.schedule else 1.0
        start = {**{name: mine[name] for name in self.own}, **received}
        generator = torch.Generator().manual_seed(task.seed)
        self.model.train()
        steps = local.count(len(data[0]), task.steps)
        return Work(self.model, task, data, local, memory, start, params, optimizer, generator, steps=steps, how=self.how)

    def _reply(self, work: Work) -> Reply:
        task, terms, parts = work.task, self.strategy.terms, self.strategy.parts if self.packs else ()
        work.update = {name: self.live[name].detach() - task.weights[name] for name in task.weights}
        extra = {term.key: sent for term in terms if (sent := term.finish(work))}
        packed = work.update
        for part in parts:
            packed = part.pack(packed, work)
        self._tell(work, packed, terms, parts)
        local = {name: self.live[name].detach().clone() for name, how in self.how.items() if how == "local"}
        if local:
            work.memory["local"] = local
        metrics = {"steps": float(work.step), "loss": _mean(work.losses)}
        return Reply(task.client, task.round, packed, float(len(work.data[0])), extra, metrics, task.number)

    def _tell(self, work: Work, packed: Tensors, terms: Sequence[Term], parts: Sequence[Message]) -> None:
        """Only terms that ask for it are told what the server will see."""
        asking = [term for term in terms if type(term).sent is not Term.sent]
        if asking:
            seen = opened(parts, packed, work.task.weights)
            for term in asking:
                term.sent(work, seen)


def how_of(model: nn.Module, strategy: Strategy) -> dict[str, How]:
    """What becomes of each physical tensor of a model; tied names count once."""
    state = model.state_dict(keep_vars=True)
    physical = {name: state[name] for name in Weights.of(state).physical}
    frozen = [name for name, tensor in physical.items() if isinstance(tensor, nn.Parameter) and not tensor.requires_grad]
    table = strategy.tensors
    if strategy.pooling.partial:  # a client's model may have a part of the names; the server's has them all
        table = {pattern: word for pattern, word in table.items() if any(matches(pattern, name) for name in physical)}
    return slices(physical, table, frozen)


def local_round(model: nn.Module, data: Sequence[Tensor], task: Task, strategy: Strategy, memory: Plain | None = None) -> tuple[Reply, Plain]:
    """One task of one client, with a model made for it; `Trainer` keeps the model for many.

    >>> from loomweight.federate import Local
    >>> task = Task("ann", 0, {"weight": torch.zeros(1, 1), "bias": torch.zeros(1)})
    >>> strategy = Strategy(local=Local(loss=torch.nn.functional.mse_loss, batch=4))
    >>> reply, memory = local_round(torch.nn.Linear(1, 1), (torch.ones(4, 1), torch.ones(4, 1)), task, strategy)
    >>> reply.update["bias"]
    tensor([0.2000])
    """
    return Trainer(model, strategy)(data, task, memory or {})


def _trained(work: Work, terms: Sequence[Term]) -> None:
    optimizer = work.optimizer
    if optimizer is None:
        raise BadParameter("no tensor of the model is trained: all are frozen, or kept by `tensors`.")
    batches: Iterable[Any] = work.local.batches(work.data, work.steps, work.generator)
    for term in terms:
        term.begin(work)
    for term in terms:
        batches = term.order(work, batches)
    for batch in batches:
        if work.step == work.steps:
            break
        optimizer.zero_grad(set_to_none=True)
        work.outputs = work.model(*batch[:-1])
        loss = work.local.loss(work.outputs, batch[-1])
        work.losses.append(loss.item())
        for term in terms:
            loss = term.loss(work, batch, loss)
        loss.backward()
        for term in terms:
            term.gradient(work)
        optimizer.step()
        for term in terms:
            term.stepped(work)
        work.step += 1
    work.outputs = None


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """One thread and torch's random numbers from the seed: the same bits wherever the client runs."""
    threads, before = torch.get_num_threads(), torch.default_generator.get_state()
    torch.set_num_threads(1)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would look at every line of the stack for devices that it has not begun to use
    try:
        yield
    finally:
        torch.default_generator.set_state(before)
        torch.set_num_threads(threads)


def _fitting(tensor: Tensor, live: Tensor, name: str) -> Tensor:
    if tensor.shape != live.shape:
        raise BadParameter(f"tensor {name!r} came with shape {list(tensor.shape)}; the model's has {list(live.shape)}.")
    return tensor


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def state_of(model: nn.Module, weights: Mapping[str, Tensor]) -> Tensors:
    """A state dict for the model: given tensors by their own names, ties too, and the model's own for the rest."""
    state = model.state_dict()
    ties = Weights.of(model.state_dict(keep_vars=True)).ties
    return {name: weights.get(ties.get(name, name), tensor) for name, tensor in state.items()}
