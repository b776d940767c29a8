"""Gradients accumulated by all peers until a global batch is full, then one step.

Paper: Distributed Deep Learning in Open Collaborations (2021, https://arxiv.org/abs/2106.10207), section 3.1.

Code read: learning-at-home/hivemind at commit 4bd43b7, optim/optimizer.py and optim/grad_averager.py. We differ: the sum over all samples is divided once by
their number, where theirs averages means of means and weights them; NaN of one peer is refused or dropped, where theirs reaches everyone.
"""

from typing import Any, Literal

import torch
from torch import nn

from ...errors import BadParameter, NonFinite, TooFewSets
from ...weights.plain_state import opened_state, packed_state
from .bucket import Bucket
from .in_parts import Reduce
from .line import Line
from .peers import Rejoined, peers_of

_KEY = "target batch"


class TargetBatch:
    """Peers of any speed that train as one with a large batch.

    Each calls `add(samples)` after the backward pass of a mean loss over that many samples. Their numbers are counted in the store; once they reach the target,
    each takes part in one sum at its next `add`, and all take the same step along sum_i samples_i gradient_i / sum_i samples_i, whatever each has contributed.
    Floating buffers are averaged with the same weights, counts of batches become the largest.

    Args:
        model: every peer begins with the first one's weights.
        optimizer: equal on all peers; the first one's state is taken.
        target: samples.
        store: a store of torch.distributed that all peers reach.
        group: a process group, None for the default one, or `Members`.
        nonfinite: what NaN or Inf in a peer's gradient does: "raise" everywhere, or "drop" its part.
        reduce: how the sum is made: `Line.sum`, or `InParts(bandwidth_shares(...))`, which knows bandwidths.

    Attributes:
        rounds: steps taken.
        samples: in the last step.
        dropped: of every part that was left out: the round, the peer, the tensor.

    Raises:
        BadParameter: no target, or peers with other models.

    >>> from torch.distributed import HashStore, ProcessGroupGloo
    >>> model = nn.Linear(2, 1)
    >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> batch = TargetBatch(model, sgd, 8, HashStore(), ProcessGroupGloo(HashStore(), 0, 1))
    >>> for _ in range(3):
    ...     model(torch.ones(4, 2)).mean().backward()
    ...     batch.add(4), batch.samples
    (False, 0)
    (True, 8)
    (False, 8)
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        target: int,
        store: Any,
        group: Any = None,
        nonfinite: Literal["raise", "drop"] = "raise",
        reduce: Reduce = Line.sum,
    ) -> None:
        if target < 1 or nonfinite not in ("raise", "drop"):
            raise BadParameter(f"target is a number of samples, nonfinite raise or drop; found {target}, {nonfinite!r}.")
        self.model, self.optimizer, self.target, self.store = model, optimizer, target, store
        self.peers, self.nonfinite, self.reduce = peers_of(group), nonfinite, reduce
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        saved = model.state_dict().keys()
        self.buffers = {name: b for name, b in model.named_buffers() if name in saved and b.is_floating_point()}
        self.counts = [b for name, b in model.named_buffers() if name.endswith("num_batches_tracked")]
        self.sums = Bucket(self.trained)
        self.rounds = self.samples = self.own = 0
        self.dropped: list[dict[str, Any]] = []
        tensors = [(name, tuple(p.shape), str(p.dtype)) for name, p in self.trained.items()]
        if self.peers.attach(self, repr((type(self).__name__, tensors, target, nonfinite))):
            self._step()

    @torch.no_grad()
    def add(self, samples: int) -> bool:
        """Take the gradients that are there, the mean over so many samples, and clear them; whether a step was taken.

        Raises:
            NonFinite: a peer's gradient holds NaN or Inf, and `nonfinite` is "raise"; on all peers, which drop what they had gathered.
            TooFewSets: no peer has a sound gradient.
        """
        if samples < 1:
            raise BadParameter(f"add the gradient of at least one sample, found {samples}.")
        for name, parameter in self.trained.items():
            if parameter.grad is not None:
                self.sums.views[name].add_(parameter.grad, alpha=samples)
                parameter.grad = None
        self.own += samples
        full = self.store.add(f"samples/{self.rounds}", samples) >= self.target
        if full:
            self._step()
        return full

    def give(self) -> bytes:
        """For a newcomer: model, optimizer, number of steps."""
        return packed_state({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "rounds": self.rounds}, _KEY)

    def take(self, data: bytes) -> None:
        """Begin where the others are."""
        state = opened_state(data, _KEY)
        self.model.load_state_dict(state["model"])
        saved = state["optimizer"]
        self.optimizer.load_state_dict({**saved, "state": {int(key): value for key, value in saved["state"].items()}})
        self.rounds = state["rounds"]
        self._clear()

    def _step(self) -> None:
        try:
            self._together()
        except Rejoined as again:
            if again.midst:
                self._step()

    def _together(self) -> None:
        rows, names, total = self.peers.agree(self._summed)
        sound = [row[0] if row[1] < 0 else 0.0 for row in rows]
        bad = {name: list(self.trained)[int(row[1])] for name, row in zip(names, rows, strict=True) if row[1] >= 0}
        try:
            self._judge(bad, sum(sound))
            self._apply(total, int(sum(sound)), rows)
        finally:
            self._clear()
        self.dropped += [{"round": self.rounds, "worker": name, "tensor": tensor} for name, tensor in bad.items()]
        self.samples = int(sum(sound))
        self.rounds += 1
        self.peers.turn(max(row[2] for row in rows))

    def _summed(self, line: Line) -> tuple[list[list[float]], tuple[str, ...], Bucket]:
        bad = -1 if (name := self.sums.first_bad) is None else list(self.trained).index(name)
        rows = line.rows([float(self.own), float(bad), self.peers.waiting(), *(float(count) for count in self.counts)])
        total = Bucket({**self.trained, **self.buffers})
        if bad < 0:
            for name, view in total.views.items():
                view.copy_(self.sums.views[name] if name in self.trained else self.buffers[name].to(view.dtype) * self.own)
        if self.nonfinite == "drop" or all(row[1] < 0 for row in rows):
            for flat in total.flats:
                self.reduce(line, flat)
        return rows, line.names, total

    def _judge(self, bad: dict[str, str], samples: float) -> None:
        told = "; ".join(f"the gradient of peer {name} holds NaN or Inf in tensor {tensor!r}" for name, tensor in bad.items())
        if bad and self.nonfinite == "raise":
            raise NonFinite(f"{told}; mend it, or leave such peers out with nonfinite='drop'.")
        if samples <= 0:
            raise TooFewSets(f"no peer has a sound gradient: {told or 'no samples'}.")

    def _apply(self, total: Bucket, samples: int, rows: list[list[float]]) -> None:
        for name, parameter in self.trained.items():
            parameter.grad = (total.views[name] / samples).to(parameter.dtype)
        for name, buffer in self.buffers.items():
            buffer.copy_(total.views[name] / samples)
        for i, count in enumerate(self.counts):
            count.fill_(int(max(row[3 + i] for row in rows)))
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _clear(self) -> None:
        for flat in self.sums.flats:
            flat.zero_()
        self.own = 0
