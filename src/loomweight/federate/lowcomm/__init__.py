"""Low-communication training: workers that step alone and agree now and then, on plain torch.distributed."""

from .async_local_sgd import Arrival as Arrival
from .async_local_sgd import AsyncLocalSGD as AsyncLocalSGD
from .bandwidth_shares import Shares as Shares
from .bandwidth_shares import bandwidth_shares as bandwidth_shares
from .delayed_nesterov import DelayedNesterov as DelayedNesterov
from .diloco import DiLoCo as DiLoCo
from .exchange import Exchange as Exchange
from .in_parts import InParts as InParts
from .local_sgd import LocalSGD as LocalSGD
from .local_steps import local_steps as local_steps
from .members import Members as Members
from .one_byte_training import OneByte as OneByte
from .peers import Group as Group
from .peers import Peers as Peers
from .rounds import Rounds as Rounds
from .target_batch import TargetBatch as TargetBatch
