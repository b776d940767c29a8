"""What must not be exchanged is not, and the table says why."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from loomweight.errors import BadParameter
from loomweight.weights.axes import axes, verify

from .careful import CAREFUL, FREE, Between

#: of the six units, what can be exchanged all the same
SOME = {
    "alone": [5],
    "halves_differ": [3, 3],
    "halves_joined": [3, 3],
    "part_of_a_grid": [4, 2],
    "written_into": [2, 3],
    "written_through_a_view": [6],
    "complex_pairs": [3],
    "softmax_of_two": [3, 2],
    "three_of_six": [3, 3],
    "one_twice": [5],
    "the_last_by_number": [5],
}


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("name", CAREFUL)
def test_units_that_are_told_apart_stay(name: str) -> None:
    middle, width = CAREFUL[name]
    model, x = Between(middle, width), torch.randn(5, 3)
    table = axes(model, x)
    assert [space.size for space in table.spaces.values()] == SOME.get(name, [])
    assert max(verify(table, model, x).values()) < 1e-10


@pytest.mark.parametrize("name", FREE)
def test_units_that_are_treated_alike_are_free(name: str) -> None:
    model, x = Between(FREE[name]), torch.randn(5, 3)
    table = axes(model, x)
    assert [space.size for space in table.spaces.values()] == [6]
    assert not table.notes
    assert max(verify(table, model, x).values()) < 1e-10


def test_what_is_not_understood_is_named_with_its_module() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.index_copy(1, torch.tensor([0]), x[:, 1:2])

    model = nn.Sequential(nn.Linear(3, 6), Odd(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    table = axes(model, torch.randn(2, 3))
    assert list(table.spaces) == ["layer.2"]
    assert "index_copy in 1 is not understood: the units that it touches stay" in table.notes
    assert "# index_copy in 1" in str(table)


def test_why_units_stay_is_said() -> None:
    table = axes(Between(lambda x: x.cumsum(1)), torch.randn(2, 3))
    assert table.notes == ("units of 'a.bias', 'a.weight' stay: cumsum tells its entries apart",)


class Branching(nn.Module):
    def __init__(self, ask: Callable[[Tensor], bool]) -> None:
        super().__init__()
        self.a, self.b, self.c, self.ask = nn.Linear(3, 6), nn.Linear(6, 5), nn.Linear(5, 2), ask

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x).tanh())
        return self.c(x.relu() if self.ask(x) else x.tanh())


def test_a_path_that_depends_on_data_is_one_run() -> None:
    """A question that treats the units alike leaves them free, one about a single unit does not."""
    x = torch.randn(4, 3)
    for ask, expected in [(lambda x: x.sum() > -1e9, {"a": 6, "b": 5}), (lambda x: x[0, 0] > -1e9, {"a": 6, "b": 4})]:
        model = Branching(ask)
        table = axes(model, x)
        assert table.how.startswith("make_fx, one run on the example, because torch.export failed: ")
        assert {name: space.size for name, space in table.spaces.items()} == expected
        assert max(verify(table, model, x).values()) < 1e-10


class Writing(nn.Module):
    """Writes into a view, in a run that has to be recorded."""

    def __init__(self, write: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.write = nn.Linear(3, 6), nn.Linear(6, 2), write

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.b(self.write(y) if y.sum() < 1e9 else y)


def scaled_part(y: Tensor) -> Tensor:
    y[:, 1:3].mul_(2)
    return y


def added_under_a_view(y: Tensor) -> Tensor:
    held = torch.zeros_like(y)
    seen = held.view(len(y), 2, 3)
    held.add_(y)
    return seen.flatten(1)


def added_to_itself(y: Tensor) -> Tensor:
    return y.add_(1).tanh_()


@pytest.mark.parametrize(("write", "free"), [(scaled_part, 0), (added_under_a_view, 0), (added_to_itself, 6)], ids=lambda one: getattr(one, "__name__", one))
def test_writing_in_place_in_a_recorded_run(write: Callable[[Tensor], Tensor], free: int) -> None:
    model, x = Writing(write), torch.randn(4, 3)
    table = axes(model, x)
    assert table.how.startswith("make_fx")
    assert sum(space.size for space in table.spaces.values()) == free
    assert max(verify(table, model, x).values()) < 1e-10
    assert (not free) == any("writes into a part of a tensor" in note for note in table.notes)


def test_a_model_that_does_not_run_says_so() -> None:
    with pytest.raises(BadParameter, match=r"Sequential does not run on the example inputs \(\(4, 5\)\): RuntimeError: .*shapes"):
        axes(nn.Sequential(nn.Linear(3, 2)), torch.zeros(4, 5))
    with pytest.raises(BadParameter, match="the example inputs are a str; give a tensor, a tuple of inputs or a dict of keyword arguments"):
        axes(nn.Linear(3, 2), "hello")


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.BatchNorm1d(4), nn.Linear(4, 2)).train()
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    table = axes(model, torch.randn(4, 3), outputs=lambda out: out[:, 0])
    verify(table, model, torch.randn(4, 3), outputs=lambda out: out[:, 0])
    assert [module.training for module in model] == [True, False, True, True]
    assert not model._forward_hooks
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = self.a(x)
        return {"hidden": hidden, "logits": self.b(hidden)}


def test_outputs_that_do_not_count() -> None:
    model, x = TwoOutputs(), torch.randn(4, 3)
    assert not axes(model, x).spaces
    table = axes(model, x, outputs=lambda out: out["logits"])
    assert table.spaces["a"].size == 6
    assert max(verify(table, model, x, outputs=lambda out: out["logits"]).values()) < 1e-12
    with pytest.raises(BadParameter, match="exchanging the units of 'a' changes the outputs"):
        verify(table, model, x)


def test_a_model_without_data() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    table = axes(model, torch.zeros(1, 3))
    assert table.spaces["layer.0"].size == 8
