"""WAKD: the loss against a second formula, and digits under noise that training has not seen."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from loomweight.errors import BadParameter, ShapesDiffer
from loomweight.trajectory import WAKD, distillation_loss


def test_the_loss_by_hand() -> None:
    """Teacher 3 to 1 and even student at T = 1: 3/4 ln(3/2) + 1/4 ln(1/2); doubled logits at T = 2 give four times that."""
    teacher, student = torch.tensor([[3.0, 1.0]]).log(), torch.zeros(1, 2)
    by_hand = 0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log()
    assert torch.allclose(distillation_loss(student, teacher, 1.0), by_hand)
    assert torch.allclose(distillation_loss(student, 2 * teacher, 2.0), 4 * by_hand)
    both = distillation_loss(student.expand(3, 5, 2), teacher.expand(3, 5, 2), 1.0)
    assert torch.allclose(both, by_hand)


def test_at_a_high_temperature_the_gradient_is_the_difference_of_logits() -> None:
    """Hinton and others (2015), section 2.1: with logits of mean zero, dL/dz = (z - v) / N for every example; T^2 keeps it at that scale."""
    generator = torch.Generator().manual_seed(0)
    z, v = (torch.randn(6, 10, generator=generator, dtype=torch.float64) for _ in range(2))
    z, v = z - z.mean(-1, keepdim=True), v - v.mean(-1, keepdim=True)
    z.requires_grad_()
    v.requires_grad_()
    distillation_loss(z, v, temperature=1e4).backward()
    assert z.grad is not None
    assert torch.allclose(z.grad * 6, (z - v).detach() / 10, rtol=1e-3, atol=1e-5)
    assert v.grad is None


def test_what_it_refuses() -> None:
    with pytest.raises(ShapesDiffer, match=r"student's logits have shape \(2, 3\), the teacher's \(2, 4\)"):
        distillation_loss(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(BadParameter, match=r"temperature must be a positive number, found 0\.0"):
        distillation_loss(torch.zeros(2, 3), torch.zeros(2, 3), 0.0)
    with pytest.raises(BadParameter, match="start is a share"):
        WAKD(nn.Linear(1, 1), length=100, start=10)


def test_the_average_is_that_of_every_iterate_after_a_tenth() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = WAKD(model, length=20 * 4)
    for w in range(20):
        model.weight.data.fill_(w)
        average.update(samples=4)
    assert average.count == 18
    assert average.value()["weight"].item() == pytest.approx(sum(range(2, 20)) / 18)


def mlp(hidden: int, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def shifted_accuracies(seed: int) -> tuple[float, float]:
    """(the last iterate's, the average's) on digits with pixel noise; teacher and student have seen clean ones alone."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.as_tensor(pixels, dtype=torch.float32) / 16, torch.as_tensor(labels)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=generator)
    train, test = order[:700], order[900:]
    teacher, student = mlp(128, seed), mlp(32, 100 + seed)
    noisy = x[test] + 0.5 * torch.randn(len(test), 64, generator=generator)

    optimizer = torch.optim.Adam(teacher.parameters(), lr=0.005)
    for _ in range(80):
        batch = train[torch.randint(700, (32,), generator=generator)]
        optimizer.zero_grad()
        cross_entropy(teacher(x[batch]), y[batch]).backward()
        optimizer.step()

    with torch.no_grad():
        taught = teacher(x)
    average = WAKD(student, length=300 * 8)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.1)
    for _ in range(300):
        batch = train[torch.randint(700, (8,), generator=generator)]
        optimizer.zero_grad()
        distillation_loss(student(x[batch]), taught[batch]).backward()
        optimizer.step()
        average.update(samples=8)

    def accuracy(logits: Tensor) -> float:
        return (logits.argmax(-1) == y[test]).double().mean().item()

    with torch.no_grad():
        last = accuracy(student(noisy))
        with average.applied():
            return last, accuracy(student(noisy))


@pytest.mark.parametrize("seeds", [(0, 1), pytest.param((2, 3, 4, 5, 6), marks=pytest.mark.slow)])
def test_the_averaged_student_is_better_out_of_domain(seeds: tuple[int, ...]) -> None:
    gains = [averaged - last for last, averaged in map(shifted_accuracies, seeds)]
    assert min(gains) > 0
    assert sum(gains) / len(gains) > 0.02
