"""loomweight: make better weights out of the weights you have. edit (1 -> 1), combine (n -> 1), derive (stored -> used).

>>> import loomweight as lw
>>> a, b = lw.Weights.of({"w": torch.tensor([1.0, 2.0])}), lw.Weights.of({"w": torch.tensor([3.0, 4.0])})
>>> (0.5 * a + 0.5 * b)["w"]
tensor([2., 3.])
"""

from importlib import import_module as _import_module
from types import ModuleType as _Module
from typing import TYPE_CHECKING as _CHECKING

import torch as torch

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

if _CHECKING:
    from . import derive as derive
    from . import evaluate as evaluate
    from . import evidence as evidence
    from . import federate as federate
    from . import search as search
    from . import supernet as supernet
    from . import trajectory as trajectory

__version__ = "0.1.0"

_WHEN_USED = ("align", "derive", "evaluate", "evidence", "federate", "search", "supernet", "trajectory")


def __getattr__(name: str) -> _Module:
    """The packages that are loaded when they are first named, so that `import loomweight` stays quick."""
    if name in _WHEN_USED:
        return _import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """All names, those of packages that are not loaded yet too."""
    return sorted({*globals(), *_WHEN_USED})
