"""A strategy in which clients send rankings.

Paper: FRL: Federated Rank Learning (2021, https://arxiv.org/abs/2110.04350).
"""

from dataclasses import replace

from torch import nn

from ...errors import BadParameter
from ..messages import Ranks
from ..pooling.rank_vote import RankVote
from ..strategy import Strategy
from .supermask import Supermask


def frl(strategy: Strategy, model: nn.Module) -> Strategy:
    """The strategy with ranks of the model's scores on their way, up and down, and nothing else; `RankVote` pools them.

    Args:
        strategy: with its settings, and no message.
        model: as `supermasked` made it.

    Raises:
        BadParameter: the model has no scores; the strategy has a message.

    >>> from .supermask import supermasked
    >>> frl(Strategy(), supermasked(nn.Linear(2, 2))).tensors
    {'derived.weight.scores': 'pool', '*': 'keep'}
    """
    names = [f"{name}.scores" for name, module in model.named_modules() if isinstance(module, Supermask)]
    if not names or strategy.parts:
        raise BadParameter(f"frl: expected a model that `supermasked` made and a strategy without a message, found {len(names)} scores and {strategy.message}.")
    return replace(strategy, tensors=dict.fromkeys(names, "pool") | {"*": "keep"}, message=(Ranks(),), aggregate=RankVote())
