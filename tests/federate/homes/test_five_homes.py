"""One strategy, five homes, the same numbers to the last bit."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor, distributed

from loomweight.edits import Trim
from loomweight.errors import BadParameter, NamesDiffer, TooFewReplies
from loomweight.federate import Pool, Strategy, all_pool, flower, flower_client, nvflare_aggregator, pool_states, simulate, torchft_manager
from loomweight.federate.pooling.pool import stepped
from loomweight.rules import Krum, Mean, Median, Rule, TrimmedMean

from ...processes import checks, outcomes
from ..small import clients, model, same
from .grid import OneProcess
from .training import strategy, trained

COUNT = 5
DATA = clients(COUNT)
NAMES = list(DATA)
RULES = {"mean": Mean(), "weighted median": Median(), "trimmed mean": TrimmedMean(1), "Krum": Krum(1)}


def simulated(rule: Rule, rounds: int = 2) -> dict[str, Tensor]:
    return simulate(model(), DATA, strategy(rule), rounds).weights


def in_a_list(rule: Rule, rounds: int = 2) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = dict(model().state_dict())
    for _ in range(rounds):
        weights, _ = pool_states(weights, trained(rule, weights, DATA), strategy(rule), [float(len(DATA[name][0])) for name in NAMES])
    return weights


def in_flower(rule: Rule, rounds: int = 2) -> dict[str, Tensor]:
    app = flower_client(model(), lambda context: DATA[NAMES[int(context.node_config["partition-id"])]], strategy(rule))
    result = flower(strategy(rule), model(), NAMES).start(OneProcess(app, COUNT), num_rounds=rounds)
    return dict(result.arrays.to_torch_state_dict())


def in_nvflare(rule: Rule, rounds: int = 2) -> dict[str, Tensor]:
    from nvflare.app_common.abstract.fl_model import FLModel

    aggregator: Any = nvflare_aggregator(strategy(rule), model(), NAMES)()
    weights: dict[str, Tensor] = dict(model().state_dict())
    for number in range(rounds):
        aggregator.reset_stats()
        answers = list(zip(NAMES, trained(rule, weights, DATA), strict=True))
        for name, state in reversed(answers):  # in an order of their own
            meta = {"client_name": name, "NUM_STEPS_CURRENT_ROUND": len(DATA[name][0])}
            aggregator.accept_model(FLModel(params={key: tensor.numpy() for key, tensor in state.items()}, current_round=number, meta=meta))
        weights = {key: torch.as_tensor(value) for key, value in aggregator.aggregate_model().params.items()}
    return weights


def in_threads(work: Callable[[int, Any], None], count: int = COUNT) -> None:
    """Each process of a gloo group as a thread of this one."""
    store, errors = distributed.HashStore(), []

    def run(rank: int) -> None:
        try:
            work(rank, distributed.ProcessGroupGloo(store, rank, count, timedelta(seconds=30)))
        except BaseException as error:  # noqa: BLE001  # told to the thread that waits
            errors.append(error)

    threads = [Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for error in errors:
        raise error


def in_torch_distributed(rule: Rule, rounds: int = 2) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = dict(model().state_dict())
    for _ in range(rounds):
        states = trained(rule, weights, DATA)
        found: dict[int, dict[str, Tensor]] = {}

        def work(rank: int, group: Any, states: Any = states, weights: Any = weights, found: Any = found) -> None:
            update = {name: states[rank][name] - weights[name] for name in weights}
            found[rank] = all_pool(update, rule, group, weight=float(len(DATA[NAMES[rank]][0])))

        in_threads(work)
        assert len(found) == COUNT and all(same(change, found[0]) for change in found.values())
        weights = stepped(weights, found[0])
    return weights


def in_torchft(rule: Rule, rounds: int = 2) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = dict(model().state_dict())
    for _ in range(rounds):
        states = trained(rule, weights, DATA)
        given = [torch.cat([(states[rank][name] - weights[name]).flatten() for name in sorted(weights)]) for rank in range(COUNT)]
        found = [tensor for tensor, committed, _ in torchft_steps(Pool(rule, counts=False), [given])[0] if committed]
        assert len(found) == COUNT and all(torch.equal(tensor, found[0]) for tensor in found)
        pieces = found[0].split([weights[name].numel() for name in sorted(weights)])
        weights = stepped(weights, {name: piece.view_as(weights[name]) for name, piece in zip(sorted(weights), pieces, strict=True)})
    return weights


def torchft_steps(how: Rule | Pool, given: list[list[Tensor]]) -> list[list[tuple[Tensor, bool, Tensor]]]:
    """Each replica as a thread; for each step and replica: the pooled tensor, whether it committed, and its model at the step's start."""
    torchft = pytest.importorskip("torchft", reason="torchft has builds for Linux on x86-64 alone")  # an extra: it may lack here
    from torchft.coordination import LighthouseServer

    count = len(given[0])
    house = LighthouseServer(bind="127.0.0.1:0", min_replicas=count, join_timeout_ms=10_000)
    found: list[list[Any]] = [[None] * count for _ in given]

    def work(rank: int, _: Any) -> None:
        live = {"w": torch.zeros_like(given[0][rank])}
        store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        manager = torchft_manager(how)(
            pg=torchft.ProcessGroupGloo(timeout=timedelta(seconds=20)),
            load_state_dict=live.update,
            state_dict=lambda: dict(live),
            min_replica_size=2,
            use_async_quorum=False,
            init_sync=False,
            rank=0,
            world_size=1,
            store_addr="127.0.0.1",
            store_port=store.port,
            lighthouse_addr=house.address(),
            replica_id=f"replica_{rank}",
            hostname="127.0.0.1",
            timeout=timedelta(seconds=20),
        )
        try:
            for step, tensors in enumerate(given):
                manager.start_quorum()
                begun, tensor = live["w"].clone(), tensors[rank].clone()
                manager.allreduce(tensor).wait()
                committed = manager.should_commit()
                live["w"] = tensor if committed else torch.full_like(tensor, torch.nan)
                found[step][rank] = (tensor, committed, begun)
        finally:
            manager.shutdown(wait=False)

    try:
        in_threads(work, count)
    finally:
        house.shutdown()
    return found


