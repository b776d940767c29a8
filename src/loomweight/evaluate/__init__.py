"""Judge weights: barriers between sets, greedy selection, diversity of models, cost. It takes `loss(weights)` or `score(weights)`."""

from .barrier import Barrier as Barrier
from .barrier import barrier as barrier
from .barrier import between as between
from .cost import Cost as Cost
from .cost import cost as cost
from .diversity import Decomposition as Decomposition
from .diversity import decompose as decompose
from .diversity import diversity as diversity
from .diversity import locality as locality
from .diversity import ratio_error as ratio_error
from .greedy import Attempt as Attempt
from .greedy import Selection as Selection
from .greedy import greedy_soup as greedy_soup
