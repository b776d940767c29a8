"""A strategy for clients with different numbers of bits.

Paper: Bitwidth Heterogeneous Federated Learning with Progressive Weight Dequantization (2022, https://arxiv.org/abs/2202.11453).
"""

from collections.abc import Mapping
from dataclasses import replace

from ...errors import BadParameter
from ..messages import Bits
from ..pooling import ProWD
from ..strategy import Strategy


def prowd(strategy: Strategy, widths: Mapping[str, int], within: float = 1.0) -> Strategy:
    """The strategy with `Bits` on the way, up and down, and `ProWD` at the server.

    Args:
        strategy: with its settings, and no message; its aggregate is replaced.
        widths: client -> bits: 2, 4, 8 or 32; others have 32.
        within: see `ProWD`.

    Raises:
        BadParameter: the strategy has a message.

    >>> prowd(Strategy(), {"ann": 4}).message
    (Bits(widths={'ann': 4}),)
    """
    if strategy.parts:
        raise BadParameter(f"prowd: expected a strategy without a message, found {strategy.message}.")
    return replace(strategy, message=(Bits(dict(widths)),), aggregate=ProWD(dict(widths), within))
