"""DCA: what is drawn, what is trained, what is averaged; and DCWA on digits with wrong labels, against one model trained as long."""

import itertools
from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import loomweight as lw
from loomweight.errors import BadParameter
from loomweight.trajectory import DCA, combinatorial_loss


def net(hidden: int = 8, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, 3))


def spread(dca: DCA) -> DCA:
    """Instances that differ."""
    generator = torch.Generator().manual_seed(1)
    for tensor in [*dca.parameters(), *(buffer for buffer in dca.buffers() if buffer.is_floating_point())]:
        tensor.data = torch.rand(tensor.shape, generator=generator)
    return dca


def by_hand(dca: DCA, combination: tuple[int, ...]) -> nn.Module:
    """The plain model that a combination stands for."""
    import copy

    model = copy.deepcopy(dca.model)
    for name, k in zip(dca.names, combination, strict=True):
        if k:
            model.get_submodule(name).load_state_dict(dca.others[k - 1][dca.names.index(name)].state_dict())
    return model


@pytest.mark.parametrize(
    ("components", "names"),
    [(None, ("0", "3")), ("*", ("",)), (("0", "1"), ("0", "1")), ("[0-9]", None), ("?", ("0", "1", "3"))],
)
def test_components_are_named_by_patterns(components: str | tuple[str, ...] | None, names: tuple[str, ...] | None) -> None:
    if names is None:
        with pytest.raises(BadParameter, match=r"no module with parameters fits \('\[0-9\]',\); modules: \['', '0', '1', '2', '3'\]"):
            DCA(net(), components=components)
    else:
        assert DCA(net(), components=components).names == names


@pytest.mark.parametrize("components", [None, "*", "?"])
def test_a_combination_is_the_plain_model_made_of_its_instances(components: str | None) -> None:
    dca = spread(DCA(net(), 2, components)).eval()
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(2))
    outputs = {}
    for combination in itertools.product(range(2), repeat=len(dca.names)):
        outputs[combination] = by_hand(dca, combination).eval()(x)
        assert torch.equal(dca.run(combination, (x,)), outputs[combination])
    assert torch.allclose(dca.predict(x), torch.stack([z.softmax(-1) for z in outputs.values()]).mean(0), atol=1e-6)
    few = dca.predict(x, combinations=3)  # fewer than there are: drawn, the same ones each time
    assert torch.equal(few, dca.predict(x, combinations=3))


def test_only_what_was_drawn_is_trained_and_every_instance_gets_its_share() -> None:
    dca = DCA(net(), 3, seed=4)
    optimizer = torch.optim.SGD(dca.parameters(), lr=0.1)
    x = torch.randn(6, 4)
    moved: Counter[tuple[str, int]] = Counter()
    for _ in range(90):
        before = [parameter.detach().clone() for parameter in dca.parameters()]
        optimizer.zero_grad()
        dca(x).square().sum().backward()
        combination = dca._drawn("train", dca.draws)
        for name in dca.names:
            got = [k for k in range(3) if next(dca._instance(name, k).parameters()).grad is not None]
            assert got == [combination[dca.names.index(name)]]
            moved[name, got[0]] += 1
        optimizer.step()
        changed = sum(not torch.equal(a, b) for a, b in zip(before, dca.parameters(), strict=True))
        assert changed <= 6  # weight and bias of each of two layers, and of the norm that all share
    assert min(moved.values()) > 12  # 30 expected, standard deviation 4.5
    assert max(moved.values()) < 48


def test_draws_are_keyed_and_resumed() -> None:
    first = DCA(net(), 4, seed=1)
    drawn = [first.draw() for _ in range(6)]
    again = DCA(net(), 4, seed=1)
    assert [again.draw() for _ in range(3)] == drawn[:3]
    resumed = DCA(net(), 4, seed=1)
    resumed.load_state_dict(again.state_dict())
    assert [resumed.draw() for _ in range(3)] == drawn[3:]
    other = DCA(net(), 4, seed=2)
    assert [other.draw() for _ in range(6)] != drawn


