"""LocalSGD and DiLoCo on several workers: the papers' formulas, buffers, bad workers, parts, states, bytes."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributed import HashStore, ProcessGroupGloo

from loomweight.errors import BadParameter, NonFinite, TooFewSets, WorkerDied
from loomweight.federate import QSGD, ErrorFeedback, Half, Message, RandomK, ScaledSign, TopK
from loomweight.federate.lowcomm import DiLoCo, Exchange, Group, LocalSGD
from loomweight.rules import CenteredClip, GeometricMedian, Krum, Mean, Median, TrimmedMean

from .workers import batch, grouped, net, plain, same, state, train

SGD = partial(torch.optim.SGD, lr=0.1)
ADAM = partial(torch.optim.AdamW, lr=0.02)


def run(make, workers=3, steps=6, optimizer=ADAM, model=net, spoil=None):
    """Each worker's weights, and its rounds."""

    def body(rank, group):
        mine = model(seed=rank)
        inner = optimizer(mine.parameters())
        rounds = make(mine, inner, group)
        for step in range(steps):
            train(mine, inner, rank, range(step, step + 1))
            if spoil:
                spoil(rank, step, mine)
            rounds.step()
        return state(mine), rounds

    return grouped(workers, body)


def by_hand(workers, steps, every, outer=None, lr=1.0, momentum=0.0):
    """DiLoCo's algorithm 1 in a dozen lines of other arithmetic: models in a list, float64, Nesterov's step written out."""
    models = [plain() for _ in range(workers)]
    inners = [ADAM(model.parameters()) for model in models]
    old = {name: tensor.double() for name, tensor in models[0].state_dict().items()}
    velocity = {name: torch.zeros_like(tensor) for name, tensor in old.items()}
    for step in range(steps):
        for rank, (model, inner) in enumerate(zip(models, inners, strict=True)):
            train(model, inner, rank, range(step, step + 1))
        if (step + 1) % every == 0:
            for name in old:
                delta = sum(old[name] - model.state_dict()[name].double() for model in models) / workers
                velocity[name] = momentum * velocity[name] + delta
                old[name] = old[name] - lr * (delta + momentum * velocity[name])
                for model in models:
                    model.state_dict()[name].copy_(old[name])
    return old


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (lambda model, inner, group: DiLoCo(model, inner, 2, group), {"lr": 0.7, "momentum": 0.9}),
        (lambda model, inner, group: LocalSGD(model, inner, 2, group), {}),
        (lambda model, inner, group: LocalSGD(model, inner, 2, group, rule=TrimmedMean(0)), {}),
    ],
    ids=["diloco", "local", "gathered"],
)
def test_the_papers_algorithm(make, settings) -> None:
    found = run(make, model=plain)
    assert all(same(weights, found[0][0]) for weights, _ in found)
    expected = by_hand(3, 6, 2, **settings)
    for name, tensor in found[0][0].items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)  # float32 against float64, six steps


def test_one_step_of_sgd_each_is_data_parallel_training() -> None:
    """Local SGD with H = 1 is SGD on the mean gradient."""
    found = run(lambda model, inner, group: LocalSGD(model, inner, 1, group), optimizer=SGD, model=plain)
    model = plain()
    inner = SGD(model.parameters())
    for step in range(6):
        inner.zero_grad()
        for rank in range(3):
            x, y = batch(rank, step)
            ((model(x) - y).square().mean() / 3).backward()
        inner.step()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(found[0][0][name], tensor, rtol=1e-5, atol=1e-6)  # sums in another order


def test_statistics_of_batch_norm_are_averaged_and_counts_stay_integers() -> None:
    def body(rank, group):
        model = net()
        inner = SGD(model.parameters())
        diloco = DiLoCo(model, inner, 2, group)
        train(model, inner, rank, range(2 + rank))
        alone = state(model)
        diloco.synchronise()
        return alone, state(model)

    found = grouped(2, body)
    assert same(found[0][1], found[1][1])
    for name in ("1.running_mean", "1.running_var"):
        torch.testing.assert_close(found[0][1][name], (found[0][0][name] + found[1][0][name]) / 2)
    count = found[0][1]["1.num_batches_tracked"]
    assert count.dtype == torch.int64 and int(count) == 3


