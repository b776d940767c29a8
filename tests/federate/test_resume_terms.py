"""Every term and every part of the message goes on, after a stop, to the same bits: what clients keep is plain data in the folder."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from loomweight.federate import (
    QSGD,
    Aggregate,
    ClientMomentum,
    Curriculum,
    DeltaSGD,
    ErrorFeedback,
    Half,
    Langevin,
    Local,
    Message,
    Moon,
    Proximal,
    RandomK,
    Sample,
    Scaffold,
    ScaledSign,
    Strategy,
    Term,
    TopK,
    WassersteinRobust,
    World,
    fedbn,
    scafcom,
    scallion,
    simulate,
)
from loomweight.federate.words import part

from .small import clients, deep, same

BASE = Strategy(choose=Sample(2), local=Local(epochs=2, batch=4), tensors={"1.running_*": "mean"})


def having(*terms: object) -> Strategy:
    return replace(BASE, objective=terms)


def sending(*parts: object) -> Strategy:
    return replace(BASE, message=parts)


STRATEGIES = [
    having(Proximal(0.1)),
    having(Scaffold(1)),
    having(Scaffold(), ClientMomentum(0.3)),
    having(DeltaSGD()),
    having(DeltaSGD(same_batch=False)),
    having(Moon("0")),
    having(WassersteinRobust(1.0, steps=2)),
    having(Langevin(80, 0.1, shared=0.5)),
    having(Curriculum("hard")),
    replace(BASE, tensors=fedbn(deep())),
    scallion(sending(QSGD(4))),
    scafcom(sending(TopK(0.3))),
    sending(ErrorFeedback(TopK(0.1)), Half()),
    sending(ErrorFeedback(ScaledSign())),
    sending(RandomK(0.5), QSGD(2)),
]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: f"{[*strategy.terms, *strategy.parts] or 'fedbn'}")
def test_in_pieces_it_comes_to_the_same_bits(strategy: Strategy, tmp_path: Path) -> None:
    straight = simulate(deep(), clients(3), strategy, 4, world=World(seed=5))
    for rounds in (1, 4):
        pieces = simulate(deep(), clients(3), strategy, rounds, world=World(seed=5), folder=tmp_path)
    assert same(straight.weights, pieces.weights) and straight.history == pieces.history
    assert all(torch.isfinite(tensor).all() for tensor in straight.weights.values())
    plain = simulate(deep(), clients(3), BASE, 4, world=World(seed=5))
    assert not same(straight.weights, plain.weights)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: f"{[*strategy.terms, *strategy.parts] or 'fedbn'}")
def test_what_a_part_shows_of_itself_can_be_said_on_the_command_line(strategy: Strategy) -> None:
    shown = [(each, Message) for each in strategy.parts] + [(each, Term) for each in strategy.terms] + [(strategy.pooling, Aggregate)]
    assert [part(repr(each), (kind,), "a part") for each, kind in shown] == [each for each, _ in shown]
