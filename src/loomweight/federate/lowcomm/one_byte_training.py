"""Training in which a gradient is one byte, over a group of processes.

Paper: Just One Byte (per gradient): A Note on Low-Bandwidth Decentralized Language Model Finetuning Using Shared Randomness (2023,
https://arxiv.org/abs/2306.10015), section 3. See one_byte.py for the arithmetic, and for where we differ.
"""

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

import torch
from torch import nn

from ...errors import BadParameter
from ...weights.plain_state import opened_state, packed_state
from .line import Line
from .one_byte import NOTHING, applied, encoded, projected
from .peers import Rejoined, peers_of

_KEY = "log of bytes"


class OneByte:
    """Each process measures the loss at theta +- epsilon z for a z of its own, tells the derivative along it in one byte, and applies everyone's.

    No gradient is ever computed, and no optimizer has a state; all replicas are equal to the bit, where torch draws the same numbers. A latecomer needs the
    start and the log of bytes. Twice the weights are held. Buffers stay as they are.

    Args:
        model: built alike in every process, weights too: what differs is refused.
        loss: (model, batch) -> a number, on this process's own data.
        lr: the step along the mean.
        epsilon: how far the loss is measured.
        group: a process group, None for the default one, or `Members`, whose names have to differ.
        seed: of all perturbations.

    Raises:
        BadParameter: lr or epsilon is not positive, or processes begin with other weights.

    Attributes:
        log: for each step the bytes of all, by name.

    >>> from torch.distributed import HashStore, ProcessGroupGloo
    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = model.weight.data.fill_(1.0)
    >>> training = OneByte(model, lambda model, x: float(model(x).square().mean()), lr=0.05, group=ProcessGroupGloo(HashStore(), 0, 1))
    >>> for _ in range(200):
    ...     training.step(torch.ones(1, 1))
    >>> abs(model.weight.item()) < 0.1
    True
    """

    def __init__(self, model: nn.Module, loss: Callable[[nn.Module, Any], float], lr: float, epsilon: float = 1e-3, group: Any = None, seed: int = 0) -> None:
        if not (lr > 0 and epsilon > 0):
            raise BadParameter(f"lr and epsilon are positive, found lr={lr}, epsilon={epsilon}.")
        self.model, self.loss, self.lr, self.epsilon, self.seed = model, loss, lr, epsilon, seed
        self.weights = {name: p.data for name, p in model.named_parameters() if p.requires_grad}
        self.log: list[dict[str, int]] = []
        self.peers = peers_of(group)
        tensors = [(n, tuple(t.shape), sha256(t.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()).hexdigest()) for n, t in self.weights.items()]
        if self.peers.attach(self, repr((type(self).__name__, tensors, lr, epsilon, seed))):
            self._exchange(None)

    @property
    def rounds(self) -> int:
        """Steps taken."""
        return len(self.log)

    def step(self, batch: Any) -> None:
        """Measure on this batch, exchange one byte, step."""
        self._exchange(batch)

    def replay(self, log: Iterable[dict[str, int]]) -> None:
        """Take the steps of a log that begins where this process is."""
        for bytes_ in log:
            applied(self.weights, self.seed, self.rounds, bytes_.items(), self.lr)
            self.log.append(dict(bytes_))

    def give(self) -> bytes:
        """For a latecomer: the log."""
        return packed_state({"log": self.log}, _KEY)

    def take(self, data: bytes) -> None:
        """Take the steps that this process has missed."""
        self.replay(opened_state(data, _KEY)["log"][self.rounds :])

    def _exchange(self, batch: Any) -> None:
        """A batch of None has nothing to say: that of one that came in the midst of a step."""
        try:
            bytes_, waiting = self.peers.agree(lambda line: self._told(line, batch))
            self.replay([bytes_])
            self.peers.turn(waiting)
        except Rejoined as again:
            if again.midst:
                self._exchange(None)

    def _told(self, line: Line, batch: Any) -> tuple[dict[str, int], float]:
        name = line.names[line.rank]
        found = encoded(projected(lambda: self._measured(batch), self.weights, (self.seed, name, self.rounds), self.epsilon)) if batch is not None else NOTHING
        told = line.gather(torch.tensor([found], dtype=torch.int8, device=line.device))
        return {name: int(byte) for name, byte in zip(line.names, told, strict=True)}, self._waiting(line)

    @torch.no_grad()
    def _measured(self, batch: Any) -> float:
        kept = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        value = float(self.loss(self.model, batch))
        for name, buffer in self.model.named_buffers():
            buffer.copy_(kept[name])
        return value

    def _waiting(self, line: Line) -> float:
        """Who wants to join is asked for every 16 steps, so that a step is a byte."""
        return max(row[0] for row in line.rows([self.peers.waiting()])) if self.rounds % 16 == 15 else 0.0
