"""What aggregates that serve one target client have in common."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import BadParameter
from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book, kept
from .mixing import examples
from .pool import stepped

_TERM = "EachStep"


@dataclass(frozen=True)
class ForTarget(Aggregate):
    """w <- w + sum_i p_i ((1 - b_i) D_T + b_i R(D_T, D_i)) over the sources i, which count by their examples.

    Where b is not given, b_i = s^2 / (s^2 + away_i^2): the more the target's own mean is noise, and the less source i is away, the more it is used.
    s^2 is the variance of the mean of the target's steps, for which it sends each of them: `objective=(EachStep([target]),)`.

    Args:
        target: the client whose data the model is for.
        beta: one number for all sources and rounds; None chooses b_i in each round.

    Raises:
        BadParameter: a beta outside [0, 1].
    """

    target: str
    beta: float | None = None

    def __post_init__(self) -> None:
        if self.beta is not None and not 0 <= self.beta <= 1:
            raise BadParameter(f"{type(self).__name__}: beta is in [0, 1], found {self.beta}.")

    def wrong(self, reply: Reply) -> str | None:
        """The target's steps."""
        if self.beta is not None or reply.client != self.target:
            return None
        steps = reply.extra.get(_TERM, {})
        fits = bool(steps) and all(name in reply.update and part.shape[1:] == reply.update[name].shape for name, part in steps.items())
        fits = fits and len({len(part) for part in steps.values()}) == 1 and len(next(iter(steps.values()))) > 1
        return None if fits else f"it lacks two or more steps of the target; add EachStep([{self.target!r}]) to the objective, and let it make more than one"

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """A step for the target; without its answer the weights stay as they are."""
        replies = kept(held)
        target = next((reply for reply in replies if reply.client == self.target), None)
        sources = [reply for reply in replies if reply.client != self.target]
        if target is None or not sources:
            return (stepped(weights, target.update) if target else dict(weights)), state
        betas = [self.beta] * len(sources) if self.beta is not None else self.betas(target, sources).tolist()
        book.notes |= {f"beta of {reply.client}": beta for reply, beta in zip(sources, betas, strict=True)}
        shares = examples(sources).tolist()
        change = {name: _working(own) * sum(share * (1 - beta) for share, beta in zip(shares, betas, strict=True)) for name, own in target.update.items()}
        for reply, share, beta in zip(sources, shares, betas, strict=True):
            for name, own in target.update.items():
                change[name] += share * beta * self.used(_working(own), _working(reply.update[name]))
        return stepped(weights, change), state

    @abstractmethod
    def used(self, target: Tensor, source: Tensor) -> Tensor:
        """R: what is taken of a source's tensor."""

    @abstractmethod
    def away(self, gram: Tensor, steps: int) -> Tensor:
        """away_i^2 of each source, from inner products of the target's steps and then the sources' mean steps."""

    def betas(self, target: Reply, sources: Sequence[Reply]) -> Tensor:
        """b_i of this round."""
        steps = target.extra[_TERM]
        count = len(next(iter(steps.values())))
        gram = torch.zeros(count + len(sources), count + len(sources), dtype=torch.float64)
        for name, own in steps.items():
            others = [reply.update[name].double().flatten() / max(reply.metrics.get("steps", 1.0), 1.0) for reply in sources]
            rows = torch.cat([own.double().flatten(1), torch.stack(others)])
            gram += rows @ rows.T
        noise = spread(gram[:count, :count]) / count
        away = self.away(gram, count)
        return torch.where(noise + away > 0, noise / (noise + away).clamp(min=1e-300), torch.ones_like(away))


def spread(gram: Tensor) -> Tensor:
    """sum_j |g_j - mean|^2 / (n - 1)."""
    n = len(gram)
    return (gram.trace() - gram.sum() / n).clamp(min=0) / (n - 1)


def _working(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
