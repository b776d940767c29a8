"""The diagonal Fisher information against closed forms, loops over single examples, and its own sampling."""

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import loomweight as lw
from loomweight.errors import BadParameter, NonFinite, UnknownName
from loomweight.evidence import NEXT_TOKEN, Task, fisher, squared_gradients

from .nets import Branching, data, filled, labels, mlp, numbers, speaker

Scores = Iterable[tuple[Tensor, float]]


def by_hand(model: nn.Module, batches: list, score: Callable[[nn.Module, Tensor, Tensor], Scores]) -> dict[str, Tensor]:
    """Another formula: a loop over single examples, one backward pass for every score, plain autograd."""
    model.eval()
    total = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    count = 0
    for x, y in batches:
        for i in range(len(x)):
            for value, weight in score(model, x[i : i + 1], y[i : i + 1]):
                grads = torch.autograd.grad(value, list(model.parameters()), retain_graph=True, allow_unused=True)
                for (name, _), grad in zip(model.named_parameters(), grads, strict=True):
                    total[name] += weight * (0 if grad is None else grad**2)
            count += 1
    return {name: value / count for name, value in total.items()}


def every_class(model: nn.Module, x: Tensor, y: Tensor) -> Scores:
    log_p = model(x).log_softmax(-1)[0]
    return [(log_p[c], float(log_p[c].exp().detach())) for c in range(len(log_p))]


def own_class(model: nn.Module, x: Tensor, y: Tensor) -> Scores:
    return [(model(x).log_softmax(-1)[0, int(y)], 1.0)]


def test_closed_form_of_logistic_regression() -> None:
    """Softmax regression: F of w_cj is the mean of p_c (1 - p_c) x_j^2, of the bias that of p_c (1 - p_c)."""
    model, batches = filled(nn.Linear(4, 3)), data()
    x = torch.cat([x for x, _ in batches])
    p = model(x).softmax(-1).detach()
    found = fisher(model, batches, labels="expected")
    assert_close(found["weight"], torch.einsum("nc,nj->cj", p * (1 - p), x**2) / len(x))
    assert_close(found["bias"], (p * (1 - p)).mean(0))


def test_expected_is_the_loop_over_examples_and_classes() -> None:
    found = fisher(mlp(), data(), labels="expected")
    for name, value in by_hand(mlp(), data(), every_class).items():
        assert_close(found[name], value, msg=name)


def test_empirical_is_the_loop_over_examples() -> None:
    found = fisher(mlp(), data(), labels="empirical")
    for name, value in by_hand(mlp(), data(), own_class).items():
        assert_close(found[name], value, msg=name)


def test_it_is_not_the_square_of_the_batch_gradient() -> None:
    """The twin: a common shortcut, whose result depends on the batch size."""
    model = mlp().eval()
    (x, y), *_ = data(count=12, batch=12)
    loss = nn.functional.cross_entropy(model(x), y)
    wrong = torch.autograd.grad(loss, model[0].weight)[0] ** 2
    right = fisher(model, [(x, y)], labels="empirical")["0.weight"]
    assert not torch.allclose(right, wrong, rtol=0.5)


@pytest.mark.parametrize("kind", ["sampled", "expected", "empirical"])
def test_the_size_of_the_batches_does_not_matter(kind: str) -> None:
    results = [fisher(mlp(), data(batch=size), labels=kind, seed=3) for size in (1, 5, 12)]
    for other in results[1:]:
        for name in results[0]:
            assert_close(results[0][name], other[name])


def test_the_mean_of_sampled_is_expected() -> None:
    """30 seeds, every example 20 times: the mean of every entry is within 5 standard errors of the exact value; seeds differ."""
    model, ((x, y),) = filled(nn.Linear(4, 3)), data(count=6, batch=6)
    exact = fisher(model, [(x, y)], labels="expected")["weight"]
    draws = torch.stack([fisher(model, [(x.repeat(20, 1), y.repeat(20))], seed=seed)["weight"] for seed in range(30)])
    assert (draws.std(0) > 0).all()
    assert ((draws.mean(0) - exact).abs() < 5 * draws.std(0) / 30**0.5).all()


