"""Mixtures of experts pooled by transport: permuted experts are matched, the divergence falls, and the result is near that of all data."""

from functools import cache
from itertools import pairwise, permutations

import pytest
import torch

from loomweight.errors import BadParameter, TooFewReplies
from loomweight.federate import (
    FitExperts,
    GatedExperts,
    MixtureOfExperts,
    Pool,
    Reply,
    Strategy,
    Transported,
    fit_mixture,
    reduce_mixtures,
    simulate,
    transportation_divergence,
)
from loomweight.federate.pooling.mixture import softmax_regression

from .served import pooled

TRUE = MixtureOfExperts(
    torch.tensor([[0.0, 4.0], [0.0, -4.0]], dtype=torch.float64),
    torch.tensor([[1.0, 2.0], [-1.0, 1.0]], dtype=torch.float64),
    torch.tensor([0.04, 0.09], dtype=torch.float64),
)


def drawn(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = 2 * torch.rand(count, 1, generator=generator, dtype=torch.float64) - 1
    chosen = torch.multinomial(TRUE.gating(inputs), 1, generator=generator)[:, 0]
    lifted = torch.cat([torch.ones_like(inputs), inputs], 1)
    noise = TRUE.variances[chosen].sqrt() * torch.randn(count, generator=generator, dtype=torch.float64)
    return inputs, (lifted * TRUE.experts[chosen]).sum(1) + noise


def turned(mixture: MixtureOfExperts, order: list[int]) -> MixtureOfExperts:
    return MixtureOfExperts(mixture.gates[order], mixture.experts[order], mixture.variances[order])


@cache
def local(count: int, seed: int) -> MixtureOfExperts:
    """Fitted to its own data, from a start of its own that is turned for odd seeds."""
    start = MixtureOfExperts(torch.zeros(2, 2), torch.tensor([[0.5, 1.0], [-0.5, 1.0]]), torch.ones(2))
    return fit_mixture(*drawn(count, seed), turned(start, [seed % 2, 1 - seed % 2]), steps=40)


SUPPORT = torch.linspace(-1, 1, 60, dtype=torch.float64)[:, None]


def test_the_fit_finds_the_law_and_its_likelihood_does_not_fall() -> None:
    inputs, outputs = drawn(400, 0)
    start = MixtureOfExperts(torch.zeros(2, 2), torch.tensor([[0.5, 1.0], [-0.5, 1.0]]), torch.ones(2))
    steps = [fit_mixture(inputs, outputs, start, steps=n).log_likelihood(inputs, outputs) for n in (1, 2, 3, 5, 9, 17)]
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(steps))  # float64
    fitted = fit_mixture(inputs, outputs, start)
    assert (fitted.experts - TRUE.experts).abs().max() < 0.12 and (fitted.variances - TRUE.variances).abs().max() < 0.03
    assert fitted.log_likelihood(inputs, outputs) >= TRUE.log_likelihood(inputs, outputs) - 0.005


