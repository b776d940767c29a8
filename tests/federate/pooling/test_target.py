"""FedGP and FedDA: projections and weights by a second formula, and a hostile source that does the target no harm."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from loomweight.errors import BadParameter
from loomweight.federate import EachStep, FedDA, FedGP, Local, Pool, Reply, Server, Strategy, simulate
from loomweight.federate.pooling.target import ForTarget

from .served import one_round, reply

UPDATES = {"t": [1.0, 1.0], "s": [2.0, 0.0], "h": [-1.0, -1.0]}


def test_values_by_hand() -> None:
    """p = 1/2 each, beta 0.5: half of the target; s adds its projection (1, 0), the hostile h nothing under FedGP."""
    assert one_round(FedGP("t", beta=0.5), UPDATES).tolist() == pytest.approx([0.5 + 0.25, 0.5])
    assert one_round(FedDA("t", beta=0.5), UPDATES).tolist() == pytest.approx([0.5 + 0.25 * 2 - 0.25, 0.5 - 0.25])
    counted = one_round(FedGP("t", beta=0.5), UPDATES, {"t": 1.0, "s": 3.0, "h": 1.0})
    assert counted.tolist() == pytest.approx([0.5 + 0.375, 0.5])


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_projection_is_the_nearest_point_on_the_ray_of_the_source(seed: int) -> None:
    """A second formula: non-negative least squares of the target on the source."""
    from scipy.optimize import nnls

    target, source = torch.randn(2, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    length = nnls(source[:, None].numpy(), target.numpy())[0][0]
    torch.testing.assert_close(FedGP("t").used(target, source), length * source, rtol=1e-9, atol=1e-12)  # float64


def steps_of(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(6, 9, generator=generator) + 0.4, torch.randn(3, 9, generator=generator)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_weights_are_those_of_their_definition(seed: int) -> None:
    """Straight from the paper's estimates, with every gradient and projection written out."""
    steps, sources = (part.double() for part in steps_of(seed))
    count = len(steps)
    noise = ((steps - steps.mean(0)) ** 2).sum() / (count - 1) / count
    expected: dict[type[ForTarget], list[float]] = {FedDA: [], FedGP: []}
    for source in sources:
        away = ((steps - source) ** 2).sum() / count - noise * count
        lost = steps - (steps @ source)[:, None] * source / source.square().sum()
        left = (lost**2).sum() / count - ((lost - lost.mean(0)) ** 2).sum() / (count - 1)
        expected[FedDA].append((noise / (noise + away.clamp(min=0))).item())
        expected[FedGP].append((noise / (noise + left.clamp(min=0))).item())
    target = Reply("t", 0, {"w": steps.sum(0)}, extra={"EachStep": {"w": steps}})
    others = [Reply(str(i), 0, {"w": 4 * source}, metrics={"steps": 4.0}) for i, source in enumerate(sources)]
    for kind, betas in expected.items():
        assert kind("t").betas(target, others).tolist() == pytest.approx(betas, rel=1e-8, abs=1e-12)  # float64, inner products against differences


def test_a_source_like_the_target_is_used_and_noise_of_the_target_makes_all_more_welcome() -> None:
    generator = torch.Generator().manual_seed(1)
    way = torch.ones(50, dtype=torch.float64)

    def betas(noise: float) -> list[float]:
        steps = way + noise * torch.randn(8, 50, generator=generator, dtype=torch.float64)
        target = Reply("t", 0, {"w": steps.sum(0)}, extra={"EachStep": {"w": steps}})
        return FedDA("t").betas(target, [Reply("near", 0, {"w": way}), Reply("far", 0, {"w": -way})]).tolist()

    quiet, loud = betas(0.1), betas(3.0)
    assert quiet[0] > 0.3 > 0.01 > quiet[1] and loud[1] > 10 * quiet[1] and loud[0] > 0.5


def accuracy(kind: str, hostile: bool = True) -> float:
    """On the target's law, of a target with 24 examples in 20 dimensions, a source of nearly the same law and a hostile one with turned labels."""
    generator = torch.Generator().manual_seed(6)
    law = torch.randn(20, generator=generator)

    def drawn(count: int, way: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = torch.randn(count, 20, generator=generator)
        return inputs, (inputs @ way > 0).long()

    near = law + 0.3 * torch.randn(20, generator=generator)
    clients = {"target": drawn(24, law), "near": drawn(200, near), "hostile": drawn(400, -law)}
    inputs, targets = drawn(500, law)
    used = ["target", *(["near"] if kind != "alone" else []), *(["hostile"] if kind != "alone" and hostile else [])]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Linear(20, 2)
    aggregate = {"mean": Pool(), "alone": Pool(), "projected": FedGP("target"), "mixed": FedDA("target")}[kind]
    local = Local(steps=8, batch=6, optimizer=partial(torch.optim.SGD, lr=0.1))
    strategy = Strategy(aggregate=aggregate, local=local, objective=(EachStep(["target"]),))
    found = simulate(model, {name: clients[name] for name in used}, strategy, rounds=20)
    return (found.model(inputs).argmax(1) == targets).double().mean().item()


def test_the_target_gains_by_a_near_source_and_does_not_lose_by_a_hostile_one() -> None:
    alone = accuracy("alone")
    assert accuracy("mean") < 0.3  # the hostile source has most of the examples
    assert accuracy("projected", hostile=False) > alone + 0.015
    assert accuracy("projected") > alone - 0.02 and accuracy("mixed") > alone - 0.02


def test_without_the_target_s_answer_the_weights_stay_and_without_sources_it_is_the_target_s() -> None:
    assert one_round(FedGP("t", beta=0.5), {"s": [2.0, 0.0]}).tolist() == [0.0, 0.0]
    assert one_round(FedGP("t", beta=0.5), {"t": [2.0, 0.0]}).tolist() == [2.0, 0.0]


def test_a_target_without_its_steps_is_refused() -> None:
    server = Server({"w": torch.zeros(2)}, Strategy(aggregate=FedGP("t"), objective=(EachStep(["t"]),)), ["t", "s"])
    server.tasks()
    refusal = server.push(reply("t", 0, [1.0, 1.0]))
    assert refusal and "add EachStep(['t'])" in refusal.words
    assert FedGP("t").wrong(reply("t", 0, [1.0, 1.0], EachStep={"w": torch.zeros(1, 2)}))
    assert FedGP("t").wrong(reply("t", 0, [1.0, 1.0], EachStep={"w": torch.zeros(3, 1)}))
    assert FedGP("t").wrong(reply("t", 0, [1.0, 1.0], EachStep={"w": torch.zeros(3, 2)})) is None
    assert FedGP("t").wrong(reply("s", 0, [1.0, 1.0])) is None
    with pytest.raises(BadParameter, match=r"FedGP: beta is in \[0, 1\], found 2"):
        FedGP("t", beta=2.0)
    with pytest.raises(BadParameter, match="most is at least 2"):
        EachStep(["t"], most=1)
