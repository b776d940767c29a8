"""Low-communication training: workers that step alone and agree now and then, on plain torch.distributed."""

from .diloco import DiLoCo as DiLoCo
from .exchange import Exchange as Exchange
from .local_sgd import LocalSGD as LocalSGD
from .members import Members as Members
from .peers import Group as Group
from .peers import Peers as Peers
from .rounds import Rounds as Rounds
