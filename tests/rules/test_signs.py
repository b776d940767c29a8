"""Sign elections and their kin against second formulas, and what each paper says its method does."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import loomweight as lw
from loomweight.edits import Trim
from loomweight.errors import BadParameter, NonFinite, TooFewSets
from loomweight.rules import (
    PCB,
    SCE,
    ArceeFusion,
    Around,
    Consensus,
    ElectSign,
    MagMax,
    MajoritySign,
    Mean,
    Median,
    NearSwap,
    TrimmedMean,
    combine,
    dare_linear,
    dare_ties,
    della_linear,
    robust_signatures,
    tall_masks,
    task_arithmetic,
    ties,
    wise_ft,
)

few = settings(max_examples=25, deadline=None)
drawn = given(n=st.integers(2, 6), seed=st.integers(0, 10_000))


def stack_of(n: int, seed: int, entries: int = 40) -> torch.Tensor:
    """Rows with many zeros and ties, as trimmed differences have; sums of them are exact."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, (n, entries), generator=generator).double() * torch.randint(0, 9, (n, 1), generator=generator) / 8


@few
@drawn
def test_election_by_masks(n: int, seed: int) -> None:
    """The published form: a mask of those whose sign is the elected one, and a division by how much of the weights it lets through."""
    rows = stack_of(n, seed)
    weights = torch.arange(1, n + 1, dtype=torch.float64)
    weighted = rows * weights[:, None]
    given = tuple(weights.tolist())
    for rule, votes in ((ElectSign, weighted), (MajoritySign, weights[:, None] * rows.sign())):
        elected = torch.where(votes.sum(0) >= 0, 1.0, -1.0)
        mask = weighted.sign() == elected
        share = (weights[:, None] * mask).sum(0)
        expected = (weighted * mask).sum(0) / torch.where(share == 0, 1.0, share)
        even = votes.sum(0) == 0
        torch.testing.assert_close(rule(given, tie="positive")(rows), expected)
        torch.testing.assert_close(rule(given)(rows), expected.masked_fill(even, 0.0))
    elected = torch.where(weighted.sum(0) >= 0, 1.0, -1.0)
    total = (weighted * (weighted.sign() == elected)).sum(0)
    torch.testing.assert_close(ElectSign(given, normalize=False, tie="positive")(rows), total)


@few
@drawn
def test_negative_weights_vote_for_the_other_sign(n: int, seed: int) -> None:
    rows, weights = stack_of(n, seed), tuple(float((-1) ** i) for i in range(n))
    flipped = rows * torch.tensor(weights, dtype=torch.float64)[:, None]
    torch.testing.assert_close(ElectSign(weights, normalize=False)(rows), ElectSign(normalize=False)(flipped))


def test_one_huge_entry_elects_by_mass_but_is_one_vote_by_number() -> None:
    rows = torch.tensor([[100.0], [-1.0], [-1.0]])
    assert ElectSign()(rows).item() == 100 and MajoritySign()(rows).item() == -1


def test_ties_interferes_less_than_task_arithmetic() -> None:
    """The paper's point: redundant small changes of other tasks dilute a task's large ones in a mean, and not after TIES."""
    torch.manual_seed(0)
    base = lw.Weights.of({"w": torch.zeros(3000)})
    sets, large = [], []
    for task in range(3):
        change = 0.05 * torch.randn(3000)
        change[task * 1000 : (task + 1) * 1000] += torch.where(torch.rand(1000) < 0.5, 1.0, -1.0)
        sets.append(lw.Weights.of({"w": change}))
        large.append(change[task * 1000 : (task + 1) * 1000])
    truth = torch.cat(large)
    error = {name: float((combine(sets, rule)["w"] - truth).norm()) for name, rule in (("ties", ties(base, keep=1 / 3)), ("mean", Around(base, Mean())))}
    assert error["ties"] < 0.1 * error["mean"]


@few
@drawn
def test_mag_max_is_the_argmax_of_magnitudes(n: int, seed: int) -> None:
    rows = stack_of(n, seed)
    first = torch.from_numpy(rows.abs().numpy().argmax(0))
    chosen = rows.gather(0, first[None])[0]
    both = (rows == chosen.abs()).any(0)  # of x and -x the positive one
    assert MagMax()(rows).equal(torch.where(both, chosen.abs(), chosen))


@few
@drawn
def test_near_swap_by_its_published_formula(n: int, seed: int) -> None:
    a, b = stack_of(2, seed)
    weight = (0.7 / (a - b).abs().clamp(min=1e-6)).clamp(0, 1)
    torch.testing.assert_close(NearSwap(0.7)(torch.stack([a, b])), weight * b + (1 - weight) * a)


