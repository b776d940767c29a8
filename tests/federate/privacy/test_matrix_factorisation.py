"""Noise that is correlated over rounds: its sensitivity by trying all that a client may do, its error, its bits."""

from collections.abc import Iterator
from itertools import combinations, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from loomweight.errors import BadParameter
from loomweight.federate import Book, Correlated, Participation, Rota, factorise, sensitivity
from loomweight.federate.privacy.factorise import total_error

SCHEMES = [
    Participation(6),
    Participation(7, most=1),
    Participation(7, 3),
    Participation(8, 2, most=2),
    Participation(7, 3, exact=True),
    Participation(9, 3, exact=True),
]
by_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=str)


def everything(scheme: Participation) -> Iterator[tuple[int, ...]]:
    """All sets of rounds that a client may take part in, by trying all sets."""
    for size in range(1, scheme.rounds + 1):
        yield from (rounds for rounds in combinations(range(scheme.rounds), size) if scheme.allows(rounds))


def tried(strategy: np.ndarray, scheme: Participation) -> float:
    """The sensitivity for numbers of magnitude 1, by all sets of rounds and all signs."""
    return max(
        float(np.linalg.norm(strategy[:, list(rounds)] @ np.array(signs))) for rounds in everything(scheme) for signs in product((-1, 1), repeat=len(rounds))
    )


@by_scheme
def test_the_sensitivity_of_the_optimum_is_that_of_trying_everything(scheme: Participation) -> None:
    strategy = factorise(scheme)
    # rel 1e-9: sums of floats in another order
    assert tried(strategy, scheme) == pytest.approx(sensitivity(strategy, scheme), rel=1e-9)
    assert sensitivity(strategy, scheme) == pytest.approx(1.0, rel=1e-9)  # float64, normed by a division


@pytest.mark.parametrize("scheme", [Participation(5, 2), Participation(5, 2, exact=True), Participation(5, most=2)], ids=str)
@given(data=st.data())
def test_no_matrix_has_more_than_its_sensitivity(scheme: Participation, data: st.DataObject) -> None:
    strategy = np.tril(data.draw(arrays(np.float64, (5, 5), elements=st.floats(-2, 2, width=16))))
    assert tried(strategy, scheme) <= sensitivity(strategy, scheme) * (1 + 1e-12)  # 1e-12: rounding


@given(arrays(np.float64, (6, 6), elements=st.floats(0, 2, width=16)))
def test_it_is_exact_for_products_that_are_not_negative(strategy: np.ndarray) -> None:
    scheme = Participation(6, 2, exact=True)
    # rel 1e-9: sums of floats in another order; abs: matrices of nothing
    assert tried(np.tril(strategy), scheme) == pytest.approx(sensitivity(np.tril(strategy), scheme), rel=1e-9, abs=1e-12)


def test_three_rounds_for_which_the_bound_by_rows_is_not_exact() -> None:
    gram = np.array([[1, 0.7, 0], [0.7, 1, 0.7], [0, 0.7, 1]])
    strategy = np.linalg.cholesky(gram[::-1, ::-1]).T[::-1, ::-1]
    assert sensitivity(strategy, Participation(3, 2)) == pytest.approx(np.sqrt(2), rel=1e-12)  # rounding


@by_scheme
def test_only_what_is_allowed_is_allowed(scheme: Participation) -> None:
    for rounds in everything(scheme):
        gaps = np.diff(rounds)
        assert len(rounds) <= scheme.count and (gaps >= scheme.apart).all() and not (scheme.exact and (gaps % scheme.apart).any())
    assert max(len(rounds) for rounds in everything(scheme)) == scheme.count
    assert not scheme.allows([scheme.rounds])


def test_the_claim_less_error_than_independent_noise_at_the_same_privacy() -> None:
    """Multi-Epoch Matrix Factorization, figure 1: also against independent noise, the more the fewer epochs."""
    ratios = [(noise := Correlated(Participation(64, apart, exact=True))).error / noise.independent_error for apart in (64, 16, 4)]
    assert ratios == sorted(ratios) and ratios[0] < 0.15 and ratios[-1] < 0.5
    narrow = [total_error(factorise(Participation(64, 16), bands)) for bands in (1, 4, 16)]
    assert narrow == sorted(narrow, reverse=True)
    assert narrow[0] == pytest.approx(Correlated(Participation(64, 16)).independent_error, rel=1e-9)  # rounding