def test_a_shared_parameter_counts_once_with_all_its_uses() -> None:
    """The gradient of a tied matrix is the sum over both places, so its square is not the sum of the squares."""
    ids = {"input_ids": torch.randint(0, 7, (5, 6), generator=torch.Generator().manual_seed(0))}
    tied, loose = speaker(), speaker(tied=False)
    loose.load_state_dict(tied.state_dict())
    found = fisher(tied, [ids], task=NEXT_TOKEN, labels="empirical")
    assert found.ties == {"head.weight": "embed.weight"}
    total = torch.zeros(7, 4)
    for row in ids["input_ids"]:
        log_p = loose.eval()(row[None])[0, :-1].log_softmax(-1)
        score = log_p[torch.arange(5), row[1:]].sum()
        grads = torch.autograd.grad(score, [loose.embed.weight, loose.head.weight])
        total += (grads[0] + grads[1]) ** 2
    assert_close(found["head.weight"], total / 5)
    assert_close(found["embed.weight"], total / 5)


def test_positions_are_summed_inside_an_example_and_expected_over_positions() -> None:
    """Given the words before, the scores of two positions are independent with mean 0: expected squares add up."""
    model = speaker().eval()
    ids = torch.randint(0, 7, (3, 5), generator=torch.Generator().manual_seed(4))
    total = torch.zeros(4, 4)
    for row in ids:
        log_p = model(row[None])[0, :-1].log_softmax(-1)
        for t in range(4):
            for word in range(7):
                (grad,) = torch.autograd.grad(log_p[t, word], model.mix.weight, retain_graph=True)
                total += log_p[t, word].exp().detach() * grad**2
    found = fisher(model, [{"input_ids": ids}], task=NEXT_TOKEN, labels="expected")
    assert_close(found["mix.weight"], total / 3)


@pytest.mark.parametrize("kind", ["expected", "empirical"])
def test_padding_does_not_count(kind: str) -> None:
    ids = torch.randint(0, 7, (3, 5), generator=torch.Generator().manual_seed(4))
    padded = {"input_ids": nn.functional.pad(ids, (0, 3)), "attention_mask": nn.functional.pad(torch.ones_like(ids), (0, 3))}
    short = fisher(speaker(), [{"input_ids": ids}], task=NEXT_TOKEN, labels=kind)
    found = fisher(speaker(), [padded], task=NEXT_TOKEN, labels=kind)
    for name in short:
        assert_close(found[name], short[name])


def test_a_model_that_does_not_vectorize_goes_one_by_one_and_says_so_once() -> None:
    model = filled(Branching())
    with pytest.warns(UserWarning, match="does not vectorize over examples") as said:
        found = fisher(model, data(), labels="expected")
    assert len(said) == 1
    for name, value in by_hand(model, data(), every_class).items():
        assert_close(found[name], value, msg=name)


def test_frozen_parameters_are_included_and_stay_frozen() -> None:
    model = mlp()
    model[0].weight.requires_grad_(False)
    found = fisher(model, data(), labels="expected")
    assert_close(found["0.weight"], fisher(mlp(), data(), labels="expected")["0.weight"])
    assert not model[0].weight.requires_grad


@pytest.mark.parametrize("kind", ["expected", "empirical"])
def test_what_the_output_does_not_depend_on_has_fisher_zero(kind: str) -> None:
    model = filled(nn.Linear(4, 3))
    model.spare = nn.Parameter(torch.ones(2))
    assert_close(fisher(model, data(), labels=kind)["spare"], torch.zeros(2))


def test_samples_stop_in_the_middle_of_a_batch() -> None:
    few = fisher(mlp(), data(batch=5), labels="empirical", samples=7)
    (x, y), *_ = data(batch=12)
    assert_close(few["0.weight"], fisher(mlp(), [(x[:7], y[:7])], labels="empirical")["0.weight"])
    assert few.label == "empirical Fisher of Sequential, 7 examples"


def test_precision_follows_the_model() -> None:
    x, y = numbers(6, 4), labels(6, 3)
    exact = fisher(mlp().double(), [(x.double(), y)], labels="expected")["0.weight"]
    assert exact.dtype == torch.float64
    rough = fisher(mlp().bfloat16(), [(x.bfloat16(), y)], labels="expected")["0.weight"]
    assert rough.dtype == torch.float32
    assert_close(rough.double(), exact, rtol=0.2, atol=0.02)


def test_any_loss_of_a_regression() -> None:
    """Half the squared error: the gradient of every example is (w x - y) x."""
    model = filled(nn.Linear(4, 1, bias=False))
    x, y = numbers(9, 4), numbers(9, 1, seed=5)
    found = squared_gradients(model, [(x, y)], lambda m, b: (m(b[0]) - b[1]).square().sum() / 2)
    assert_close(found["weight"], ((((model(x) - y) * x) ** 2).mean(0, keepdim=True)).detach())


