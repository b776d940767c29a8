"""Run by test_distributed.py, twice at once: checks of averages of models that two processes train, each with its outcome in a file.

python -m tests.trajectory.two_processes RANK FOLDER
"""

import copy

import pytest
import torch
from torch import distributed, nn
from torch.distributed import checkpoint
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor.debug import CommDebugMode
from torch.nn.parallel import DistributedDataParallel

from loomweight.errors import BadParameter, NonFinite, ShapesDiffer
from loomweight.trajectory import EMA, LAWA, SWA
from tests.processes import here, told

RANK, FOLDER = here()
STEPS = 4


def net() -> nn.Module:
    """The first dimension of some tensors is no multiple of the number of processes, one is shorter than that."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 8), nn.LayerNorm(8), nn.Linear(8, 1))


def sharded(policy: MixedPrecisionPolicy | None = None) -> nn.Module:
    model, mesh = net(), init_device_mesh("cpu", (2,))
    for module in (model[0], model[2], model):
        fully_shard(module, mesh=mesh, mp_policy=policy or MixedPrecisionPolicy())
    return model


def batch(step: int, rank: int | None = None) -> torch.Tensor:
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(step))
    return x if rank is None else x[4 * rank : 4 * rank + 4]


def train(model, averages, steps=range(STEPS), rank=RANK, optimizer=None):
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=0.05)
    for step in steps:
        optimizer.zero_grad()
        model(batch(step, rank)).square().mean().backward()
        optimizer.step()
        for average in averages:
            average.update(8)
    return optimizer


def full(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def alone(kind=EMA, **settings):
    """The run of one process on the whole batches."""
    model = net()
    average = kind(model, **settings)
    train(model, [average], rank=None)
    return average


def close(found, expected, tolerance=1e-5) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(full(found[name]), expected[name], rtol=tolerance, atol=tolerance)


def check_ddp_averages_are_one() -> None:
    """To the bit on both ranks, and what one process gets from the whole batches."""
    model = net()
    wrapped = DistributedDataParallel(model)
    ema = EMA(wrapped, half_life=20)
    train(wrapped, [ema])
    for total in ema.totals.values():
        others = [torch.empty_like(total) for _ in range(2)]
        distributed.all_gather(others, total)
        assert others[0].equal(others[1])
    close(ema.totals, alone(half_life=20).totals)
    x, live = batch(9), wrapped(batch(9))
    with ema.applied(), torch.no_grad():
        inside = wrapped(x)
        assert not inside.allclose(live)
    plain = net()
    plain.load_state_dict(dict(ema.value()))
    assert inside.equal(plain(x)) and wrapped(x).equal(live)


def check_ddp_communicates_nothing() -> None:
    wrapped = DistributedDataParallel(net())
    ema = EMA(wrapped, half_life=20)
    with CommDebugMode() as seen:
        ema.update()
        ema.update()
        ema.value()
    assert seen.get_total_counts() == 0


def check_fsdp_shards_are_averaged_where_they_lie() -> None:
    """No collective in update, in place, half of the model for each; the result is that of one process."""
    model = sharded()
    ema, swa = EMA(model, half_life=20), SWA(model)
    train(model, [ema, swa])
    places = {name: total.to_local().data_ptr() for name, total in ema.totals.items()}
    with CommDebugMode() as seen:
        ema.update(1e-9)
        swa.update(1e-9)
    assert seen.get_total_counts() == 0
    with CommDebugMode() as seen:
        model(batch(0, RANK))
    assert seen.get_total_counts() > 0
    assert places == {name: total.to_local().data_ptr() for name, total in ema.totals.items()}
    assert sum(total.to_local().numel() for total in ema.totals.values()) < 0.6 * sum(p.numel() for p in net().parameters())
    close(ema.totals, alone(half_life=20).totals)
    close(swa.totals, alone(SWA).totals)


def check_fsdp_applied_is_what_the_forward_runs_on() -> None:
    """And is gone afterwards, also where the root keeps its whole weights after a forward without a backward."""
    model = sharded()
    ema = EMA(model, half_life=20)
    optimizer = train(model, [ema])
    x = batch(9)
    with torch.no_grad():
        live = model(x)
    before = [p.to_local().clone() for p in ema.model.parameters() if hasattr(p, "to_local")]
    plain = net()
    plain.load_state_dict({name: full(total) for name, total in ema.totals.items()})
    for _ in range(2):
        with ema.applied(), torch.no_grad():
            torch.testing.assert_close(model(x), plain(x))
            assert not plain(x).allclose(live)
        with torch.no_grad():
            assert model(x).equal(live)
    with pytest.raises(ZeroDivisionError), ema.applied(), torch.no_grad():
        model(x).div_(1 / 0)
    assert model(x).equal(live)
    for module in model.modules():
        if hasattr(module, "reshard"):
            module.reshard()
    for was, parameter in zip(before, (p for p in model.parameters()), strict=False):
        assert was.shape != parameter.to_local().shape or was.equal(parameter.to_local())
    twin = sharded()
    twin_ema = EMA(twin, half_life=20)
    other = train(twin, [twin_ema])
    train(model, [ema], range(STEPS, 2 * STEPS), optimizer=optimizer)
    train(twin, [twin_ema], range(STEPS, 2 * STEPS), optimizer=other)
    for name, total in ema.totals.items():
        assert total.to_local().equal(twin_ema.totals[name].to_local()), name


def check_fsdp_update_after_a_forward_without_a_backward() -> None:
    model = sharded()
    ema = EMA(model, half_life=20)
    with torch.no_grad():
        model(batch(0))
    ema.update()
    assert all(hasattr(total, "to_local") for total in ema.totals.values())
    with torch.no_grad():
        model(batch(0))
    ema.update()


def check_fsdp_training_inside_is_noticed() -> None:
    model = sharded()
    ema = EMA(model, half_life=20)
    optimizer = train(model, [ema])
    with pytest.raises(BadParameter, match="was changed while the average was applied"), ema.applied():
        train(model, [], range(1), optimizer=optimizer)


def check_fsdp_value_says_what_to_do() -> None:
    model = sharded()
    ema = EMA(model, half_life=20)
    ema.update()
    with pytest.raises(BadParameter, match=r"is sharded over processes; inside `with average.applied\(\):` save the model by its own means"):
        ema.value()
    assert not ema.in_model


def check_fsdp_nan_is_named_by_the_rank_that_holds_it() -> None:
    model = sharded()
    ema = EMA(model, half_life=20)
    train(model, [ema])
    before = {name: total.to_local().clone() for name, total in ema.totals.items()}
    shard = model[2].weight.to_local()
    shard.data[0, 0] = float("nan")
    with pytest.raises(NonFinite, match=r"tensor '2\.weight'"):
        ema.update()
    for name, total in ema.totals.items():
        torch.testing.assert_close(total.to_local(), before[name], rtol=1e-6, atol=1e-7)


def check_fsdp_copy_to_model() -> None:
    model = sharded()
    ema = EMA(model, half_life=20)
    train(model, [ema])
    with torch.no_grad():
        model(batch(0))
    ema.copy_to_model()
    for name, parameter in model.named_parameters():
        assert parameter.to_local().equal(ema.totals[name].to_local())


def check_fsdp_resumes_from_a_file_for_each_rank() -> None:
    model = sharded()
    ema, lawa = EMA(model, half_life=20), LAWA(model, k=2)
    optimizer = train(model, [ema, lawa])
    state = {"ema": ema.state_dict(), "lawa": lawa.state_dict()}
    torch.save(state, FOLDER / f"rank{RANK}.pt")
    saved = torch.load(FOLDER / f"rank{RANK}.pt", weights_only=True)
    again, lawa_again = EMA(model, half_life=20).load_state_dict(saved["ema"]), LAWA(model, k=2).load_state_dict(saved["lawa"])
    train(model, [ema, again, lawa, lawa_again], range(STEPS, STEPS + 2), optimizer=optimizer)
    for left, right in ((ema, again), (lawa, lawa_again)):
        for name, value in left._read().items():
            assert value.equal(right._read()[name])
    model_of_one = net()
    with pytest.raises(ShapesDiffer, match="in the saved average"):
        EMA(model_of_one, half_life=20).load_state_dict(saved["ema"])


def check_fsdp_resumes_from_a_distributed_checkpoint() -> None:
    model = sharded()
    ema = EMA(model, half_life=20)
    optimizer = train(model, [ema])
    checkpoint.save({"average": ema.state_dict()}, checkpoint_id=FOLDER / "dcp")
    again = EMA(model, half_life=20).allocate()
    state = {"average": again.state_dict()}
    checkpoint.load(state, checkpoint_id=FOLDER / "dcp")
    again.load_state_dict(state["average"])
    assert (again.clock, again.count, again.seen) == (ema.clock, ema.count, ema.seen)
    whole = EMA(net(), half_life=20).allocate()
    state = {"average": whole.state_dict()}
    checkpoint.load(state, checkpoint_id=FOLDER / "dcp")
    close(ema.totals, whole.load_state_dict(state["average"]).totals, 0)
    train(model, [ema, again], range(STEPS, STEPS + 2), optimizer=optimizer)
    for name, total in ema.totals.items():
        assert total.to_local().equal(again.totals[name].to_local())


def check_fsdp_mixed_precision_averages_the_float32_shards() -> None:
    model = sharded(MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32))
    ema = EMA(model, half_life=20)
    train(model, [ema])
    assert {total.dtype for total in ema.totals.values()} == {torch.float32}
    close(ema.totals, alone(half_life=20).totals, 0.1)
    with ema.applied(), torch.no_grad():
        assert model(batch(0)).dtype == torch.bfloat16


def check_fsdp_lawa_and_deep_copies_of_its_state() -> None:
    model = sharded()
    lawa = LAWA(model, k=2)
    train(model, [lawa])
    expected = alone(LAWA, k=2)
    before = copy.deepcopy(lawa.state_dict())
    for name, value in lawa._read().items():
        whole = dict(model.named_parameters())[name].full_tensor()
        mine = expected._read()[name]
        assert whole.shape == mine.shape
        torch.testing.assert_close(value, mine.chunk(2)[RANK] if len(mine) > 1 else mine[RANK:], rtol=1e-5, atol=1e-5)
    assert len(before["points"]) == 2


if __name__ == "__main__":
    told(globals())