def of_torchft(test: Callable[..., None]) -> Callable[..., None]:
    """torchft 0.2 calls a deprecated method of loggers, and reads checkpoints without a copy."""
    for warning in ("The 'warn' method is deprecated:DeprecationWarning", "The given buffer is not writable:UserWarning"):
        test = pytest.mark.filterwarnings(f"ignore:{warning}")(test)
    return test


HOMES = {"list of state dicts": in_a_list, "Flower": in_flower, "NVFlare": in_nvflare, "torch.distributed": in_torch_distributed}


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize("rule", RULES)
def test_every_home_gives_the_same_bits(home: str, rule: str) -> None:
    assert same(HOMES[home](RULES[rule]), simulated(RULES[rule]))


def test_nvflare_takes_differences_and_tensors_and_names_what_does_not_count() -> None:
    from nvflare.app_common.abstract.fl_model import FLModel

    aggregator: Any = nvflare_aggregator(strategy(Mean()), model(), 3)()
    start = dict(model().state_dict())
    for name, step, number in (("site-1", 1.0, 7), ("site-2", float("nan"), 7), ("stranger", 1.0, 7)):
        update = {key: torch.full_like(tensor, step) for key, tensor in start.items()}
        aggregator.accept_model(FLModel("DIFF", update, current_round=number, meta={"client_name": name}))
    wide = {key: torch.zeros(1) for key in start}  # would be broadcast
    aggregator.accept_model(FLModel("FULL", wide, current_round=7, meta={"client_name": "site-3"}))
    found = aggregator.aggregate_model()
    assert same(found.params, {key: tensor + 1 for key, tensor in start.items()})
    assert found.meta["loomweight"]["who"] == {"site-2": "nonfinite", "stranger": "unknown", "site-3": "shape"}
    aggregator.accept_model(FLModel("DIFF", update, current_round=7, meta={"client_name": "site-1"}))
    assert aggregator.server.refusals[-1].code == "old-round"


def test_nvflare_refuses_what_it_could_not_carry() -> None:
    with pytest.raises(BadParameter, match="NVFlare carries models and nothing else"):
        nvflare_aggregator(Strategy(message=(Trim(0.5),)), model(), 3)()


