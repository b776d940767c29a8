"""Ridge and Gaussian processes against second formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomweight.errors import BadParameter
from loomweight.search import GaussianEnsemble, GaussianProcess, Predictor, Ranked, Ridge
from loomweight.search.predict.gaussian import fitted
from loomweight.search.predict.predictor import Array

seeds = st.integers(0, 10_000)


def problem(seed: int, n: int = 12, d: int = 4) -> tuple[Array, Array, Array]:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, d))
    return x, x @ draw.normal(size=d) + np.sin(x[:, 0]) + 5, draw.normal(size=(7, d))


@given(seeds)
def test_ridge_is_least_squares_with_rows_added(seed: int) -> None:
    """Second formula: ordinary least squares with sqrt(strength) I below the centred columns."""
    x, y, new = problem(seed)
    augmented = np.vstack([x - x.mean(0), np.sqrt(0.7) * np.eye(4)])
    weights = np.linalg.lstsq(augmented, np.concatenate([y - y.mean(), np.zeros(4)]), rcond=None)[0]
    assert np.allclose(Ridge(0.7).fit(x, y).predict(new), (new - x.mean(0)) @ weights + y.mean())


@given(seeds, st.sampled_from(["exponential", "gaussian"]), st.sampled_from([0.0, 2.0]))
def test_the_posterior_is_that_of_a_joint_normal(seed: int, kernel: str, linear: float) -> None:
    """Second formula: condition the joint covariance of labels and new points, block by block, entry by entry."""
    x, y, new = problem(seed)
    process = GaussianProcess(kernel, length=1.5, noise=0.2, linear=linear)
    points = np.vstack([x, new]) - x.mean(0)
    points /= x.std(0)
    gaps = np.array([[np.sqrt(((a - b) ** 2).sum()) for b in points] for a in points])
    unit = np.median(gaps[:12, :12][np.triu_indices(12, 1)]) * 1.5
    joint = np.exp(-((gaps / unit) ** (1 if kernel == "exponential" else 2))) + linear * (points @ points.T / 4 + 1) + 0.2 * np.eye(19)
    gain = np.linalg.solve(joint[:12, :12], joint[:12, 12:]).T
    labels = (y - y.mean()) / y.std()
    found = process.fit(x, y).posterior(new)
    assert np.allclose(found.mean, gain @ labels * y.std() + y.mean())
    left = np.diag(joint[12:, 12:] - gain @ joint[:12, 12:])
    ratio = found.spread**2 / (left * y.var())
    assert np.allclose(ratio, ratio[0])  # s^2, which the next test looks at


@given(seeds)
def test_leaving_one_out_in_closed_form_is_leaving_one_out(seed: int) -> None:
    x, y, _ = problem(seed, n=8)
    whole = fitted(GaussianProcess(noise=0.3), x, y)
    rows, labels = whole.rows, whole.labels.apply(y)
    covariance = np.linalg.inv(whole.inverse)
    errors, variances = np.zeros(8), np.zeros(8)
    for i in range(8):
        rest = [j for j in range(8) if j != i]
        gain = np.linalg.solve(covariance[np.ix_(rest, rest)], covariance[rest, i])
        errors[i], variances[i] = labels[i] - gain @ labels[rest], covariance[i, i] - gain @ covariance[rest, i]
    assert len(rows) == 8
    assert whole.scale == pytest.approx((errors**2 / variances).mean())
    density = -0.5 * np.log(2 * np.pi * whole.scale * variances) - errors**2 / (2 * whole.scale * variances)
    assert whole.log_density == pytest.approx(density.mean() - np.log(y.std()))


def test_authors_order_of_steps_gives_the_same_mean() -> None:
    """GP-NAS in its code: the posterior of w in d dimensions, then the process of what the linear mean leaves."""
    x, y, new = problem(3)
    rows, points = (np.hstack([(a - x.mean(0)) / x.std(0) / 2, np.ones((len(a), 1))]) for a in (x, new))  # 2 = sqrt(d): c has x'x' / d
    process = GaussianProcess("exponential", 1.0, 0.1, linear=0.5)
    gaps = 2 * np.sqrt(((rows[:, None] - rows[None]) ** 2).sum(-1))
    unit = np.median(gaps[np.triu_indices(12, 1)])
    kernel = np.exp(-gaps / unit) + 0.1 * np.eye(12)
    labels = (y - y.mean()) / y.std()
    inverse = np.linalg.inv(kernel)
    w = np.linalg.solve(rows.T @ inverse @ rows + np.eye(5) / 0.5, rows.T @ inverse @ labels)
    across = np.exp(-2 * np.sqrt(((points[:, None] - rows[None]) ** 2).sum(-1)) / unit)
    mean = points @ w + across @ inverse @ (labels - rows @ w)
    assert np.allclose(process.fit(x, y).predict(new), mean * y.std() + y.mean())


def test_the_spread_is_as_large_as_the_errors() -> None:
    """Of 400 new points about 68 in 100 lie within one standard deviation, 95 within two."""
    draw = np.random.default_rng(0)
    x = draw.uniform(-3, 3, (500, 2))
    y = np.sin(x[:, 0]) + x[:, 1] + draw.normal(size=500) * 0.2
    belief = GaussianEnsemble().fit(x[:100], y[:100]).posterior(x[100:])
    off = np.abs(y[100:] - belief.mean) / belief.spread
    assert 0.6 < (off < 1).mean() < 0.8
    assert (off < 2).mean() > 0.9


def test_an_ensemble_trusts_the_member_that_foresees() -> None:
    x = np.linspace(-3, 3, 40)[:, None]
    rough, smooth = GaussianProcess("exponential", 0.01, 1e-4, linear=0.0), GaussianProcess("gaussian", 1.0, 1e-4)
    both, alone = (GaussianEnsemble(members).fit(x, np.sin(2 * x[:, 0])) for members in ((rough, smooth), (smooth,)))
    assert np.allclose(both.predict(x + 0.03), alone.predict(x + 0.03), atol=1e-3)
    even = GaussianEnsemble((rough, smooth), sharpness=0.0).fit(x, np.sin(2 * x[:, 0])).predict(x + 0.03)
    assert not np.allclose(even, alone.predict(x + 0.03), atol=0.1)


@pytest.mark.parametrize("predictor", [Ridge(0.1), GaussianProcess(), GaussianEnsemble()], ids=lambda p: type(p).__name__)
def test_the_unit_of_labels_does_not_matter(predictor: Predictor) -> None:
    x, y, new = problem(5)
    one, other = predictor.fit(x, y).posterior(new), predictor.fit(x, 100 * y - 7).posterior(new)
    assert np.allclose(other.mean, 100 * one.mean - 7)
    assert np.allclose(other.spread, 100 * one.spread)


def test_ranked_labels_may_be_bent() -> None:
    """A monotone curve over the labels leaves the order of predictions as it was."""
    x, y, new = problem(6, n=30)
    one, other = (Ranked(Ridge(0.1)).fit(x, labels).predict(new) for labels in (y, np.exp(y)))
    assert one.argsort().tolist() == other.argsort().tolist()
    plain = [Ridge(0.1).fit(x, labels).predict(new).argsort().tolist() for labels in (y, np.exp(3 * y))]
    assert plain[0] != plain[1]  # the bend would matter


def test_ranked_predictions_are_in_the_unit_of_labels() -> None:
    x, y, _ = problem(7, n=200, d=2)
    found = Ranked(GaussianProcess(noise=0.01)).fit(x[:100], y[:100]).posterior(x[100:])
    assert np.abs(found.mean - y[100:]).mean() < 0.2 * y.std()
    assert (found.spread >= 0).all()


def test_equal_labels_are_no_trouble() -> None:
    x, _, new = problem(8)
    for predictor in (Ridge(), GaussianEnsemble(), Ranked(Ridge())):
        assert np.allclose(predictor.fit(x, np.full(12, 3.0)).predict(new), 3.0)


def test_bad_input() -> None:
    with pytest.raises(BadParameter, match="learned nothing yet"):
        Ridge().predict([[1.0]])
    with pytest.raises(BadParameter, match=r"y\[1\] is nan"):
        Ridge().fit([[1.0], [2.0]], [1.0, float("nan")])
    with pytest.raises(BadParameter, match=r"x\[0, 0\] is inf"):
        Ridge().fit([[float("inf")], [2.0]], [1.0, 2.0])
    with pytest.raises(BadParameter, match="x has 2 rows, y has 1"):
        Ridge().fit([[1.0], [2.0]], [1.0])
    with pytest.raises(BadParameter, match="rows of 1 numbers, found rows of 2"):
        Ridge().fit([[1.0], [2.0]], [1.0, 2.0]).predict([[1.0, 2.0]])
    with pytest.raises(BadParameter, match="found shape"):
        Ridge().fit([1.0, 2.0], [1.0, 2.0])
    for wrong in (lambda: Ridge(0.0), lambda: GaussianProcess(length=0.0), lambda: GaussianProcess("cubic"), lambda: GaussianEnsemble(())):
        with pytest.raises(BadParameter):
            wrong()
