"""loomweight: make better weights out of the weights you have. edit (1 -> 1), combine (n -> 1), derive (stored -> used).

>>> import loomweight as lw
>>> a, b = lw.Weights.of({"w": torch.tensor([1.0, 2.0])}), lw.Weights.of({"w": torch.tensor([3.0, 4.0])})
>>> (0.5 * a + 0.5 * b)["w"]
tensor([2., 3.])
"""

import torch as torch

from . import align as align
from . import edits as edits
from . import engines as engines
from . import errors as errors
from . import rules as rules
from . import weights as weights
from .rules import combine as combine
from .weights import Spec as Spec
from .weights import Weights as Weights
from .weights import apply_adapter as apply_adapter
from .weights import load as load
from .weights import save as save
from .weights.axes import Axes as Axes
from .weights.axes import axes as axes
from .weights.gram import dot as dot
from .weights.gram import gram as gram
from .weights.gram import norm as norm

__version__ = "0.1.0"
