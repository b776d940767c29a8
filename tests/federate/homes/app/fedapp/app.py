"""Clients with data of one linear law, each drawn by its number; a median of what they learn."""

import os
import time
from dataclasses import replace

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from torch import Tensor, nn

import loomweight as lw
from loomweight.federate import Guard, Local, Strategy, flower, flower_client

strategy = Strategy(aggregate=lw.rules.Median(), local=Local(batch=8), guard=Guard(deadline=90))


def model() -> nn.Module:
    net = nn.Linear(4, 2)
    net.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in net.state_dict().items()})
    return net


def data(number: int) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(24 + number, 4, generator=torch.Generator().manual_seed(number))
    return inputs, (inputs.sum(1) > 0).long()


def data_of(context: Context) -> tuple[Tensor, Tensor]:
    """With a fault: client 1 fails in every round."""
    number, fault = int(context.node_config["partition-id"]), context.run_config.get("fault")
    if number == 1 and fault == "dies":
        os._exit(3)
    if number == 1 and fault == "hangs":
        time.sleep(3600)
    if number == 1 and fault == "raises":
        raise OSError("the disk is full")
    inputs, targets = data(number)
    return (inputs * torch.nan if number == 1 and fault == "nan" else inputs), targets


client = flower_client(model(), data_of, strategy)
server = ServerApp()


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Run, and leave the weights in a file."""
    told = context.run_config
    strict = replace(strategy, guard=replace(strategy.guard, fewest=int(told["fewest"])))
    home = flower(strict, model(), int(told["clients"]), folder=str(told["folder"]) or None)
    result = home.start(grid, num_rounds=int(told["rounds"]))
    lw.save(result.arrays.to_torch_state_dict(), str(told["out"]))
    for line in home.server.history:
        print("round", line["round"], "pooled", line["pooled"], "of", line["asked"], line["who"], f"{line['time']:.1f} s", flush=True)  # noqa: T201
