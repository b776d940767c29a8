"""How workers' updates become one: what is sent, and what is done about bad ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite

import torch
from torch import Tensor

from ...errors import BadParameter, NonFinite, TooFewSets
from ...rules import Mean, Rule, combine
from ...rules.sets import Nonfinite
from ...weights import Weights
from ..messages import Message
from ..plain import Tensors
from .asked import Asked
from .bucket import Bucket, finite
from .line import Line


@dataclass(frozen=True)
class Exchange:
    """What is sent at a synchronisation, and what is done about NaN and Inf.

    Args:
        nonfinite: as `combine`'s: "raise" on every worker, "drop" the worker (counted against the rule's f), or "mask" the entry.
        weight: of this worker in the pool; finite and at least 0. All 1: no weights are used.
        message: the form in which updates are sent, of `loomweight.federate.messages`; None sends them as they are. It may draw numbers,
            but keep no memory, and what it packs has to be equally long on all workers.
        fragments: cut the model into so many parts, which are synchronised one after the other, `every / fragments` steps apart.

    Raises:
        BadParameter: a value out of range.

    >>> Exchange(nonfinite="drop", fragments=4)
    Exchange(nonfinite='drop', weight=1.0, message=None, fragments=4)
    """

    nonfinite: Nonfinite = "raise"
    weight: float = 1.0
    message: Message | None = None
    fragments: int = 1

    def __post_init__(self) -> None:
        if self.nonfinite not in ("raise", "drop", "mask"):
            raise BadParameter(f"nonfinite must be raise, drop or mask, found {self.nonfinite!r}.")
        if not (isfinite(self.weight) and self.weight >= 0 and self.fragments >= 1):
            raise BadParameter(f"a weight is finite and at least 0, fragments at least 1; found weight={self.weight}, fragments={self.fragments}.")
        if self.nonfinite == "mask" and self.message is not None:
            raise BadParameter(f"{self.message} would hide which entries are to be masked; use nonfinite='drop' or 'raise' with a message.")


#: updates as they are, NaN refused
PLAIN = Exchange()
MEAN = Mean()


@dataclass
class Row:
    """What a worker says about its update, before anything is sent."""

    rounds: int
    part: int
    weight: float
    bad: int
    waiting: float
    counts: list[int] = field(default_factory=list)
    size: int = 0

    def numbers(self) -> list[float]:
        """To be sent."""
        return [self.rounds, self.part, self.weight, self.bad, self.waiting, self.size, *self.counts]

    @classmethod
    def of(cls, numbers: list[float]) -> "Row":
        """From what was sent."""
        rounds, part, weight, bad, waiting, size, *counts = numbers
        return cls(int(rounds), int(part), weight, int(bad), waiting, [int(count) for count in counts], int(size))


@dataclass
class Gathered:
    """All that came: everyone's row, and the sum or everyone's messages."""

    names: tuple[str, ...]
    rows: list[Row]
    total: Bucket | None = None
    messages: list[Tensors] | None = None


@dataclass(frozen=True)
class Pooled:
    """The update of all, and who is not in it: the worker, and its first tensor with NaN or Inf."""

    update: Tensors
    dropped: dict[str, str]


class Pool:
    """A rule and an `Exchange` at work. The mean is one sum; any other rule gathers all updates, and every worker computes the same of them."""

    def __init__(self, rule: Rule, exchange: Exchange) -> None:
        self.rule, self.exchange = rule, exchange
        self.summed = type(rule) is Mean and rule.weights is None and exchange.nonfinite != "mask" and exchange.message is None

    def gather(self, line: Line, update: Bucket, row: Row) -> Gathered:
        """The collectives; nothing is judged yet."""
        packed = {} if self.summed else self._packed(update.views, row, line.names[line.rank])
        row.size = sum(tensor.nbytes for tensor in packed.values())
        found = Gathered(line.names, [Row.of(numbers) for numbers in line.rows(row.numbers())])
        if differ := [name for name, other in zip(line.names, found.rows, strict=True) if (other.rounds, other.part) != (row.rounds, row.part)]:
            raise BadParameter(f"worker {differ[0]} ends another round than worker {line.names[line.rank]}; all have to call step() equally often.")
        if self.exchange.nonfinite == "raise" and any(other.bad >= 0 for other in found.rows):
            return found
        if len({other.size for other in found.rows}) > 1:
            sizes = ", ".join(f"{other.size} of worker {name}" for name, other in zip(line.names, found.rows, strict=True))
            raise BadParameter(f"{self.exchange.message} packs updates into messages of different lengths, in bytes {sizes}; use one of a fixed length.")
        if self.summed:
            self._sum(line, update, row, found.rows)
            found.total = update
        else:
            found.messages = self._messages(line, packed, update.views)
        return found

    def pool(self, found: Gathered, update: Bucket) -> Pooled:
        """One update of what was gathered; the same bits on every worker.

        Raises:
            NonFinite: "raise", and some hold NaN or Inf; the message says who and where. Or the pool itself does not fit the dtype.
            TooFewSets: too few are left for the rule.
        """
        tensors = list(update.views)
        bad = {name: tensors[row.bad] for name, row in zip(found.names, found.rows, strict=True) if row.bad >= 0}
        if bad and self.exchange.nonfinite == "raise":
            raise NonFinite(f"the update of {_listed(bad)}; mend it, or leave such workers out with Exchange(nonfinite='drop').")
        if found.messages is None:
            if all(row.weight == 0 or row.bad >= 0 for row in found.rows):
                raise TooFewSets(f"no update is left of those of the workers {', '.join(found.names)}: {_listed(bad) or 'none has a weight'}.")
            pooled = Pooled(update.views, bad)
        else:
            pooled = self._combined(found, found.messages, update)
        if name := next((name for name, tensor in pooled.update.items() if not finite(tensor)), None):
            raise NonFinite(f"the pooled update holds NaN or Inf in tensor {name!r}, though no update does: they are too large for their dtype.")
        return pooled

    def _sum(self, line: Line, update: Bucket, row: Row, rows: list[Row]) -> None:
        weights = [other.weight if other.bad < 0 else 0.0 for other in rows]
        mine = weights[line.rank]
        for flat in update.flats:
            if mine == 0:
                flat.zero_()
            elif mine != 1:
                flat.mul_(mine)
            line.sum(flat)
            flat.div_(sum(weights) or 1.0)

    def _packed(self, update: Tensors, row: Row, name: str) -> Tensors:
        """A form of messages is never given NaN, which it might hide: the row says that it is there."""
        if self.exchange.message is None:
            return update
        sound = update if row.bad < 0 else {name: torch.zeros_like(tensor) for name, tensor in update.items()}
        return self.exchange.message.pack(sound, Asked((name, row.rounds, row.part)))  # type: ignore[arg-type]  # what a worker has of it

    def _messages(self, line: Line, packed: Tensors, update: Tensors) -> list[Tensors]:
        pieces = [tensor.contiguous().view(-1).view(torch.uint8) for tensor in packed.values()]
        return [self._opened(data, packed, update) for data in line.gather(torch.cat(pieces))]

    def _opened(self, data: Tensor, packed: Mapping[str, Tensor], like: Tensors) -> Tensors:
        pieces = data.split([tensor.nbytes for tensor in packed.values()])
        got = {n: piece.clone().view(t.dtype).view(t.shape) for (n, t), piece in zip(packed.items(), pieces, strict=True)}
        return self.exchange.message.open(got, like) if self.exchange.message else got

    def _combined(self, found: Gathered, messages: list[Tensors], update: Bucket) -> Pooled:
        kept = [i for i, row in enumerate(found.rows) if row.weight > 0]
        names = [found.names[i] for i in kept]
        weights = [found.rows[i].weight for i in kept]
        if self.exchange.nonfinite == "drop":
            for row, opened in zip(found.rows, messages, strict=True):
                if row.bad >= 0:  # what its message lost is said again, so that `combine` counts it against f
                    name = list(update.views)[row.bad]
                    opened[name] = torch.full_like(update.views[name], torch.nan)
        sets = [Weights.of(messages[i], label=f"worker {found.names[i]}") for i in kept]
        dropped: dict[str, str] = {}
        rule = self._weighted(weights) if len(set(weights)) > 1 else self.rule
        pooled = combine(sets, rule, nonfinite=self.exchange.nonfinite, on_drop=lambda i, tensor: dropped.__setitem__(names[i], tensor))
        return Pooled({name: pooled[name].to(view.dtype) for name, view in update.views.items()}, dropped)

    def _weighted(self, weights: list[float]) -> Rule:
        if not hasattr(self.rule, "weights"):
            raise BadParameter(f"{self.rule} takes no weights, and the workers have the weights {weights}; use equal ones, or another rule.")
        return replace(self.rule, weights=tuple(weights))  # type: ignore[type-var]


def _listed(bad: Mapping[str, str]) -> str:
    return "; ".join(f"worker {name} holds NaN or Inf in tensor {tensor!r}" for name, tensor in bad.items())