def poisoned(rank, step, model, value=float("nan")) -> None:
    if rank == 1 and step == 1:
        model.state_dict()["3.weight"][0, 1] = value


@pytest.mark.parametrize("rule", [Mean(), Median(), Krum(0), TrimmedMean(0), GeometricMedian()], ids=lambda rule: type(rule).__name__)
def test_a_sick_worker_is_dropped_named_counted_and_healed(rule) -> None:
    found = run(lambda model, inner, group: DiLoCo(model, inner, 2, group, rule, exchange=Exchange(nonfinite="drop")), workers=4, spoil=poisoned)
    assert all(same(weights, found[0][0]) for weights, _ in found)
    assert all(tensor.isfinite().all() for tensor in found[0][0].values())
    for _, rounds in found:
        assert rounds.dropped == [{"round": 0, "worker": "1", "tensor": "3.weight"}]
        assert rounds.dropped_by_worker() == {"1": 1} and rounds.rounds == 3


def test_the_mean_without_the_sick_worker_is_that_of_the_others() -> None:
    def spoil(rank, step, model):
        if rank == 2:
            model.state_dict()["0.weight"].fill_(float("inf"))

    found = run(lambda model, inner, group: LocalSGD(model, inner, 2, group, exchange=Exchange(nonfinite="drop")), steps=2, model=plain, spoil=spoil)
    expected = by_hand(2, 2, 2)
    for name, tensor in found[2][0].items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)  # float32 against float64


def test_momenta_with_nan_are_forgotten_and_others_kept() -> None:
    def body(rank, group):
        model = net()
        inner = ADAM(model.parameters())
        diloco = DiLoCo(model, inner, 1, group, exchange=Exchange(nonfinite="drop"))
        train(model, inner, rank, range(1), diloco.step)
        weight, bias = model[0].weight, model[0].bias
        inner.zero_grad()
        if rank == 1:
            weight.grad = torch.full_like(weight, float("nan"))
        bias.grad = torch.ones_like(bias)
        inner.step()
        diloco.step()
        return weight in inner.state, bias in inner.state

    assert grouped(2, body) == [(True, True), (False, True)]


def test_nan_is_refused_by_default_on_every_worker_and_nothing_moves() -> None:
    def body(rank, group):
        model = net()
        local = LocalSGD(model, SGD(model.parameters()), 1, group)
        before = state(model)
        if rank == 1:
            model[3].weight.data[0, 0] = float("nan")
        with pytest.raises(NonFinite, match=r"worker 1 holds NaN or Inf in tensor '3\.weight'; mend it, or leave such workers out with Exchange"):
            local.step()
        return rank == 1 or same(before, state(model)), local.rounds

    assert grouped(2, body) == [(True, 0)] * 2


def test_all_sick_is_an_error_and_masked_entries_are_decided_by_the_others() -> None:
    def body(rank, group):
        model = plain()
        dropping = LocalSGD(model, SGD(model.parameters()), 1, group, exchange=Exchange(nonfinite="drop"))
        model[0].weight.data.fill_(float("nan"))
        with pytest.raises(TooFewSets, match="no update is left of those of the workers 0, 1"):
            dropping.step()
        model.load_state_dict(plain().state_dict())
        masking = LocalSGD(model, SGD(model.parameters()), 1, group, exchange=Exchange(nonfinite="mask"))
        model[0].weight.data[0, 0] += 1 + rank
        model[0].weight.data[1, 1] += 1 if rank else float("nan")
        masking.step()
        return (model[0].weight - plain()[0].weight).detach()

    for moved in grouped(2, body):
        torch.testing.assert_close(moved[0, 0], torch.tensor(1.5))
        torch.testing.assert_close(moved[1, 1], torch.tensor(1.0))


@pytest.mark.parametrize("rule", [Median(), TrimmedMean(1), Krum(1), CenteredClip()], ids=lambda rule: type(rule).__name__)
def test_a_hostile_worker_is_borne_by_a_robust_rule_and_not_by_the_mean(rule) -> None:
    def spoil(rank, step, model):
        if rank == 4:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(1e4)

    def distance(rule):
        found = run(lambda model, inner, group: LocalSGD(model, inner, 2, group, rule), workers=5, steps=4, spoil=spoil)
        return max(float((tensor - net().state_dict()[name]).abs().max()) for name, tensor in found[0][0].items())

    assert distance(rule) < 10 or (type(rule) is CenteredClip and distance(rule) < 200)  # the clip bounds each step by its radius
    assert distance(Mean()) > 1000


