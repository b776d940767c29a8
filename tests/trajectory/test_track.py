"""Around the average: the model inside `applied` and after it, what a value is, ties, frozen and changing parameters, saving and resuming."""

import copy
import warnings
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import loomweight as lw
from loomweight.errors import BadParameter, NamesDiffer, NonFinite, ShapesDiffer, TooFewSets
from loomweight.trajectory import EMA, LAWA, SWA, Average, Power

KINDS = {
    "ema": lambda model: EMA(model, half_life=40),
    "start": lambda model: EMA(model, half_life=40, from_start=True),
    "swa": lambda model: SWA(model, start=20, every=10),
    "power": lambda model: Average(model, Power(3)),
    "lawa": lambda model: LAWA(model, k=3, every=10),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
no_warning = pytest.mark.filterwarnings("ignore:the statistics of batch")


class Net(nn.Module):
    """Tied, frozen, normalized, with an integer buffer and one that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.frozen = nn.Linear(4, 4)
        self.frozen.requires_grad_(False)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)

    def forward(self, tokens):
        return self.head(self.norm(self.frozen(self.embed(tokens))))


def trained(model, average, steps=6, seed=0, optimizer=None, samples=8):
    generator = torch.Generator().manual_seed(seed)
    optimizer = optimizer or torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(steps):
        tokens = torch.randint(0, 6, (samples,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(tokens), (tokens + 1) % 6).backward()
        optimizer.step()
        average.update(samples)
    return optimizer


def made(kind="ema", steps=6):
    torch.manual_seed(0)
    model = Net()
    average = KINDS[kind](model)
    optimizer = trained(model, average, steps)
    return model, average, optimizer


def everything(model) -> dict[str, tuple]:
    """Bits, places, flags and gradients of all that a model has."""
    named = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers(remove_duplicate=False))}
    grads = {name: None if tensor.grad is None else tensor.grad.clone() for name, tensor in named.items()}
    return {name: (id(t), t.data_ptr(), t.detach().clone(), t.requires_grad, grads[name], t.stride()) for name, t in named.items()}


def unchanged(before, after) -> bool:
    def like(a, b):
        return a.equal(b) if isinstance(a, torch.Tensor) else a == b

    return before.keys() == after.keys() and all(all(map(like, before[name], after[name])) for name in before)


def modes(model):
    return [module.training for module in model.modules()]


@every_kind
@no_warning
def test_after_applied_the_model_is_what_it_was(kind) -> None:
    model, average, optimizer = made(kind)
    model.frozen.eval()
    before, state, flags = everything(model), copy.deepcopy(optimizer.state_dict()), modes(model)
    value = average.value()
    with average.applied() as inside:
        assert inside is model
        assert all(value[name].equal(tensor) for name, tensor in model.state_dict().items())
        assert not value["embed.weight"].equal(before["embed.weight"][2])
    assert unchanged(before, everything(model))
    assert modes(model) == flags
    for key, entries in optimizer.state_dict()["state"].items():
        assert all(torch.equal(entries[word], state["state"][key][word]) for word in entries)
    with pytest.raises(ZeroDivisionError), average.applied():
        _ = 1 / 0
    assert unchanged(before, everything(model))
    assert average.update(10) in (True, False)


@every_kind
def test_a_twin_that_uses_the_average_trains_to_the_same_bits(kind) -> None:
    """Evaluation in the middle of a run leaves no trace."""
    found = []
    for looks in (False, True):
        model, average, optimizer = made(kind)
        for seed in range(3):
            trained(model, average, 1, seed, optimizer)
            if looks:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    average.value()
                    with average.applied():
                        model.eval()(torch.arange(6))
                        model.train()
        found.append((model.state_dict(), average._read()))
    for left, right in zip(*found, strict=True):
        assert all(left[name].equal(right[name]) for name in left)


def test_a_forward_in_training_mode_inside_leaves_the_average_alone() -> None:
    """Batch normalizations write into their statistics, which are then copies."""
    model, average, _ = made()
    held = {name: tensor.clone() for name, tensor in average._read().items()}
    before = model.norm.running_mean.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with average.applied():
            model.train()(torch.arange(6))
    assert all(held[name].equal(tensor) for name, tensor in average._read().items())
    assert model.norm.running_mean.equal(before)


@no_warning
def test_training_inside_is_noticed() -> None:
    _, average, optimizer = made()
    with pytest.raises(BadParameter, match=r"parameter 'embed.weight' was changed while the average was applied, and the average with it"), average.applied():
        optimizer.step()
    with pytest.raises(BadParameter, match="the model holds the average now"), average.applied():
        average.update()
    average.update()


@no_warning
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda average: average.applied().__enter__(), "the average is applied already"),
        (lambda average: average.value(), "the average is applied already"),
        (lambda average: average.copy_to_model(), r"copy_to_model\(\) was called while the average is applied"),
        (lambda average: average.load_state_dict(average.state_dict()), r"load_state_dict\(\) was called while the average is applied"),
    ],
)
def test_what_makes_no_sense_inside(call, words) -> None:
    model, average, _ = made()
    before = everything(model)
    with pytest.raises(BadParameter, match=words), average.applied():
        call(average)
    assert unchanged(before, everything(model))


@no_warning
def test_two_averages_of_one_model_nest() -> None:
    torch.manual_seed(0)
    model = Net()
    inner, outer = EMA(model, half_life=8), SWA(model)
    optimizer = trained(model, inner)
    trained(model, outer, optimizer=optimizer)
    before = everything(model)
    with outer.applied(), inner.applied():
        assert model.embed.weight.equal(inner.totals["embed.weight"])
    assert unchanged(before, everything(model))


def test_what_fails_on_the_way_in_leaves_nothing_behind(monkeypatch) -> None:
    model, average, _ = made()
    before = everything(model)

    def data():
        yield torch.arange(6)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"), average.applied(data()):
        pass
    assert unchanged(before, everything(model))
    calls = []

    def failing(entries, dtype, name):
        calls.append(name)
        if len(calls) == 3:
            raise MemoryError
        return entries

    monkeypatch.setattr("loomweight.trajectory.used.cast", failing)
    with pytest.raises(MemoryError), average.applied([torch.arange(6)]):
        pass
    assert unchanged(before, everything(model)) and not average._applied


def test_statistics_of_batch_normalizations() -> None:
    """A warning once without data; with data the statistics of all of it, as one full batch has them."""
    model, average, _ = made()
    with pytest.warns(UserWarning, match="averages of statistics; pass batches as `data`"):
        plain = average.value()
    average.value()
    data = [torch.arange(6), torch.tensor([0, 1, 1, 5, 2]), torch.tensor([3, 3])]
    before = everything(model)
    value = average.value(data)
    with torch.no_grad():
        given = F.linear(value["embed.weight"][torch.cat(data)], value["frozen.weight"], value["frozen.bias"])
    torch.testing.assert_close(value["norm.running_mean"], given.mean(0))
    torch.testing.assert_close(value["norm.running_var"], given.var(0))
    assert not value["norm.running_mean"].allclose(plain["norm.running_mean"])
    with average.applied(data):
        assert model.norm.running_var.equal(value["norm.running_var"])
    assert unchanged(before, everything(model))


def test_a_model_that_is_a_batch_normalization() -> None:
    model = nn.BatchNorm1d(2)
    swa = SWA(model)
    swa.update()
    x = torch.randn(9, 2)
    torch.testing.assert_close(swa.value([x])["running_mean"], x.mean(0))
    assert model.running_mean.eq(0).all()


def test_a_normalization_that_came_after_the_last_update() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    swa = SWA(model)
    swa.update()
    model.append(nn.BatchNorm1d(2))
    with swa.applied([torch.randn(9, 2)]):
        assert not model[1].running_mean.eq(0).all()
    assert model[1].running_mean.eq(0).all() and model[1].running_var.eq(1).all()


@every_kind
@no_warning
def test_a_value_before_any_update(kind) -> None:
    average = KINDS[kind](Net())
    for read in (average.value, lambda: average.applied().__enter__(), average.copy_to_model):
        with pytest.raises(TooFewSets, match=r"has averaged nothing yet: call update\(\) after a step of training"):
            read()


@every_kind
@no_warning
def test_copy_to_model(kind) -> None:
    model, average, optimizer = made(kind)
    places = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    value, held = average.value(), {name: tensor.clone() for name, tensor in average._read().items()}
    average.copy_to_model()
    assert all(value[name].equal(tensor) for name, tensor in model.state_dict().items())
    assert places == {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    trained(model, average, 1, 5, optimizer, samples=2)
    assert not model.embed.weight.equal(value["embed.weight"])
    if kind == "swa":  # two samples more are not due
        assert all(held[name].equal(tensor) for name, tensor in average._read().items())


@every_kind
@no_warning
def test_a_value_is_a_copy_with_the_ties_of_the_model(kind, tmp_path) -> None:
    model, average, optimizer = made(kind)
    value = average.value()
    assert set(value.ties) | set(value.ties.values()) == {"embed.weight", "head.weight"}
    before = value["embed.weight"].clone()
    trained(model, average, 5, 1, optimizer)
    assert value["embed.weight"].equal(before)
    lw.save(value, tmp_path / "average")
    saved = lw.load(tmp_path / "average")
    assert saved["embed.weight"].equal(before) and saved.ties
    size = sum(path.stat().st_size for path in (tmp_path / "average").rglob("*.safetensors"))
    assert size < 4 * sum(p.numel() for p in model.parameters()) + 4 * before.numel() + 2000
    Net().load_state_dict(dict(value))


def test_names_that_share_memory_but_are_no_one_parameter_stay_shared() -> None:
    model = nn.ModuleList([nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)])
    model[1].weight = nn.Parameter(model[0].weight.data)
    swa = SWA(model)
    swa.update()
    assert swa.value().ties
    with swa.applied():
        assert model[0].weight.data_ptr() == model[1].weight.data_ptr()
    assert model[0].weight.data_ptr() == model[1].weight.data_ptr()


def test_a_buffer_of_two_modules_is_put_back() -> None:
    model = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])
    model[0].register_buffer("stat", torch.zeros(2))
    model[1].register_buffer("stat", model[0].stat)
    swa = SWA(model)
    for x in (2.0, 4.0):
        model[0].stat.fill_(x)
        swa.update()
    with swa.applied():
        assert model[0].stat.tolist() == model[1].stat.tolist() == [3, 3]
    assert model[0].stat.tolist() == [4, 4] and model[1].stat is model[0].stat


@every_kind
@no_warning
def test_tied_and_untied_during_the_run(kind) -> None:
    model, average, _ = made(kind)
    model.head.weight = nn.Parameter(torch.zeros(6, 4))
    for _ in range(2):
        average.update(10)
    assert "head.weight" in average._held()
    assert not average.value().ties
    model.head.weight = model.embed.weight
    for _ in range(2):
        average.update(10)
    assert "head.weight" not in average._held()
    assert average.value().ties
    assert average.load_state_dict(average.state_dict())


@every_kind
@no_warning
def test_frozen_parameters_are_never_copied(kind) -> None:
    model, average, _ = made(kind)
    mine, frozen = average._held(), ("frozen.weight", "frozen.bias")
    assert not set(frozen) & set(mine)
    place = model.frozen.weight.data_ptr()
    with average.applied():
        assert model.frozen.weight.data_ptr() == place
    assert average.value()["frozen.weight"].equal(model.frozen.weight)
    held = sum(tensor.numel() for tensor in mine.values())
    assert held == 24 + 4 * 4  # embedding, and four of the normalization


@every_kind
@no_warning
def test_unfrozen_and_frozen_during_the_run(kind) -> None:
    """One that joins is averaged as if the run had begun then; one that is frozen is averaged on."""
    model, average, _ = made(kind)
    model.frozen.requires_grad_(True)
    model.frozen.weight.data.fill_(1.0)
    average.update(10)
    model.frozen.weight.data.fill_(3.0)
    model.frozen.requires_grad_(False)
    average.update(10)
    found = average.value()["frozen.weight"][0, 0].item()
    share = 2.0**-0.25
    expected = {"ema": (share + 3) / (share + 1), "start": 1 + 2 * (1 - share), "swa": 2.0, "power": (1 + 3 * 15) / 16, "lawa": 2.0}[kind]
    assert found == pytest.approx(expected, rel=1e-5)
    again = KINDS[kind](model).load_state_dict(average.state_dict())
    assert again.value()["frozen.weight"].equal(average.value()["frozen.weight"])


@every_kind
@no_warning
def test_parameters_that_come_go_and_grow(kind) -> None:
    model, average, _ = made(kind)
    model.extra = nn.Linear(2, 2)
    average.update(10)
    assert average.value()["extra.weight"].equal(model.extra.weight)
    del model.extra
    count = average.count
    for read in (lambda: average.update(10), average.value, average.copy_to_model):
        with pytest.raises(NamesDiffer, match=r"the model no longer has 'extra.weight', 'extra.bias', .* drop what is gone with forget\(name\)"):
            read()
    assert average.count == count
    with pytest.raises(NamesDiffer, match="the average does not hold 'extra'"):
        average.forget("extra")
    average.forget("extra.weight", "extra.bias")
    average.update(10)
    model.embed.weight = model.head.weight = nn.Parameter(torch.ones(7, 4))
    for read in (lambda: average.update(10), average.value, average.copy_to_model):
        with pytest.raises(ShapesDiffer, match=r"tensor 'embed.weight' has shape \(7, 4\) now, in the average \(6, 4\); forget\(name\) begins anew"):
            read()
    average.forget("embed.weight")
    average.update(10)
    assert average.value()["embed.weight"].eq(1).all()


@every_kind
@no_warning
@pytest.mark.parametrize("cut", [0, 1, 4])
def test_a_run_that_is_resumed_gives_the_same_bits(kind, cut, tmp_path) -> None:
    """Also from a state of before the first point."""
    whole = made(kind, 9)[1]
    torch.manual_seed(0)
    model = Net()
    average = KINDS[kind](model)
    tokens = torch.randint(0, 6, (9, 8), generator=torch.Generator().manual_seed(0))

    def steps(model, average, optimizer, rows):
        for row in rows:
            optimizer.zero_grad()
            F.cross_entropy(model(row), (row + 1) % 6).backward()
            optimizer.step()
            average.update(8)

    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    steps(model, average, optimizer, tokens[:cut])
    torch.save({"model": model.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "run.pt")
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    fresh = Net()
    fresh.load_state_dict(saved["model"])
    again = KINDS[kind](fresh).load_state_dict(saved["average"])
    other = torch.optim.Adam([p for p in fresh.parameters() if p.requires_grad], lr=0.05)
    other.load_state_dict(saved["optimizer"])
    steps(fresh, again, other, tokens[cut:])
    assert (again.clock, again.count) == (whole.clock, whole.count)
    expected, found = whole.value(), again.value()
    assert all(expected[name].equal(found[name]) for name in expected)


def test_a_loaded_state_is_a_copy() -> None:
    model, average, _ = made()
    state = copy.deepcopy(average.state_dict())
    again = KINDS["ema"](model).load_state_dict(state)
    again.update()
    again.update()
    assert state["totals"]["embed.weight"].equal(average.totals["embed.weight"])


@every_kind
def test_a_state_that_is_another_ones(kind) -> None:
    model, average, _ = made(kind)
    state = average.state_dict()
    before = copy.deepcopy(average.state_dict())
    small = nn.Linear(2, 2)
    with pytest.raises(NamesDiffer, match=r"the saved average is that of another model: only in the first: 'bias', 'weight'; only in the second"):
        KINDS[kind](small).load_state_dict(state)
    other = Net()
    other.embed.weight = other.head.weight = nn.Parameter(torch.zeros(7, 4))
    with pytest.raises(ShapesDiffer, match=r"tensor 'embed.weight' has shape \(7, 4\), in the saved average \(6, 4\)"):
        KINDS[kind](other).load_state_dict(state)
    with pytest.raises(BadParameter, match=r"the state is that of .*, not of Exponential\(half_life=9"):
        EMA(model, half_life=9).load_state_dict(state)
    assert average.state_dict()["clock"] == before["clock"]


@pytest.mark.parametrize("words", [{"start": 3.0}, {"every": 5.0}])
def test_a_state_with_another_clock(words) -> None:
    swa = SWA(nn.Linear(1, 1), start=1.0, every=2.0)
    with pytest.raises(BadParameter, match="the state is that of an average with start=1, every=2, not with start="):
        SWA(swa.model, **{"start": 1.0, "every": 2.0, **words}).load_state_dict(swa.state_dict())


def test_loading_into_memory_that_is_there() -> None:
    """What a distributed checkpoint does."""
    model, average, _ = made()
    state = KINDS["ema"](model).allocate().state_dict()
    assert state["totals"].keys() == average.totals.keys()
    fresh = KINDS["ema"](model).allocate()
    fresh.update()
    assert fresh.totals["embed.weight"].equal(model.embed.weight)


@every_kind
@no_warning
def test_a_deep_copy_has_a_model_of_its_own(kind) -> None:
    model, average, _ = made(kind)
    twin = copy.deepcopy(average)
    before = copy.deepcopy(average.state_dict())
    twin.model.embed.weight.data.fill_(9)
    twin.update(20)
    assert twin.model is not model
    assert str(before) == str(average.state_dict())
    pair_model, pair_average = copy.deepcopy((model, average))
    assert pair_average.model is pair_model


def test_it_says_what_it_is() -> None:
    model, average, _ = made()
    assert repr(average) == "EMA(Exponential(half_life=40.0, warm_up=None, from_start=False) of Net, 6 points in 48 samples)"
    assert repr(LAWA(model, k=2)) == "LAWA(LAWA(k=2) of Net, 0 points in 0 samples)"


def test_wrappers_are_looked_through() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    compiled = torch.compile(nn.DataParallel(model), backend="eager")
    swa = SWA(compiled)
    swa.update()
    model[0].weight.data.mul_(3)
    swa.update()
    assert swa.model is model and list(swa.value()) == ["0.weight", "0.bias"]
    x = torch.ones(1, 2)
    live, compiled = model(x), torch.compile(model, backend="eager")
    with swa.applied(), torch.no_grad():
        torch.testing.assert_close(compiled(x), F.linear(x, model[0].weight, model[0].bias))
        assert not compiled(x).equal(live)
    assert compiled(x).equal(live)


def test_compiled_models_train_on() -> None:
    model = nn.Linear(2, 1)
    compiled = torch.compile(model, backend="aot_eager")
    optimizer, ema = torch.optim.SGD(model.parameters(), lr=0.1), EMA(compiled, half_life=1)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = compiled(torch.ones(4, 2)).square().mean()
        loss.backward()
        optimizer.step()
        ema.update()
        with ema.applied(), torch.no_grad():
            inside = compiled(torch.ones(4, 2)).square().mean().item()
        losses.append((loss.item(), inside))
    assert [live for live, _ in losses] == sorted((live for live, _ in losses), reverse=True)
    assert all(inside > live for (_, inside), (live, _) in pairwise(losses[1:]))


def test_all_frozen_and_nothing_at_all() -> None:
    for model in (nn.Linear(1, 1).requires_grad_(False), nn.Identity()):
        for average in (SWA(model), LAWA(model)):
            assert average.update()
            assert list(average.value()) == list(model.state_dict())


def test_complex_parameters_are_refused() -> None:
    model = nn.Module()
    model.w = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(BadParameter, match="parameter 'w' is complex"):
        SWA(model).update()
    assert SWA(model.requires_grad_(False)).update()


def test_lawa_keeps_points_of_before_a_parameter_came() -> None:
    model = nn.Linear(1, 1, bias=False)
    lawa = LAWA(model, k=3)
    lawa.update()
    model.bias = nn.Parameter(torch.ones(1))
    lawa.update()
    again = LAWA(model, k=3).load_state_dict(lawa.state_dict())
    assert again.value()["bias"].item() == 1 and len(again.points) == 2


def test_lawa_reuses_the_memory_of_the_oldest_point() -> None:
    model = nn.Linear(1, 1, bias=False)
    lawa, seen = LAWA(model, k=2), []
    for x in range(1, 6):
        model.weight.data.fill_(x)
        lawa.update()
        seen.append(lawa.points[-1]["weight"].data_ptr())
        assert lawa.value()["weight"].item() == pytest.approx(x if x == 1 else x - 0.5)
    assert len(set(seen)) == 2


def test_lawa_and_nan_in_a_wide_tensor() -> None:
    model = nn.Linear(600, 600).bfloat16()
    lawa = LAWA(model, k=2)
    lawa.update()
    model.weight.data[599, 599] = float("nan")
    with pytest.raises(NonFinite, match=r"tensor 'weight' .*first at entry \(599, 599\)"):
        lawa.update()
    assert len(lawa.points) == 1 and lawa.count == 1
