"""How fast the loss rises around a weight set: along random directions, and along the worst.

Papers: Visualizing the Loss Landscape of Neural Nets (2018, https://arxiv.org/abs/1712.09913), section 4, filter-normalised directions;
Sharpness-Aware Minimization for Efficiently Improving Generalization (2020, https://arxiv.org/abs/2010.01412), equations 1 and 2,
the worst point of a ball. Original code of the directions: https://github.com/tomgoldstein/loss-landscape (net_plotter.py), whose
default, no movement of biases and norms (tensors of fewer than two axes), is ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import inf, isfinite, isnan, sqrt

import torch
from torch import Tensor, nn

from ..errors import BadParameter, NonFinite
from ..weights import Block, Spec, Weights, floating
from ..weights.algebra import working
from ..weights.gram import norm


@dataclass(frozen=True)
class Flatness:
    """What was found around a weight set.

    Args:
        base: the loss at the set itself.
        rises: loss minus base at every point that was looked at; infinite where the loss is NaN.
        radius: how far away the points are, in the unit that the function says.
    """

    base: float
    rises: tuple[float, ...]
    radius: float

    @property
    def mean(self) -> float:
        """Mean rise."""
        return sum(self.rises) / len(self.rises)

    @property
    def worst(self) -> float:
        """Largest rise."""
        return max(self.rises)


def filter_direction(weights: Weights, seed: int = 0) -> Weights:
    """A random direction whose every filter (index of the first axis) has the norm of the weights' filter,

        d = g |w_filter| / |g_filter|,    g normal;    0 for tensors of fewer than two axes and for integers.

    So a step means the same for networks that differ by a scale that is divided out behind.

    Part of: random_flatness.

    >>> w = Weights.of({"w": torch.tensor([[3.0, 4.0], [0.0, 0.0]]), "b": torch.ones(2)})
    >>> d = filter_direction(w)
    >>> [round(float(length), 4) for length in d["w"].norm(dim=1)], d["b"]
    ([5.0, 0.0], tensor([0., 0.]))
    """

    def open_(name: str) -> Block:
        spec = weights.spec[name]
        if len(spec.shape) < 2 or not spec.averages:
            return lambda lo, hi: torch.zeros(hi - lo, dtype=spec.work)
        drawn = torch.randn(spec.shape, generator=_generator("filter", seed, name), dtype=torch.float64).flatten(1)
        lengths = working(weights, name)(0, spec.numel).reshape(spec.shape).double().flatten(1).norm(dim=1, keepdim=True)
        flat = (drawn * lengths / drawn.norm(dim=1, keepdim=True)).reshape(-1).to(spec.work)
        return lambda lo, hi: flat[lo:hi]

    return Weights(weights.spec, open_, ties=weights.ties, origin=("filter direction", weights, seed), label=f"direction {seed}")


def moved(weights: Weights, direction: Weights, step: float) -> Weights:
    """weights + step * direction, lazily; integer tensors stay.

    >>> moved(Weights.of({"w": torch.ones(2)}), Weights.of({"w": torch.tensor([1.0, 2.0])}), 0.5)["w"]
    tensor([1.5000, 2.0000])
    """

    def open_(name: str) -> Block:
        read, along = working(weights, name), working(direction, name)
        return (lambda lo, hi: read(lo, hi) + step * along(lo, hi)) if weights.spec[name].averages else read

    return Weights(weights.spec, open_, ties=weights.ties, origin=("moved", weights, direction, step), label=f"{weights.label} {step:+g}")


def random_flatness(loss: Callable[[Weights], float], weights: Weights, *, radius: float = 0.1, directions: int = 10, seed: int = 0) -> Flatness:
    """Rises at w + r d and w - r d for random filter-normalised directions d: r is a part of every filter's norm.

    Args:
        loss: of a weight set; called 2 * directions + 1 times.
        radius: r.
        directions: how many.
        seed: of the first; the k-th has seed + k.

    Raises:
        BadParameter: a radius or number that is not positive.
        NonFinite: the loss at the set itself is NaN or Inf.

    >>> found = random_flatness(lambda w: float(w["w"].square().sum()), Weights.of({"w": torch.ones(1, 4)}), radius=0.5, directions=3)
    >>> round(found.mean, 6)        # (|r d|^2 with |d| = |w| = 2; the linear parts of both sides cancel)
    1.0
    """
    _positive(radius=radius, directions=directions)
    base = _base(loss, weights)
    found = [_rise(float(loss(moved(weights, filter_direction(weights, seed + k), side * radius))), base) for k in range(directions) for side in (1, -1)]
    return Flatness(base, tuple(found), radius)


def adversarial_flatness(
    loss: Callable[[Weights], float], weights: Weights, *, radius: float = 0.05, samples: int = 32, rounds: int = 3, seed: int = 0
) -> Flatness:
    """The rise along the steepest direction, from losses alone (zeroth order), for a loss without gradients.

    The gradient is estimated by central differences along random directions, g = mean of [L(w + s d) - L(w - s d)] / 2 s  d with d
    on the unit sphere and s = radius, first at w, then at the worst point so far; each round goes to w + radius g / |g|. A lower
    bound of the worst rise in the ball: give more samples, or use `ascent` where there are gradients.

    Args:
        loss: of a weight set; called rounds * (2 * samples + 1) + 1 times.
        radius: of the ball, a distance in weight space.
        samples: random directions a round.
        rounds: how often the gradient is estimated.
        seed: of the directions.

    Raises:
        BadParameter: a number that is not positive.
        NonFinite: the loss at the set itself is NaN or Inf.
    """
    _positive(radius=radius, samples=samples, rounds=rounds)
    base = _base(loss, weights)
    at, best, rises = weights, 0.0, []
    for turn in range(rounds):
        steps = [_on_sphere(weights, (seed, turn, k)) for k in range(samples)]
        slopes = [float(loss(moved(at, step, radius))) - float(loss(moved(at, step, -radius))) for step in steps]
        size = norm(floating(direction := _sum(weights, slopes, steps)))
        if not 0 < size < inf:
            break
        there = moved(weights, direction, radius / size)
        rises.append(_rise(float(loss(there)), base))
        at, best = (there, rises[-1]) if rises[-1] > best else (at, best)
    return Flatness(base, tuple(rises) or (0.0,), radius)


def ascent(loss: Callable[[nn.Module], Tensor], model: nn.Module, *, radius: float = 0.05, steps: int = 1) -> Flatness:
    """The rise at the worst point of a ball, by gradient ascent: max over |e| <= r of L(w + e) - L(w).

    One step is SAM's, e = r g / |g|; more go on from there by projected ascent, e <- r (e + r g / |g|) / |e + r g / |g||. The model
    is left as it was.

    Args:
        loss: model -> a scalar with gradients, the same at every call (no dropout, one fixed batch or all of them).
        model: its floating parameters that need gradients are moved.
        radius: r, a distance in weight space.
        steps: of ascent.

    Raises:
        BadParameter: a number that is not positive; no parameter has a gradient.
        NonFinite: the loss at the model itself is NaN or Inf.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = model.weight.data.fill_(2.0)
    >>> round(ascent(lambda m: m.weight.square().sum(), model, radius=0.5).worst, 6)      # 2.5^2 - 2^2
    2.25
    """
    _positive(radius=radius, steps=steps)
    tensors = [tensor for tensor in model.parameters() if tensor.requires_grad]
    held = [tensor.detach().clone() for tensor in tensors]
    base = _finite(float(loss(model).detach()))
    offset, rises = [torch.zeros_like(tensor) for tensor in held], []
    try:
        for _ in range(steps):
            slope = _gradient(loss(model), tensors)
            offset = _scaled([old + part for old, part in zip(offset, _scaled(slope, radius), strict=True)], radius)
            _put(tensors, [start + part for start, part in zip(held, offset, strict=True)])
            with torch.no_grad():
                rises.append(_rise(float(loss(model)), base))
    finally:
        _put(tensors, held)
    return Flatness(base, tuple(rises), radius)


def _gradient(value: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(value, tensors, allow_unused=True) if tensors and value.requires_grad else [None]
    if all(part is None for part in found):
        raise BadParameter("the loss has no gradient with respect to any parameter of the model; let it return a tensor made from the model's outputs.")
    return [torch.zeros_like(tensor) if part is None else part for tensor, part in zip(tensors, found, strict=True)]


def _scaled(parts: list[Tensor], length: float) -> list[Tensor]:
    """Of that length; zeros stay zeros."""
    size = sqrt(sum(float(part.double().square().sum()) for part in parts))
    return [part * (length / size) for part in parts] if size else parts


def _put(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for tensor, value in zip(tensors, values, strict=True):
            tensor.copy_(value)


def _on_sphere(weights: Weights, key: tuple[int, ...]) -> Weights:
    """A direction of norm 1 over all floating tensors, uniform on the sphere."""
    drawn = {name: torch.randn(spec.shape, generator=_generator("sphere", *key, name), dtype=spec.work) for name, spec in _free(weights)}
    size = sqrt(sum(float(tensor.double().square().sum()) for tensor in drawn.values()))
    return _like(weights, {name: tensor / size for name, tensor in drawn.items()})


def _sum(weights: Weights, factors: list[float], parts: list[Weights]) -> Weights:
    total = {name: torch.zeros(spec.shape, dtype=spec.work) for name, spec in _free(weights)}
    for factor, part in zip(factors, parts, strict=True):
        for name, tensor in total.items():
            tensor += factor * part.open(name)(0, tensor.numel()).reshape(tensor.shape)
    return _like(weights, total)


def _free(weights: Weights) -> list[tuple[str, Spec]]:
    return [(name, weights.spec[name]) for name in weights.physical if weights.spec[name].averages]


def _like(weights: Weights, held: dict[str, Tensor]) -> Weights:
    def open_(name: str) -> Block:
        flat = held[name].reshape(-1) if name in held else torch.zeros(weights.spec[name].numel, dtype=weights.spec[name].work)
        return lambda lo, hi: flat[lo:hi]

    return Weights(weights.spec, open_, ties=weights.ties, label="direction")


def _generator(*key: object) -> torch.Generator:
    return torch.Generator().manual_seed(int.from_bytes(blake2b(repr(key).encode(), digest_size=7).digest(), "little"))


def _base(loss: Callable[[Weights], float], weights: Weights) -> float:
    return _finite(float(loss(weights)))


def _rise(value: float, base: float) -> float:
    return inf if isnan(value) else value - base


def _finite(value: float) -> float:
    if not isfinite(value):
        raise NonFinite(f"the loss at the weights themselves is {value}; how it rises around them says nothing.")
    return value


def _positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not 0 < number < inf:
            raise BadParameter(f"{name} must be positive, found {number}.")