@of_torchft
def test_torchft_gives_the_same_bits_for_clients_that_count_alike() -> None:
    """torchft has no place for how much a replica counts."""
    alike = replace(strategy(Krum(1)), aggregate=Pool(Krum(1), counts=False))
    assert same(in_torchft(Krum(1), 1), simulate(model(), DATA, alike, 1).weights)


@of_torchft
def test_a_replica_that_gives_nan_is_left_out_and_brought_back_by_torchft() -> None:
    sound = [torch.tensor([1.0, 4.0]), torch.tensor([2.0, 5.0]), torch.tensor([3.0, 6.0])]
    sick = [*sound[:2], torch.tensor([3.0, torch.nan])]
    first, second = torchft_steps(Mean(), [sick, sound])
    assert [(tensor.tolist(), committed) for tensor, committed, _ in first] == [([1.5, 4.5], True), ([1.5, 4.5], True), ([1.5, 4.5], False)]
    assert [(tensor.tolist(), committed) for tensor, committed, _ in second] == [([2.0, 5.0], True)] * 3
    assert second[2][2].tolist() == [1.5, 4.5]  # it began the second step with what the others had made of the first


@of_torchft
def test_nobody_commits_where_too_few_replicas_are_left_for_the_rule() -> None:
    sick = [torch.tensor([1.0]), torch.tensor([torch.nan]), torch.tensor([3.0])]
    assert [committed for _, committed, _ in torchft_steps(Krum(1), [sick])[0]] == [False] * 3


def test_a_process_with_nan_gets_what_the_others_pool(caplog: pytest.LogCaptureFixture) -> None:
    found: dict[int, Tensor] = {}

    def work(rank: int, group: Any) -> None:
        found[rank] = all_pool({"w": torch.tensor([float(rank), torch.nan if rank == 1 else 1.0])}, Mean(), group)["w"]

    in_threads(work, 3)
    assert [tensor.tolist() for tensor in found.values()] == [[1.0, 1.0]] * 3
    assert "process 1 does not count (nonfinite): tensor 'w' holds NaN or Inf" in caplog.text


def test_tensors_of_all_dtypes_travel_between_processes_as_they_are() -> None:
    given = {"half": torch.tensor([1.5, 2.5], dtype=torch.bfloat16), "double": torch.tensor(0.1, dtype=torch.float64), "none": torch.zeros(0, 3)}
    found: dict[int, dict[str, Tensor]] = {}
    in_threads(lambda rank, group: found.update({rank: all_pool(given, Mean(), group)}), 2)
    for pooled in found.values():
        assert list(pooled) == list(given) and pooled["half"].tolist() == [1.5, 2.5] and pooled["double"].dtype == torch.float64
        assert pooled["double"] == given["double"] and pooled["none"].shape == (0, 3)


def test_processes_with_other_tensors_are_named_before_anything_is_sent() -> None:
    def work(rank: int, group: Any) -> None:
        with pytest.raises(NamesDiffer, match=r"process 1 gives tensors of other names, shapes or dtypes than process 0"):
            all_pool({"w": torch.zeros(2 + rank)}, Mean(), group)

    in_threads(work, 2)


def test_too_few_processes_are_named_with_the_rule_that_needs_more() -> None:
    def work(rank: int, group: Any) -> None:
        with pytest.raises(TooFewReplies, match=r"1 of 3 updates count; Krum.*Left out: .*the first: tensor 'w' holds NaN or Inf"):
            all_pool({"w": torch.tensor([torch.nan if rank else 1.0])}, Krum(1), group)

    in_threads(work, 3)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    return outcomes("tests.federate.homes.three_processes", tmp_path_factory.mktemp("three"), processes=3)


@pytest.mark.parametrize("check", [*checks("tests.federate.homes.three_processes"), "twin_that_fails"])
def test_in_processes_of_their_own(told: list[dict[str, str]], check: str) -> None:
    if check == "twin_that_fails":
        assert all("nothing is what it should be" in outcome[check] for outcome in told)
    else:
        assert [outcome[check] for outcome in told] == ["", "", ""]
