"""With nothing merged the result is both networks side by side; with all merged their average; between, the better the wider."""

from collections.abc import Callable
from functools import cache
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from loomweight.align import Fit, Merged, Size, activation_matching, loaded, pleas, renew_batch_norm
from loomweight.edits import Permute
from loomweight.errors import BadParameter, IntegersDiffer, UnknownName
from loomweight.weights import Weights, from_module
from loomweight.weights.axes import Axes, axes, random_orders, verify

from .digits import Cnn, Mlp, accuracy, digits, seeded, trained


class Reader(nn.Module):
    """Reads an image row by row; concatenates what the rows say with what the whole image says."""

    def __init__(self, rows: int, whole: int, hidden: int) -> None:
        super().__init__()
        self.rows = nn.GRU(8, rows, batch_first=True)
        self.whole = nn.Linear(64, whole, bias=False)
        self.hidden = nn.Linear(rows + whole, hidden)
        self.head = nn.Linear(hidden, 10)

    def forward(self, images: Tensor) -> Tensor:
        last = self.rows(images[:, 0])[0][:, -1]
        return self.head(self.hidden(torch.cat([last, self.whole(images.flatten(1)).relu()], -1)).tanh())


class Attending(nn.Module):
    """Heads over rows, no normalization: heads may be split, their dims stay."""

    def __init__(self, heads: int, dims: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(8, heads * dims) for _ in range(3))
        self.out = nn.Linear(heads * dims, 10)

    def forward(self, images: Tensor) -> Tensor:
        q, k, v = (make(images[:, 0]).unflatten(-1, (self.heads, -1)).transpose(1, 2) for make in (self.q, self.k, self.v))
        return self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).mean(1))


BUILDS: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = {
    "mlp": (Mlp, (12, 9)),
    "cnn": (Cnn, (4, 6)),
    "gru and concatenation": (Reader, (5, 7, 6)),
    "heads": (Attending, (4,)),
}
every_build = pytest.mark.parametrize("kind", BUILDS)


@cache
def table_of(kind: str) -> Axes:
    build, widths = BUILDS[kind]
    return axes(build(*widths).eval(), digits()[0][:2])


def pair(kind: str) -> tuple[nn.Module, nn.Module, Axes]:
    """Two networks with random weights and statistics."""
    build, widths = BUILDS[kind]
    first, second = (seeded(seed, build, *widths).eval() for seed in (1, 2))  # type: ignore[arg-type]
    for number, model in enumerate((first, second)):
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand(buffer.shape, generator=torch.Generator().manual_seed(number)) + (0.5 if "var" in name else 0))
    return first, second, table_of(kind)


def built(kind: str, merged: Merged) -> nn.Module:
    """The wider architecture with the result in it."""
    widths = [merged.axes.spaces[name].size for name in merged.axes.spaces if not merged.axes.spaces[name].within]
    model = BUILDS[kind][0](*widths).eval()
    model.load_state_dict(dict(merged.weights))
    return model


@every_build
@pytest.mark.parametrize("data", [False, True], ids=["joined", "fitted"])
def test_with_nothing_merged_the_outputs_are_the_average_of_both(kind: str, data: bool) -> None:
    first, second, table = pair(kind)
    images = digits()[0][:60]
    result = pleas(table, from_module(second), from_module(first), 0, fit=Fit(first, images.split(20)) if data else None)
    wide = built(kind, result)
    with torch.no_grad():
        torch.testing.assert_close(wide(images), (first(images) + second(images)) / 2, rtol=1e-4, atol=1e-5)
    result.axes.fits(from_module(wide))
    verify(result.axes, wide, images[:3])


@every_build
def test_with_all_merged_it_is_the_average_of_the_matched(kind: str) -> None:
    first, second, table = pair(kind)
    result = pleas(table, from_module(second), from_module(first), 1)
    moved = result.match(from_module(second))
    for name, tensor in from_module(first).items():
        if tensor.is_floating_point():
            torch.testing.assert_close(result.weights[name], (tensor + moved[name]) / 2)
    assert result.axes == table


@every_build
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("data", [False, True], ids=["joined", "fitted"])
def test_a_permuted_copy_merges_to_the_network_itself(kind: str, share: float, data: bool) -> None:
    model, _, table = pair(kind)
    weights, images = from_module(model), digits()[0][:60]
    copy = Permute.by(table, random_orders(table, 3))(weights)
    result = pleas(table, copy, weights, share, fit=Fit(model, images.split(20)) if data else None)
    with torch.no_grad():
        torch.testing.assert_close(built(kind, result)(images), model(images), rtol=1e-4, atol=1e-5)


