"""1 -> 1: a weight set into another, tensor by tensor. An edit is a frozen dataclass; its repr is its recipe.

>>> import torch
>>> from loomweight.weights import Weights
>>> difference = Weights.of({"w": torch.tensor([1.0, -4.0, 2.0])})
>>> Trim(0.67)(difference)["w"]
tensor([ 0., -4.,  2.])
"""

from .carry import Carry as Carry
from .carry import UnitMap as UnitMap
from .carry import UnitOrder as UnitOrder
from .clip import Clip as Clip
from .drop import Drop as Drop
from .drop_both_ends import DropBothEnds as DropBothEnds
from .edit import Edit as Edit
from .fold_norm import FoldNorms as FoldNorms
from .fold_norm import fold_norms as fold_norms
from .keep_norm import KeepNorm as KeepNorm
from .low_rank import LowRank as LowRank
from .magnitude_drop import MagnitudeDrop as MagnitudeDrop
from .mask import Mask as Mask
from .orthogonal import Orthogonal as Orthogonal
from .per_set import PerSet as PerSet
from .permute import Permute as Permute
from .quantise import Quantise as Quantise
from .rescale import Rescale as Rescale
from .rescale import balanced as balanced
from .scale import Scale as Scale
from .select import Cut as Cut
from .select import largest as largest
from .select import largest_of as largest_of
from .sign import Sign as Sign
from .trim import Trim as Trim
from .where import Where as Where
from .zero import Zero as Zero
