"""Digit classifiers to play with: one start, five fine-tunes that each saw half of the classes more than the rest, five strangers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..engines import current
from ..engines.progress import track
from ..errors import MissingExtra
from ..weights import Weights

Split = tuple[Tensor, Tensor]


class Row(NamedTuple):
    """One line of the demo's table: what it is, its accuracy and loss on the test digits, and a word on it."""

    name: str
    accuracy: float
    loss: float
    remark: str


@dataclass(frozen=True)
class Zoo:
    """Data and models.

    Args:
        start: the network that the fine-tunes started from.
        tuned: fine-tunes of `start`, each on its own lopsided share of the digits.
        strangers: networks trained on everything, each from another random start.
        shares: the training data of each fine-tune.
        train: what strangers were trained on.
    """

    start: Weights
    tuned: list[Weights]
    strangers: list[Weights]
    shares: list[Split]
    validation: Split
    test: Split
    train: Split

    def score(self, weights: Weights, data: Split | None = None) -> tuple[float, float]:
        """(accuracy, mean cross entropy) on the test digits, or on others."""
        inputs, labels = data or self.test
        model = network()
        model.load_state_dict(dict(weights))
        with torch.no_grad():
            logits = model.eval()(inputs)
        return float((logits.argmax(1) == labels).float().mean()), float(nn.functional.cross_entropy(logits, labels))

    def row(self, name: str, weights: Weights, remark: str = "") -> Row:
        """A line of the table."""
        return Row(name, *self.score(weights), remark)


def network() -> nn.Sequential:
    """64 pixels, two hidden layers, ten digits."""
    return nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 10))


def train_zoo(seed: int = 0, models: int = 5) -> Zoo:
    """Train the start on few digits, the fine-tunes on lopsided shares, the strangers on everything; some seconds each.

    Raises:
        MissingExtra: scikit-learn, which carries the digits, is not installed.
    """
    pools = _digits(seed)
    (start,) = current().map(lambda steps: _trained(pools["start"], seed, steps=steps), [120])
    shares = [_share(pools["train"], seed + i) for i in range(models)]
    # every worker thread computes on one core: small layers on many cores wait for each other more than they work
    jobs = [(share, seed + i, start) for i, share in enumerate(shares)] + [(pools["train"], seed + 100 + i, None) for i in range(models)]
    made = list(track(current().map(lambda job: _trained(*job), jobs), "training", total=len(jobs)))
    tuned, strangers = made[:models], made[models:]
    named = [Weights.of(w.state_dict(), f"fine-tune {i + 1}") for i, w in enumerate(tuned)]
    others = [Weights.of(w.state_dict(), f"stranger {i + 1}") for i, w in enumerate(strangers)]
    return Zoo(Weights.of(start.state_dict(), "start"), named, others, shares, pools["validation"], pools["test"], pools["train"])


def _digits(seed: int) -> dict[str, Split]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra("the demo learns scikit-learn's digits; install the extra: pip install 'loomweight[demo]'") from error
    pixels, digits = load_digits(return_X_y=True)
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(seed))
    inputs, labels = torch.as_tensor(pixels, dtype=torch.float32)[order] / 16, torch.as_tensor(digits)[order]
    ends = {"start": (0, 200), "train": (200, 1100), "validation": (1100, 1400), "test": (1400, len(order))}
    return {name: (inputs[lo:hi], labels[lo:hi]) for name, (lo, hi) in ends.items()}


def _share(data: Split, seed: int) -> Split:
    """All digits of five classes, and one in ten of the others."""
    inputs, labels = data
    generator = torch.Generator().manual_seed(1000 + seed)
    favoured = torch.randperm(10, generator=generator)[:5]
    kept = torch.isin(labels, favoured) | (torch.rand(len(labels), generator=generator) < 0.1)
    return inputs[kept], labels[kept]


def _trained(data: Split, seed: int, start: nn.Module | None = None, steps: int = 400) -> nn.Module:
    model = network()
    begin(model, torch.Generator().manual_seed(seed))
    if start is not None:
        model.load_state_dict(start.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for inputs, labels in batches(data, steps, seed):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return model


def begin(model: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's own start of a linear layer, +-1 / sqrt(inputs), from this generator."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)


def batches(data: Split, steps: int, seed: int, size: int = 32) -> Iterator[Split]:
    """Random batches, with repetition."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.randint(len(data[0]), (size,), generator=generator)
        yield data[0][chosen], data[1][chosen]
