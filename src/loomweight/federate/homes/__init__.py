"""Where a strategy runs besides a simulation: the same strategy, the same numbers."""

from .flower import flower as flower
from .flower import flower_client as flower_client
from .nvflare import nvflare_aggregator as nvflare_aggregator
from .state_dicts import pool_states as pool_states
from .torch_distributed import all_pool as all_pool
from .torchft import torchft_manager as torchft_manager
