"""Variance-corrected averages: the variance that vanishes, and that it stays."""

import pytest
import torch
from torch import nn

from loomweight.errors import BadParameter
from loomweight.federate import Pool, Reply, VarianceCorrected, variance_corrected

from .served import pooled

Tensors = dict[str, torch.Tensor]


def drawn(count: int, size: int = 4000) -> list[Tensors]:
    generator = torch.Generator().manual_seed(0)
    return [{"w": 0.3 * torch.randn(size, generator=generator) + 1.0, "b": torch.randn(1, generator=generator)} for _ in range(count)]


def test_a_mean_of_unrelated_models_loses_its_variance_and_the_corrected_one_keeps_it() -> None:
    sets = drawn(10)
    mean = torch.stack([one["w"] for one in sets]).mean(0)
    found = variance_corrected(sets)
    assert mean.var() < 0.12 * sets[0]["w"].var()  # 1 / n of it
    target = torch.stack([one["w"].var() for one in sets]).mean()
    torch.testing.assert_close(found["w"].var(), target, rtol=1e-5, atol=0)  # float32
    torch.testing.assert_close(found["w"].mean(), mean.mean(), rtol=1e-5, atol=1e-6)  # float32
    assert torch.corrcoef(torch.stack([found["w"], mean]))[0, 1] > 1 - 1e-5  # the same up to a stretch
    assert found["b"].item() == pytest.approx(torch.stack([one["b"] for one in sets]).mean().item(), abs=1e-6)  # one number has no variance


def test_like_models_are_left_as_they_are() -> None:
    one = drawn(1)[0]
    found = variance_corrected([one, one, one])
    torch.testing.assert_close(found["w"], one["w"])
    constant = variance_corrected([{"w": torch.tensor([1.0, 1.0])}, {"w": torch.tensor([3.0, 3.0])}])
    assert constant["w"].tolist() == [2.0, 2.0]


def test_one_s_own_model_counts_as_it_is_told() -> None:
    own, *others = drawn(4)
    alone = variance_corrected(others, own=own, keep=1.0)
    torch.testing.assert_close(alone["w"], own["w"])
    half = variance_corrected(others, own=own, keep=0.5)
    expected = 0.5 * own["w"].var() + 0.5 * torch.stack([one["w"].var() for one in others]).mean()
    torch.testing.assert_close(half["w"].var(), expected, rtol=1e-5, atol=0)  # float32


def test_statistics_are_averaged_alone() -> None:
    sets = [{"bn.running_mean": torch.tensor([0.0, 4.0])}, {"bn.running_mean": torch.tensor([4.0, 2.0])}]
    assert variance_corrected(sets)["bn.running_mean"].tolist() == [2.0, 3.0]
    assert variance_corrected(sets, leave=())["bn.running_mean"].tolist() != [2.0, 3.0]


def test_at_a_server_it_is_the_function_of_the_clients_weights() -> None:
    start, sets = drawn(1)[0], drawn(5)
    counts = [1.0, 2.0, 3.0, 4.0]
    answers = {str(i): Reply(str(i), 0, {n: t - start[n] for n, t in sets[i + 1].items()}, counts[i]) for i in range(4)}
    server = pooled(VarianceCorrected(), start, [answers])
    expected = variance_corrected(sets[1:], counts)
    for name in expected:
        torch.testing.assert_close(server.weights[name], expected[name], rtol=1e-5, atol=1e-5)  # float32, differences from the start
    assert "replies" not in pooled(VarianceCorrected(), start, [answers]).held


def test_signals_pass_through_a_deep_average_of_new_networks() -> None:
    """What the variance is for: ten layers of averages of ten new networks give almost nothing, of corrected ones what one network gives."""

    def made(seed: int) -> nn.Sequential:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            layers = [nn.Linear(64, 64, bias=False) for _ in range(10)]
            for layer in layers:
                nn.init.xavier_normal_(layer.weight)
        return nn.Sequential(*layers)

    nets = [made(seed) for seed in range(10)]
    start = {name: tensor.clone() for name, tensor in nets[0].state_dict().items()}
    answers = {str(i): Reply(str(i), 0, {n: t - start[n] for n, t in net.state_dict().items()}) for i, net in enumerate(nets)}
    inputs = torch.randn(100, 64, generator=torch.Generator().manual_seed(1))

    def strength(aggregate: Pool | VarianceCorrected) -> float:
        return torch.func.functional_call(nets[0], pooled(aggregate, start, [answers]).weights, inputs).std().item()

    assert strength(Pool()) < 1e-3 and 0.2 < strength(VarianceCorrected()) < 5


def test_words_for_what_cannot_be() -> None:
    with pytest.raises(BadParameter, match="found 0 sets"):
        variance_corrected([])
    with pytest.raises(BadParameter, match="own with it"):
        variance_corrected(drawn(1), keep=0.5)
