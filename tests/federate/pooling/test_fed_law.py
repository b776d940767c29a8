"""FedLAW: what is learnt on proxy data, and that nothing but it is learnt."""

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from loomweight.errors import BadParameter
from loomweight.federate import FedLAW, Pool, Reply, coherences

from .served import pooled


def linear() -> nn.Linear:
    return nn.Linear(2, 1, bias=False)


def replies(rows: dict[str, list[float]], weight: float = 1.0) -> dict[str, Reply]:
    return {client: Reply(client, 0, {"weight": torch.tensor([row])}, weight) for client, row in rows.items()}


INPUTS = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))


def law(way: list[float], **options: object) -> FedLAW:
    return FedLAW(linear(), (INPUTS, INPUTS @ torch.tensor(way)[:, None]), loss=mse_loss, batch=64, rate=0.05, **{"epochs": 100, **options})


def learnt(aggregate: FedLAW, rows: dict[str, list[float]]) -> dict[str, float]:
    server = pooled(aggregate, {"weight": torch.zeros(1, 2)}, [replies(rows)])
    return {**server.history[0], "x": server.weights["weight"][0, 0].item(), "y": server.weights["weight"][0, 1].item()}


def test_gamma_shrinks_where_the_sum_is_too_large_and_lambda_stays_on_the_simplex() -> None:
    found = learnt(law([0.5, 0.5]), {"a": [2.0, 0.0], "b": [0.0, 2.0]})
    shares = [found["lambda of a"], found["lambda of b"]]
    assert sum(shares) == pytest.approx(1.0, abs=1e-6) and min(shares) > 0  # float32
    assert found["gamma"] == pytest.approx(0.5, abs=0.02)  # the optimum is 0.5 * (1, 1); Adam's last steps
    assert found["x"] == pytest.approx(2 * found["gamma"] * shares[0], rel=1e-5)  # float32


def test_a_client_that_does_not_help_gets_little() -> None:
    found = learnt(law([1.0, 0.0]), {"a": [1.0, 0.1], "b": [0.9, 0.0], "bad": [-3.0, 4.0]})
    assert found["lambda of bad"] < 0.12 < 0.3 < min(found["lambda of a"], found["lambda of b"])


def test_the_optimum_is_that_of_a_second_formula() -> None:
    """Two clients and gamma span the plane: least squares has the answer, (0.6, 0.3) = 0.9 (2/3 (1, 0) + 1/3 (0, 1))."""
    found = learnt(law([0.6, 0.3], epochs=200), {"a": [1.0, 0.0], "b": [0.0, 1.0]})
    assert [found["x"], found["y"]] == pytest.approx([0.6, 0.3], abs=0.02)  # Adam's rate is halved every 20 epochs, so it stops near
    assert found["gamma"] == pytest.approx(0.9, abs=0.02)  # found by the same steps of Adam


def test_without_shrinking_gamma_is_1_and_without_training_it_is_the_mean() -> None:
    assert learnt(law([0.1, 0.1], shrink=False), {"a": [2.0, 0.0], "b": [0.0, 2.0]})["gamma"] == 1.0
    rows = {"a": [2.0, 0.0], "b": [0.0, 2.0]}
    still = pooled(FedLAW(linear(), (INPUTS, INPUTS[:, :1]), loss=mse_loss, rate=1e-12, epochs=1), {"weight": torch.zeros(1, 2)}, [replies(rows)])
    mean = pooled(Pool(), {"weight": torch.zeros(1, 2)}, [replies(rows)])
    assert torch.allclose(still.weights["weight"], mean.weights["weight"], atol=1e-6)  # a rate of 1e-12


def test_buffers_are_averaged_and_not_shrunk_and_nothing_is_drawn() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1))
    weights = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    zero = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    aggregate = FedLAW(model, (INPUTS, 0.1 * INPUTS[:, :1]), loss=mse_loss, rate=0.05)
    state = torch.get_rng_state()
    server = pooled(aggregate, weights, [{"a": Reply("a", 0, zero), "b": Reply("b", 0, zero)}])
    assert torch.equal(torch.get_rng_state(), state) and server.history[0]["gamma"] != 1.0
    assert torch.equal(server.weights["1.running_var"], weights["1.running_var"])
    assert torch.allclose(server.weights["0.weight"], server.history[0]["gamma"] * weights["0.weight"], atol=1e-6)  # float32


def test_coherence_is_the_mean_cosine_with_the_others() -> None:
    found = learnt(law([1.0, 1.0], epochs=1), {"a": [1.0, 0.0], "b": [3.0, 0.0], "c": [0.0, 1.0]})
    assert [found[f"coherence of {client}"] for client in "abc"] == pytest.approx([0.5, 0.5, 0.0])
    assert coherences(torch.ones(1, 1)).tolist() == [0.0]


def test_proxy_data_are_needed() -> None:
    with pytest.raises(BadParameter, match=r"proxy is \(inputs, targets\)"):
        FedLAW(linear(), (torch.ones(0, 2), torch.ones(0)))