@pytest.mark.parametrize("components", [None, "*", "?"])
def test_dcwa_is_the_mean_over_instances(components: str | None) -> None:
    dca = spread(DCA(net(), 3, components))
    average = dca.average()
    sets = [lw.load(by_hand(dca, (k,) * len(dca.names))) for k in range(3)]
    integers = [name for name, tensor in sets[0].items() if not tensor.is_floating_point()]
    mean = lw.combine([lw.Weights.of({name: one[name] for name in one if name not in integers}) for one in sets], lw.rules.Mean())
    for name in mean:
        assert torch.allclose(average[name], mean[name], atol=1e-6), name
    model = net()
    model.load_state_dict(dict(average))


def test_a_tie_between_components_is_refused() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = nn.Linear(4, 4)
            self.out = nn.Linear(4, 4)
            self.out.weight = self.inside.weight

    with pytest.raises(BadParameter, match=r"'out.weight' is tied between 'inside' and 'out'; put both ends into one component"):
        DCA(Tied())
    with pytest.raises(BadParameter, match=r"tied between 'inside' and what all share"):
        DCA(Tied(), components="inside")
    dca = spread(DCA(Tied(), 2, "*"))
    assert dca.average().ties or torch.equal(dca.average()["inside.weight"], dca.average()["out.weight"])


def test_the_loss_by_hand() -> None:
    dca = spread(DCA(net(), 2, seed=3)).eval()
    x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    zs = [dca.run(dca._drawn("train", i), (x,)).log_softmax(-1) for i in (1, 2, 3)]
    kl = [(zs[i].exp() * (zs[i] - zs[i + 1])).sum(-1).mean() for i in (0, 1)]
    expected = sum(cross_entropy(z, y) for z in zs[1:]) / 2 + 0.5 * (kl[0] + kl[1]) / 2
    assert torch.allclose(combinatorial_loss(dca, x, y, repeats=2, consistency=0.5), expected)
    with pytest.raises(BadParameter, match=r"found 0 and 1\.0"):
        combinatorial_loss(dca, x, y, repeats=0)
    with pytest.raises(BadParameter, match="at least 2 instances of every component, found 1"):
        DCA(net(), 1)


def digits(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """200 to learn from, of which three in ten got a label at random, and the rest to judge by."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.as_tensor(pixels, dtype=torch.float32) / 16, torch.as_tensor(labels)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=generator)
    learnt = y[order[:200]].clone()
    wrong = torch.rand(200, generator=generator) < 0.3
    learnt[wrong] = torch.randint(10, (int(wrong.sum()),), generator=generator)
    return x[order[:200]], learnt, x[order[600:]], y[order[600:]]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_dcwa_is_better_than_one_model_trained_as_long(seed: int) -> None:
    """And than one of its combinations. With the same batches and the same optimizer; the labels are noisy, which is where averages help."""
    x, y, held, truth = digits(seed)

    def trained(instances: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        run = DCA(model, instances, seed=seed) if instances > 1 else model
        optimizer = torch.optim.SGD(run.parameters(), lr=0.3)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(500):
            batch = torch.randint(200, (16,), generator=generator)
            optimizer.zero_grad()
            loss = combinatorial_loss(run, x[batch], y[batch], instances) if isinstance(run, DCA) else cross_entropy(run(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
        return run

    def accuracy(logits: Tensor) -> float:
        return (logits.argmax(-1) == truth).double().mean().item()

    dca, single = trained(3), trained(1)
    assert isinstance(dca, DCA)
    averaged = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    averaged.load_state_dict(dict(dca.average()))
    with torch.no_grad():
        combinations = [accuracy(dca.run(combination, (held,))) for combination in itertools.product(range(3), repeat=2)]
        dcwa = accuracy(averaged(held))
        assert dcwa > accuracy(single(held)) + 0.03
        assert dcwa > sum(combinations) / 9
        assert accuracy(dca.predict(held)) > sum(combinations) / 9
