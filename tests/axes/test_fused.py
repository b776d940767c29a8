"""Attention whose queries, keys and values are stored head by head."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from loomweight.weights.axes import Axes, axes, table_for, verify
from loomweight.weights.memory import from_module

#: how the parts are taken apart -> how an axis of theirs is then written
TAKEN = {"unbind": "heads 3 dims", "index": "heads 3 dims", "chunk": "heads 3 dims", "last": "heads dims 3", "parts first": None}


class Fused(nn.Module):
    """One block: 3 heads of 4 dims, `taken` out of one product."""

    def __init__(self, taken: str) -> None:
        super().__init__()
        self.taken, self.e, self.qkv, self.o, self.out = taken, nn.Linear(5, 12), nn.Linear(12, 36), nn.Linear(12, 12), nn.Linear(12, 2)

    def parts(self, y: Tensor) -> tuple[Tensor, ...]:
        lead = y.shape[:2]
        if self.taken == "unbind":
            return y.view(*lead, 3, 3, 4).unbind(3)
        if self.taken == "index":
            y = y.view(*lead, 3, 3, 4)
            return y[..., 0, :], y[..., 1, :], y[..., 2, :]
        if self.taken == "last":
            return y.view(*lead, 3, 4, 3).unbind(-1)
        return y.view(*lead, 3, 12).chunk(3, -1) if self.taken == "chunk" else y.view(*lead, 3, 3, 4).unbind(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.e(x)
        q, k, v = (part.transpose(1, 2) for part in self.parts(self.qkv(x)))
        return self.out(torch.tanh(self.o(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)) + x))


def found(taken: str) -> tuple[nn.Module, Tensor, Axes]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, x = Fused(taken).eval(), torch.randn(2, 4, 5)
    return model, x, axes(model, x)


@pytest.mark.parametrize("taken", TAKEN)
def test_heads_are_free_and_dims_in_them(taken: str) -> None:
    model, x, table = found(taken)
    lines = str(table).splitlines()
    assert "qkv.heads = 3" in lines and "qkv.dims = 4 in qkv.heads" in lines
    if words := TAKEN[taken]:
        inside = " ".join(f"qkv.{word}" if word.isalpha() else word for word in words.split())
        assert f"qkv.weight : ({inside}) <- e" in lines and f"qkv.bias : ({inside})" in lines
        assert any("have one order for queries, keys and values: they are stored head by head" in note for note in table.notes)
    else:  # as before: an axis of this kind is a sum of products, where values have an order of their own
        assert "qkv.values = 4 in qkv.heads" in lines and not table.notes
    assert max(verify(table, model, x).values()) < 1e-10
    assert table_for(str(table), from_module(model)) == table


def test_more_than_that_is_wrong() -> None:
    """Values in an order of their own, which the axis cannot say, are refused by the proof when the table says another axis."""
    from loomweight.errors import BadParameter

    model, x, table = found("unbind")
    text = str(table).replace("(qkv.heads 3 qkv.dims)", "(3 qkv.heads qkv.dims)")
    with pytest.raises(BadParameter, match="the axes table is wrong"):
        verify(table_for(text, from_module(model)), model, x)
