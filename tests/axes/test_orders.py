"""Orders inside orders: heads are exchanged, and dims inside each head."""

import pytest
import torch

from loomweight import Weights
from loomweight.edits import Permute
from loomweight.errors import BadParameter, UnknownName
from loomweight.weights.axes import inverse, random_orders, table_for, then, unfolded

TEXT = "heads = 2\ndims = 3 in heads\nq : (heads dims) <- 4\no : 4 <- (heads dims)\nnorm : (heads 3)"


def weights() -> Weights:
    return Weights.of({"q": torch.arange(24.0).reshape(6, 4), "o": torch.arange(24.0).reshape(4, 6), "norm": torch.arange(6.0)})


def test_by_hand() -> None:
    table = table_for(TEXT, weights())
    orders = {"heads": torch.tensor([1, 0]), "dims": torch.tensor([[2, 0, 1], [0, 2, 1]])}
    turned = Permute.by(table, orders)(weights())
    old = [5, 3, 4, 0, 2, 1]  # head 1 first, in the order that the first row says; then head 0
    assert torch.equal(turned["q"], weights()["q"][old])
    assert torch.equal(turned["o"], weights()["o"][:, old])
    assert torch.equal(turned["norm"], weights()["norm"][[3, 4, 5, 0, 1, 2]])


@pytest.mark.parametrize("seed", range(4))
def test_two_in_a_row_and_back(seed: int) -> None:
    table = table_for(TEXT, weights())
    a, b = random_orders(table, seed), random_orders(table, seed + 100)
    one_by_one = Permute.by(table, b)(Permute.by(table, a)(weights()))
    at_once = Permute.by(table, then(table, a, b))(weights())
    back = Permute.by(table, inverse(table, a))(Permute.by(table, a)(weights()))
    for name in weights():
        assert torch.equal(one_by_one[name], at_once[name])
        assert torch.equal(back[name], weights()[name])


def test_heads_alone_carry_their_dims_along() -> None:
    table = table_for(TEXT, weights())
    heads = {"heads": torch.tensor([1, 0])}
    inside = {"dims": torch.tensor([[1, 2, 0], [0, 1, 2]])}
    assert torch.equal(then(table, inside, heads)["dims"], inside["dims"].flip(0))
    assert torch.equal(then(table, heads, inside)["dims"], inside["dims"])


def test_rows_of_a_unit() -> None:
    table = table_for(TEXT, weights())
    rows = [unfolded(table, weights()[use.tensor], use) for use in table.uses("dims")]
    assert [tuple(row.shape) for row in rows] == [(2, 3, 4), (2, 3, 4)]
    assert torch.equal(rows[0][1, 2], weights()["q"][5])
    assert torch.equal(rows[1][1, 2], weights()["o"][:, 5])


def test_orders_that_are_none() -> None:
    table = table_for(TEXT, weights())
    with pytest.raises(UnknownName, match="no space named 'head'"):
        Permute.by(table, {"head": torch.tensor([1, 0])})
    for wrong in ([0, 0], [0, 1, 2], [0, 2]):
        with pytest.raises(BadParameter, match=r"the order of space 'heads' must be a permutation of shape \(2,\)"):
            Permute.by(table, {"heads": torch.tensor(wrong)})
