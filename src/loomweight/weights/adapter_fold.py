"""Where each part of an adapter goes in the base, decided from headers before any data is read."""

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch

from ..errors import BrokenFile, IntegersDiffer, NamesDiffer, ShapesDiffer, TiesDiffer
from .adapter_folder import Adapter
from .adapter_tensors import Factors, Replacement
from .low_rank import added, decomposed
from .names import listed
from .spec import Block, Spec
from .weights import Weights

#: (block of the tensor so far, the dtype of arithmetic) -> block of the changed tensor
Change = Callable[[Block, torch.dtype], Block]


class Fold:
    """One adapter laid over one base.

    Attributes:
        spec: what the result holds: the base's, and modules that the adapter adds.
        replaced: physical tensor -> the adapter's tensor that stands in for it.
        changes: physical tensor -> what is done to it.
    """

    def __init__(self, base: Weights, adapter: Adapter) -> None:
        self.base, self.adapter = base, adapter
        self.spec: dict[str, Spec] = dict(base.spec)
        self.replaced: dict[str, str] = {}
        self.changes: dict[str, list[Change]] = defaultdict(list)
        for name, replacement in adapter.replaced.items():
            self._replace(name, replacement)
        self._require(f"{module}.weight" for module in adapter.factors)
        self._require(f"{module}.bias" for module, factors in adapter.factors.items() if factors.bias)
        flips = self._flips()
        for module, factors in adapter.factors.items():
            self._adapt(factors, flips[module])

    def open(self, name: str) -> Block:
        """Open one physical tensor of the result."""
        stored, work = self.replaced.get(name), self.spec[name].work
        block = self.adapter.store.open(stored) if stored else self.base.open(name)
        for change in self.changes.get(name, ()):
            block = change(block, work)
        return block

    def _replace(self, name: str, replacement: Replacement) -> None:
        owner, found = self.base.ties.get(name, name), self.adapter.store.spec[replacement.stored]
        shared = [alias for alias, kept in self.base.ties.items() if kept == owner]
        if name not in self.base and not any(f".{word}." in f".{name}" for word in self.adapter.config.trained):
            self._require([name])
        if shared and replacement.untied:
            raise TiesDiffer(f"{self._where} replaces {name!r}, which the base shares with {listed({owner, *shared} - {name})}; untie() the base first.")
        dtype = self.base.spec[name].dtype if name in self.base else found.dtype
        self.spec |= dict.fromkeys((owner, *shared), Spec(found.shape, dtype))
        self.replaced[owner] = replacement.stored

    def _adapt(self, factors: Factors, flipped: bool) -> None:
        weight = self._owner(f"{factors.module}.weight")
        if factors.magnitude and weight in self.changes:
            raise TiesDiffer(f"{self._where} changes {weight!r} under several names, with DoRA: the order would matter; untie() the base first.")
        self.changes[weight].append(lambda block, work: self._folded(block, work, factors, flipped))
        if factors.bias:
            self.changes[self._owner(f"{factors.module}.bias")].append(lambda block, work: self._shifted(block, work, factors))

    def _folded(self, block: Block, work: torch.dtype, factors: Factors, flipped: bool) -> Block:
        delta = self.adapter.delta(factors, work, flipped)
        if not factors.magnitude:
            return added(block, delta)
        magnitude = self.adapter.read(factors.magnitude, work).flatten()
        return decomposed(block, delta, magnitude, not (factors.embedding or flipped), f"{factors.module}.weight")

    def _shifted(self, block: Block, work: torch.dtype, factors: Factors) -> Block:
        shift = self.adapter.bias(factors, work)
        return lambda lo, hi: block(lo, hi).to(work) + shift[lo:hi]

    def _flips(self) -> dict[str, bool]:
        """Module -> whether the base stores its weight as (in, out), told by the shape.

        A square weight is stored as the adapter's other linear weights are, or, if there are none, as its config says.
        """
        flips: dict[str, bool] = {}
        square: list[str] = []
        seen: set[bool] = set()
        for module, factors in self.adapter.factors.items():
            shape = self.adapter.spec(factors).shape
            linear = len(shape) == 2 and not factors.embedding
            flips[module] = linear and shape != self._target(module).shape
            self._check_shape(module, shape[::-1] if flips[module] else shape)
            if linear and shape[0] == shape[1]:
                square.append(module)
            elif linear:
                seen.add(flips[module])
        if len(seen) == 2 and square:
            raise BrokenFile(f"{self._where} adapts linear weights stored both ways, (out, in) and (in, out); of {listed(square)} the shape does not tell.")
        return flips | dict.fromkeys(square, self.adapter.config.transposed if len(seen) != 1 else seen == {True})

    def _check_shape(self, module: str, shape: tuple[int, ...]) -> None:
        target = self._target(module)
        if target.shape != shape:
            raise ShapesDiffer(
                f"tensor '{module}.weight' has shape {target.shape} in the base, and the adapter's delta has {shape}; is it this adapter's base?"
            )
        if not target.averages:
            raise IntegersDiffer(f"tensor '{module}.weight' is {target.dtype} in the base: adapters change floating weights; dequantise the base first.")

    def _require(self, names: Iterable[str]) -> None:
        if lacking := [name for name in names if name not in self.spec]:
            raise NamesDiffer(f"{self._where} changes tensors that the base lacks: {listed(lacking)}{self._prefix(lacking[0])}.")

    def _prefix(self, lacking: str) -> str:
        """A hint where the base holds the same tensor with a word more or less in front: a head's model saved without its head."""
        near = [name for name in self.base.names if name.endswith(f".{lacking}") or (lacking.endswith(f".{name}") and "." in name)]
        return f"; the base has {near[0]!r}: rename() the base first" if len(near) == 1 else ""

    def _target(self, module: str) -> Spec:
        return self.spec[self._owner(f"{module}.weight")]

    def _owner(self, name: str) -> str:
        return self.base.ties.get(name, name)

    @property
    def _where(self) -> str:
        return f"the adapter {self.adapter.folder}"
