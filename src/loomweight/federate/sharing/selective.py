"""A strategy in which clients train some of the layers.

Paper: Exploring Selective Layer Fine-Tuning in Federated Learning (2024, https://arxiv.org/abs/2408.15600).
"""

from collections.abc import Mapping
from dataclasses import replace

from ..objectives import SelectLayers
from ..pooling import InCo
from ..strategy import Strategy


def selective(strategy: Strategy, budget: int | Mapping[str, int] = 1, agree: float = 0.0) -> Strategy:
    """The strategy with `SelectLayers`; each layer is averaged over those that chose it, by their examples, and stays where nobody did.

    Args:
        strategy: with its settings; its aggregate is replaced.
        budget: layers that a client trains and sends, or client -> layers.
        agree: how much clients keep to what others chose in the round before.

    >>> selective(Strategy(), budget=2).objective
    (SelectLayers(budget=2, agree=0.0),)
    """
    return replace(strategy, objective=(*strategy.terms, SelectLayers(budget, agree)), aggregate=InCo(counts=True))
