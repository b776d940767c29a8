"""FedLD: principal directions by a second formula and on conflicting clients; the margin term by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loomweight.errors import BadParameter
from loomweight.federate import MarginControl, Pool, PrincipalDirections, Strategy, simulate
from tests.federate.small import clients, model, whole_batch

from .served import one_round


def written_out(rows: torch.Tensor, share: float) -> torch.Tensor:
    """As in the paper: directions, each update projected on each, with lengths by their eigenvalues; by singular values of the updates themselves."""
    n = len(rows)
    _, singular, directions = torch.linalg.svd(rows, full_matrices=False)
    part = singular.square() / singular.square().sum()
    new = torch.zeros_like(rows)
    for i in range(n):
        for j in range(max(int(n * share), 1)):
            projected = rows[i] @ directions[j] * directions[j]
            new[i] += part[j] * rows[i].norm() * projected / projected.norm()
    return new.mean(0)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 6), share=st.sampled_from([0.3, 0.8, 1.0]))
def test_it_is_the_projection_written_out(seed: int, n: int, share: float) -> None:
    rows = torch.randn(n, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(PrincipalDirections(share).rebuilt(rows), written_out(rows, share), rtol=1e-6, atol=1e-8)  # eigenvalues against singular values


def test_updates_that_agree_are_left_as_they_are() -> None:
    found = one_round(PrincipalDirections(), {client: [3.0, 4.0] for client in "abc"})
    assert found.tolist() == pytest.approx([3.0, 4.0])
    assert one_round(PrincipalDirections(), {"a": [0.0, 0.0], "b": [0.0, 0.0]}).tolist() == [0.0, 0.0]
    assert one_round(PrincipalDirections(), {"a": [1.0], "b": [4.0]}).tolist() == [2.5]


def test_what_few_clients_want_beside_the_others_is_left_out() -> None:
    """The paper's aim: less of what conflicts. Each of five goes along (1, 0, ...) and along a coordinate of its own, which no other client wants."""
    updates = {str(i): [2.0, *(1.0 if j == i else 0.0 for j in range(5))] for i in range(5)}
    conflict = {**updates, "5": [-2.0, 0.0, 0.0, 0.0, 0.0, 3.0]}
    mean, found = one_round(Pool(), conflict), one_round(PrincipalDirections(share=0.2), conflict)
    assert found[0] / found.norm() > 1.02 * mean[0] / mean.norm() and found @ torch.tensor(updates["0"]) > 0


def test_the_margin_term_by_hand_and_by_its_gradient() -> None:
    from types import SimpleNamespace

    outputs = torch.tensor([[2.0, 0.0], [0.0, 0.0]], requires_grad=True)
    p = 1 / (1 + torch.tensor(-2.0).exp().item())
    square = p**2 + (1 - p) ** 2 + 0.5
    loss = MarginControl(2.0).loss(SimpleNamespace(outputs=outputs), None, torch.tensor(1.0))
    assert loss.item() == pytest.approx(1.0 + 2 * torch.tensor(1 + square).log().item())
    loss.backward()
    assert outputs.grad is not None and outputs.grad[0, 0] > 0 > outputs.grad[0, 1]  # descent makes the sure answer less sure
    assert outputs.grad[1].abs().max() < 1e-7  # even ones stay: rounding


def test_clients_are_less_sure_of_themselves_with_it() -> None:
    data = clients()

    def sureness(penalty: float) -> float:
        terms = (MarginControl(penalty),) if penalty else ()
        strategy = Strategy(aggregate=PrincipalDirections(), objective=terms, local=whole_batch(steps=5))
        found = simulate(model(), data, strategy, rounds=5)
        return found.model(data["c0"][0]).softmax(1).amax(1).mean().item()

    assert sureness(1.0) < sureness(0.0) - 0.01


def test_a_share_is_a_share() -> None:
    with pytest.raises(BadParameter, match=r"share is in \(0, 1\], found 0"):
        PrincipalDirections(share=0)
