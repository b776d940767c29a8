"""Bring networks that were trained apart into the same coordinates, so that rules can combine them.

Each method returns an edit (1 -> 1) that maps the weights of one network into the coordinates of another; `weights.axes` says which
axes carry the same units. Nothing here averages: that is a rule's work.
"""

from .assignment import assignment as assignment
from .batch_norm import renew_batch_norm as renew_batch_norm
from .features import Fit as Fit
from .passes import loaded as loaded
from .pleas import Merged as Merged
from .pleas import pleas as pleas
from .refit import outputs_of as outputs_of
from .refit import refit as refit
from .repair import repair as repair
from .weight_matching import weight_matching as weight_matching
from .widths import Size as Size
