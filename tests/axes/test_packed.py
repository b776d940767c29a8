"""Recurrent networks over packed sequences of several lengths."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from loomweight.errors import BadParameter
from loomweight.weights.axes import axes, table_for, verify
from loomweight.weights.memory import from_module


class Packed(nn.Module):
    """Linear, recurrent over sequences of the lengths, linear."""

    def __init__(self, kind: Any, lengths: tuple[int, ...], batch_first: bool, **more: Any) -> None:
        super().__init__()
        self.lengths, self.batch_first = lengths, batch_first
        self.e, self.r = nn.Linear(3, 5), kind(5, 6, batch_first=batch_first, **more)
        self.h = nn.Linear(12 if more.get("bidirectional") else 6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.e(x).tanh()
        x = x if self.batch_first else x.transpose(0, 1)
        ordered = list(self.lengths) == sorted(self.lengths, reverse=True)
        packed = pack_padded_sequence(x, torch.tensor(self.lengths), batch_first=self.batch_first, enforce_sorted=ordered)
        return self.h(pad_packed_sequence(self.r(packed)[0], batch_first=self.batch_first)[0])


CASES: dict[str, tuple[Any, ...]] = {
    "lstm": (nn.LSTM, (4, 3, 2), True, {}, [5, 6]),
    "two layers, unsorted": (nn.LSTM, (4, 2, 3), True, {"num_layers": 2}, [5, 6, 6]),
    "gru, both directions": (nn.GRU, (4, 3, 2), False, {"bidirectional": True}, [5, 6, 6]),
    "rnn, unsorted": (nn.RNN, (2, 4, 1), False, {}, [5, 6]),
    "projected": (nn.LSTM, (4, 4, 2), True, {"proj_size": 4}, [4, 5, 6]),
}


@pytest.mark.parametrize("case", CASES)
def test_units_are_those_of_sequences_of_one_length(case: str) -> None:
    kind, lengths, batch_first, more, sizes = CASES[case]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, x = Packed(kind, lengths, batch_first, **more), torch.randn(3, 4, 3)
    if "proj_size" in more:
        model.h = nn.Linear(4, 2)
    table = axes(model, x)
    assert sorted(space.size for space in table.spaces.values()) == sizes and not table.notes
    assert max(verify(table, model, x).values()) < 1e-10
    assert table_for(str(table), from_module(model)) == table
    wrong = str(table).replace("r.weight_hh_l0 : ", "r.weight_hh_l0 : ... #")
    with pytest.raises(BadParameter, match="the axes table is wrong"):
        verify(table_for(wrong, from_module(model)), model, x)


def test_what_is_padded_with_a_number_does_not_scale() -> None:
    class Filled(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.e, self.h, self.value = nn.Linear(3, 5), nn.Linear(5, 2), value

        def forward(self, x: Tensor) -> Tensor:
            packed = pack_padded_sequence(self.e(x).relu(), torch.tensor([4, 3, 2]), batch_first=True)
            return self.h(pad_packed_sequence(packed, batch_first=True, padding_value=self.value)[0])

    for value in (0.0, 1.0):
        model, x = Filled(value), torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(0))
        table = axes(model, x)
        assert table.spaces["e"].scales == (value == 0)
        assert max(verify(table, model, x).values()) < 1e-10
