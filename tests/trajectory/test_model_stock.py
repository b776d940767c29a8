"""Model Stock during training: the rule's own merge, in the models; nearer to the centre of the runs than their mean."""

import copy

import pytest
import torch
from torch import nn

import loomweight as lw
from loomweight.trajectory import periodic_model_stock


def two_runs() -> tuple[lw.Weights, list[nn.Module]]:
    torch.manual_seed(0)
    start = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    runs: list[nn.Module] = [copy.deepcopy(start) for _ in range(2)]
    for i, run in enumerate(runs):
        for parameter in run.parameters():
            parameter.data += 0.3 + 0.5 * torch.randn(parameter.shape)
        for _ in range(i + 1):
            run(torch.randn(8, 6))
    return lw.load(copy.deepcopy(start)), runs


def test_every_model_holds_the_merge_written_out_layer_by_layer() -> None:
    anchor, runs = two_runs()
    before = [copy.deepcopy(run.state_dict()) for run in runs]
    merged = periodic_model_stock(runs, anchor)
    for layer in "0", "1", "2":
        names = [f"{layer}.weight", f"{layer}.bias"]
        first, second = (torch.cat([(state[n] - anchor[n]).double().reshape(-1) for n in names]) for state in before)
        cosine = (first @ second / first.norm() / second.norm()).item()
        t = 2 * cosine / (1 + cosine)
        assert 0 < t < 1
        for name in names:
            wanted = t * (before[0][name] + before[1][name]) / 2 + (1 - t) * anchor[name]
            torch.testing.assert_close(merged[name], wanted, rtol=1e-5, atol=1e-6)
            assert all(torch.equal(run.state_dict()[name], merged[name]) for run in runs)
    mean = (before[0]["1.running_mean"] + before[1]["1.running_mean"]) / 2
    assert all(torch.allclose(run.state_dict()["1.running_mean"], mean) for run in runs)
    assert [run.state_dict()["1.num_batches_tracked"].item() for run in runs] == [1, 2]


def test_it_is_the_rule() -> None:
    anchor, runs = two_runs()
    names = [name for name, _ in runs[0].named_parameters()]
    wanted = lw.combine([{n: run.state_dict()[n].clone() for n in names} for run in runs], lw.rules.model_stock(anchor.select(*names), "tensor"))
    expected = dict(wanted)
    merged = periodic_model_stock(runs, anchor, by="tensor")
    assert all(torch.equal(merged[n], expected[n]) for n in names)


def centre_run(merge: bool, periods: int) -> float:
    """Two runs, pulled to the centre mu with noise, merged at the end of each period, or never; the distance of their last merge or mean from mu."""
    torch.manual_seed(3)
    mu = torch.zeros(1, 4000)
    mu[0, :100] = 0.1
    runs = [nn.Linear(4000, 1, bias=False) for _ in range(2)]
    for run in runs:
        run.weight.data.zero_()
    anchor = lw.load(copy.deepcopy(runs[0]))
    for _ in range(periods):
        for run in runs:
            for _ in range(10):
                run.weight.data -= 0.3 * (run.weight.data - mu + 0.1 * torch.randn(1, 4000))
        if merge:
            periodic_model_stock(runs, anchor)
    return float(((runs[0].weight.data + runs[1].weight.data) / 2 - mu).norm())


def test_the_claim_two_runs_merged_are_nearer_the_centre_than_their_mean() -> None:
    """The paper's picture: runs lie on a thin shell around a centre; from the anchor, the point nearest to it on the plane of both is the merge."""
    assert centre_run(merge=True, periods=3) < 0.6 * centre_run(merge=False, periods=3)


def test_points_of_one_run() -> None:
    anchor, runs = two_runs()
    points = [copy.deepcopy(run.state_dict()) for run in runs]
    for point in points:
        point["1.num_batches_tracked"].zero_()
    wanted = periodic_model_stock(runs, anchor)
    model = copy.deepcopy(runs[0])
    nn.init.zeros_(model[0].weight)  # type: ignore[index, arg-type]
    merged = periodic_model_stock([model], anchor, points=points)
    assert all(torch.equal(merged[name], wanted[name]) for name in merged)
    assert torch.equal(model.state_dict()["0.weight"], merged["0.weight"])


def test_tied_tensors_stay_tied_and_the_optimizer_keeps_its_parameters() -> None:
    start = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    start[1].weight = start[0].weight
    runs = [copy.deepcopy(start) for _ in range(2)]
    anchor = lw.load(copy.deepcopy(start))
    for i, run in enumerate(runs):
        run[0].weight.data += 0.1 + torch.eye(3) * i
    ids = [id(p) for run in runs for p in run.parameters()]
    merged = periodic_model_stock(runs, anchor)
    assert merged.ties
    assert runs[0][1].weight is runs[0][0].weight
    assert ids == [id(p) for run in runs for p in run.parameters()]


def test_bad_input() -> None:
    anchor, runs = two_runs()
    with pytest.raises(lw.errors.BadParameter, match=r"tensor '0\.weight' of the anchor is the model's own"):
        periodic_model_stock(runs, lw.load(runs[0]))
    with pytest.raises(lw.errors.TooFewSets, match="at least 2"):
        periodic_model_stock(runs[:1], anchor)
    with pytest.raises(lw.errors.TooFewSets, match="no model to merge"):
        periodic_model_stock([], anchor)
    with pytest.raises(lw.errors.NamesDiffer, match=r"the anchor does not hold '2\.bias'"):
        periodic_model_stock(runs, anchor.select("0.*", "1.*", "2.weight"))
    with pytest.raises(lw.errors.NamesDiffer):
        periodic_model_stock([runs[0], nn.Linear(6, 5)], anchor)
    runs[1][0].weight.data[0, 0] = torch.nan  # type: ignore[index, operator]
    before = copy.deepcopy(runs[0].state_dict())
    with pytest.raises(lw.errors.NonFinite, match=r"'0\.weight'"):
        periodic_model_stock(runs, anchor)
    assert all(torch.equal(before[name], tensor) for name, tensor in runs[0].state_dict().items())
