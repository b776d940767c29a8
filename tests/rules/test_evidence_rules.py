"""Fisher, gradient matching and RegMean: special cases, second formulas, refusals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import loomweight as lw
from loomweight.errors import BadParameter, NonFinite, ShapesDiffer, TooFewSets
from loomweight.rules import Around, Fisher, GradientMatching, IsoC, Mean, RegMean, TaskSingularVectors


def draw(n: int, seed: int, positive: bool = False, shapes: dict | None = None) -> list[lw.Weights]:
    generator = torch.Generator().manual_seed(seed)
    shapes = shapes or {"a.weight": (4, 3), "a.bias": (4,)}
    tensors = [{name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()} for _ in range(n)]
    return [lw.Weights.of({k: v.square() if positive else v for k, v in t.items()}) for t in tensors]


def same(left: lw.Weights, right: lw.Weights, tolerance: float = 1e-9) -> None:
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=tolerance, atol=tolerance)


seeds = given(n=st.integers(1, 5), seed=st.integers(0, 10_000))
few = settings(max_examples=20, deadline=None)


@few
@seeds
def test_equal_evidence_is_the_weighted_mean(n: int, seed: int) -> None:
    sets, one, weights = draw(n, seed), draw(1, seed + 1, positive=True), tuple(range(1, n + 1))
    same(lw.combine(sets, Fisher(tuple(one * n), weights)), lw.combine(sets, Mean(weights)))


@few
@seeds
def test_fisher_is_the_ratio_of_sums(n: int, seed: int) -> None:
    sets, facts = draw(n, seed), draw(n, seed + 1, positive=True)
    merged = lw.combine(sets, Fisher(tuple(facts), floor=0))
    for name in merged:
        top = sum(f[name] * w[name] for f, w in zip(facts, sets, strict=True))
        torch.testing.assert_close(merged[name], top / sum(f[name] for f in facts), rtol=1e-9, atol=1e-9)


@few
@seeds
def test_fisher_maximises_the_joint_posterior(n: int, seed: int) -> None:
    """The paper's definition: the gradient of sum_i F_i (w - w_i)^2 vanishes."""
    sets, facts = draw(n, seed), draw(n, seed + 1, positive=True)
    merged = lw.combine(sets, Fisher(tuple(facts), floor=0))
    for name in merged:
        slope = sum(f[name] * (merged[name] - w[name]) for f, w in zip(facts, sets, strict=True))
        assert slope.abs().max() < 1e-9


@few
@seeds
def test_gradient_matching_without_task_curvature_is_task_arithmetic(n: int, seed: int) -> None:
    sets, base, zero = draw(n, seed), draw(1, seed + 1)[0], lw.Weights.of({k: v * 0 for k, v in draw(1, 0)[0].items()})
    weights = tuple(0.3 * i + 0.2 for i in range(n))
    matched = GradientMatching(base, (zero,) * n, draw(1, seed + 2, positive=True)[0], weights)
    same(lw.combine(sets, matched), lw.combine(sets, Around(base, Mean(weights, normalize=False))))


@few
@seeds
def test_gradient_matching_without_prior_is_fisher_merging_and_the_mean(n: int, seed: int) -> None:
    sets, base, facts = draw(n, seed), draw(1, seed + 1)[0], draw(n, seed + 2, positive=True)
    weights = tuple(0.3 * i + 0.2 for i in range(n))
    same(lw.combine(sets, GradientMatching(base, tuple(facts), None, weights, delta=0)), lw.combine(sets, Fisher(tuple(facts), weights, floor=0)))
    equal = GradientMatching(base, (facts[0],) * n, None, weights, delta=0)
    same(lw.combine(sets, equal), lw.combine(sets, Mean(weights)))


