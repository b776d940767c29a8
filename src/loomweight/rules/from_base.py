"""Rules on differences from a base, under the names that recipes use."""

from ..weights import Weights
from .around import Around
from .consensus import Consensus
from .mag_max import MagMax
from .pcb import PCB
from .rule import Rule
from .sce import SCE


def magmax(base: Weights, scale: float = 1.0) -> Rule:
    """base + scale * the entry of the differences that is largest in magnitude.

    Paper: MagMax: Leveraging Model Merging for Seamless Continual Learning (2024, https://arxiv.org/abs/2407.06322), equation 2.

    >>> import torch, loomweight as lw
    >>> one = lw.Weights.of({"w": torch.ones(1)})
    >>> lw.combine([{"w": torch.tensor([2.0])}, {"w": torch.tensor([-3.0])}], magmax(one, scale=0.5))["w"]
    tensor([-1.])
    """
    return Around(base, MagMax(), scale=scale)


def pcb_merging(base: Weights, keep: float = 0.2, scale: float = 1.0) -> Rule:
    """base + scale * the competition-balanced mean of the differences.

    Paper: Parameter Competition Balancing for Model Merging (2024, https://arxiv.org/abs/2410.02396).

    >>> pcb_merging(Weights.of({}), keep=0.1).rule
    PCB(keep=0.1)
    """
    return Around(base, PCB(keep), scale=scale)


def consensus_merging(base: Weights, tall: float = 0.4, agree: int = 2, scale: float = 0.3) -> Rule:
    """base + scale * the sum of the differences where at least `agree` tasks use the entry.

    Paper: Localizing Task Information for Improved Model Merging and Compression (2024, https://arxiv.org/abs/2405.07813).

    >>> consensus_merging(Weights.of({})).rule
    Consensus(tall=0.4, agree=2)
    """
    return Around(base, Consensus(tall, agree), scale=scale)


def sce_merging(base: Weights, select: float = 1.0, scale: float = 1.0) -> Rule:
    """base + scale * the selected, energy-weighted, sign-consistent mean of the differences.

    Paper: FuseChat: Knowledge Fusion of Chat Models (2024, https://arxiv.org/abs/2408.07990), section 3.3.

    >>> sce_merging(Weights.of({}), select=0.1).rule.select
    0.1
    """
    return Around(base, SCE(select), scale=scale)