def test_dicts_of_transformers_classifiers() -> None:
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score = filled(nn.Linear(4, 3))

        def forward(self, features: Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=self.score(features))

    model, batches = Classifier(), data()
    found = fisher(model, [{"features": x, "labels": y} for x, y in batches], labels="empirical")
    assert_close(found["score.weight"], fisher(model.score, batches, labels="empirical")["weight"])


def test_merging_by_it_lands_between_the_models_where_each_is_sure() -> None:
    """Two softmax regressions, each trained on data of one feature alone: the merge keeps what each one knows."""
    sets, proofs = [], []
    for feature in (0, 1):
        model = filled(nn.Linear(2, 2, bias=False), seed=feature)
        x = torch.zeros(8, 2)
        x[:, feature] = numbers(8, seed=feature)
        sets.append(model.state_dict())
        proofs.append(fisher(model, [(x, labels(8, 2))], labels="expected"))
    merged = lw.combine(sets, lw.rules.Fisher(tuple(proofs), floor=1e-12))["weight"]
    assert_close(merged, torch.stack([sets[0]["weight"][:, 0], sets[1]["weight"][:, 1]], 1))


def test_saved_and_loaded(tmp_path: Path) -> None:
    found = fisher(speaker(), [{"input_ids": torch.arange(6)[None]}], task=NEXT_TOKEN)
    lw.save(found, f"{tmp_path}/fisher.safetensors")
    again = lw.load(f"{tmp_path}/fisher.safetensors")
    assert again.ties == found.ties
    for name in found:
        assert torch.equal(again[name], found[name])


def poisoned(count: int) -> list:
    batches = data(count=count, batch=4)
    batches[1][0][2, 1] = float("nan")
    return batches


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("sampled", "the logits hold NaN or Inf in batch 1"),
        ("expected", "the logits hold NaN or Inf in batch 1"),
        ("empirical", "the gradient of '0.weight' holds NaN or Inf in batch 1"),
    ],
)
def test_nan_is_named(kind: str, words: str) -> None:
    with pytest.raises(NonFinite, match=words):
        fisher(mlp(), poisoned(12), labels=kind)


@pytest.mark.parametrize(
    ("model", "batches", "options", "words"),
    [
        (mlp(), [], {}, "the loader gave no example"),
        (mlp(), data(), {"samples": 0}, "at least 1 sample, found samples = 0"),
        (filled(nn.Linear(4, 1)), data(), {}, r"logits of shape \(5, 1\) are no scores of at least two classes; for a sigmoid"),
        (mlp(), [(numbers(5, 4), labels(4, 3))], {}, r"one first axis, the examples; found shapes \[\(5, 4\), \(4,\)\]"),
        (mlp(), [numbers(5, 4)], {"labels": "empirical"}, "a batch of type Tensor has no labels"),
        (mlp(), [(numbers(5, 4),)], {"labels": "empirical"}, "a tuple of one part, so it has no labels"),
        (mlp(), [(numbers(5, 4), numbers(5, 2).long())], {}, r"labels of shape \(5, 2\) do not fit logits of shape \(5, 3\)"),
        (mlp(), data(), {"task": Task(logits=lambda m, b: (m(b[0]),))}, "the task's logits are a tuple, not a tensor"),
        (nn.Sequential(mlp(), nn.LSTM(3, 3)), data(), {}, "the model returned a tuple, not logits"),
    ],
)
def test_bad_calls(model: nn.Module, batches: list, options: dict, words: str) -> None:
    with pytest.raises(BadParameter, match=words):
        fisher(model, batches, **options)


def test_an_unknown_kind_gets_the_nearest() -> None:
    with pytest.raises(UnknownName, match="no kind of labels named 'sample'; nearest: 'sampled'"):
        fisher(mlp(), data(), labels="sample")


def test_labels_that_are_not_needed_may_be_missing() -> None:
    x = numbers(5, 4)
    assert_close(fisher(mlp(), [x], labels="expected")["0.weight"], fisher(mlp(), [(x, labels(5, 3))], labels="expected")["0.weight"])


def test_a_batch_too_large_for_memory_goes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for three examples' gradients, or for one, the result is the same."""
    from loomweight.evidence import per_example

    whole = fisher(mlp(), data(), labels="expected")
    size = 4 * 4 * sum(parameter.numel() for parameter in mlp().parameters())
    for room in (3 * size, size):
        monkeypatch.setattr(per_example, "_BYTES", {"cpu": room})
        some = fisher(mlp(), data(), labels="expected")
        for name in whole:
            assert_close(some[name], whole[name])
