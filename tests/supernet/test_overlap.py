"""Subnets of one step that overlap without one holding the other."""

import pytest
import torch

from loomweight.supernet import SubnetOptimizer

from .training import batch, gradients, mlp

TWO = ({"width 0": 2, "width 3": 6}, {"width 0": 8, "width 3": 2})
THREE = (*TWO, {"width 0": 4, "width 3": 3})


@pytest.mark.parametrize("drawn", [TWO, THREE, THREE[::-1]])
def test_what_none_of_them_used_neither_drifts_nor_decays_and_the_rest_gets_the_sum(drawn):
    net, (x, y) = mlp(space="width 0 : 2 4 8\nwidth 3 : 2 3 6"), batch()
    optimizer = SubnetOptimizer(net, torch.optim.AdamW(net.parameters(), lr=0.1, weight_decay=0.1))
    torch.nn.functional.cross_entropy(net.select(net.max())(x), y).backward()
    optimizer.step()
    optimizer.zero_grad()
    before, momentum = net.state_dict()["3.weight"].clone(), optimizer.state[net.stored()["3.weight"].tensor]["exp_avg"].clone()
    for values in drawn:
        torch.nn.functional.cross_entropy(net.select(values)(x), y).backward()
    wanted = gradients(net)["3.weight"]
    optimizer.step()
    used = torch.zeros(6, 8, dtype=torch.bool)
    for values in drawn:
        used[: values["width 3"], : values["width 0"]] = True
    assert not used.all()
    after = optimizer.state[net.stored()["3.weight"].tensor]["exp_avg"]
    assert torch.equal(net.state_dict()["3.weight"][~used], before[~used])
    assert torch.equal(after[~used], momentum[~used])
    assert (net.state_dict()["3.weight"][used] != before[used]).all()
    torch.testing.assert_close(after[used], 0.9 * momentum[used] + 0.1 * wanted[used])
