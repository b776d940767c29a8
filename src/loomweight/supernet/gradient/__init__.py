"""Search by gradient: all options of a model's choices at once, each with a coefficient that is learned.

mixed = relaxed(net, Softmax())                    # sizes: one superposed weight; operators: a sum; depth: a sum over blocks
search = Darts(mixed, weights=SubnetOptimizer(net, SGD(net.parameters(), 0.1)), alphas=Adam(mixed.alphas.values(), 3e-4), loss=loss)
search.step(train, valid)                          # weights on one half of the data, alphas on the other
net.select(mixed.values())
"""

from .coefficients import Coefficients as Coefficients
from .coefficients import Field as Field
from .dirichlet import Dirichlet as Dirichlet
from .gumbel import Gumbel as Gumbel
from .relaxed import Relaxed as Relaxed
from .relaxed import relaxed as relaxed
from .softmax import Softmax as Softmax
