"""Neural architecture coding: which aggregator a graph needs, without training a weight."""

import pytest
import torch
from torch import Tensor, nn

from loomweight.errors import BadParameter, NonFinite, UnknownName
from loomweight.evaluate import Coding, GraphMixture, nac


def graph(alike: float, signal: float, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features that hold the class by so much, edges of which a share joins nodes alike, and classes: 160 nodes of 4."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(4, (160,), generator=generator)
    same = (classes[:, None] == classes).float()
    chance = 0.08 * (same * alike + (1 - same) * (1 - alike) / 3)
    upper = (torch.rand(160, 160, generator=generator) < chance).float().triu(1)
    centres = torch.randn(4, 12, generator=generator)
    return signal * centres[classes] + torch.randn(160, 12, generator=generator), upper + upper.T, classes


def mixture(seed: int) -> GraphMixture:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GraphMixture(12, 32)


def found(alike: float, signal: float, seed: int, sparsity: float = 0.01) -> Coding:
    features, adjacency, classes = graph(alike, signal, seed)
    return nac(mixture(seed), (features, adjacency), classes, sparsity=sparsity, steps=60)


@pytest.mark.parametrize("seed", [0, 1])
def test_neighbours_are_asked_where_they_know_and_not_where_they_do_not(seed: int) -> None:
    homophilous, at_random = found(0.9, 0.3, seed), found(0.25, 1.0, seed)
    assert "mlp" not in homophilous.best
    assert set(at_random.best) == {"mlp"}
    for coding in (homophilous, at_random):
        assert coding.losses[-1] < coding.losses[0]
        torch.testing.assert_close(coding.coefficients.norm(dim=1), torch.ones(2))


def test_sparsity_leaves_fewer_operators() -> None:
    some, few = (found(0.9, 0.3, 0, sparsity).coefficients.abs().sum() for sparsity in (0.0, 0.2))
    assert few < some


def test_no_weight_is_trained_and_the_model_is_left_as_it_was() -> None:
    model, (features, adjacency, classes) = mixture(0).eval(), graph(0.9, 0.3, 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    one, other = (nac(model, (features, adjacency), classes, steps=3) for _ in range(2))
    assert torch.equal(one.coefficients, other.coefficients)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_nodes_without_a_label_do_not_count() -> None:
    model, (features, adjacency, classes) = mixture(0), graph(0.9, 0.3, 0)
    hidden = classes.clone()
    hidden[::4] = -1
    one = nac(model, (features, adjacency), hidden, steps=3)
    hidden[::4] = -100
    assert nac(model, (features, adjacency), hidden, steps=3).losses == one.losses


def test_aggregators_by_hand() -> None:
    """A path of three nodes; the one in the middle has two neighbours."""
    path = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    values = torch.tensor([[1.0], [2.0], [6.0]])
    due = {"mlp": 2.0, "sage": 3.5, "gin": 9.0, "gcn": (1 + 6) / 6**0.5 + 2 / 3}
    for name, expected in due.items():
        model = GraphMixture(1, 1, layers=1, operators=(name,))
        for layer in (model.first, model.rest[0][name]):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
        assert float(model(values, path, torch.ones(1, 1)).detach()[1]) == pytest.approx(expected, rel=1e-6)  # float32 sums in another order


def test_bad_calls() -> None:
    features, adjacency, classes = graph(0.9, 0.3, 0)
    with pytest.raises(BadParameter, match=r"nac: Linear should have `layers` \(a number\) and `operators`"):
        nac(nn.Linear(12, 4), (features,), classes)
    with pytest.raises(BadParameter, match="at least 4 labelled nodes are needed, found 0"):
        nac(mixture(0), (features, adjacency), torch.full_like(classes, -1))
    with pytest.raises(NonFinite, match="nac: the objective is nan after 1 steps"):
        nac(mixture(0), (features * float("nan"), adjacency), classes)
    with pytest.raises(UnknownName, match="no aggregator named 'gat'"):
        GraphMixture(3, 4, operators=("gat",))
    with pytest.raises(BadParameter, match=r"at least one layer and one operator are needed, found 0 and"):
        GraphMixture(3, 4, layers=0)
