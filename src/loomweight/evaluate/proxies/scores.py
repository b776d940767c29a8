"""All proxies of one network at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...errors import BadParameter, NonFinite, unknown
from ..path_norm import path_norm
from .borrowed import Loss
from .epsinas import epsinas
from .grad_sign import grad_sign
from .gradient_norm import gradient_norm
from .naswot import naswot
from .snip import snip
from .synflow import synflow

WITH_LOSS: Mapping[str, Callable[..., float]] = MappingProxyType({"gradient_norm": gradient_norm, "snip": snip, "grad_sign": grad_sign})
WITHOUT: Mapping[str, Callable[..., float]] = MappingProxyType({"synflow": synflow, "naswot": naswot, "epsinas": epsinas, "path_norm": path_norm})
NAMES = (*WITH_LOSS, *WITHOUT)


@dataclass(frozen=True)
class ProxyScores:
    """Scores of one network.

    Args:
        scores: by proxy; NaN where it is not defined for this network.
        undefined: why not, for those.
    """

    scores: Mapping[str, float]
    undefined: Mapping[str, str]

    def __getitem__(self, proxy: str) -> float:
        return self.scores[proxy]


def proxy_scores(model: nn.Module, inputs: Any, targets: Tensor, *, only: Sequence[str] = NAMES, loss: Loss = cross_entropy) -> ProxyScores:
    """Score a network by several proxies on one batch. What a proxy cannot score is NaN, with the reason beside it.

    Args:
        model, inputs, targets, loss: as for `gradient_norm`.
        only: names among gradient_norm, snip, grad_sign, synflow, naswot, epsinas, path_norm.

    Raises:
        UnknownName: there is no such proxy.

    >>> found = proxy_scores(nn.Linear(2, 3), torch.ones(4, 2), torch.tensor([0, 1, 2, 0]), only=("snip", "naswot"))
    >>> sorted(found.undefined), found["snip"] > 0
    (['naswot'], True)
    """
    scores: dict[str, float] = {}
    undefined: dict[str, str] = {}
    for name in only:
        if name not in NAMES:
            raise unknown("proxy", name, NAMES)
        try:
            scores[name] = WITH_LOSS[name](model, inputs, targets, loss) if name in WITH_LOSS else WITHOUT[name](model, inputs)
        except (BadParameter, NonFinite) as error:
            scores[name], undefined[name] = float("nan"), str(error)
    return ProxyScores(MappingProxyType(scores), MappingProxyType(undefined))
