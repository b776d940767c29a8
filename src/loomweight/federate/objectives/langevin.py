"""Local training as sampling.

Paper: On Convergence of Federated Averaging Langevin Dynamics (2021, https://arxiv.org/abs/2112.05120), equation 4 and algorithm 1.

No code of the authors was found. We differ in units alone: losses are means over examples, so the temperature of the paper is `temperature / examples` here.
"""

from dataclasses import dataclass
from hashlib import blake2b
from math import sqrt
from typing import TYPE_CHECKING

import torch

from ...errors import BadParameter
from .term import Term

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class Langevin(Term):
    """FA-LD: after each step, w <- w + sqrt(2 rate T) (shared xi / sqrt(N) + sqrt(1 - shared^2) xi_c / sqrt(n_c)), xi of all clients, xi_c of one.

    Averaged by examples, the noise has the variance 2 rate T / N, whatever `shared` is, so that with small rates, plain SGD and all clients the weights
    of the server are samples of exp(-N mean loss / T): the posterior, where T = 1 and the loss is a mean of negative log-likelihoods. More shared
    noise keeps clients together, less hides what each does.

    Args:
        examples: N, those of all clients.
        temperature: T.
        shared: the share of the noise that is the same at all clients, from 0 to 1.
        seed: of the shared noise.

    Raises:
        BadParameter: a number out of its range.

    >>> from loomweight.federate import Strategy
    >>> strategy = Strategy(objective=(Langevin(examples=60_000, shared=0.5),))
    """

    examples: int
    temperature: float = 1.0
    shared: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.examples < 1 or not self.temperature >= 0 or not 0 <= self.shared <= 1:
            raise BadParameter(
                f"Langevin: examples is at least 1, temperature at least 0 and shared in [0, 1], found {self.examples}, {self.temperature} and {self.shared}."
            )

    @torch.no_grad()
    def stepped(self, work: "Work") -> None:
        """The noise of this step."""
        size = 2 * work.rate * self.temperature
        own, common = sqrt(size * (1 - self.shared**2) / len(work.data[0])), sqrt(size / self.examples) * self.shared
        digest = blake2b(repr((self.seed, work.task.round, work.step)).encode(), digest_size=7).digest()
        together = torch.Generator().manual_seed(int.from_bytes(digest))
        for param in work.params.values():
            for scale, generator in ((own, work.generator), (common, together)):
                if scale:
                    param += scale * torch.randn(param.shape, dtype=param.dtype, generator=generator)
