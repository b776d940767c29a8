"""Run by test_five_homes.py: checks of `all_pool` in three processes of torch.distributed.

python -m tests.federate.homes.three_processes PROCESSES FOLDER
"""

import torch

from loomweight.federate import all_pool, simulate
from loomweight.federate.pooling.pool import stepped
from loomweight.rules import Median
from tests.federate.homes.training import strategy, trained
from tests.federate.small import clients, model, same
from tests.processes import here, told

RANK, FOLDER = here()


def check_all_pool_gives_what_the_simulation_gives() -> None:
    data = clients(3)
    weights = dict(model().state_dict())
    state = trained(Median(), weights, data)[RANK]
    change = all_pool({name: state[name] - weights[name] for name in weights}, Median(), weight=float(len(list(data.values())[RANK][0])))
    assert same(stepped(weights, change), simulate(model(), data, strategy(Median()), 1).weights)


def check_a_rank_with_inf_is_left_out() -> None:
    assert all_pool({"w": torch.tensor([torch.inf if RANK == 2 else float(RANK)])})["w"].tolist() == [0.5]


if __name__ == "__main__":
    told(globals())