def test_regmean_minimises_the_output_error_on_every_models_inputs() -> None:
    """Equation 2's objective by least squares on the stacked inputs themselves."""
    torch.manual_seed(0)
    inputs = [torch.randn(20, 3, dtype=torch.float64) for _ in range(3)]
    sets = draw(3, seed=1)
    grams = tuple(lw.Weights.of({"a.weight": x.T @ x}) for x in inputs)
    merged = lw.combine(sets, RegMean(grams, keep=1.0))
    outputs = torch.cat([x @ w["a.weight"].T for x, w in zip(inputs, sets, strict=True)])
    direct = torch.linalg.lstsq(torch.cat(inputs), outputs).solution.T
    torch.testing.assert_close(merged["a.weight"], direct, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(merged["a.bias"], lw.combine(sets, Mean())["a.bias"])


def test_regmean_with_the_same_inputs_everywhere_is_the_mean_and_survives_dead_inputs() -> None:
    sets, x = draw(3, seed=1), torch.randn(20, 3, dtype=torch.float64)
    x[:, 1] = 0
    grams = (lw.Weights.of({"a.weight": x.T @ x}),) * 3
    same(lw.combine(sets, RegMean(grams)), lw.combine(sets, Mean()))


def test_regmean_reads_conv1d_the_other_way_round() -> None:
    sets = draw(2, seed=1, shapes={"a.weight": (4, 3)})
    grams = draw(2, seed=2, shapes={"a.weight": (3, 3)})
    grams = [lw.Weights.of({"a.weight": g["a.weight"] @ g["a.weight"].T}) for g in grams]
    turned = [lw.Weights.of({"a.weight": w["a.weight"].T.contiguous()}) for w in sets]
    straight = lw.combine(sets, RegMean(tuple(grams)))["a.weight"]
    torch.testing.assert_close(lw.combine(turned, RegMean(tuple(grams), layout="conv1d"))["a.weight"], straight.T)
    with pytest.raises(ShapesDiffer, match=r"tensor 'a.weight' of shape \(4, 3\) needs a Gram matrix of \(4, 4\)"):
        lw.combine(sets, RegMean(tuple(grams), layout="conv1d"))


@pytest.mark.parametrize("square", [False, True])
def test_regmean_of_a_gpt2_with_a_linear_head(square: bool) -> None:
    """Conv1D weights are (in, out), the head is (out, in); for square ones only `input_axes` can tell. Against the paper's objective."""
    transformers = pytest.importorskip("transformers")
    from loomweight.evidence import input_axes, input_grams

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = transformers.pytorch_utils.Conv1D(3 if square else 5, 3)
            self.head = torch.nn.Linear(3 if square else 5, 3 if square else 4, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.tanh(self.conv(x)))

    torch.manual_seed(3)
    nets, inputs = [Net().double() for _ in range(2)], [torch.randn(40, 3, dtype=torch.float64) for _ in range(2)]
    grams = tuple(input_grams(net, [(x,)]) for net, x in zip(nets, inputs, strict=True))
    assert input_axes(nets[0]) == {"conv.weight": 0, "head.weight": 1}
    sets = [lw.load(net) for net in nets]
    merged = lw.combine(sets, RegMean(grams, keep=1.0, axes=input_axes(nets[0])))
    for name, seen in (("conv.weight", inputs), ("head.weight", [torch.tanh(net.conv(x)) for net, x in zip(nets, inputs, strict=True)])):
        side = [w[name] if name == "conv.weight" else w[name].T for w in sets]
        direct = torch.linalg.lstsq(torch.cat(seen), torch.cat([x @ w for x, w in zip(seen, side, strict=True)])).solution
        found = merged[name] if name == "conv.weight" else merged[name].T
        torch.testing.assert_close(found, direct.detach(), rtol=1e-6, atol=1e-6)
    if square:
        assert not torch.allclose(lw.combine(sets, RegMean(grams, keep=1.0))["conv.weight"], merged["conv.weight"], atol=1e-3)
    else:
        with pytest.raises(ShapesDiffer, match=r"tensor 'conv.weight' of shape \(3, 5\) .* fits the other axis: give axes=input_axes\(model\), or in a recipe"):
            lw.combine(sets, RegMean(grams))
    with pytest.raises(BadParameter, match=r"1 \(linear\) or 0 \(conv1d\), found \{'x': 2\}"):
        lw.combine(sets, RegMean(grams, axes={"x": 2}))


def test_iso_c_levels_the_singular_values_of_the_sum() -> None:
    sets = draw(3, seed=5, shapes={"w": (6, 4)})
    total = sum(w["w"] for w in sets)
    values = torch.linalg.svdvals(lw.combine(sets, IsoC())["w"])
    torch.testing.assert_close(values, torch.linalg.svdvals(total).mean().expand(4))


def test_task_singular_vectors_span_the_whitened_directions() -> None:
    """The columns of the merged difference lie in the span of the orthonormalised left vectors, and fill it."""
    sets = draw(4, seed=6, shapes={"w": (12, 8)})
    merged = lw.combine(sets, TaskSingularVectors())["w"]
    left, _, right = torch.linalg.svd(torch.cat([torch.linalg.svd(w["w"], full_matrices=False)[0][:, :2] for w in sets], dim=1), full_matrices=False)
    orthonormal = left @ right
    torch.testing.assert_close(orthonormal.T @ orthonormal, torch.eye(8, dtype=torch.float64))
    assert torch.linalg.matrix_rank(merged) == 8
    torch.testing.assert_close(merged.T @ merged, merged.T @ orthonormal @ orthonormal.T @ merged)


@pytest.mark.parametrize("rule", [TaskSingularVectors(), IsoC()])
def test_vectors_are_averaged(rule) -> None:
    sets = draw(3, seed=7)
    torch.testing.assert_close(lw.combine(sets, rule)["a.bias"], lw.combine(sets, Mean())["a.bias"])


def test_what_is_missing_or_wrong_is_named() -> None:
    sets, facts = draw(2, seed=1), draw(2, seed=2, positive=True)
    half = [lw.Weights.of({"a.weight": f["a.weight"]}) for f in facts]
    with pytest.raises(BadParameter, match=r"no evidence for 'a.bias'; collect it, or average these with unknown='mean'"):
        lw.combine(sets, Fisher(tuple(half)))
    assert lw.combine(sets, Fisher(tuple(half), unknown="mean"))["a.bias"].equal(lw.combine(sets, Mean())["a.bias"])
    with pytest.raises(TooFewSets, match="Fisher has evidence of 1 models for 2 weight sets"):
        lw.combine(sets, Fisher(tuple(facts[:1])))
    with pytest.raises(BadParameter, match=r"evidence .* about tensor 'a.weight' is negative"):
        _ = lw.combine(sets, Fisher(tuple(draw(2, seed=3))))["a.weight"]
    broken = lw.Weights.of({k: v / 0 for k, v in facts[0].items()})
    with pytest.raises(NonFinite, match=r"evidence .* about tensor 'a.weight' holds NaN or Inf"):
        _ = lw.combine(sets, Fisher((broken, facts[1])))["a.weight"]


def test_a_dropped_set_takes_its_evidence_along() -> None:
    sets, facts = draw(3, seed=1), draw(3, seed=2, positive=True)
    sick = lw.Weights.of({k: v * torch.nan for k, v in sets[1].items()})
    left = lw.combine([sets[0], sick, sets[2]], Fisher(tuple(facts)), nonfinite="drop")
    same(left, lw.combine([sets[0], sets[2]], Fisher((facts[0], facts[2]))))
