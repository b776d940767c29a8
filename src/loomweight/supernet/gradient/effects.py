"""What the coefficients of fields do to a model during one forward pass: entries of its modules' dictionaries, put in and taken out again."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...derive import Quantised
from ...derive.quantised import UNROUNDED, rounded
from ..choice import Choice
from ..join import Join
from .superposed import Factors, Superposed

#: (one of a module's dictionaries, key, what stands there for a while)
Entry = tuple[MutableMapping[Any, Any], Any, Any]
_ABSENT = object()


@contextmanager
def put(entries: Iterable[Entry]) -> Iterator[None]:
    """The entries, for a while."""
    before: list[Entry] = []
    try:
        for target, key, value in entries:
            before.append((target, key, target.get(key, _ABSENT)))
            target[key] = value
        yield
    finally:
        for target, key, value in reversed(before):
            if value is _ABSENT:
                del target[key]
            else:
                target[key] = value


@dataclass
class Weight:
    """A parameter: where modules hold it, and how it is superposed, if it is."""

    places: list[tuple[MutableMapping[Any, Any], str]]
    superposed: Superposed | None = None

    def entries(self, whole: Tensor, coefficients: Mapping[str, Tensor], known: Factors) -> Iterator[Entry]:
        """The tensor in use, in all places."""
        used = whole if self.superposed is None else self.superposed(whole, coefficients, known)
        for target, key in self.places:
            yield target, key, used


@dataclass
class Operators:
    """A `Choice` runs the candidates whose coefficients are not 0, and sums them up."""

    field: str
    choice: Choice
    options: tuple[str, ...]
    modules: Mapping[str, nn.Module]

    def entries(self, coefficients: Mapping[str, Tensor]) -> Iterator[Entry]:
        """Coefficients, and candidates that are not there while another one is chosen."""
        factors = dict(zip(self.options, present(coefficients[self.field]), strict=True))
        yield self.choice.__dict__, "coefficients", lambda: [factors.get(name) for name in self.choice.names]
        for name, module in self.modules.items():
            yield self.choice._modules, name, module


@dataclass
class Edges:
    """A `Join` runs the edges whose coefficients are not 0, and sums them up."""

    field: str
    join: Join

    def entries(self, coefficients: Mapping[str, Tensor]) -> Iterator[Entry]:
        """Coefficients."""
        factors = present(coefficients[self.field])
        yield self.join.__dict__, "coefficients", lambda: factors


@dataclass
class Depth:
    """The last block of a list gives the sum over depths of coefficient x what the last block of that depth gave, as TangleNAS mixes depths.

    Args:
        field: of the depth.
        ends: of each option, the block that is its last.
        last: the last block of the longest.
    """

    field: str
    ends: Sequence[nn.Module]
    last: nn.Module
    seen: dict[int, Any] = dataclasses.field(default_factory=dict)

    def entries(self, coefficients: Mapping[str, Tensor]) -> Iterator[Entry]:
        """Hooks."""
        self.seen = {}
        for end in dict.fromkeys(self.ends):
            if end is not self.last:
                yield end._forward_hooks, self, self._keep
        yield self.last._forward_hooks, self, partial(self._mix, coefficients[self.field])

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.seen[id(module)] = output

    def _mix(self, coefficients: Tensor, module: nn.Module, inputs: Any, output: Any) -> Any:
        several = [output if end is self.last else self.seen[id(end)] for end in self.ends]
        parts = [factor * _first(each) for factor, each in zip(present(coefficients), several, strict=True) if factor is not None]
        mixed = sum(parts[1:], parts[0])
        self.seen = {}
        return mixed if isinstance(output, Tensor) else (mixed, *output[1:])

    def __hash__(self) -> int:
        return id(self)


@dataclass
class Norm:
    """LayerNorm or RMSNorm over a relaxed width divides by the expected number of units, sum of coefficient x size, not by all there are.

    With one coefficient 1 that is the subnet's own norm, for the units outside it are 0. Norms of Transformers that have a `variance_epsilon`
    are RMS norms in float32.
    """

    field: str
    norm: nn.Module
    sizes: Tensor

    def entries(self, coefficients: Mapping[str, Tensor]) -> Iterator[Entry]:
        """Another forward."""
        chosen = coefficients[self.field]
        yield self.norm.__dict__, "forward", partial(self._normalised, self.sizes.to(chosen) @ chosen)

    def _normalised(self, count: Tensor, x: Tensor) -> Tensor:
        norm: Any = self.norm
        if not isinstance(norm, nn.LayerNorm | nn.RMSNorm):
            wide = x.float()
            return norm.weight * (wide * torch.rsqrt(wide.square().sum(-1, keepdim=True) / count + norm.variance_epsilon)).to(x.dtype)
        eps = torch.finfo(x.dtype).eps if norm.eps is None else norm.eps
        square = x.square().sum(-1, keepdim=True) / count
        if isinstance(norm, nn.RMSNorm):
            return x * torch.rsqrt(square + eps) * norm.weight
        mean = x.sum(-1, keepdim=True) / count
        out = (x - mean) * torch.rsqrt((square - mean.square()).clamp_min(0) + eps) * norm.weight
        return out if norm.bias is None else out + norm.bias


@dataclass
class Bits:
    """A rounded weight is the sum over numbers of bits of coefficient x the weight rounded to them."""

    field: str
    quantised: Quantised
    options: Sequence[int]

    def entries(self, coefficients: Mapping[str, Tensor]) -> Iterator[Entry]:
        """Another forward."""
        yield self.quantised.__dict__, "forward", partial(self._rounded, present(coefficients[self.field]))

    def _rounded(self, factors: Sequence[Tensor | None]) -> Tensor:
        how = self.quantised.how
        exact = how if isinstance(how, Tensor) else how.forward()
        several = zip(factors, self.options, strict=True)
        parts = [c.to(exact.dtype) * (exact if b == UNROUNDED else rounded(exact, b, self.quantised.axis)) for c, b in several if c is not None]
        return torch.stack(parts).sum(0)


def present(coefficients: Tensor) -> list[Tensor | None]:
    """Each coefficient, None where it is exactly 0 and nothing need run; of all zeros the first stays."""
    some = coefficients.detach().ne(0).tolist()
    some[0] = some[0] or not any(some)
    return [factor if there else None for factor, there in zip(coefficients.unbind(), some, strict=True)]


def _first(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]
