"""A mix of many sets lets go of each block: what is alive at once does not grow with the number of sets."""

import weakref

import pytest
import torch
from torch import Tensor

from loomweight.rules import Mean, combine
from loomweight.weights import Block, Spec, Weights

SPEC = {"w": Spec((1000,), torch.float32)}


class Counted:
    """Sets whose blocks are counted while they live."""

    def __init__(self) -> None:
        self.alive = self.most = 0

    def block(self, value: float, entries: int) -> Tensor:
        made = torch.full((entries,), value)
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(made, self._gone)
        return made

    def _gone(self) -> None:
        self.alive -= 1

    def set(self, value: float) -> Weights:
        def open_(name: str) -> Block:
            return lambda lo, hi: self.block(value, hi - lo)

        return Weights(SPEC, open_)


@pytest.mark.parametrize("weights", [(1 / 20,) * 20, (1 / 30,) * 20, (1.0,) * 20], ids=["mean", "scaled", "sum"])
def test_three_blocks_of_twenty_are_alive_at_once(weights: tuple[float, ...]) -> None:
    counted = Counted()
    made = combine([counted.set(float(value)) for value in range(20)], Mean(weights, normalize=False))["w"]
    assert counted.most <= 3
    assert torch.allclose(made, torch.tensor(sum(weight * value for value, weight in enumerate(weights))))


def test_that_the_count_can_be_larger() -> None:
    counted = Counted()
    blocks = [counted.set(float(value)).open("w")(0, 10) for value in range(20)]
    assert counted.most == len(blocks) == 20