def test_weights_of_workers() -> None:
    """A worker of weight 3 counts as three; of weight 0 not at all; by the sum and by the gathered rule alike."""

    def moved(rule):
        def body(rank, group):
            model = plain()
            local = LocalSGD(model, SGD(model.parameters()), 1, group, rule, Exchange(weight=[3.0, 1.0, 0.0][rank]))
            model[0].bias.data += [1.0, 5.0, 100.0][rank]
            local.step()
            return float((model[0].bias - plain()[0].bias).detach().mean())

        return grouped(3, body)

    assert moved(Mean()) == pytest.approx([2.0] * 3)
    assert moved(TrimmedMean(0)) == pytest.approx([2.0] * 3)
    with pytest.raises(BadParameter, match=r"Krum\(f=0.*\) takes no weights"):
        moved(Krum(0))


def test_fragments_take_turns_and_all_is_agreed_on_after_a_cycle() -> None:
    def body(rank, group):
        model = plain()
        inner = SGD(model.parameters())
        local = LocalSGD(model, inner, 4, group, exchange=Exchange(fragments=2))
        due, steps = [], []
        for step in range(8):
            train(model, inner, rank, range(step, step + 1))
            due.append(local.step())
            steps.append(state(model))
        return due, steps, [list(part.live) for part in local.parts]

    (due, mine, parts), (_, other, _) = grouped(2, body)
    assert due == [False, True, False, True] * 2
    assert [*parts[0], *parts[1]] == list(plain().state_dict()) and all(parts)
    for step, agreed, apart in ((1, *parts), (3, *reversed(parts))):
        assert all(mine[step][name].equal(other[step][name]) for name in agreed)
        assert not any(mine[step][name].equal(other[step][name]) for name in apart)


def test_fragments_synchronised_one_after_the_other_are_the_whole() -> None:
    whole = run(lambda model, inner, group: DiLoCo(model, inner, 2, group), steps=2)[0][0]

    def body(rank, group):
        model = net(seed=rank)
        inner = ADAM(model.parameters())
        diloco = DiLoCo(model, inner, 9, group, exchange=Exchange(fragments=3))
        train(model, inner, rank, range(2))
        for _ in range(3):
            diloco.synchronise()
        return state(model)

    for name, tensor in grouped(3, body)[0].items():
        torch.testing.assert_close(tensor, whole[name], rtol=1e-5, atol=1e-6)  # gloo sums pieces of other lengths in another order


def test_it_goes_on_exactly_from_its_state() -> None:
    def body(rank, group):
        def built():
            model = net()
            inner = ADAM(model.parameters())
            return model, inner, DiLoCo(model, inner, 4, group, Median(), exchange=Exchange(nonfinite="drop", fragments=2))

        model, inner, diloco = built()
        train(model, inner, rank, range(7), diloco.step)
        saved = model.state_dict(), inner.state_dict(), diloco.state_dict()
        saved = torch.load(_written(saved), weights_only=True)
        train(model, inner, rank, range(7, 13), diloco.step)
        again, inner_again, diloco_again = built()
        for one, before in zip((again, inner_again, diloco_again), saved, strict=True):
            one.load_state_dict(before)
        train(again, inner_again, rank, range(7, 13), diloco_again.step)
        sizes = diloco.bytes_sent, diloco_again.bytes_sent
        return same(state(model), state(again)), diloco.rounds == diloco_again.rounds, sizes[0] > 0

    assert grouped(2, body) == [(True, True, True)] * 2


def _written(saved):
    import io

    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    return file


def test_bytes_are_those_of_the_ring() -> None:
    def sent(rule, rounds=5):
        def body(rank, group):
            model = plain()
            local = LocalSGD(model, SGD(model.parameters()), 1, group, rule)
            begun = local.bytes_sent, local.bytes_received
            for _ in range(rounds):
                local.step()
            return (local.bytes_sent - begun[0]) / rounds, (local.bytes_received - begun[1]) / rounds

        return grouped(4, body)

    size, row = 4 * sum(p.numel() for p in plain().parameters()), 3 * 8 * 6
    assert sent(Mean()) == [(1.5 * size + row, 1.5 * size + row)] * 4
    assert sent(Median()) == [(3 * size + row, 3 * size + row)] * 4