@pytest.mark.parametrize("scheme", [Participation(5, most=1), Participation(6, 3, exact=True), Participation(5, 2)], ids=str)
def test_no_other_method_finds_a_better_one(scheme: Participation) -> None:
    """A second search, by a method that knows no gradient, over C as `factorise` describes it."""
    n, rows, columns = scheme.rounds, *np.tril_indices(scheme.rounds)
    gaps = rows - columns
    kept = (gaps < scheme.apart) | (scheme.count == 1)

    def error(values: np.ndarray) -> float:
        strategy = np.zeros((n, n))
        strategy[rows[kept], columns[kept]] = values
        if not scheme.exact:
            strategy /= np.linalg.norm(strategy, axis=0)
        if abs(np.diag(strategy)).min() < 1e-3:
            return 1e9
        return total_error(strategy) * sensitivity(strategy, scheme) ** 2

    start = np.eye(n)[rows[kept], columns[kept]]
    found = minimize(error, start, method="Powell", options={"maxiter": 200, "xtol": 1e-6, "ftol": 1e-9})
    # 0.1 %: the tolerance of either search
    assert total_error(factorise(scheme)) <= found.fun * 1.001


def test_rows_of_noise_have_the_covariance_of_the_inverse() -> None:
    noise = Correlated(Participation(4, most=1))
    like = torch.zeros(40_000)
    drawn = np.array([noise.noise(like, t, 5, "w").numpy() for t in range(4)], dtype=np.float64)
    expected = np.linalg.inv(noise.strategy) @ np.linalg.inv(noise.strategy).T
    # 5 standard errors of a covariance of 40,000 draws, sqrt(2 / 40000) = 0.7 % of the variances
    assert np.abs(drawn @ drawn.T / drawn.shape[1] - expected).max() < 0.036 * expected.max()
    # C (C^-1 z) = z: white again. 0.025 is five standard errors of a correlation of 40,000 draws
    white = noise.strategy @ drawn
    assert np.abs(white @ white.T / white.shape[1] - np.eye(4)).max() < 0.036


def test_the_measured_error_of_prefix_sums_is_the_formula() -> None:
    noise = Correlated(Participation(16, 4, exact=True))
    drawn = torch.stack([noise.noise(torch.zeros(5_000), t, 1, "w") for t in range(16)])
    measured = float(drawn.double().cumsum(0).square().sum(0).mean())
    # 5 %: 5,000 draws of a sum of squares whose parts are correlated
    assert measured == pytest.approx(noise.error, rel=0.05)


def test_a_client_who_comes_too_soon_is_named() -> None:
    noise = Correlated(Participation(8, 4))
    took = noise.taken({}, Book(0, ("ann",), answered=["ann"]))
    assert noise.taken(took, Book(4, ("ann",), answered=["ann"])) == {"ann": [0, 4]}
    with pytest.raises(BadParameter, match=r"client 'ann' answered in rounds 0, 3, .*Rota\(4\)"):
        noise.taken(took, Book(3, ("ann",), answered=["ann"]))
    with pytest.raises(BadParameter, match="round 8: the noise is for 8 rounds"):
        noise.taken({}, Book(8, ("ann",), answered=[]))


def test_a_rota_keeps_exact_distances() -> None:
    names, draw = [f"c{i}" for i in range(7)], np.random.default_rng(0)
    scheme, took = Participation(9, 3, exact=True), {}
    for t in range(9):
        for client in Rota(3).choose(t, names, draw):
            took.setdefault(client, []).append(t)
    assert set(took) == set(names) and all(scheme.allows(rounds) and len(rounds) == 3 for rounds in took.values())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Participation(4, 5), "apart is between 1 and rounds"),
        (lambda: Participation(9, 3, most=2, exact=True), "up to 3 times"),
        (lambda: factorise(Participation(8, 2), bands=3), "between 1 and 2"),
        (lambda: Rota(0), "at least 1"),
    ],
)
def test_what_has_no_sense_is_refused(make: object, words: str) -> None:
    with pytest.raises(BadParameter, match=words):
        make()
