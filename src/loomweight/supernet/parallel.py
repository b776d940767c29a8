"""Data-parallel training: several processes of torch.distributed train one supernet, each on its own batches."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from ..errors import BadParameter, WorkerDied
from .elastic import Elastic, Values
from .exchange import Uses, averaged, uses_of
from .sampler import Sampler
from .step import Step

_APART = (
    "with subnets='same', the processes drew different subnets: their sampler looks at something that differs between them, as measured latency or a "
    "predictor of its own; use a cost that is counted, or subnets='different'."
)


class Parallel:
    """A training step on every process of a group, with gradients averaged; called like the step itself.

        step = Parallel(Sandwich(loss=loss, sampler=Uniform()), net, subnets="same")
        for inputs, targets in this_process_share: optimizer.zero_grad(); step(net, inputs, targets); optimizer.step()

    It starts by giving every process rank 0's weights. After it, all processes have the same gradients on the same parts, so that equal optimizers keep
    their weights equal. Depth and other choices that leave parameters unused need no setting. BatchNorm's running statistics are rank 0's after each step.

    Args:
        step: it belongs to this object from now on.
        net: the elastic model.
        subnets: "same": all processes train the same subnets on different data. "different": each draws its own, with random numbers of its own.
        average: for "different", of an entry that some processes used and others did not: "all" divides by the number of processes, which is the gradient of
            the mean of all losses (those that did not use it count as 0); "users" divides by the number of processes that used it. The default is "all".
        group: of processes; None for all.

    A sampler that learns hears, with "same", rank 0's losses, and its state is rank 0's; with "different", each learns by itself.

    Raises:
        BadParameter: torch.distributed is not set up, processes hold different models, or `average` would have no effect.
    """

    def __init__(self, step: Step, net: Elastic, *, subnets: str, average: str | None = None, group: Any = None) -> None:
        if subnets not in ("same", "different"):
            raise BadParameter(f"subnets is 'same' or 'different', found {subnets!r}.")
        if average not in (None, "all", "users"):
            raise BadParameter(f"average is 'all' or 'users', found {average!r}.")
        if average is not None and subnets == "same":
            raise BadParameter(f"average={average!r} has no effect with subnets='same': all processes use the same entries.")
        if not (distributed.is_available() and distributed.is_initialized()):
            raise BadParameter("torch.distributed is not set up in this process: call torch.distributed.init_process_group, or train without Parallel.")
        self.step, self.net, self.same, self.by_users, self.group = step, net, subnets == "same", average == "users", group
        self.rank, self.world = distributed.get_rank(group), distributed.get_world_size(group)
        self._check()
        _from_first([one.tensor for one in net.stored().values()], group)
        state = self._everyones(step.state_dict())[0]
        self._random_numbers(state)
        if self.same:
            step.sampler = self._noted = Noted(step.sampler)

    def __call__(self, net: Elastic, inputs: Any, targets: Any) -> float:
        """The step on this process's batch, then the average; the mean loss over processes.

        Raises:
            NonFinite: a loss of this process is NaN or infinite.
            WorkerDied: the step of another process raised; the message says which one and why.
            BadParameter: with "same", processes drew different subnets.
        """
        failure: Exception | None = None
        loss = 0.0
        try:
            loss = self.step(net, inputs, targets)
        except Exception as error:  # noqa: BLE001  told to the other processes, which would wait for ever, and raised below
            failure = error
        uses = uses_of(net)
        drawn = self._noted.taken() if self.same else ""
        rows = self._rows([float(failure is not None), loss, _digest(json.dumps(uses)), _digest(drawn)])
        if rows[:, 0].any():
            self._stop(failure)
        if self.same and len(set(rows[:, 3].tolist())) > 1:
            raise BadParameter(_APART)
        alike = len(set(rows[:, 2].tolist())) == 1
        averaged(net, [uses] * self.world if alike else [_read(one) for one in self._everyones(uses)], by_users=self.by_users, group=self.group)
        if buffers := [one.tensor for one in net.stored().values() if not isinstance(one.tensor, nn.Parameter)]:
            _from_first(buffers, self.group)
        if self.same and self._noted.learns:
            self.step.sampler.load_state_dict(self._everyones(self.step.sampler.state_dict())[0])
        return float(rows[:, 1].mean())

    def state_dict(self) -> dict[str, Any]:
        """The step's state on every process; all have to call it, and any of them may save it."""
        states = self._everyones(self.step.state_dict())
        return {"same": self.same, "ranks": states[:1] if self.same else states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly from there.

        Raises:
            BadParameter: the state is of the other choice of subnets, or "different" ran on another number of processes.
        """
        if state.get("same") != self.same or len(state.get("ranks", ())) not in (1, self.world) or (not self.same and len(state["ranks"]) != self.world):
            before = f"{'same' if state.get('same') else 'different'!r} on {len(state.get('ranks', ()))} processes"
            raise BadParameter(f"the state is of subnets={before}, this run of {'same' if self.same else 'different'!r} on {self.world}.")
        self.step.load_state_dict(state["ranks"][0 if self.same else self.rank])

    def _check(self) -> None:
        mine = {name: [list(one.tensor.shape), str(one.tensor.dtype)] for name, one in self.net.stored().items()}
        found = self._everyones([mine, self.net.space.described()])
        if differ := [rank for rank, other in enumerate(found) if other != found[0]]:
            raise BadParameter(f"process {differ[0]} has another model or another space than process 0; build both in the same way on every process.")

    def _random_numbers(self, state: Any) -> None:
        """Rank 0's on every process; with "different", seeds of their own that follow from them."""
        self.step.load_state_dict(state)
        if not self.same:
            self.step.numbers = np.random.default_rng([int(self.step.numbers.integers(2**63)), self.rank])

    def _rows(self, mine: list[float]) -> Tensor:
        row = torch.tensor(mine, dtype=torch.float64, device=self._device)
        found = [torch.empty_like(row) for _ in range(self.world)]
        distributed.all_gather(found, row, group=self.group)
        return torch.stack(found).cpu()

    def _everyones(self, mine: Any) -> list[Any]:
        """Plain data of every process, in the order of ranks; sent as JSON."""
        text = torch.tensor(list(json.dumps(mine).encode()), dtype=torch.uint8, device=self._device)
        sizes = [int(size) for size in self._rows([float(len(text))])[:, 0]]
        padded = torch.zeros(max(sizes), dtype=torch.uint8, device=self._device)
        padded[: len(text)] = text
        found = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(found, padded, group=self.group)
        return [json.loads(bytes(one[:size].tolist())) for one, size in zip(found, sizes, strict=True)]

    def _stop(self, failure: Exception | None) -> None:
        said = self._everyones("" if failure is None else f"{type(failure).__name__}: {failure}")
        if failure is not None:
            raise failure
        raise WorkerDied("; ".join(f"the step of process {rank} raised {text}" for rank, text in enumerate(said) if text))

    @property
    def _device(self) -> torch.device:
        return next(self.net.parameters()).device


class Noted(Sampler):
    """A sampler whose draws are noted until they are taken."""

    def __init__(self, inner: Sampler) -> None:
        self.inner, self.drawn = inner, ""
        self.uses_done, self.uses_gradients = inner.uses_done, inner.uses_gradients  # type: ignore[misc]
        self.learns = type(inner).told is not Sampler.told

    def draw(self, net: Elastic, random: np.random.Generator, done: float) -> Values:
        """The inner one's."""
        values = self.inner.draw(net, random, done)
        self.drawn += repr(values)
        return values

    def taken(self) -> str:
        """What was drawn since this was last asked."""
        drawn, self.drawn = self.drawn, ""
        return drawn

    def told(self, values: Values, loss: float, net: Elastic) -> None:
        """The inner one's."""
        self.inner.told(values, loss, net)

    def state_dict(self) -> dict[str, Any]:
        """The inner one's."""
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inner one's."""
        self.inner.load_state_dict(state)

    def __repr__(self) -> str:
        return repr(self.inner)


def _digest(text: str) -> float:
    """48 bits, which a float holds exactly."""
    return float(int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big"))


def _read(uses: dict[str, Any]) -> Uses:
    """From JSON, which has no tuples."""
    return {name: [(number, tuple((begin, end) for begin, end in region)) for number, region in several] for name, several in uses.items()}


@torch.no_grad()
def _from_first(tensors: list[Tensor], group: Any) -> None:
    """Rank 0's values in every process; those of one type are sent together."""
    source = 0 if group is None else distributed.get_global_rank(group, 0)
    by_kind: dict[Any, list[Tensor]] = {}
    for tensor in {id(tensor): tensor for tensor in tensors}.values():
        by_kind.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for several in by_kind.values():
        sent = torch.cat([tensor.detach().reshape(-1) for tensor in several])
        distributed.broadcast(sent, source, group=group)
        for tensor, part in zip(several, sent.split([tensor.numel() for tensor in several]), strict=True):
            tensor.copy_(part.view(tensor.shape))
