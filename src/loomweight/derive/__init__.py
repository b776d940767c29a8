"""derive: stored -> used. A tensor of a live module becomes a function of other tensors.

    derive(model, "layers.1.weight", LowRank(model.layers[1].weight, rank=8))      # replace
    print(derivations(model))                                                     # see what is derived from what
    plain = fold(model)                                                           # plain weights again, sharing no memory

A derivation is any `nn.Module` whose `forward()` returns the tensor: its parameters are what is stored, and they are trained,
saved and moved with the model. Slices, sums of slices, mixtures, ties, low-rank sums and rounded weights are here; a new one is a few lines.
"""

from .derive import derivations as derivations
from .derive import derive as derive
from .derive import restore as restore
from .fold import fold as fold
from .from_peft import from_peft as from_peft
from .low_rank import LowRank as LowRank
from .mixture import Mixture as Mixture
from .quantised import Quantised as Quantised
from .slice import Slice as Slice
from .superposition import Superposition as Superposition
from .tied import Tied as Tied
