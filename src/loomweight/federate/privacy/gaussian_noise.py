"""Clipped updates are summed, and Gaussian noise is added once, at the server.

Papers: Learning Differentially Private Recurrent Language Models (2017, https://arxiv.org/abs/1710.06963), algorithm 1 with the estimator of a fixed
denominator; Deep Learning with Differential Privacy (2016, https://arxiv.org/abs/1607.00133), for the multiplier. With `correlated`: Multi-Epoch Matrix
Factorization Mechanisms for Private Machine Learning (2022, https://arxiv.org/abs/2211.06530), section 2.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Literal

import torch
from torch import Tensor

from ...errors import BadParameter
from ..plain import Plain, Reply, Tensors
from ..pooling import Aggregate, Book, Pool
from ..pooling.aggregate import kept
from ..pooling.pool import added
from .accountant import epsilon
from .adaptive_clip import AdaptiveClip
from .clipping import clip_factor, total_norm
from .correlated import Correlated
from .normal import normal


@dataclass(frozen=True)
class GaussianNoise(Aggregate):
    """mean = (sum_i a_i clip(u_i) + N(0, (multiplier clip)^2)) / expected, handed to `then` as the only update of the round.

    A client's share is bounded by construction: its norm by `clip`, here, whatever it sends; its factor a_i is 1, or min(examples / whole, 1). The
    denominator is fixed, as one that depends on who answers would have a sensitivity of its own. So adding or removing a client moves the sum by at most
    `clip`, and what `then` does with the noised mean costs nothing: a server optimizer may stand there, but no rule that has to see single updates.

    The history gets `epsilon` after the round, `noise` (standard deviation on the mean), and `clip` where it adapts. What goes round the
    aggregate is not protected: see `private`.

    Args:
        multiplier: standard deviation of the noise on the sum, in units of the clip.
        clip: the largest norm of an update; or `AdaptiveClip`, which keeps the updates of a round until it ends.
        expected: what the sum is divided by: the clients expected in a round (or the sum of a_i expected).
        then: what becomes of the noised mean.
        whole: examples with which a client counts whole; None counts each client alike.
        rate: probability with which each client is asked, by itself (`PoissonSample`); 1 claims nothing from sampling.
        delta: of the epsilon; below 1 / (number of clients). None counts nothing and needs no Opacus.
        added_by: "clients" where `ClientNoise` has added shares of it: then none is added here, and what the answers at hand sum to is counted, with
            `expected` the number of clients that `ClientNoise` was told.
        correlated: noise that partly cancels over rounds; the epsilon is then of the whole run, from the first round on.
        seed: of the noise. None draws one from the operating system at the start and keeps it in the state. Who knows it can subtract the noise.

    Raises:
        BadParameter: a number out of its range; a rule of single updates as `then`; options that exclude each other.

    >>> noisy = GaussianNoise(multiplier=1.0, clip=0.5, expected=10, delta=None)
    >>> noisy.deviation(noisy.start({}))
    0.05
    """

    multiplier: float
    clip: float | AdaptiveClip
    expected: float
    then: Aggregate = field(default_factory=Pool)
    whole: float | None = None
    rate: float = 1.0
    delta: float | None = 1e-5
    added_by: Literal["server", "clients"] = "server"
    correlated: Correlated | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if not (self.multiplier >= 0 and self.first > 0 and self.expected > 0 and 0 < self.rate <= 1 and (self.whole is None or self.whole > 0)):
            raise BadParameter(f"{self}: clip, expected and whole are positive, multiplier is not negative, rate is in (0, 1].")
        _refuse_single(self.then)
        against = {
            "clip adapts": self.adaptive is not None,
            "noise is added by clients": self.added_by == "clients",
            "rate is below 1 (the bound of sampling is for independent noise)": self.rate < 1,
        }
        if self.correlated and any(against.values()):
            raise BadParameter(f"GaussianNoise: {next(words for words, found in against.items() if found)}, which does not go with correlated noise.")
        if self.added_by == "clients" and (self.adaptive or self.whole is not None):
            raise BadParameter("GaussianNoise: where clients add the noise, the clip is theirs and all count alike: clip is a number and whole is None.")
        if self.adaptive:
            self.adaptive.multiplier(self.multiplier, self.expected)

    @property
    def adaptive(self) -> AdaptiveClip | None:
        """The clip where it adapts."""
        return self.clip if isinstance(self.clip, AdaptiveClip) else None

    @property
    def first(self) -> float:
        """The clip of the first round."""
        return self.clip.start if isinstance(self.clip, AdaptiveClip) else self.clip

    def start(self, weights: Tensors) -> Plain:
        """A seed, the first clip, nothing spent."""
        if self.delta is not None:
            epsilon([], self.delta)
        seed = secrets.randbits(62) if self.seed is None else self.seed
        return {"seed": seed, "clip": self.first, "spent": [], "took": {}, "then": self.then.start(weights)}

    def add(self, held: Plain, reply: Reply, weights: Tensors) -> None:
        """Clip and add; where the clip adapts, keep."""
        if self.adaptive:
            super().add(held, reply, weights)
        else:
            added(held, reply, self.factor(reply, self.first))

    def factor(self, reply: Reply, clip: float) -> float:
        """What an update is multiplied by before it is added; one with noise in it already is not clipped again."""
        share = 1.0 if self.whole is None else min(reply.weight / self.whole, 1.0)
        return share if self.added_by == "clients" else share * clip_factor(total_norm(reply.update), clip)

    @property
    def sums(self) -> bool:  # type: ignore[override]
        """Whether only a sum is looked at: where clients clip and add noise themselves. A server that clips sees each update."""
        return self.added_by == "clients"

    def deviation(self, state: Plain) -> float:
        """Standard deviation of the noise on the mean."""
        return self._multiplier * state["clip"] / self.expected

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """Noise once, then whatever comes after."""
        replies, sums = kept(held), dict(held)
        for reply in replies:
            added(sums, reply, self.factor(reply, state["clip"]))
        took = self.correlated.taken(state["took"], book) if self.correlated else {}
        total = sums.get("sum", {})
        mean = {name: self._noised(name, tensor, total.get(name), state, book.round) for name, tensor in weights.items()}
        handed: Plain = {}
        self.then.add(handed, Reply("noised mean", book.round, mean), weights)
        moved, then = self.then.pool(weights, handed, state["then"], book)
        spent = _spent(state["spent"], self._release(len(book.answered)))
        self._note(book, state, spent)
        return moved, {"seed": state["seed"], "clip": self._next(state, replies, book), "spent": spent, "took": took, "then": then}

    @property
    def _multiplier(self) -> float:
        return self.adaptive.multiplier(self.multiplier, self.expected) if self.adaptive else self.multiplier

    def _noised(self, name: str, like: Tensor, total: Tensor | None, state: Plain, number: int) -> Tensor:
        found = torch.zeros(like.shape, dtype=torch.promote_types(like.dtype, torch.float32)) if total is None else total
        if self.added_by == "clients":
            return found / self.expected
        scale = self._multiplier * state["clip"]
        noise = self.correlated.noise(like, number, state["seed"], name) if self.correlated else normal(like, state["seed"], number, name)
        return (found + scale * noise) / self.expected

    def _release(self, answered: int) -> list[float]:
        """What a round costs. Shares of fewer clients sum to less noise; the whole run of correlated noise is one release."""
        if self.added_by == "clients":
            return [self.multiplier * sqrt(answered / self.expected), self.rate, 1]
        return [self.multiplier, self.rate, 1]

    def _note(self, book: Book, state: Plain, spent: list[list[float]]) -> None:
        if self.added_by == "server":
            book.notes["noise"] = self.deviation(state)
        if self.adaptive:
            book.notes["clip"] = state["clip"]
        if self.delta is not None:
            book.notes["epsilon"] = epsilon([(self.multiplier, 1.0, 1)] if self.correlated else spent, self.delta)

    def _next(self, state: Plain, replies: Sequence[Reply], book: Book) -> float:
        """The clip of the next round."""
        adaptive = self.adaptive
        if adaptive is None:
            return state["clip"]
        bits = sum(0.5 if total_norm(reply.update) <= state["clip"] else -0.5 for reply in replies)
        noise = adaptive.deviation(self.expected) * float(normal(torch.zeros(()), state["seed"], book.round, "count")) if self.multiplier else 0.0
        return adaptive.moved(state["clip"], (bits + noise) / self.expected + 0.5)


def _spent(before: list[list[float]], release: list[float]) -> list[list[float]]:
    """Rounds with equal noise count together."""
    if before and before[-1][:2] == release[:2]:
        return [*before[:-1], [*release[:2], before[-1][2] + 1]]
    return [*before, release]


def _refuse_single(then: Aggregate) -> None:
    if not then.sums:
        raise BadParameter(
            f"GaussianNoise: {then!r} needs to see single updates, but noise protects only their sum: it would get one noised mean and do nothing. "
            "Give Pool(Mean()) or an optimizer over it."
        )