@dataclass(frozen=True)
class Bytes(Message):
    """int8 and a scale; with `ragged` a byte more for each name that starts with 3 and is not zero."""

    ragged: bool = False

    def pack(self, update, work):
        scales = {name: tensor.abs().max().reshape(1) / 127 + 1e-30 for name, tensor in update.items()}
        codes = {name: (tensor / scales[name]).round().to(torch.int8) for name, tensor in update.items()}
        more = {"more": torch.zeros(int(update["0.weight"].abs().sum() > 0), dtype=torch.int8)} if self.ragged else {}
        return {**{f"scale {name}": scale for name, scale in scales.items()}, **{f"code {name}": code for name, code in codes.items()}, **more}

    def open(self, packed, like):
        return {name: packed[f"code {name}"].float() * packed[f"scale {name}"] for name in like}


@pytest.mark.parametrize("rule", [Mean(), Median()], ids=["mean", "median"])
def test_a_form_of_messages_makes_them_shorter_and_hides_no_nan(rule) -> None:
    def make(message):
        return lambda model, inner, group: LocalSGD(model, inner, 2, group, rule, Exchange("drop", message=message))

    whole = run(make(None), steps=2, model=plain)
    short = run(make(Bytes()), steps=2, model=plain, workers=3)
    assert all(same(weights, short[0][0]) for weights, _ in short)
    for name, tensor in short[0][0].items():
        torch.testing.assert_close(tensor, whole[0][0][name], rtol=0, atol=2e-3)  # 1/127 of a step, in each of two
    sick = run(make(Bytes()), steps=2, model=plain, spoil=lambda rank, step, model: poisoned(rank, step, nn.ModuleDict({"3": model[2]})))
    assert sick[0][1].dropped == [{"round": 0, "worker": "1", "tensor": "2.weight"}] and all(tensor.isfinite().all() for tensor in sick[1][0].values())


@pytest.mark.parametrize("message", [Half(), ScaledSign(), TopK(0.2), QSGD(4), RandomK(0.3)], ids=lambda message: type(message).__name__)
def test_messages_of_federations_are_forms(message) -> None:
    """Replicas stay equal, fewer bytes go, and numbers are drawn anew for each worker and round."""
    plainly, formed = (
        run(lambda model, inner, group, form=form: LocalSGD(model, inner, 2, group, Median(), Exchange(message=form)), workers=2, steps=4, model=plain)
        for form in (None, message)
    )
    assert same(formed[0][0], formed[1][0]) and formed[0][1].bytes_sent < plainly[0][1].bytes_sent


def test_a_message_with_memory_is_refused() -> None:
    model = plain()
    local = LocalSGD(model, SGD(model.parameters()), 1, ProcessGroupGloo(HashStore(), 0, 1), exchange=Exchange(message=ErrorFeedback(TopK(0.2))))
    with pytest.raises(BadParameter, match="which workers that may end a round twice cannot; use one without memory"):
        local.step()


def test_messages_of_other_lengths_and_masks_are_refused() -> None:
    def body(rank, group):
        model = plain()
        local = LocalSGD(model, SGD(model.parameters()), 1, group, exchange=Exchange(message=Bytes(ragged=True)))
        model[0].weight.data += rank
        with pytest.raises(BadParameter, match=r"messages of different lengths, in bytes 35 of worker 0, 36 of worker 1"):
            local.step()

    grouped(2, body)
    with pytest.raises(BadParameter, match="would hide which entries are to be masked"):
        Exchange("mask", message=Bytes())


def test_half_precision_is_agreed_on_in_float32() -> None:
    """Steps smaller than a half-precision number can tell add up, where a mean in half precision would never move."""

    def body(rank, group):
        model = nn.Linear(1, 1, bias=False).bfloat16()
        model.weight.data.fill_(1.0)
        diloco = DiLoCo(model, SGD(model.parameters()), 1, group, outer=partial(torch.optim.SGD, lr=0.2))
        seen = []
        for _ in range(20):
            if rank == 0:
                model.weight.data.sub_(2**-7)
            diloco.step()
            seen.append(model.weight.item())
        return seen

    found = grouped(2, body)
    assert found[0] == found[1] and found[0][0] == 1.0
    assert found[0][-1] == pytest.approx(1 - 20 * 0.2 * 2**-8, abs=2**-8)  # one rounding to bfloat16


