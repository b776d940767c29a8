"""How much a client computes.

Paper: LEAF: A Benchmark for Federated Settings (2018, https://arxiv.org/abs/1812.01097), section 3: FLOPs on the clients are reported beside bytes.
Code read: TalwalkarLab/leaf at 09ec454a, models/model.py, which multiplies the operations of one sample, as TensorFlow's profiler counts them, by
the samples trained on. Here PyTorch's own counter watches one batch forward and backward: matrix products and convolutions, a multiplication
and an addition as two; what is entry by entry is not counted.
"""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from ..partition.partition import Data


def training_flops(model: nn.Module, batch: Data, steps: int = 1, loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy) -> int:
    """Floating-point operations of `steps` local steps on batches like this one. Works on a copy; draws no global random numbers.

    Args:
        model: as a client trains it: frozen parameters need no gradient and cost none.
        batch: (inputs, labels) of the usual size.
        steps: of local training.
        loss: of (outputs, labels).

    Linear layers from m to n cost 2 m n for each sample forward, as much for the gradient of the weights, and as much for that of the inputs, which
    the first layer does not need:

    >>> training_flops(torch.nn.Linear(8, 4), (torch.zeros(10, 8), torch.zeros(10, dtype=torch.int64)))
    1280
    """
    twin = deepcopy(model).train()
    with torch.random.fork_rng(), FlopCounterMode(display=False) as counter:
        loss(twin(batch[0]), batch[1]).backward()
    return steps * counter.get_total_flops()