@settings(max_examples=6)
@given(shares=st.tuples(*[st.floats(0, 1)] * 2), seed=st.integers(0, 100))
def test_units_of_one_network_read_nothing_of_the_others_own(shares: tuple[float, float], seed: int) -> None:
    first, second, table = pair("mlp")
    names = list(table.spaces)
    result = pleas(table, from_module(second), from_module(first), dict(zip(names, shares, strict=True)), fit=Fit(first, [digits()[0][seed : seed + 50]]))
    rows, columns = (len(result.merged[name]) for name in reversed(names))
    apart = table.spaces[names[0]].size - columns
    weight = result.weights[f"{names[1]}.weight"]
    own = table.spaces[names[1]].size - rows
    assert (columns, rows) == (round(shares[0] * 12), round(shares[1] * 9))
    assert not weight[rows : rows + own, columns + apart :].any()
    assert not weight[rows + own :, columns : columns + apart].any()
    with torch.no_grad():
        assert built("mlp", result)(digits()[0][:2]).isfinite().all()


def test_layers_that_overwrite_their_input_do_not_matter() -> None:
    first, second, table = pair("mlp")
    images, weights = digits()[0][:60], (from_module(second), from_module(first))
    plain = pleas(table, *weights, 0.5, fit=Fit(first, [images]))
    for module in first.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True
    overwriting = pleas(table, *weights, 0.5, fit=Fit(first, [images]))
    assert all(torch.equal(plain.weights[name], overwriting.weights[name]) for name in plain.weights.names)


def test_the_pairs_that_fit_best_are_merged() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    a = Weights.of({"0.weight": torch.eye(4)[:, :2] * 4 + 1, "0.bias": torch.zeros(4), "2.weight": torch.ones(1, 4), "2.bias": torch.zeros(1)})
    b = Weights.of({**dict(a), "0.bias": torch.tensor([0.3, 0.1, 0.4, 0.2])})
    table = axes(model, torch.zeros(1, 2))
    stay = Permute.by(table, {})
    (kept,) = pleas(table, b, a, 0.5, match=stay).merged.values()
    assert kept.tolist() == [1, 3]
    result = pleas(table, b, a, 0.5, match=stay)
    assert result.weights["0.bias"].tolist() == pytest.approx([0.05, 0.1, 0, 0, 0.3, 0.4])
    assert result.weights["2.weight"].tolist() == [[1, 1, 0.5, 0.5, 0.5, 0.5]]
    data = [torch.tensor([[0.0, 0.0], [0.0, 9.0]])]
    c = Weights.of({**dict(a), "0.weight": a["0.weight"] + torch.tensor([[9.0, 0], [9, 0], [0, 0.1], [0, 0.2]])})
    (seen,) = pleas(table, c, a, 0.5, match=stay, fit=Fit(model, data)).merged.values()
    assert seen.tolist() == [0, 1]  # the data never moves their first input


@cache
def parents() -> tuple[nn.Module, nn.Module]:
    images, labels, _, _ = digits()
    first, second = (trained(seeded(seed, Mlp, 32, 32, 32), images, labels, seed=seed, epochs=10) for seed in (1, 2))
    return first, second


def score(share: float | Size, fit: Fit | None) -> float:
    first, second = parents()
    table = axes(first, digits()[0][:2])
    result = pleas(table, from_module(second), from_module(first), share, fit=fit)
    wide = Mlp(*(space.size for space in result.axes.spaces.values()))
    wide.load_state_dict(dict(result.weights))
    return accuracy(wide, *digits()[2:])


def test_wider_is_better_and_least_squares_are_better_than_averages() -> None:
    images = digits()[0]
    fit = Fit(parents()[0], images.split(400))
    noise = Fit(parents()[0], [torch.rand(800, 1, 8, 8, generator=torch.Generator().manual_seed(0))])
    ends = [accuracy(model, *digits()[2:]) for model in parents()]
    joined, solved = ([score(share, how) for share in (1.0, 0.75, 0.5)] for how in (None, fit))
    assert joined[0] < joined[1] < joined[2]
    assert solved[0] > joined[0] + 0.05
    assert min(solved) > min(ends) - 0.05
    assert score(1.0, noise) > joined[0] + 0.03  # the variant without the parents' data


def test_batch_norm_is_renewed_on_the_wider_model() -> None:
    images, labels, tests, answers = digits()
    first, second = (trained(seeded(seed, Cnn, 6, 8), images, labels, seed=seed, epochs=5) for seed in (1, 2))
    table, fit = axes(first, images[:2]), Fit(first, images.split(400))
    found = []
    for how in (None, fit):
        result = pleas(table, from_module(second), from_module(first), 0.5, fit=how)
        wide = built("cnn", result)
        found.append(accuracy(loaded(wide, renew_batch_norm(wide, images.split(400), layer_by_layer=True)), tests, answers))
    assert found[1] > min(accuracy(model, tests, answers) for model in (first, second)) - 0.05
    assert found[1] > found[0]


