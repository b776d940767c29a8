"""Clients whose weights have different numbers of bits.

Paper: Bitwidth Heterogeneous Federated Learning with Progressive Weight Dequantization (2022, https://arxiv.org/abs/2202.11453), section 3.

Neither its full text nor code was to be had. From its abstract: a trained dequantiser takes low-bit weights to more bits step by step and at last to full
precision, and the server aggregates selectively. Ours is what does that: there a network over blocks of weights, trained with a loss of reconstruction and one
of distillation; here least squares, fitted anew each round on the weights of clients with more bits. There local training computes in low bits too; here in
floats.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from ...derive.quantised import UNROUNDED, rounded, steps
from ...errors import BadParameter
from ..plain import Plain, Tensors
from .aggregate import Aggregate, Book, kept
from .mixing import examples


@dataclass(frozen=True)
class ProWD(Aggregate):
    """w <- mean of the clients' weights, after those of few bits were taken up to more bits step by step, where they agree with those of most bits.

    A step from b to b' bits is x -> a x + c w + d, with the server's own w, fitted on clients of at least b' bits, whose weights are rounded to
    b and to b' bits. An entry of a client with few bits counts where it is within `within` of its rounding steps from the mean over the clients
    with most bits. `prowd` writes the rest of the strategy.

    Args:
        widths: client -> bits, as in `Bits`; others have 32.
        within: rounding steps.

    Raises:
        BadParameter: within is not positive.

    >>> ProWD({"ann": 4})
    ProWD(widths={'ann': 4}, within=1.0)
    """

    widths: Mapping[str, int] = field(default_factory=dict)
    within: float = 1.0

    def __post_init__(self) -> None:
        if not self.within > 0:
            raise BadParameter(f"ProWD: within is positive, found {self.within}.")

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """Up to full precision, and the mean."""
        replies = kept(held)
        bits = [self.widths.get(reply.client, UNROUNDED) for reply in replies]
        shares = examples(replies).tolist()
        moved, counted = dict(weights), []
        for name, tensor in weights.items():
            values = [reply.update[name].float() for reply in replies]
            if tensor.ndim < 2 or len(set(bits)) == 1:
                moved[name] = _mean(values, [torch.full_like(value, share) for value, share in zip(values, shares, strict=True)]).to(tensor.dtype)
                continue
            whole = lifted(values, bits, tensor.float())
            best = [i for i, b in enumerate(bits) if b == max(bits)]
            mean = _mean([whole[i] for i in best], [torch.full_like(tensor, shares[i], dtype=torch.float32) for i in best])
            fits = [self._fits(whole[i], mean, values[i], b) if b < max(bits) else torch.ones_like(mean) for i, b in enumerate(bits)]
            moved[name] = _mean(whole, [fit * share for fit, share in zip(fits, shares, strict=True)]).to(tensor.dtype)
            counted.extend(float(fit.mean()) for fit, b in zip(fits, bits, strict=True) if b < max(bits))
        book.notes["counted"] = sum(counted) / len(counted) if counted else 1.0
        return moved, state

    def _fits(self, value: Tensor, mean: Tensor, raw: Tensor, bits: int) -> Tensor:
        return ((value - mean).abs() <= self.within * steps(raw, bits, 0)).float()


def _mean(values: Sequence[Tensor], parts: Sequence[Tensor]) -> Tensor:
    return torch.stack([value * part for value, part in zip(values, parts, strict=True)]).sum(0) / torch.stack(list(parts)).sum(0)


def lifted(values: Sequence[Tensor], bits: Sequence[int], server: Tensor) -> list[Tensor]:
    """Every client's tensor at the most bits that there are.

    Args:
        values: at each client's bits, of two axes or more, output units first.
        bits: of each.
        server: what all of them began with, before it was rounded for them.
    """
    ladder = sorted(set(bits))
    found = list(values)
    for low, high in pairwise(ladder):
        finer = [_at(value, high, b) for value, b in zip(values, bits, strict=True) if b >= high]
        fitted = _fitted([_at(value, low, UNROUNDED) for value in finer], finer, server)
        found = [_applied(value, server, fitted) if b <= low else value for value, b in zip(found, bits, strict=True)]
    return found


def _at(value: Tensor, bits: int, had: int) -> Tensor:
    return value if bits in (had, UNROUNDED) else rounded(value, bits, 0)


def _fitted(coarse: Sequence[Tensor], fine: Sequence[Tensor], server: Tensor) -> Tensor:
    rows = torch.cat([_features(value, server) for value in coarse])
    return torch.linalg.lstsq(rows, torch.cat([value.double().flatten() for value in fine])[:, None], driver="gelsd").solution


def _applied(value: Tensor, server: Tensor, fitted: Tensor) -> Tensor:
    return (_features(value, server) @ fitted).reshape(value.shape).float()


def _features(value: Tensor, server: Tensor) -> Tensor:
    return torch.stack([value.double().flatten(), server.double().flatten(), torch.ones(value.numel(), dtype=torch.float64)], 1)
