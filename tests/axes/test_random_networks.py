"""Networks drawn at random: whatever is wired to whatever, the proof passes, and hidden units are found."""

from collections.abc import Sequence

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from loomweight.weights.axes import Axes, axes, inverse, random_orders, table_for, then, verify
from loomweight.weights.memory import from_module

#: (what, which of the tensors so far, of which it takes one or two)
Step = tuple[str, int, int]
STEPS = [
    "linear",
    "conv",
    "norm",
    "batch_norm",
    "group_norm",
    "relu",
    "gelu",
    "add",
    "times",
    "cat",
    "halves",
    "first_half",
    "mean",
    "flip",
    "softmax",
    "shift",
]


class Drawn(nn.Module):
    """A graph of operations on (examples, channels, 4) activations, made and run by the same steps."""

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__()
        self.steps, widths, layers = list(steps), [3], {}
        for number, (what, i, j) in enumerate(self.steps):
            a, b = widths[i % len(widths)], widths[j % len(widths)]
            made = {
                "linear": lambda: nn.Linear(4, 4),
                "conv": lambda a=a, j=j: nn.Conv1d(a, 2 + 2 * (j % 3), 1),
                "norm": lambda a=a: nn.LayerNorm([a, 4]),
                "batch_norm": lambda a=a: nn.BatchNorm1d(a),
                "group_norm": lambda a=a: nn.GroupNorm(2 if a % 2 == 0 else 1, a),
            }
            if what in made:
                layers[str(number)] = made[what]()
            widths.append({"conv": 2 + 2 * (j % 3), "cat": a + b, "first_half": max(a // 2, 1)}.get(what, a))
        self.layers, self.head = nn.ModuleDict(layers), nn.Conv1d(widths[-1], 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        made = [x]
        for number, (what, i, j) in enumerate(self.steps):
            a, b = made[i % len(made)], made[j % len(made)]
            made.append(self.layers[str(number)](a) if str(number) in self.layers else step(what, a, b))
        return self.head(made[-1])


def step(what: str, a: Tensor, b: Tensor) -> Tensor:
    match what:
        case "add" | "times":
            b = b if b.shape == a.shape else b.mean(1, keepdim=True)
            return a + b if what == "add" else a * b
        case "cat":
            return torch.cat([a, b], 1)
        case "halves":
            return torch.cat(a.tensor_split(2, 1)[::-1], 1)
        case "first_half":
            return a[:, : max(a.shape[1] // 2, 1)]
        case "mean":
            return a - a.mean(1, keepdim=True)
        case "flip":
            return a.flip(1)
        case "softmax":
            return a.softmax(1)
        case "shift":
            return a + 2 * a.roll(1, 1)
    return getattr(torch.nn.functional, what)(a)


steps = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=9)
slow = settings(max_examples=15, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])


def drawn(plan: Sequence[Step]) -> tuple[nn.Module, Tensor, Axes]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(len(plan))
        model, x = Drawn([("conv", 0, 2), *plan]).eval(), torch.randn(2, 3, 4)
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor.data += torch.rand(tensor.shape) * 0.5
        return model, x, axes(model, x)


@slow
@given(steps)
def test_the_proof_passes(plan: list[Step]) -> None:
    model, x, table = drawn(plan)
    for seed in range(2):
        assert all(change < 1e-7 for change in verify(table, model, x, seed=seed).values())


@slow
@given(steps)
def test_the_text_is_the_table(plan: list[Step]) -> None:
    model, _, table = drawn(plan)
    read = table_for(str(table), from_module(model))
    assert read == table


@slow
@given(steps, st.integers(0, 5))
def test_orders_are_a_group(plan: list[Step], seed: int) -> None:
    table = drawn(plan)[2]
    a, b, c = (random_orders(table, seed + number) for number in range(3))
    assert same(table, then(table, then(table, a, b), c), then(table, a, then(table, b, c)))
    nothing = {name: torch.arange(table.shape(name)[-1]).expand(table.shape(name)) for name in table.spaces}
    assert same(table, then(table, a, inverse(table, a)), nothing)
    assert same(table, then(table, inverse(table, a), a), nothing)
    assert same(table, then(table, a, nothing), a)
    assert same(table, inverse(table, inverse(table, a)), a)


def same(table: Axes, a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in table.spaces)


def test_plain_wiring_leaves_every_hidden_unit_free() -> None:
    """The drawn networks are not all fixed: what is wired plainly is found."""
    table = drawn([("relu", 1, 0), ("conv", 2, 1), ("batch_norm", 3, 0), ("gelu", 4, 0), ("cat", 5, 2), ("conv", 6, 0)])[2]
    assert [space.size for space in table.spaces.values()] == [6, 4, 2]
