"""SWAG: moments against all points at once, the covariance of samples against the paper's, and against that of the run."""

import pytest
import torch
from torch import Tensor, nn

import loomweight as lw
from loomweight.trajectory import SWAG


def pushed(points: Tensor, k: int = 20) -> SWAG:
    """A run through these points: the first two coordinates are `weight`, the third is `bias`."""
    model = nn.Linear(2, 1).to(points.dtype)
    swag = SWAG(model, k=k)
    for point in points:
        model.weight.data.copy_(point[None, :2])
        model.bias.data.copy_(point[2:])
        swag.update()
    return swag


def flat(weights: "lw.Weights | dict[str, Tensor]") -> Tensor:
    return torch.cat([weights["weight"].reshape(-1), weights["bias"].reshape(-1)]).double()


def random_points(n: int = 12, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 3 + scale * torch.randn(n, 3, generator=generator) @ torch.tensor([[1.0, 0.9, 0.0], [0.0, 0.4, 0.7], [0.0, 0.0, 0.5]])


def test_by_hand() -> None:
    """Points 0, 2, 7: means 0, 1, 3; deviations from them 0, 1, 4; variance (9 + 1 + 16) / 3."""
    swag = pushed(torch.tensor([[0.0, 0, 0], [2, 2, 2], [7, 7, 7]]), k=2)
    assert swag.value()["bias"].item() == 3
    assert [column["bias"].item() for column in swag.columns] == [1, 4]
    assert swag.variances["bias"].item() == pytest.approx(26 / 3)


def test_moments_against_all_points_at_once() -> None:
    points = random_points()
    swag = pushed(points.double(), k=5)
    torch.testing.assert_close(flat(swag.value()), points.double().mean(0))
    torch.testing.assert_close(flat(swag.variances), points.double().var(0, correction=0))
    means = points.double().cumsum(0) / torch.arange(1, 13)[:, None]
    torch.testing.assert_close(torch.stack([flat(column) for column in swag.columns]), (points.double() - means)[-5:])


def test_a_point_that_stands_for_more_samples_weighs_more() -> None:
    model, twin = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    swag, other = SWAG(model), SWAG(twin)
    for w, samples in ((1.0, 1), (5.0, 3), (2.0, 2)):
        model.weight.data.fill_(w)
        swag.update(samples)
        for _ in range(samples):
            twin.weight.data.fill_(w)
            other.update()
    torch.testing.assert_close(swag.variances["weight"], other.variances["weight"])
    torch.testing.assert_close(swag.value()["weight"], other.value()["weight"])


def test_a_small_variance_around_a_large_mean_is_not_lost() -> None:
    """The difference of raw moments in float32, as in the authors' code, is the twin that loses it."""
    points = 300 + 1e-2 * torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    exact = points.double().var(0, correction=0)
    torch.testing.assert_close(flat(pushed(points).variances), exact, rtol=0.02, atol=0)
    raw = (points.square().mean(0) - points.mean(0).square()).double()
    assert ((raw - exact).abs() / exact).max() > 1


def samples(swag: SWAG, n: int, scale: float = 1.0, block: bool = False) -> Tensor:
    """What `sample` puts into the model, many times: the first one is compared with it."""
    drawn = [{name: swag._draw(name, seed, scale, block) for name in swag.totals} for seed in range(n)]
    assert torch.equal(flat(drawn[0]), flat(swag.sample(0, scale, block)))
    return torch.stack([flat(sample) for sample in drawn])


def paper(swag: SWAG) -> Tensor:
    """diag(s^2) / 2 + D D^T / (2 (K - 1))."""
    deviations = torch.stack([flat(column) for column in swag.columns], 1)
    return torch.diag(flat(swag.variances)) / 2 + deviations @ deviations.T / (2 * (len(swag.columns) - 1))


def check(found: Tensor, mean: Tensor, wanted: Tensor) -> None:
    """Within 5 standard deviations of what so many normal samples give."""
    n = len(found)
    assert ((found.mean(0) - mean).abs() < 5 * (wanted.diag() / n).sqrt()).all()
    spread = ((wanted.square() + torch.outer(wanted.diag(), wanted.diag())) / n).sqrt()
    assert ((found.T.cov() - wanted).abs() < 5 * spread).all()


def two_last_far_off() -> Tensor:
    """Most of the covariance is in the columns then, so that their factor shows."""
    points = random_points()
    points[-2:] += torch.tensor([[9.0, 9.0, 0.0], [-9.0, 0.0, 9.0]])
    return points


def test_the_covariance_of_samples_is_the_papers() -> None:
    swag = pushed(two_last_far_off(), k=2)
    wanted = paper(swag)
    found = samples(swag, 600)
    check(found, flat(swag.value()), wanted)
    check(samples(swag, 200, scale=0.25), flat(swag.value()), wanted / 4)
    diagonal = torch.diag(flat(swag.variances)) / 2
    for other in (diagonal + (wanted - diagonal) / 2, 2 * wanted):
        with pytest.raises(AssertionError):
            check(found, flat(swag.value()), other)


def test_tensors_do_not_vary_together_in_block_samples() -> None:
    swag = pushed(random_points(), k=3)
    wanted = paper(swag)
    found = samples(swag, 600, block=True)
    check(found, flat(swag.value()), torch.block_diag(wanted[:2, :2], wanted[2:, 2:]))
    with pytest.raises(AssertionError):
        check(found, flat(swag.value()), wanted)


def test_without_columns_it_is_diagonal() -> None:
    swag = pushed(random_points(), k=0)
    assert not swag.columns
    check(samples(swag, 300), flat(swag.value()), torch.diag(flat(swag.variances)) / 2)


def test_the_claim_it_finds_the_shape_of_sgds_cloud() -> None:
    """On a quadratic with correlated noise SGD's stationary covariance is V_ij = lr^2 C_ij / (1 - r_i r_j), r = 1 - lr a.

    SWAG's is (V + its diagonal) / 2 by construction, which is nearer to V than the diagonal alone."""
    lr, a = 0.1, torch.diag(torch.tensor([1.0, 1.2, 0.9])).double()
    root = torch.tensor([[1.0, 0.9, 0.0], [0.0, 0.4, 0.7], [0.0, 0.0, 0.5]]).double()
    decay = 1 - lr * a.diag()
    v = lr**2 * root.T @ root / (1 - torch.outer(decay, decay))
    w, points, generator = torch.zeros(3).double(), [], torch.Generator().manual_seed(0)
    for step in range(40 * 200):
        w = w - lr * (a @ w + torch.randn(3, generator=generator, dtype=torch.float64) @ root)
        points += [w] if step % 40 == 39 else []
    swag = pushed(torch.stack(points), k=200)
    assert (paper(swag) - (v + torch.diag(v.diag())) / 2).norm() < 0.2 * v.norm()
    assert (paper(swag) - v).norm() < 0.8 * (torch.diag(flat(swag.variances)) - v).norm()


def test_a_sample_depends_on_seed_and_name_alone() -> None:
    points = random_points()
    swag, model = pushed(points), nn.Module()
    model.bias, model.weight = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1, 2))
    other = SWAG(model)
    for point in points:
        model.weight.data.copy_(point[None, :2])
        model.bias.data.copy_(point[2:])
        other.update()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert torch.equal(flat(swag.sample(7)), flat(other.sample(7)))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(flat(swag.sample(7)), flat(swag.sample(8)))
    torch.testing.assert_close(flat(swag.sample(7, scale=0)), flat(swag.value()))


