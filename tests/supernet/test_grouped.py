"""Less sharing, less interference: of groups, and of what follows a shared prefix."""

import pytest
import torch
from torch import nn

from loomweight.errors import BadParameter, UnknownName
from loomweight.supernet import Elastic, SubnetOptimizer, elastic, grouped, prefix

X = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
Y = torch.randint(3, (32,), generator=torch.Generator().manual_seed(1))


def net() -> Elastic:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    return elastic(model, "width 0 : 4 8\nwidth 3 : 4 8", X[:2])


def interference(of: Elastic) -> float:
    """Mean change of the other children's losses when one child is trained for a step."""
    of.calibrate([X])
    children, start = list(of.space.enumerate()), {name: tensor.clone() for name, tensor in of.state_dict().items()}

    def losses() -> torch.Tensor:
        of.eval()
        with torch.no_grad():
            return torch.stack([nn.functional.cross_entropy(of.select(child)(X), Y) for child in children])

    before, total = losses(), 0.0
    for i, child in enumerate(children):
        optimizer = SubnetOptimizer(of, torch.optim.SGD(of.parameters(), lr=0.2))
        nn.functional.cross_entropy(of.train().select(child)(X), Y).backward()
        optimizer.step()
        changed = (losses() - before).abs()
        total += float(changed.sum() - changed[i])
        of.zero_grad()
        of.load_state_dict(start)
    return total / (len(children) * (len(children) - 1))


def test_interference_falls_with_less_sharing() -> None:
    full, two, rest, none = net(), net(), net(), net()
    grouped(two, 2)
    grouped(rest, 4, shared=prefix(rest, "3"))
    grouped(none, 4)
    found = [interference(of) for of in (full, two, rest, none)]
    assert found[3] == 0 < found[1] < found[0] and found[2] < found[0]


def test_a_shared_prefix_is_shared_and_the_rest_is_not() -> None:
    of = net()
    grouped(of, 4, shared=prefix(of, "3"))
    names = [name for name in of.state_dict() if name.startswith("copies.1.")]
    assert names == ["copies.1.3.weight", "copies.1.3.bias", "copies.1.5.weight", "copies.1.5.bias"]


def test_groups_are_alike_or_dealt() -> None:
    near, dealt = net(), net()
    a, b = grouped(near, 2), grouped(dealt, 2, seed=3)
    assert [a.index(values) for values in near.space.enumerate()] == [0, 0, 1, 1]
    assert sorted(b.index(values) for values in dealt.space.enumerate()) == [0, 0, 1, 1]
    assert [b.index(values) for values in dealt.space.enumerate()] != [0, 0, 1, 1]


def test_batch_norm_belongs_to_the_group() -> None:
    of = net()
    copies = grouped(of, 2)
    of.train().select(of.max())(X * 5 + 3)
    mine, other = (copies.stored(k)["1.running_mean"].tensor for k in (1, 0))
    assert mine.abs().sum() > 0 and other.abs().sum() == 0


@pytest.mark.filterwarnings("ignore:.*BatchNorm statistics that are not its own")
def test_copies_move_with_the_model() -> None:
    of = net()
    copies = grouped(of, 2)
    before = of.select(of.min()).eval()(X)
    of.to(torch.float64)
    torch.testing.assert_close(of(X.double()).float(), before)
    assert {one.tensor.dtype for k in (0, 1) for name, one in copies.stored(k).items() if "num" not in name} == {torch.float64}
    of.train().select(of.max())(X.double()).sum().backward()
    optimizer = SubnetOptimizer(of, torch.optim.SGD(of.parameters(), lr=0.1))
    start = {name: tensor.clone() for name, tensor in of.state_dict().items()}
    optimizer.step()
    moved = {name for name, tensor in of.state_dict().items() if not torch.equal(tensor, start[name])}
    assert moved == {f"copies.1.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias", "5.weight", "5.bias")}


@pytest.mark.filterwarnings("ignore:.*BatchNorm statistics that are not its own")
def test_an_evaluated_copy_keeps_its_statistics() -> None:
    of = net()
    copies = grouped(of, 2)
    of.train().select(of.max())(X * 5 + 3)
    of.eval()
    inside = copies.stored(1)["1.running_mean"].tensor
    assert of.select(of.max()).model.get_buffer("1.running_mean") is inside
    assert torch.equal(of.export(of.max()).get_buffer("1.running_mean"), inside)


def test_messages() -> None:
    with pytest.raises(BadParameter, match="one for each of the 4 configurations are possible, found 5"):
        grouped(net(), 5)
    with pytest.raises(UnknownName, match="no tensor lies in '7'"):
        prefix(net(), "7")
    with pytest.raises(BadParameter, match="nothing would be shared"):
        prefix(net(), "0")
