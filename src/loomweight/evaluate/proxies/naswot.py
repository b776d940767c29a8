"""How well the linear regions of an untrained network tell the examples of a batch apart.

Paper: Neural Architecture Search without Training (2020, https://arxiv.org/abs/2006.04647), equation 2, and its sum over layers in the
code: https://github.com/BayesWatch/nas-without-training (score_networks.py, scores.py). We differ: every ReLU that runs is seen, as a
module, as a function or in place, where the code hooks modules; it leaves out those that no output depends on, and ours are all counted.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ...errors import BadParameter, NonFinite
from ...weights.axes.find import arguments
from .borrowed import borrowed

_ALWAYS = {"relu", "relu_", "leaky_relu", "leaky_relu_", "_prelu_kernel"}
#: with a lower bound of 0 these are ReLU as well
_BOUNDED = {"hardtanh", "hardtanh_", "clamp_min", "clamp_min_", "threshold", "threshold_", "clamp", "clamp_"}


def naswot(model: nn.Module, inputs: Any) -> float:
    """log |det K| with K_ij = number of ReLU units that are on for both, or off for both, of examples i and j; larger is better.

    -inf where two examples switch all units alike. Values of different batch sizes do not compare.

    Args:
        model: any module with ReLU (or leaky, parametric, 6); it is left as it was. It runs in training mode, with dropout off.
        inputs: a batch of two or more, examples along the first axis.

    Raises:
        BadParameter: there is no ReLU; fewer than two examples; a ReLU whose first axis is not the batch.
        NonFinite: a ReLU is given NaN.

    >>> pixels = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0]])
    >>> round(naswot(nn.Sequential(nn.ReLU()), pixels), 4)                      # K = [[3, 1], [1, 3]]
    2.0794
    """
    args, kwargs = arguments(inputs, None)
    examples = next((len(value) for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.ndim), 0)
    if examples < 2:
        raise BadParameter(f"naswot: a batch of two or more examples is compared, found {examples}.")
    with borrowed(model, "naswot") as loan, torch.no_grad(), _Switches(examples) as seen:
        loan.run(inputs)
    if seen.layers == 0:
        raise BadParameter(f"naswot: no ReLU ran in {type(model).__name__}, so it has no linear regions to compare; use another proxy.")
    return float(torch.linalg.slogdet(seen.kernel)[1])


class _Switches(TorchDispatchMode):
    """Adds up agreements at every ReLU, before it runs."""

    def __init__(self, examples: int) -> None:
        super().__init__()
        self.kernel, self.layers = torch.zeros(examples, examples, dtype=torch.float64), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in _ALWAYS or (name in _BOUNDED and _lower_bound(args, kwargs or {}) == 0):
            self._count(args[0])
        return func(*args, **(kwargs or {}))

    def _count(self, x: Tensor) -> None:
        if x.ndim < 2 or len(x) != len(self.kernel):
            raise BadParameter(f"naswot: a ReLU works on shape {tuple(x.shape)}, whose first axis is not the batch of {len(self.kernel)} examples.")
        if torch.isnan(x).any():
            raise NonFinite(f"naswot: ReLU number {self.layers + 1} is given NaN; look at the inputs and the initialisation.")
        on = (x.flatten(1) > 0).float()
        self.kernel += (on @ on.T + (1 - on) @ (1 - on).T).double().cpu()
        self.layers += 1


def _lower_bound(args: Any, kwargs: Any) -> Any:
    bound = args[1] if len(args) > 1 else kwargs.get("min", kwargs.get("min_val"))
    return None if isinstance(bound, Tensor) else bound