def test_statistics_of_batch_normalizations_are_those_of_the_sample() -> None:
    torch.manual_seed(0)
    model, data = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), [torch.randn(32, 3)]
    swag = SWAG(model, k=2)
    for _ in range(4):
        model[0].weight.data += torch.randn(3, 3)
        model(data[0])
        swag.update()
    live = model.state_dict()["0.weight"].clone()
    sample = swag.sample(0, data=data)
    outputs = data[0] @ sample["0.weight"].T + sample["0.bias"]
    torch.testing.assert_close(sample["1.running_mean"], outputs.mean(0))
    with pytest.warns(UserWarning, match="averages of statistics"):
        without = swag.sample(0)
    assert torch.equal(without["1.running_mean"], swag.totals["1.running_mean"]), "buffers are not drawn"
    assert torch.equal(model.state_dict()["0.weight"], live)


def test_tied_and_half_precision_parameters() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)).to(torch.bfloat16)
    model[1].weight = model[0].weight
    swag = SWAG(model, k=2)
    for w in (1.0, 1.0078125, 1.015625):
        model[0].weight.data.fill_(w)
        swag.update()
    sample = swag.sample(0)
    assert sample.ties
    assert sample["0.weight"].dtype == torch.bfloat16
    assert swag.variances["0.weight"].dtype == torch.float32
    torch.testing.assert_close(swag.variances["0.weight"], torch.full((2, 2), 0.0078125**2 * 2 / 3))


def test_a_tensor_that_begins_anew_in_another_shape() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    swag = SWAG(model, k=3)
    for w in (1.0, 2.0, 3.0):
        model[0].weight.data.fill_(w)
        swag.update()
    model[1] = nn.Linear(2, 1, bias=False)
    with pytest.raises(lw.errors.ShapesDiffer, match=r"'1\.weight' has shape \(1, 2\) now"):
        swag.update()
    swag.forget("1.weight")
    for w in (4.0, 5.0):
        model[1].weight.data.fill_(w)
        swag.update()
    assert swag.variances["1.weight"].tolist() == [[0.25, 0.25]]
    assert ["1.weight" in column for column in swag.columns] == [False, True, True]
    assert swag.sample(0)["1.weight"].shape == (1, 2)


def test_saved_and_resumed() -> None:
    points = random_points()
    whole, part = pushed(points, k=3), pushed(points[:7], k=3)
    part = SWAG(part.model, k=3).load_state_dict(part.state_dict())
    assert isinstance(part.model, nn.Linear)
    for point in points[7:]:
        part.model.weight.data.copy_(point[None, :2])
        part.model.bias.data.copy_(point[2:])
        part.update()
    assert torch.equal(flat(whole.sample(3)), flat(part.sample(3)))
    with pytest.raises(lw.errors.BadParameter, match=r"SWAG\(k=3\)"):
        SWAG(part.model, k=4).load_state_dict(part.state_dict())


def test_bad_input() -> None:
    model = nn.Linear(2, 1)
    with pytest.raises(lw.errors.BadParameter, match=r"0 or at least 2.*found 1"):
        SWAG(model, k=1)
    swag = SWAG(model)
    swag.update()
    with pytest.raises(lw.errors.TooFewSets, match="at least two points of the run, SWAG has taken 1"):
        swag.sample(0)
    swag.update()
    with pytest.raises(lw.errors.BadParameter, match="at least 0, found -1"):
        swag.sample(0, scale=-1)
    before = [tensor.clone() for tensor in swag.variances.values()]
    model.weight.data[0, 0] = torch.inf
    with pytest.raises(lw.errors.NonFinite, match="'weight'"):
        swag.update()
    assert all(torch.equal(new, old) for new, old in zip(swag.variances.values(), before, strict=True))
    assert len(swag.columns) == 2
    assert swag.count == 2