@pytest.mark.parametrize("times", [1.0, 1.3, 2.0, 3.5, 9.0])
def test_a_budget_is_kept_and_used(times: float) -> None:
    first, second, table = pair("mlp")
    weights = from_module(first)
    result = pleas(table, from_module(second), weights, Size(times))
    one, wide = (sum(prod(spec.shape) for spec in held.spec.values()) for held in (weights, result.weights))
    assert wide <= times * one
    widest = sum(prod(spec.shape) for spec in pleas(table, from_module(second), weights, 0).weights.spec.values())
    assert wide == widest or wide > (times - 0.3) * one


def test_little_memory_gives_the_same_sums() -> None:
    first, second, table = pair("cnn")
    images = digits()[0][:60]
    whole, parts = (pleas(table, from_module(second), from_module(first), 0.5, fit=Fit(first, images.split(20), memory=memory)) for memory in (1 << 30, 1))
    assert all(torch.equal(whole.weights[name], parts.weights[name]) for name in whole.weights.names)


def test_bad_input() -> None:
    first, second, table = pair("heads")
    a, b = from_module(first), from_module(second)
    inner = next(name for name, space in table.spaces.items() if space.within)
    with pytest.raises(BadParameter, match="lie inside those of"):
        pleas(table, b, a, {inner: 0.5})
    with pytest.raises(BadParameter, match=r"between 0 .* and 1 .* found 1.5"):
        pleas(table, b, a, 1.5)
    with pytest.raises(UnknownName, match="no space named 'nowhere'"):
        pleas(table, b, a, {"nowhere": 0.5})
    with pytest.raises(BadParameter, match=r"found times = 0\.5"):
        Size(0.5)
    with pytest.raises(BadParameter, match="gave no batch"):
        pleas(table, b, a, 0.5, fit=Fit(first, []))
    first, second, table = pair("cnn")
    second.norm1.num_batches_tracked.add_(1)  # type: ignore[operator, union-attr]
    with pytest.raises(IntegersDiffer, match=r"'norm1\.num_batches_tracked' differs"):
        pleas(table, from_module(second), from_module(first), 0.5).weights["norm1.num_batches_tracked"]


def test_a_shared_tensor_is_not_split() -> None:
    class Speaker(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(7, 4)
            self.out = nn.Linear(4, 7, bias=False)
            self.out.weight = self.words.weight

        def forward(self, tokens: Tensor) -> Tensor:
            return self.out(self.words(tokens))

    weights = from_module(model := Speaker())
    table = axes(model, torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(BadParameter, match="are one tensor"):
        pleas(table, weights, weights, 0.5)
    assert torch.equal(pleas(table, weights, weights, 1).weights["out.weight"], model.out.weight)


def test_an_alignment_of_ones_own_is_taken() -> None:
    first, second = parents()
    images = digits()[0]
    table = axes(first, images[:2])
    by_activations = activation_matching(table, second, first, images.split(400))
    result = pleas(table, from_module(second), from_module(first), match=by_activations)
    assert result.match is by_activations
    moved = by_activations(from_module(second))
    torch.testing.assert_close(result.weights["head.weight"], (first.head.weight + moved["head.weight"]) / 2)  # type: ignore[operator, union-attr]


def transformer(kind: str, hidden: int) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    sizes = {
        "bert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": hidden},
        "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": hidden},
    }[kind]
    config = transformers.AutoConfig.for_model(kind, vocab_size=50, **sizes)
    return seeded(0, lambda: transformers.AutoModel.from_config(config)).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_the_hidden_units_of_transformers_are_split(kind: str) -> None:
    model, words = transformer(kind, 10), {"input_ids": torch.arange(42).reshape(6, 7)}
    table, weights = axes(model, {**words, "use_cache": False}), from_module(model)
    copy = Permute.by(table, random_orders(table, 1))(weights)
    hidden = {name: 0.5 for name in table.spaces if "intermediate" in name or "mlp" in name}
    assert len(hidden) == 2
    result = pleas(table, copy, weights, hidden, fit=Fit(model, [words]))
    wide = transformer(kind, 15)
    wide.load_state_dict(dict(result.weights))
    with torch.no_grad():
        torch.testing.assert_close(wide(**words).last_hidden_state, model(**words).last_hidden_state, rtol=1e-4, atol=1e-5)