@few
@drawn
def test_sce_step_by_step(n: int, seed: int) -> None:
    rows = stack_of(n, seed)
    variance = _variance(rows)
    k = int(0.4 * int((variance > 0).sum()))
    order = sorted(range(rows.shape[1]), key=lambda p: (-float(variance[p]), p))[:k]
    kept = torch.zeros_like(rows)
    kept[:, order] = rows[:, order]
    energy = kept.square().sum(1)
    weights = energy / energy.sum() if energy.sum() > 0 else torch.full((n,), 1 / n, dtype=torch.float64)
    sign = kept.sum(0).sign()
    shares = weights[:, None] * ((kept.sign() == sign) & (sign != 0))
    expected = (kept * shares).sum(0) / torch.where(shares.sum(0) == 0, 1.0, shares.sum(0))
    torch.testing.assert_close(combine([{"w": row} for row in rows], SCE(0.4))["w"], expected)


def _variance(rows: torch.Tensor) -> torch.Tensor:
    """The variance as the rule computes it, so that ties in it are the same ties."""
    mean = sum(rows) / len(rows)
    return sum((row - mean) * (row - mean) for row in rows) / len(rows)


@few
@drawn
def test_pcb_by_the_papers_equations(n: int, seed: int) -> None:
    torch.manual_seed(seed)
    rows = torch.randn(n, 30, dtype=torch.float64)

    def norm(x: torch.Tensor) -> torch.Tensor:
        return (x - x.min()) / (x.max() - x.min())

    intra = torch.stack([torch.softmax(n * norm(row * row), 0) for row in rows])
    inter = torch.stack([sum(torch.softmax(norm(row * other), 0) for other in rows) for row in rows])
    scores = intra * inter
    kept = scores >= scores.sort(dim=1, descending=True).values[:, [8]]
    scores = scores * kept
    total = scores.sum(0)
    expected = (scores * rows).sum(0) / torch.where(total == 0, 1.0, total)
    torch.testing.assert_close(combine([{"w": row} for row in rows], PCB(keep=0.3))["w"], expected)


def test_consensus_forgets_what_one_task_alone_uses_and_masks_give_tasks_back() -> None:
    base = lw.Weights.of({"w": torch.zeros(4)})
    sets = [lw.Weights.of({"w": torch.tensor(d)}) for d in ([1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0])]
    assert combine(sets, Around(base, Consensus(0.4, agree=2)))["w"].tolist() == [2, 0, 0, 0]
    assert combine(sets, Around(base, Consensus(0.4, agree=0)))["w"].tolist() == [2, 1, 1, 0]
    masks = tall_masks(sets, base)
    total = combine(sets, task_arithmetic(base))["w"]
    for mask, own in zip(masks, sets, strict=True):
        assert ((total * mask["w"]) != 0).equal(own["w"] != 0)


def test_arcee_fusion_by_whole_tensors() -> None:
    torch.manual_seed(1)
    a = torch.randn(40, 16)
    b = a + 0.1 * torch.randn(40, 16) * torch.rand(40, 1) ** 4
    p, q = torch.softmax(b, -1) + 1e-8, torch.softmax(a, -1) + 1e-8
    importance = (b - a).abs() * (p * (p / q).log()).sum(-1, keepdim=True)
    values = np.sort(importance.numpy().ravel())
    q1, middle, q3 = (values[int(np.float32(x) * (values.size - 1))] for x in (0.25, 0.5, 0.75))
    expected = torch.where(importance >= float(middle + 1.5 * (q3 - q1)), b, a)
    found = combine([{"w": a}, {"w": b}], ArceeFusion())["w"]
    assert (found != expected).float().mean() < 0.005  # a rounding of the importance may move an entry at the threshold
    assert 0 < (found == b).float().mean() < 0.5


def test_a_signature_is_added_scaled_and_taken_off_again() -> None:
    torch.manual_seed(0)
    clean = {"h.0.w": torch.randn(4, 5), "h.9.w": torch.randn(4, 5)}
    foggy = {name: value + 0.1 * torch.randn(4, 5) for name, value in clean.items()}
    base = lw.Weights.of(clean)

    def patched(strength: float) -> lw.Weights:
        return combine([foggy], robust_signatures(base, ("h.0.*",), (strength,), bits=None))

    off, half, on = (patched(strength)["h.0.w"] for strength in (0.0, 0.5, 1.0))
    assert off.equal(clean["h.0.w"]) and patched(1.0)["h.9.w"].equal(clean["h.9.w"])
    torch.testing.assert_close(half - off, 0.5 * (on - off))
    assert abs(float(((on - off) * clean["h.0.w"]).sum())) < 1e-5
    eight = combine([foggy], robust_signatures(base, ("h.0.*",), bits=8))["h.0.w"]
    assert 0 < (eight - on).abs().max() < 0.01


