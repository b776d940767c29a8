"""Controlled averaging with compressed messages, as a change of any strategy.

Paper: Stochastic Controlled Averaging for Federated Learning with Communication Compression (2023, https://arxiv.org/abs/2308.08165), algorithms 1 and 2.
"""

from dataclasses import replace

from ..errors import BadParameter
from .objectives import StochasticControlled
from .pooling import ControlledPool, Pool
from .strategy import Strategy


def scallion(strategy: Strategy, scale: float = 1.0) -> Strategy:
    """SCALLION: SCAFFOLD with half the upload, whose one increment goes through the strategy's message, which should be unbiased.

    Without a message and with scale 1 it is SCAFFOLD (option 2, plain SGD) to the rounding.

    Args:
        strategy: with its message, settings and a `Pool`; its clients count alike.
        scale: alpha of the paper; below 1 where the message is coarse.

    Raises:
        BadParameter: the aggregate is no `Pool`; the scale is not in (0, 1].

    >>> from loomweight.federate import QSGD
    >>> scallion(Strategy(message=(QSGD(4),)), scale=0.5).objective
    (StochasticControlled(scale=0.5, momentum=1.0),)
    """
    return _controlled(strategy, StochasticControlled(scale=scale))


def scafcom(strategy: Strategy, momentum: float = 0.2) -> Strategy:
    """SCAFCOM: SCALLION with momentum at the clients, for messages that are biased, such as `TopK`.

    Args:
        strategy: with its message, settings and a `Pool`; its clients count alike.
        momentum: beta of the paper; 1 without a message is SCAFFOLD.

    Raises:
        BadParameter: the aggregate is no `Pool`; the momentum is not in (0, 1].

    >>> from loomweight.federate import TopK
    >>> scafcom(Strategy(message=(TopK(0.1),))).objective
    (StochasticControlled(scale=1.0, momentum=0.2),)
    """
    return _controlled(strategy, StochasticControlled(momentum=momentum))


def _controlled(strategy: Strategy, term: StochasticControlled) -> Strategy:
    if not isinstance(strategy.aggregate, Pool):
        raise BadParameter(f"controlled averaging pools with a Pool, found {strategy.aggregate!r}.")
    return replace(strategy, objective=(*strategy.terms, term), aggregate=ControlledPool(replace(strategy.aggregate, counts=False)))
