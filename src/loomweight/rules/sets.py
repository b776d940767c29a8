"""The weight sets that a rule is given: they agree in names, shapes and ties, and say what to do about NaN and Inf."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

import torch
from torch import Tensor

from ..errors import BadParameter, NonFinite
from ..shapes import Float
from ..weights import Block, Spec, Weights
from ..weights.algebra import keep, working

#: raise: NaN or Inf anywhere is an error. drop: a set that holds one is left out and counted against f. mask: such an entry
#: is left out where it stands; the other sets decide it.
Nonfinite = Literal["raise", "drop", "mask"]


@dataclass(frozen=True)
class Sets:
    """Members with the same names, shapes and ties; made by `combine`, which checks that."""

    members: tuple[Weights, ...]
    nonfinite: Nonfinite = "raise"

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Weights]:
        return iter(self.members)

    def __getitem__(self, index: int) -> Weights:
        return self.members[index]

    @property
    def names(self) -> tuple[str, ...]:
        """The physical tensors."""
        return self.members[0].physical

    def spec(self, name: str) -> Spec:
        """Shape and promised dtype of a tensor of the result."""
        return self.members[0].spec[name]

    def work(self, name: str) -> torch.dtype:
        """The dtype of arithmetic: float64 where any member has it, else float32."""
        return torch.float64 if any(w.spec[name].dtype == torch.float64 for w in self.members) else torch.float32

    def reads(self, name: str) -> list[Block]:
        """The tensor opened in every member, blocks in one working dtype."""
        work = self.work(name)
        return [_to(working(weights, name), work) for weights in self.members]

    def open(self, name: str) -> Callable[[int, int], Float[Tensor, "n p"]]:
        """The tensor opened in every member: a fresh stack of blocks, one row a set."""
        reads = self.reads(name)
        return lambda lo, hi: torch.stack([read(lo, hi) for read in reads])

    def only(self, names: Sequence[str]) -> "Sets":
        """The same members with these tensors alone."""
        return Sets(tuple(keep(weights, tuple(names)) for weights in self.members), self.nonfinite)

    def each(self, function: Callable[[int, Weights], Weights]) -> "Sets":
        """Every member through `function(index, member)`."""
        return Sets(tuple(function(i, weights) for i, weights in enumerate(self.members)), self.nonfinite)

    def refuse_mask(self, rule: object) -> None:
        """Raise where entries shall be masked and the rule has no meaning for that."""
        if self.nonfinite == "mask":
            raise BadParameter(f"{rule} looks at whole tensors, where a masked entry has no meaning; use nonfinite='drop' or 'raise'.")


def guarded(weights: Weights) -> Weights:
    """The same set, which raises `NonFinite` with tensor and position where a block holds NaN or Inf.

    A block that was found sound is not looked at again: thresholds and statistics make passes of their own.
    """
    sound: set[tuple[str, int, int]] = set()

    def open_(name: str) -> Block:
        read = weights.open(name) if weights.spec[name].dtype.itemsize == 2 else working(weights, name)

        def block(lo: int, hi: int) -> Tensor:
            entries = read(lo, hi)
            if (name, lo, hi) not in sound:
                if not isfinite(entries.sum().item()):  # twice as fast as asking torch
                    refuse(entries, lo, name, weights)
                sound.add((name, lo, hi))
            return entries

        return block

    return Weights(weights.spec, open_, ties=weights.ties, origin=("guarded", weights), label=weights.label, sources=weights.sources)


def refuse(entries: Tensor, lo: int, name: str, weights: Weights) -> None:
    """Raise for the first entry that is not finite; a sum that merely overflowed passes."""
    bad = torch.isfinite(entries).logical_not_().nonzero()
    if len(bad):
        at = int(bad[0])
        index = tuple(int(i) for i in torch.unravel_index(torch.tensor(lo + at), weights.spec[name].shape or (1,)))
        raise NonFinite(
            f"{weights.label or 'a weight set'}: tensor {name!r} holds {entries[at].item()} at {list(index)}"
            f" ({len(bad)} such entries in this block); mend the file, drop the set or mask the entries (nonfinite='drop' or 'mask';"
            " on the command line --allow-nonfinite)."
        )


def _to(read: Block, dtype: torch.dtype) -> Block:
    return lambda lo, hi: read(lo, hi).to(dtype)