def test_dropped_sums_are_unbiased_and_reproducible() -> None:
    base = lw.Weights.of({"w": torch.zeros(20_000)})
    sets = [lw.Weights.of({"w": torch.full((20_000,), value)}) for value in (1.0, 2.0)]
    first, again = (combine(sets, dare_linear(base, density=0.3, seed=7))["w"] for _ in range(2))
    assert first.equal(again) and not first.equal(combine(sets, dare_linear(base, density=0.3, seed=8))["w"])
    assert first.mean().item() == pytest.approx(3.0, rel=0.03)
    assert first.unique().numel() == 4  # the two sets drop independently of each other
    kept = combine(sets, dare_linear(base, density=0.3, rescale="norm"))["w"]
    assert kept.mean().item() == pytest.approx(3.0, rel=1e-5)
    assert combine(sets, della_linear(base, density=0.5))["w"].mean().item() == pytest.approx(3.0, rel=0.03)
    assert combine(sets, dare_ties(base, density=0.5, normalize=True))["w"].max().item() == pytest.approx(4.0)


def test_a_density_for_each_set() -> None:
    base = lw.Weights.of({"w": torch.zeros(4)})
    sets = [lw.Weights.of({"w": torch.tensor([4.0, 3.0, 2.0, 1.0])})] * 2
    merged = combine(sets, ties(base, keep=(0.25, 0.5), normalize=False))["w"]
    assert merged.tolist() == [8, 3, 0, 0]
    assert merged.equal(combine([Trim(0.25)(sets[0]), Trim(0.5)(sets[1])], ElectSign(normalize=False))["w"])


@pytest.mark.parametrize(
    "rule",
    [Median(), TrimmedMean(1), ElectSign(), MajoritySign(), MagMax(), Consensus(agree=0), Median((1, 2, 1, 1)), ElectSign((1.0, 2.0, 1.0, 1.0))],
    ids=repr,
)
def test_a_masked_entry_is_decided_by_the_other_sets(rule) -> None:
    torch.manual_seed(0)
    rows = torch.randn(4, 6)
    sick = rows.clone()
    sick[1, 2], sick[3, 4] = float("nan"), float("inf")
    with pytest.raises(NonFinite, match=r"tensor 'w' holds nan at \[2\]"):
        _ = combine([{"w": row} for row in sick], rule)["w"]
    masked = combine([{"w": row} for row in sick], rule, nonfinite="mask")["w"]
    whole = combine([{"w": row} for row in rows], rule)["w"]
    assert masked.isfinite().all() and masked[[0, 1, 3, 5]].equal(whole[[0, 1, 3, 5]])
    for column, lost in ((2, 1), (4, 3)):
        kept = [i for i in range(4) if i != lost]
        alone = rule.restricted(kept, 4)(rows[kept][:, [column]])
        torch.testing.assert_close(masked[[column]], alone)


@few
@given(n=st.integers(3, 9), seed=st.integers(0, 1000))
def test_breakdown_of_median_and_trimmed_mean(n: int, seed: int) -> None:
    """f arbitrary sets, huge or not, leave the result within what the good sets span."""
    f = (n - 1) // 2
    rows = stack_of(n, seed)
    rows[:f] = 10.0 ** torch.randint(-2, 9, (f, rows.shape[1]), generator=torch.Generator().manual_seed(seed)).double()
    good = rows[f:]
    for rule in (Median(), TrimmedMean(f)):
        found = rule(rows)
        assert (found >= good.amin(0) - 1e-9).all() and (found <= good.amax(0) + 1e-9).all()


def test_parameters_out_of_range() -> None:
    for make, words in (
        (lambda: SCE(1.5), r"select must lie in \[0, 1\], found 1.5"),
        (lambda: PCB(0), r"keep must lie in \(0, 1\], found 0"),
        (lambda: NearSwap(-1), "t must be at least 0, found -1"),
        (lambda: wise_ft(1.2), r"alpha must lie in \[0, 1\], found 1.2"),
        (lambda: Consensus(tall=-1), "tall and agree must be at least 0"),
        (lambda: robust_signatures(lw.Weights.of({}), ()), "name the shallow layers"),
    ):
        with pytest.raises(BadParameter, match=words):
            make()
    with pytest.raises(TooFewSets, match="takes two weight sets, got 3"):
        combine([{"w": torch.zeros(1)}] * 3, NearSwap(1))
    with pytest.raises(TooFewSets, match=r"needs at least 5 weight sets \(2 f \+ 1\), got 4"):
        combine([{"w": torch.zeros(1)}] * 4, TrimmedMean(2))
