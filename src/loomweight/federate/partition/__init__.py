"""Who gets which samples: partitions of one data set among clients, and data that comes with its users.

>>> labels = torch.arange(10).repeat(20)
>>> parts = Dirichlet(0.1)(labels, clients=4, seed=0)
>>> list(parts), sum(map(len, parts.values()))
(['client 0', 'client 1', 'client 2', 'client 3'], 200)
"""

from .absence import absence as absence
from .dirichlet import Dirichlet as Dirichlet
from .feature_shift import FeatureShift as FeatureShift
from .iid import Iid as Iid
from .labels_per_client import LabelsPerClient as LabelsPerClient
from .leaf import leaf as leaf
from .natural import Natural as Natural
from .ordered import Ordered as Ordered
from .partition import Partition as Partition
from .picture import picture as picture
from .quantity_skew import QuantitySkew as QuantitySkew
from .shards import Shards as Shards
from .split import split as split
from .table import table as table