def test_frozen_tied_and_shared_tensors() -> None:
    def body(rank, group):
        model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False), "c": nn.Linear(2, 2)})
        model["b"].weight = model["a"].weight
        model["c"].requires_grad_(False)
        local = LocalSGD(model, SGD([model["a"].weight]), 1, group)
        begun = state(model)
        model["a"].weight.data += rank
        local.step()
        return begun, state(model), [list(part.live) for part in local.parts], model["a"].weight is model["b"].weight

    (begun, mine, live, tied), (other_begun, other, _, _) = grouped(2, body)
    assert same(begun, other_begun) and same(mine, other) and live == [["a.weight"]] and tied
    torch.testing.assert_close(mine["b.weight"], begun["b.weight"] + 0.5)
    assert mine["c.weight"].equal(begun["c.weight"])


def test_the_optimizer_calls_it_inside_with() -> None:
    def body(rank, group):
        model = plain()
        inner = SGD(model.parameters())
        with LocalSGD(model, inner, 2, group) as local:
            train(model, inner, rank, range(5))
        train(model, inner, rank, range(5, 9))
        return local.rounds, local.steps

    assert grouped(2, body) == [(2, 5)] * 2


def test_it_learns_what_one_worker_would() -> None:
    """Four workers on their own data, H = 10: the loss falls about as that of one worker on all the data."""

    def loss(model):
        with torch.no_grad():
            return float(sum((model(x) - y).square().mean() for x, y in (batch(9, step, 64) for step in range(4))))

    def body(rank, group):
        model = plain()
        inner = ADAM(model.parameters())
        with DiLoCo(model, inner, 10, group):
            train(model, inner, rank, range(100))
        return loss(model)

    begun, (found, *_) = loss(plain()), grouped(4, body)
    assert found < 0.25 * begun


def test_what_cannot_work_is_refused() -> None:
    model = plain()
    inner = SGD(model.parameters())
    alone = ProcessGroupGloo(HashStore(), 0, 1)
    with pytest.raises(BadParameter, match=r"call torch\.distributed\.init_process_group, or give group=Members"):
        LocalSGD(model, inner, 1)
    with pytest.raises(BadParameter, match="at least the number of fragments; found 2"):
        LocalSGD(model, inner, 2, alone, exchange=Exchange(fragments=3))
    with pytest.raises(BadParameter, match="ReLU has no parameter that is trained"):
        LocalSGD(nn.ReLU(), inner, 2, alone)
    with pytest.raises(BadParameter, match="finite and at least 0"):
        Exchange(weight=float("nan"))
    with pytest.raises((BadParameter, TypeError), match=r"'?raise'?, '?drop'?,? or '?mask'?"):  # under pytest the annotation is checked first
        Exchange(nonfinite="skip")  # type: ignore[arg-type]
    with pytest.raises(BadParameter, match="another number of fragments"):
        DiLoCo(model, inner, 2, alone).load_state_dict(DiLoCo(model, inner, 2, alone, exchange=Exchange(fragments=2)).state_dict())


def test_workers_that_do_not_fit_are_told() -> None:
    def other_model(rank, group):
        model = plain() if rank else net()
        with pytest.raises(BadParameter, match="process 1 has another model or other settings"):
            LocalSGD(model, SGD(model.parameters()), 1, group)

    def other_step(rank, group):
        model = plain()
        local = LocalSGD(model, SGD(model.parameters()), 1, group)
        local.rounds += rank
        with pytest.raises(BadParameter, match=r"worker [01] ends another round than worker [01]"):
            local.step()

    def gone(rank, group):
        model = plain()
        local = LocalSGD(model, SGD(model.parameters()), 1, Group(group))
        if rank == 0:
            with pytest.raises(WorkerDied, match=r"process 0 lost at least one of the processes 1 in a collective .* group=Members"):
                local.step()

    for body in (other_model, other_step, gone):
        grouped(2, body)
