"""Rounds of training: every worker steps by itself, and every so many steps they agree on one set of weights."""

from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from ...errors import BadParameter
from ...weights.plain_state import opened_state, packed_state
from .exchange import Pool, Pooled, Row
from .line import Line
from .part import Outer, Part, parts_of
from .peers import Peers, Rejoined, peers_of

_KEY = "shared training"


class Rounds:
    """Workers that agree every so many steps of their own optimizers.

    Call `step()` after every step of the optimizer, or train inside `with rounds:`, where the optimizer does it. BatchNorm's statistics are averaged, its
    counts become the largest, other integers stay; frozen parameters do not travel. Half precision is agreed on in float32, and rounded once into the model.

    Attributes:
        rounds: synchronisations so far.
        dropped: of every update that was left out: the round, the worker, and its first tensor with NaN or Inf.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, group: Any, pool: Pool, every: int, outer: Outer | None) -> None:
        if every < 1 or every < pool.exchange.fragments:
            raise BadParameter(f"every is a number of steps, at least 1 and at least the number of fragments; found {every}.")
        self.model, self.optimizer, self.pool, self.every = model, optimizer, pool, every
        self.peers: Peers = peers_of(group)
        self.parts: list[Part] = parts_of(model, pool.exchange.fragments, outer)
        if not self.parts:
            raise BadParameter(f"{type(model).__name__} has no parameter that is trained, so there is nothing to agree on.")
        self.rounds = self.steps = 0
        self.dropped: list[dict[str, Any]] = []
        self._idle, self._next, self._hook = False, 0, None
        self._idle = self.peers.attach(self, self._what())
        if self._idle:
            self.synchronise()

    def step(self) -> bool:
        """Count a step of the optimizer; synchronise what is due. Whether something was."""
        self.steps += 1
        due = self.steps % self.every == (self._next + 1) * self.every // len(self.parts) % self.every
        if due:
            self.synchronise()
        return due

    def synchronise(self) -> None:
        """Agree now on the part whose turn it is, with all others; called by `step` when it is time.

        Raises:
            NonFinite, TooFewSets: see `Exchange` and the rule; on every worker.
            WorkerDied: processes are gone, more than the group can bear.
        """
        try:
            self._agree()
        except Rejoined as again:
            self._idle = again.midst
            if self._idle:
                self.synchronise()

    @property
    def bytes_sent(self) -> int:
        """Bytes that this process has sent; see `Traffic` for how they are counted."""
        return self.peers.traffic.sent

    @property
    def bytes_received(self) -> int:
        """Bytes that this process has received."""
        return self.peers.traffic.received

    def dropped_by_worker(self) -> Counter[str]:
        """How often each worker's update was left out."""
        return Counter(one["worker"] for one in self.dropped)

    def state_dict(self) -> dict[str, Any]:
        """What was agreed on, the outer optimizer's state and counts: with the model's and its optimizer's states, training goes on from there to the bit."""
        return {**self._shared(), "steps": self.steps, "dropped": list(self.dropped), "bytes": [self.bytes_sent, self.bytes_received]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of this worker; the model is not touched.

        Raises:
            BadParameter: the state has another number of parts, or other tensors.
        """
        saved = state["parts"]
        if [list(one["agreed"]) for one in saved] != [list(part.agreed) for part in self.parts]:
            raise BadParameter("the state is of another model, or of another number of fragments.")
        for part, one in zip(self.parts, saved, strict=True):
            part.load_state_dict(one)
        self.rounds, self._next = state["rounds"], state["next"]
        self.steps, self.dropped = state["steps"], list(state["dropped"])
        self.peers.traffic.sent, self.peers.traffic.received = state["bytes"]

    def give(self) -> bytes:
        """For a newcomer: what all agree on, and the tensors that never travel."""
        travels = {name for part in self.parts for name in part.live}
        rest = {name: tensor for name, tensor in self.model.state_dict().items() if name not in travels}
        return packed_state({**self._shared(), "rest": rest}, _KEY)

    def take(self, data: bytes) -> None:
        """Begin where the others are."""
        state = opened_state(data, _KEY)
        self.model.load_state_dict(state["rest"], strict=False)
        self.load_state_dict({**state, "steps": 0, "dropped": [], "bytes": [self.bytes_sent, self.bytes_received]})
        for part in self.parts:
            part.restore()
        begun = [index * self.every // len(self.parts) for index in range(len(self.parts))]
        self.steps = begun[self._next]

    def __enter__(self) -> Self:
        self._hook = self.optimizer.register_step_post_hook(self._stepped)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._hook:
            self._hook.remove()

    def _agree(self) -> None:
        index = self._next
        part = self.parts[index]
        found, update = self.peers.agree(lambda line: self._gathered(line, part, index))
        pooled = self.pool.pool(found, update)
        part.apply(pooled.update, [max(counts) for counts in zip(*(row.counts for row in found.rows), strict=True)])
        self._settle(pooled, found.names)
        self.rounds += 1
        self._next, self._idle = (index + 1) % len(self.parts), False
        self.peers.turn(max(row.waiting for row in found.rows))

    def _stepped(self, *_: Any) -> None:
        self.step()

    def _gathered(self, line: Line, part: Part, index: int) -> tuple[Any, Any]:
        update = part.update()
        bad = -1 if (name := update.first_bad) is None else list(update.views).index(name)
        weight = 0.0 if self._idle else self.pool.exchange.weight
        row = Row(self.rounds, index, weight, bad, self.peers.waiting(), [int(count) for count in part.counts.values()])
        return self.pool.gather(line, update, row), update

    def _settle(self, pooled: Pooled, names: tuple[str, ...]) -> None:
        """Note who was left out; where this worker's optimizer remembers NaN, it begins anew."""
        self.dropped += [{"round": self.rounds, "worker": name, "tensor": tensor} for name, tensor in pooled.dropped.items()]
        if pooled.dropped:
            healed(self.optimizer)

    def _shared(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts], "rounds": self.rounds, "next": self._next}

    def _what(self) -> str:
        tensors = [(name, tuple(t.shape), str(t.dtype)) for part in self.parts for name, t in [*part.live.items(), *part.counts.items()]]
        exchange = self.pool.exchange
        kind: Callable[[Any], str] = lambda thing: type(thing).__name__  # noqa: E731
        return repr((kind(self), tensors, self.every, self.pool.rule, exchange.nonfinite, exchange.message, exchange.fragments))


def healed(optimizer: torch.optim.Optimizer) -> None:
    """Forget the optimizer's state of every parameter for which it remembers NaN or Inf."""
    for parameter in [p for p, state in optimizer.state.items() if any(_bad(value) for value in state.values())]:
        del optimizer.state[parameter]


def _bad(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and not bool(value.isfinite().all())
