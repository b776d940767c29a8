"""Partitions: each sample has one owner, a seed decides, and each kind is skewed in its own way."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loomweight.errors import BadParameter
from loomweight.federate.partition import Dirichlet, FeatureShift, Iid, LabelsPerClient, Natural, Ordered, Partition, QuantitySkew, Shards, absence, split
from loomweight.federate.partition.dirichlet import drawn_from
from loomweight.federate.partition.feature_shift import rotated
from loomweight.federate.partition.partition import Parts

LABELS = torch.arange(10).repeat_interleave(100)
USERS = tuple(f"writer {i % 7}" for i in range(1000))
EVERY: tuple[Partition, ...] = (
    Iid(),
    Ordered(),
    Shards(2),
    LabelsPerClient(3),
    Dirichlet(0.5),
    Dirichlet(0.1, equal=True),
    QuantitySkew(alpha=1.0),
    QuantitySkew(power=1.5),
    Natural(USERS),
    FeatureShift(noise=0.1, base=Shards(2)),
)
every = pytest.mark.parametrize("partition", EVERY, ids=repr)


def counts(labels: torch.Tensor, parts: Parts, classes: int = 10) -> np.ndarray:
    """(clients, classes): how many of each class everybody has."""
    return np.array([np.bincount(labels[part].numpy(), minlength=classes) for part in parts.values()])


KINDS = {
    "iid": lambda a, n, clients: Iid(),
    "ordered": lambda a, n, clients: Ordered(),
    "shards": lambda a, n, clients: Shards(max(1, round(n // clients / a))),
    "by class": lambda a, n, clients: Dirichlet(a, smallest=0),
    "by client": lambda a, n, clients: Dirichlet(a, equal=True),
    "sizes": lambda a, n, clients: QuantitySkew(alpha=a, smallest=0),
    "power law": lambda a, n, clients: QuantitySkew(power=a, smallest=0),
    "natural": lambda a, n, clients: Natural.of(np.arange(n) % clients),
    "shift": lambda a, n, clients: FeatureShift(noise=a, base=Dirichlet(a, smallest=0)),
}


@given(
    kind=st.sampled_from(sorted(KINDS)),
    alpha=st.floats(1.0, 50.0) | st.floats(0.01, 1.0),
    clients=st.integers(1, 12),
    labels=st.lists(st.integers(-3, 6), min_size=12, max_size=60),
    seed=st.integers(0, 2**40),
)
def test_every_sample_has_one_owner_and_a_seed_decides(kind: str, alpha: float, clients: int, labels: list[int], seed: int) -> None:
    partition = KINDS[kind](max(alpha, 1.0) if kind == "shards" else alpha, len(labels), clients)
    parts = partition(torch.tensor(labels), clients, seed)
    assert sorted(torch.cat(list(parts.values())).tolist()) == list(range(len(labels)))
    assert len(parts) == clients and list(parts) == sorted(parts)
    assert all(part.dtype == torch.int64 and part.tolist() == sorted(part.tolist()) for part in parts.values())
    again = partition(torch.tensor(labels), clients, seed)
    assert list(again) == list(parts) and all(torch.equal(again[name], part) for name, part in parts.items())


@every
def test_the_global_generators_are_neither_read_nor_moved(partition: Partition) -> None:
    clients = 7
    with torch.random.fork_rng():
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002 - the global state is what this is about
        before = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
        first = split((torch.zeros(1000, 4), LABELS), partition, clients, seed=3)
        assert torch.equal(torch.get_rng_state(), before[0]) and np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
        torch.manual_seed(2)
        np.random.seed(2)  # noqa: NPY002
        second = split((torch.zeros(1000, 4), LABELS), partition, clients, seed=3)
    assert all(torch.equal(a, b) for name in first for a, b in zip(first[name], second[name], strict=True))


@every
def test_another_seed_gives_other_parts(partition: Partition) -> None:
    first, second = (partition(LABELS, 7, seed) for seed in (0, 1))
    same = all(torch.equal(first[name], second[name]) for name in first)
    assert same == isinstance(partition, Ordered | Natural)  # these two draw nothing


@every
def test_data_may_stand_for_its_labels(partition: Partition) -> None:
    direct, through = partition(LABELS, 7, 5), partition((torch.zeros(1000, 2), LABELS), 7, 5)
    assert all(torch.equal(direct[name], through[name]) for name in direct)


def test_names_sort_as_numbers_do() -> None:
    names = list(Iid()(torch.zeros(1000), 1000, 0))
    assert names[7] == "client 007" and names == sorted(names)


def test_iid_clients_have_the_same_mixture() -> None:
    found = counts(LABELS, Iid()(LABELS, 5, 0))
    assert found.sum(1).tolist() == [200] * 5
    # each entry is hypergeometric with mean 20 and deviation 3.8; five deviations either way
    assert abs(found - 20).max() < 19


def test_shards_give_few_classes() -> None:
    labels = torch.arange(10).repeat_interleave(60)[torch.randperm(600, generator=torch.Generator().manual_seed(0))]
    found = counts(labels, Shards(2)(labels, 100, 0))  # 200 shards of 3, each of one class
    assert set(found.sum(1)) == {6} and (found > 0).sum(1).max() == 2
    assert all(set(row[row > 0]) <= {3, 6} for row in found)


@given(k=st.integers(1, 10), clients=st.integers(1, 30), seed=st.integers(0, 99))
def test_exactly_k_labels_with_owners_even(k: int, clients: int, seed: int) -> None:
    if clients * k < 10:
        with pytest.raises(BadParameter, match=rf"cannot cover 10 classes: k goes up to 10, with {math.ceil(10 / k)} clients or more"):
            LabelsPerClient(k)(LABELS, clients, seed)
        return
    owned = counts(LABELS, LabelsPerClient(k)(LABELS, clients, seed)) > 0
    assert (owned.sum(1) == k).all()
    assert owned.sum(0).max() - owned.sum(0).min() <= 1


def test_dirichlet_by_class_has_the_moments_of_its_distribution() -> None:
    """Shares of a class are Dir(alpha): their mean is 1 / n and their variance (n - 1) / (n^2 (n alpha + 1))."""
    n, alpha = 5, 0.5
    shares = np.concatenate([counts(LABELS, Dirichlet(alpha, smallest=0)(LABELS, n, seed)).T / 100 for seed in range(200)])
    expected = (n - 1) / (n**2 * (n * alpha + 1))
    # 2000 draws of 5 shares: the standard error of the variance is about 2 %, and rounding to 1/100 adds 1e-5
    assert shares.var() == pytest.approx(expected, rel=0.1)
    assert shares.mean() == pytest.approx(1 / n)


def test_dirichlet_by_client_is_equal_in_size_and_has_the_moments_too() -> None:
    """The first client, which nobody has taken from, is Dirichlet-multinomial: its variance is known."""
    alpha, size, prior = 0.5, 50, 0.1
    parts = [Dirichlet(alpha, equal=True)(LABELS, 20, seed) for seed in range(300)]
    assert {len(part) for part in parts[0].values()} == {size}
    first = np.array([np.bincount(LABELS[found["client 00"]].numpy(), minlength=10) for found in parts])
    expected = size * prior * (1 - prior) * (size + alpha) / (1 + alpha)
    # 3000 correlated counts of a heavy-tailed kind: 10 % is three standard errors
    assert first.var() == pytest.approx(expected, rel=0.1)


def test_small_alpha_concentrates_and_large_alpha_evens_out() -> None:
    def largest(partition: Partition) -> float:
        found = counts(LABELS, partition(LABELS, 10, 0))
        return float((found.max(1) / found.sum(1)).mean())

    for equal in (False, True):
        few, many = (largest(Dirichlet(alpha, equal=equal)) for alpha in (0.05, 1000.0))
        assert few > 0.5 > 0.2 > many


@given(seed=st.integers(0, 2**32), left=st.lists(st.integers(0, 9), min_size=2, max_size=5), size=st.integers(0, 8))
def test_draws_from_what_is_left_take_no_more_than_there_is(seed: int, left: list[int], size: int) -> None:
    have, draw = np.array(left), np.random.default_rng(seed)
    size = min(size, sum(left))
    taken = drawn_from(draw.dirichlet([0.05] * len(left)), have, size, draw)
    assert taken.sum() == size and (taken >= 0).all() and (taken <= have).all()


def test_draws_thrown_away_are_as_draws_one_by_one() -> None:
    """Second formula: one sample at a time, from the mixture without the classes that are used up."""
    mixture, left, size = np.array([0.7, 0.2, 0.1]), np.array([2, 3, 4]), 5

    def one_by_one(draw: np.random.Generator) -> np.ndarray:
        taken = np.zeros(3, int)
        for _ in range(size):
            weights = mixture * (taken < left)
            taken[draw.choice(3, p=weights / weights.sum())] += 1
        return taken

    at_once = np.mean([drawn_from(mixture, left, size, np.random.default_rng((0, i))) for i in range(2500)], axis=0)
    singly = np.mean([one_by_one(np.random.default_rng((1, i))) for i in range(2500)], axis=0)
    # deviations are below 1, so a difference of means has a standard error below 0.02; four of them
    assert abs(at_once - singly).max() < 0.08


def test_smallest_is_kept_or_the_error_says_what_was_reached() -> None:
    assert min(map(len, Dirichlet(0.3, smallest=20)(LABELS, 10, 0).values())) >= 20
    with pytest.raises(BadParameter, match=r"none of 100 draws gave each of 100 clients 10 of 1000 samples; the best left its smallest client \d\. Take fewer"):
        Dirichlet(0.1, smallest=10)(LABELS, 100, 0)
    assert min(map(len, Dirichlet(0.1, smallest=10, equal=True)(LABELS, 100, 0).values())) == 10
    with pytest.raises(BadParameter, match=r"Equal parts have 10: ask for no more"):
        Dirichlet(0.1, smallest=11, equal=True)(LABELS, 100, 0)
    with pytest.raises(BadParameter, match=r"QuantitySkew.* left its smallest client"):
        QuantitySkew(power=4.0)(LABELS, 100, 0)


def test_a_power_law_of_sizes() -> None:
    sizes = [len(part) for part in QuantitySkew(power=1.0)(LABELS, 4, 0).values()]
    assert sizes == [480, 240, 160, 120]  # 1000 * (1, 1/2, 1/3, 1/4) / (25/12)


def test_some_users_of_many() -> None:
    partition = Natural(USERS)
    parts = partition(LABELS, 3, seed=1)
    assert len(parts) == 3 and set(parts) <= set(USERS)
    assert all({USERS[i] for i in part} == {name} for name, part in parts.items())
    assert len(partition(LABELS)) == 7
    assert {name for seed in range(20) for name in partition(LABELS, 3, seed)} == set(USERS)


def test_who_has_rare_classes_is_away() -> None:
    """By hand: clients of one class each are there mean * C * q of the time, and q sums to 1."""
    parts = Shards(1)(LABELS, 10, 0)
    there = {name: 1 - away for name, away in absence(parts, LABELS, seed=2, alpha=5.0, mean=0.1, least=0.0).items()}
    assert sum(there.values()) == pytest.approx(1.0)
    assert {1 - away for away in absence(parts, LABELS, least=1.0).values()} == {1.0}
    alike = absence(Iid()(LABELS, 10, 0), LABELS, alpha=1e6).values()
    assert list(alike) == pytest.approx([0.9] * 10, abs=0.001)  # q is 1/10 but for a thousandth of that
    with pytest.raises(BadParameter, match=r"mean and least between 0 and 1"):
        absence(parts, LABELS, mean=0.0)


def test_features_shift_by_level() -> None:
    images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    data = (images, torch.zeros(40, dtype=torch.int64))
    shift = FeatureShift(noise=0.5)
    parts, seen = shift(data, 5, 0), split(data, shift, 5, 0)
    added = [float((seen[name][0] - images[part]).std()) for name, part in parts.items()]
    assert added[0] == 0
    # the deviation of 512 normal numbers is within 3 % of theirs, one in three; 15 % is five times that
    assert added[1:] == pytest.approx([0.125, 0.25, 0.375, 0.5], rel=0.15)
    turned = split(data, FeatureShift(rotation=180.0), 3, 0)
    assert torch.equal(turned["client 1"][0], images[FeatureShift()(data, 3, 0)["client 1"]].rot90(1, (-2, -1)))
    alone = split(data, replace(shift, scale=3.0), 1, 0)["client 0"][0]
    assert torch.equal(alone, images)


def test_a_rotation_is_one() -> None:
    """Against quarter turns where it interpolates, against its own inverse inside, and against scipy."""
    from scipy.ndimage import rotate

    where = torch.linspace(-1, 1, 41, dtype=torch.float64)
    smooth = torch.exp(-4 * ((where[None] - 0.2) ** 2 + (where[:, None] + 0.1) ** 2))[None]
    back = rotated(rotated(smooth, 30), -30)
    # bilinear interpolation errs by h^2 / 8 max |f''| in each of two directions: here h = 1/20 and f'' = 8, twice
    assert torch.allclose(back[:, 8:-8, 8:-8], smooth[:, 8:-8, 8:-8], atol=0.01)
    for image in (smooth, smooth[:, 8:-8], smooth[:, :, 5:]):
        expected = torch.from_numpy(rotate(image[0].numpy(), 30, reshape=False, order=1, mode="grid-constant"))
        assert torch.allclose(rotated(image, 30)[0], expected, atol=1e-12)  # the same formula in float64
    assert torch.equal(rotated(smooth, -90), smooth.rot90(-1, (-2, -1)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Iid()(LABELS[:3], 4), "needs a number of clients from 1 to 3, the number of samples; found 4"),
        (lambda: Iid()(LABELS), "found None"),
        (lambda: Iid()(LABELS, 0), "found 0"),
        (lambda: Iid()(LABELS, 2, -1), "a seed is 0 or more, found -1"),
        (lambda: Iid()(torch.tensor(3), 1), "found a single number"),
        (lambda: Shards(0), "at least 1 shard"),
        (lambda: Shards(3)(LABELS, 400), "needs 1200 samples, one for each shard; found 1000"),
        (lambda: Shards(2)(LABELS.float(), 4), r"one whole number for each sample as its label; found torch.float32 of shape \(1000,\)"),
        (lambda: Dirichlet(0.1)(LABELS[:, None], 4), r"found torch.int64 of shape \(1000, 1\)"),
        (lambda: Dirichlet(0.0), "alpha lies between"),
        (lambda: Dirichlet(math.nan), "alpha lies between"),
        (lambda: Dirichlet(smallest=-1), "smallest is 0 or more"),
        (lambda: LabelsPerClient(0), "at least 1 class"),
        (lambda: LabelsPerClient(11)(LABELS, 4), "cannot cover 10 classes"),
        (lambda: LabelsPerClient(1)(torch.tensor([0, 0, 1]), 3), None),
        (lambda: LabelsPerClient(1)(torch.tensor([0, 0, 0, 1]), 4), "the class 1 has 1 samples for 2 clients; take fewer"),
        (QuantitySkew, "either alpha or power"),
        (lambda: QuantitySkew(1.0, 1.0), "either alpha or power"),
        (lambda: Natural(("a",))(LABELS), r"Natural\(1 samples of 1 users\) was given 1000 labels"),
        (lambda: Natural(USERS)(LABELS, 8), "8 clients were asked for; from 1 to 7 can be had"),
        (lambda: FeatureShift(noise=-1.0), "noise is 0 or more"),
        (lambda: FeatureShift(scale=0.0), "scale above 0"),
        (lambda: split((LABELS[:, None], LABELS), FeatureShift(scale=2.0), 2), "changes inputs that are torch.int64"),
        (lambda: split((torch.zeros(1000, 2), LABELS), FeatureShift(rotation=45.0), 2), "cannot be rotated"),
        (lambda: split((torch.zeros(999, 2), LABELS), Iid(), 2), r"found shapes \(999, 2\) and \(1000,\)"),
    ],
)
def test_what_cannot_be_is_refused(make, message: str | None) -> None:
    if message is None:
        make()
        return
    with pytest.raises(BadParameter, match=message):
        make()