def test_the_softmax_regression_is_that_of_torch_s_optimizer() -> None:
    """A second formula: LBFGS on the same cross-entropy."""
    lifted = torch.cat([torch.ones_like(SUPPORT), SUPPORT], 1)
    wanted = TRUE.gating(SUPPORT)
    gates = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([gates], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = -(wanted * (lifted @ gates.T).log_softmax(1)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    found = softmax_regression(lifted, wanted, torch.zeros(2, 2, dtype=torch.float64), steps=50)
    torch.testing.assert_close((lifted @ found.T).softmax(1), (lifted @ gates.detach().T).softmax(1), rtol=0, atol=1e-4)  # both stop near the optimum


def test_experts_in_another_order_are_the_same_mixture_and_averages_are_not() -> None:
    found = reduce_mixtures([TRUE, turned(TRUE, [1, 0]), TRUE], SUPPORT)
    for name in ("experts", "variances"):
        torch.testing.assert_close(getattr(found, name), getattr(TRUE, name), rtol=1e-6, atol=1e-8)  # float64, a regression
    torch.testing.assert_close(found.gating(SUPPORT), TRUE.gating(SUPPORT), rtol=0, atol=1e-3)  # the regression of the gates
    wrong = (TRUE.experts + TRUE.experts.flip(0)) / 2
    assert (wrong - TRUE.experts).abs().max() > 0.9


def test_the_result_does_not_depend_on_the_order_of_the_clients() -> None:
    mixtures, counts = [local(150, seed) for seed in range(3)], [150.0, 100.0, 50.0]
    found = [reduce_mixtures([mixtures[i] for i in order], SUPPORT, [counts[i] for i in order]).mean(SUPPORT) for order in permutations(range(3))]
    for other in found[1:]:
        torch.testing.assert_close(found[0], other, rtol=1e-6, atol=1e-8)  # sums of another order


def test_the_divergence_falls_with_every_step_and_is_below_that_of_each_local_one() -> None:
    mixtures = [local(60, seed) for seed in range(4)]
    parts = torch.cat([one.gating(SUPPORT) / 4 for one in mixtures], 1)
    whole = MixtureOfExperts(*(torch.cat([getattr(one, name) for one in mixtures]) for name in ("gates", "experts", "variances")))
    ends = [transportation_divergence(reduce_mixtures(mixtures, SUPPORT, steps=n), whole, parts, SUPPORT).item() for n in (1, 2, 4, 8, 30)]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(ends))  # float64
    assert ends[-1] < min(transportation_divergence(one, whole, parts, SUPPORT).item() for one in mixtures)


def test_it_is_nearly_as_good_as_the_fit_to_all_data_and_better_than_a_local_one() -> None:
    """The paper's claim, in one round, from clients whose experts come in two orders."""
    data = [drawn(80, seed) for seed in range(6)]
    mixtures = [local(80, seed) for seed in range(6)]
    inputs, outputs = drawn(2000, 99)
    whole = fit_mixture(torch.cat([x for x, _ in data]), torch.cat([y for _, y in data]), mixtures[0])
    central, mine = whole.log_likelihood(inputs, outputs), reduce_mixtures(mixtures, SUPPORT).log_likelihood(inputs, outputs)
    locals_ = [one.log_likelihood(inputs, outputs) for one in mixtures]
    mean = MixtureOfExperts(*(torch.stack([getattr(one, name) for one in mixtures]).mean(0) for name in ("gates", "experts", "variances")))
    assert mine > central - 0.03 and mine > sum(locals_) / 6 and mine > mean.log_likelihood(inputs, outputs) + 0.5


def test_at_a_server_it_is_the_function_and_a_mean_is_not() -> None:
    mixtures = [local(80, seed) for seed in range(3)]
    start = {"gates": torch.zeros(2, 2), "experts": torch.zeros(2, 2), "log_variances": torch.zeros(2)}
    replies = {
        str(i): Reply(str(i), 0, {"gates": one.gates.float(), "experts": one.experts.float(), "log_variances": one.variances.log().float()}, 80.0)
        for i, one in enumerate(mixtures)
    }
    server = pooled(Transported(SUPPORT), start, [replies])
    expected = reduce_mixtures(mixtures, SUPPORT)
    torch.testing.assert_close(server.weights["experts"], expected.experts.float(), rtol=1e-4, atol=1e-5)  # float32 on the way
    torch.testing.assert_close(server.weights["log_variances"].exp(), expected.variances.float(), rtol=1e-3, atol=1e-5)  # float32 on the way
    assert (pooled(Pool(), start, [replies]).weights["experts"] - expected.experts).abs().max() > 0.3


def test_one_round_of_a_federation_learns_the_law() -> None:
    start = MixtureOfExperts(torch.zeros(2, 2), torch.tensor([[0.5, 1.0], [-0.5, 1.0]]), torch.ones(2))
    data = {str(seed): tuple(part.float() for part in drawn(150, seed)) for seed in range(4)}
    found = simulate(GatedExperts(start), data, Strategy(aggregate=Transported(SUPPORT), objective=(FitExperts(),)), rounds=1)
    assert isinstance(found.model, GatedExperts)
    inputs, outputs = drawn(1000, 99)
    learnt = found.model.mixture
    assert (learnt.experts - TRUE.experts).abs().max() < 0.15
    assert learnt.log_likelihood(inputs.float(), outputs.float()) > TRUE.log_likelihood(inputs, outputs) - 0.03
    torch.testing.assert_close(found.model(SUPPORT.float()), learnt.mean(SUPPORT.float()))
    strategy = Strategy(objective=(FitExperts(),))
    with pytest.raises(TooFewReplies, match="the model is GatedExperts, found Linear"):
        simulate(torch.nn.Linear(1, 1), data, strategy, rounds=1)


def test_words_for_what_does_not_fit() -> None:
    with pytest.raises(BadParameter, match=r"found \[2, 2\], \[2, 2\], \[1.0, 0.0\]"):
        MixtureOfExperts(torch.zeros(2, 2), torch.zeros(2, 2), torch.tensor([1.0, 0.0]))
    with pytest.raises(BadParameter, match="mixtures of one shape"):
        reduce_mixtures([], SUPPORT)
    with pytest.raises(BadParameter, match="gates, experts, log_variances; found 'w'"):
        Transported(SUPPORT).start({"w": torch.zeros(1)})
