"""Checks of `all_pool` in two processes of torch.distributed."""

import torch
from torch import distributed

from loomweight.federate import all_pool, simulate
from loomweight.federate.pooling.pool import stepped
from loomweight.rules import Median
from tests.federate.homes.training import strategy, trained
from tests.federate.small import clients, model, same
from tests.processes import told


def check_all_pool_gives_what_the_simulation_gives() -> None:
    rank, data = distributed.get_rank(), clients(2)
    weights = dict(model().state_dict())
    state = trained(Median(), weights, data)[rank]
    change = all_pool({name: state[name] - weights[name] for name in weights}, Median(), weight=float(len(list(data.values())[rank][0])))
    assert same(stepped(weights, change), simulate(model(), data, strategy(Median()), 1).weights)


def check_a_rank_with_inf_is_left_out() -> None:
    value = torch.inf if distributed.get_rank() == 1 else 0.5
    assert all_pool({"w": torch.tensor([value])})["w"].tolist() == [0.5]


if __name__ == "__main__":
    told(globals())
