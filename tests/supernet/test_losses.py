import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loomweight.errors import BadParameter
from loomweight.supernet import AlphaDivergence, SoftLabels

LOSSES = [SoftLabels(), SoftLabels(temperature=4.0), AlphaDivergence(), AlphaDivergence(alpha_min=-0.5, alpha_max=2.0), AlphaDivergence(alpha_min=0.0)]


def drawn(seed: int, scale: float = 1.0, shape: tuple[int, ...] = (4, 5)) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    student, teacher = (scale * torch.randn(*shape, generator=random, dtype=torch.float64) for _ in range(2))
    return student.requires_grad_(), teacher


def exact(student: torch.Tensor, teacher: torch.Tensor, alpha: float) -> torch.Tensor:
    """The divergence of every sample as it is written, without a clip."""
    p, q = teacher.softmax(-1), student.softmax(-1)
    if alpha == 1:
        return (p * (p / q).log()).sum(-1)
    return (p**alpha * q ** (1 - alpha) - alpha * p - (1 - alpha) * q).sum(-1) / (alpha * (alpha - 1))


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-0.5, 2.0), (0.5, 1.5)])
def test_without_a_clip_value_and_gradient_are_those_of_the_divergence(low, high):
    student, teacher = drawn(0)
    found = AlphaDivergence(alpha_min=low, alpha_max=high, clip=1e9)(student, teacher)
    wanted = torch.maximum(exact(student, teacher, low), exact(student, teacher, high)).mean()
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(one, student)[0] for one in (found, wanted)))


def test_the_gradient_of_soft_labels_is_that_of_torchs_kl():
    student, teacher = drawn(1)
    wanted = torch.nn.functional.kl_div((student / 2).log_softmax(-1), (teacher / 2).log_softmax(-1), log_target=True, reduction="batchmean") * 4
    found = SoftLabels(temperature=2.0)(student, teacher)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(one, student)[0] for one in (found, wanted)))


def test_both_surer_and_less_sure_students_are_punished_more_than_by_kl():
    """KL(p || q) hardly sees mass on what the teacher rules out; KL(q || p) hardly sees what is left out. The adaptive loss sees both."""
    teacher = torch.tensor([[3.0, 3.0, -4.0, -4.0]])
    spread, narrow = torch.tensor([[0.0, 0.0, 0.0, 0.0]]), torch.tensor([[7.0, 0.0, -4.0, -4.0]])
    loss = AlphaDivergence(clip=1e6)
    assert loss(spread, teacher) > 10 * SoftLabels()(spread, teacher)
    assert loss(narrow, teacher) == SoftLabels()(narrow, teacher)
    one_sided = exact(narrow, teacher, -1.0).mean()
    assert loss(narrow, teacher) > 2 * one_sided


def test_the_clip_bounds_the_gradient():
    student = torch.zeros(1, 4, requires_grad=True)
    teacher = torch.tensor([[60.0, -60.0, -60.0, -60.0]])
    sizes = []
    for clip in (5.0, 50.0):
        loss = AlphaDivergence(clip=clip)(student, teacher)
        sizes.append(float(torch.autograd.grad(loss, student)[0].abs().sum()))
    assert sizes[0] < sizes[1] < 50


@given(st.sampled_from(LOSSES), st.integers(0, 99), st.sampled_from([1e-3, 1.0, 1e2, 1e4]), st.booleans())
def test_logits_of_any_size_give_finite_gradients(loss, seed, scale, single):
    student, teacher = drawn(seed, scale)
    if single:
        student, teacher = student.detach().float().requires_grad_(), teacher.float()
    value = loss(student, teacher)
    assert value.isfinite()
    assert value >= -1e-6
    assert torch.autograd.grad(value, student)[0].isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_masked_classes_add_nothing(loss):
    student, teacher = drawn(2)
    masked = [torch.cat([one, torch.full((4, 2), float("-inf"), dtype=one.dtype)], 1) for one in (student, teacher)]
    found, wanted = loss(*masked), loss(student, teacher)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(one, student)[0] for one in (found, wanted)))


@pytest.mark.parametrize("loss", LOSSES)
def test_equal_outputs_have_neither_loss_nor_gradient(loss):
    student, _ = drawn(3)
    value = loss(student, student)
    torch.testing.assert_close(value, torch.zeros_like(value))
    torch.testing.assert_close(torch.autograd.grad(value, student)[0], torch.zeros_like(student))


@pytest.mark.parametrize("loss", LOSSES)
def test_outputs_that_are_not_numbers_are_not_hidden(loss):
    student, teacher = drawn(4)
    broken = student.detach().clone()
    broken[1, 2] = float("nan")
    assert loss(broken, teacher).isnan()
    assert loss(student, broken).isnan()


@pytest.mark.parametrize("loss", [SoftLabels(dim=1), AlphaDivergence(dim=1)])
def test_classes_may_lie_along_any_axis(loss):
    student, teacher = drawn(5, shape=(2, 3, 4))
    moved = type(loss)()(student.movedim(1, -1), teacher.movedim(1, -1))
    torch.testing.assert_close(loss(student, teacher), moved)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SoftLabels(temperature=0.0), "positive, found 0.0"),
        (lambda: AlphaDivergence(alpha_min=1.0, alpha_max=1.0), "below alpha_max, found 1.0 and 1.0"),
        (lambda: AlphaDivergence(clip=1.0), "above 1, .* found 1.0"),
    ],
)
def test_bad_losses_are_refused(make, message):
    with pytest.raises(BadParameter, match=message):
        make()
