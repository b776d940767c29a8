import json
from itertools import islice

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from loomweight.errors import BadParameter
from loomweight.supernet import ImportantData, ImportantPaths, SinglePath, SubnetOptimizer

from .training import batch, mlp


def logits_and_targets(size: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(size, 3, generator=random)
    targets = logits.argmax(1)
    targets[:6] = (targets[:6] + 1) % 3
    return logits, targets


def after_an_epoch(epochs: int) -> ImportantData:
    sampler = ImportantData(60, epochs)
    list(sampler)
    sampler.told(range(60), *logits_and_targets())
    list(sampler)
    return sampler


def test_the_norm_is_that_of_the_gradient_by_the_logits():
    logits, targets = logits_and_targets()
    logits.requires_grad_()
    cross_entropy(logits, targets, reduction="sum").backward()
    sampler = after_an_epoch(2)
    np.testing.assert_allclose(sampler.norms, logits.grad.norm(dim=1).numpy(), rtol=1e-5, atol=1e-6)


def test_data_drawn_by_gradient_norm_has_less_gradient_variance():
    """Weighted so that the mean is kept; gradients by the weights of a linear layer on inputs of one length."""
    logits, targets = logits_and_targets()
    random = torch.Generator().manual_seed(1)
    x = torch.nn.functional.normalize(torch.randn(60, 5, generator=random), dim=1)
    errors = logits.softmax(1) - torch.nn.functional.one_hot(targets, 3)
    gradients = torch.einsum("nk,nd->nkd", errors, x).flatten(1).double()
    mean = gradients.mean(0)

    def variance(odds: np.ndarray) -> float:
        p = torch.from_numpy(odds)[:, None]
        return float((p * (gradients / (60 * p) - mean).square()).sum())

    last, first = after_an_epoch(epochs=1), after_an_epoch(epochs=10)
    uniform = np.full(60, 1 / 60)
    assert variance(last.odds) < 0.5 * variance(uniform)
    assert variance(last.odds) < variance(first.odds) < variance(uniform)


def test_weights_keep_the_mean():
    sampler = after_an_epoch(epochs=2)
    weights = sampler.weights(range(60)).numpy()
    values = np.arange(60.0)
    assert (sampler.odds * weights * values).sum() == pytest.approx(values.mean())


def test_the_first_epoch_is_a_permutation_and_later_ones_return_to_what_is_not_learned():
    sampler = ImportantData(60, epochs=2)
    data = TensorDataset(torch.arange(60))
    assert sorted(int(i) for (batch,) in DataLoader(data, 7, sampler=sampler) for i in batch) == list(range(60))
    sampler.told(range(60), *logits_and_targets())
    counts = np.bincount([int(i) for (batch,) in DataLoader(data, 7, sampler=sampler) for i in batch], minlength=60)
    assert counts[:6].mean() > 2.5 * counts[6:].mean()


def test_two_looks_count_by_halves_and_an_old_norm_is_kept():
    sampler = ImportantData(2, epochs=3)
    list(sampler)
    sure, wrong = torch.tensor([[50.0, 0.0]]), torch.tensor([[0.0, 50.0]])
    sampler.told([0], wrong, torch.tensor([0]))
    sampler.told([0], sure, torch.tensor([0]))
    assert sampler.norms.tolist() == pytest.approx([2**0.5 / 2, 0.0])
    list(sampler)
    assert sampler.norms[0] == pytest.approx(2**0.5 / 2)
    sampler.told([0], sure, torch.tensor([0]))
    assert sampler.norms[0] == pytest.approx(0.0, abs=1e-6)  # float32 rounding of a norm that is 0


def test_an_epoch_that_is_over_is_gone_on_from_exactly():
    def orders(stop: int | None) -> list:
        sampler, found = ImportantData(20, 4, seed=1), []
        for epoch in range(4):
            if epoch == stop:
                saved = json.loads(json.dumps(sampler.state_dict()))
                sampler = ImportantData(20, 4, seed=7)
                sampler.load_state_dict(saved)
            found.append(list(sampler))
            logits, targets = logits_and_targets(20)
            sampler.told(range(20), logits * (epoch + 1), targets)
        return found

    assert orders(None) == orders(2)


def test_bad_data_samplers_are_refused():
    with pytest.raises(BadParameter, match="found size=0, epochs=1"):
        ImportantData(0, 1)
    with pytest.raises(BadParameter, match="found 2, 1 and 1 of them"):
        ImportantData(3, 1).told([0, 1], torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))
    sampler = ImportantData(3, 1)
    assert len(list(islice(sampler, 2))) == 2
    with pytest.raises(BadParameter, match="of 3 examples, this sampler of 4"):
        ImportantData(4, 1).load_state_dict(sampler.state_dict())


def test_paths_and_data_together_return_to_the_examples_whose_labels_are_wrong():
    """A supernet learns a rule; the labels of 8 examples break it."""
    x, _ = batch(size=80)
    labels = x[:, :3].argmax(1)
    labels[:8] = (labels[:8] + 1) % 3
    net = mlp(space="width 0 : 4 8")
    data = ImportantData(80, epochs=8)
    loader = DataLoader(TensorDataset(x, labels, torch.arange(80)), 10, sampler=data)
    step = SinglePath(loss=data.noting(cross_entropy), sampler=ImportantPaths(every=8), total=64)
    optimizer = SubnetOptimizer(net, torch.optim.Adam(net.parameters(), lr=0.03))
    for _ in range(8):
        for inputs, targets, indices in loader:
            optimizer.zero_grad()
            step(net, inputs, (targets, indices))
            optimizer.step()
    assert data.epoch == 8
    assert data.odds[:8].mean() > 1.5 * data.odds[8:].mean()
    assert sum(step.sampler.odds["width 0"]) == pytest.approx(1)
