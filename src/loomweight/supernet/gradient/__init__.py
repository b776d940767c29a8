"""Search by gradient: all options of a model's choices at once, each with a coefficient that is learned.

mixed = relaxed(net, Softmax())                    # sizes: one superposed weight; operators: a sum; depth: a sum over blocks
search = Darts(mixed, weights=SubnetOptimizer(net, SGD(net.parameters(), 0.1)), alphas=Adam(mixed.alphas.values(), 3e-4), loss=loss)
search.step(train, valid)                          # weights on one half of the data, alphas on the other
net.select(mixed.values())
"""

from .auto_has import AutoHas as AutoHas
from .auto_has import sgd_update as sgd_update
from .coefficients import Coefficients as Coefficients
from .coefficients import Field as Field
from .costs import costs_of as costs_of
from .darts import Darts as Darts
from .dirichlet import Dirichlet as Dirichlet
from .drop_nas import DropNas as DropNas
from .drop_nas import GroupedDropout as GroupedDropout
from .gold_nas import Gates as Gates
from .gold_nas import GoldNas as GoldNas
from .gold_nas import Pruned as Pruned
from .gumbel import Gumbel as Gumbel
from .perturbation import select_by_perturbation as select_by_perturbation
from .rarts import Rarts as Rarts
from .relaxed import Relaxed as Relaxed
from .relaxed import relaxed as relaxed
from .rome import Rome as Rome
from .softmax import Softmax as Softmax
