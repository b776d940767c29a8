"""The methods of bench/federate_methods.py, with the settings of their docstrings; each is a function from a federation to what was found."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import ceil
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from federate_cases import CLASSES, Case, Found, accuracy, ended, recalls
from torch import nn

from loomweight import federate as fed
from loomweight.federate import Pool, Speeds, Strategy, World

if TYPE_CHECKING:
    from loomweight.federate import Work

Way = Callable[[Case], Found | None]


def plain(**hooks: Any) -> Way:
    """A strategy that differs from federated averaging by these hooks."""
    return lambda case: ended(case.run(case.strategy(**hooks)))


def made(make: Callable[[Case], Strategy]) -> Way:
    """A strategy that is made for the federation."""
    return lambda case: ended(case.run(make(case)))


def analytic(case: Case) -> Found:
    """One round, everybody; the first layer stays as it was drawn."""
    strategy = Strategy(objective=(fed.RidgeHead("3"),), aggregate=fed.AnalyticHead("3"), tensors={"1.*": "keep"}, local=case.local())
    return ended(case.run(strategy, rounds=1))


def ranked(case: Case) -> Found:
    """FRL: rankings of the weights of a random network, which are all that is learned."""
    model = fed.supermasked(case.network(), seed=case.seed)
    return ended(case.run(fed.frl(case.strategy(), model), model=model))


def noised(case: Case) -> Found | None:
    """(8, 0.001)-differential privacy of clients, of whom each is asked with probability 0.2."""
    if case.asked is None:
        return None
    rate = case.asked / len(case.clients)
    multiplier = fed.multiplier_for(8.0, 1e-3, case.rounds, rate)
    noise = fed.GaussianNoise(multiplier, clip=0.5, expected=case.asked, rate=rate, delta=1e-3, seed=case.seed)
    plainly = case.strategy(choose=fed.PoissonSample(rate), guard=fed.Guard(few="skip"), aggregate=Pool(counts=False))
    return ended(case.run(fed.private(plainly, noise)))


def absent(aggregate: fed.Aggregate) -> Way:
    """Everybody is asked, and client i is there with a probability of its own, from 0.1 to 1 of ten clients and from 0.02 to 0.38 of a hundred."""

    def way(case: Case) -> Found:
        low, high = (0.1, 1.0) if case.asked is None else (0.02, 0.38)
        there = np.random.default_rng(case.seed).uniform(low, high, len(case.clients))
        speeds = Speeds(seed=case.seed, absent={name: 1 - share for name, share in zip(case.clients, there.tolist(), strict=True)})
        strategy = case.strategy(choose=fed.Everyone(), aggregate=aggregate, guard=fed.Guard(few="skip"))
        return ended(case.run(strategy, speeds=speeds))

    return way


def slow(make: Callable[[Case, float], fed.Aggregate] | None, by: str = "time") -> Way:
    """At the simulated time at which a synchronous server has made half of its rounds. `make` is given the median duration of a task, which is how long
    rounds are by time; by size, answers of a third of those who are busy end one."""

    def way(case: Case) -> Found:
        speeds = Speeds(seed=case.seed, spread=0.7)
        end = _end(case, speeds)
        took = [speeds.duration(name, 0, case.steps) for name in case.clients]
        middle = float(np.median(took))
        rounds = {"all": case.rounds // 2, "time": ceil(end / middle), "size": ceil(1.3 * end * case.busy * mean(1 / t for t in took) / (case.busy // 3))}[by]
        history = case.run(case.strategy(**({"aggregate": make(case, middle)} if make else {})), rounds=rounds, speeds=speeds)
        return ended([line for line in history if line["time"] <= end * (1 + 1e-9)])

    return way


def _end(case: Case, speeds: Speeds) -> float:
    """When a synchronous server has made half of the rounds, found with tasks that train nothing."""
    idle = case.strategy(local=fed.Local(steps=0), aggregate=Pool(counts=False))
    timed = _Scaled(speeds, case.steps)
    return case.run(idle, rounds=case.rounds // 2, speeds=timed, every=case.rounds)[-1]["time"]


@dataclass(frozen=True)
class _Scaled:
    """The same durations where no step is made."""

    speeds: Speeds
    steps: int

    def duration(self, client: str, number: int, steps: int) -> float:
        return self.speeds.duration(client, number, self.steps)

    def present(self, client: str, number: int) -> bool:
        return self.speeds.present(client, number)

    def fails(self, client: str, number: int) -> bool:
        return self.speeds.fails(client, number)


@dataclass(frozen=True)
class Personal(fed.Term):
    """Scores what each client has when a task begins: the received tensors and its own local ones."""

    score: Callable[[str, nn.Module], float] = field(compare=False)
    seen: dict[str, float] = field(default_factory=dict, compare=False)

    def begin(self, work: "Work") -> None:
        work.model.eval()
        self.seen[work.task.client] = self.score(work.task.client, work.model)
        work.model.train()


def personal(alone: bool) -> Way:
    """A network with BatchNorm, scored with each client's own model on test images in the proportions of its labels, as it was last asked."""

    def way(case: Case) -> Found:
        shares = dict(zip(case.clients, case.shares, strict=True))
        return _owned(case, alone, lambda client, model: float(shares[client] @ recalls(model, case.test)))

    return way


def shifted(alone: bool) -> Way:
    """The same where labels are spread evenly, and images are turned by up to 90 degrees, scaled by up to 3 and noisy by up to 0.3."""

    def way(case: Case) -> Found:
        shift = fed.FeatureShift(noise=0.3, rotation=90.0, scale=3.0)
        count = len(case.clients)
        images, labels = (torch.cat(parts) for parts in zip(*case.clients.values(), strict=True))
        names = fed.split((images, labels), shift, clients=count, seed=case.seed)
        tests = {name: (shift.inputs(case.test[0], i, count, case.seed + 1000), case.test[1]) for i, name in enumerate(names)}
        return _owned(replace(case, clients=names), alone, lambda client, model: accuracy(model, tests[client]))

    return way


def _owned(case: Case, alone: bool, score: Callable[[str, nn.Module], float]) -> Found:
    """Clients with a single image are left out: BatchNorm cannot be trained on one."""
    case, seen = replace(case, clients={name: part for name, part in case.clients.items() if len(part[1]) > 1}), Personal(score)
    model = case.normed()
    strategy = case.strategy(objective=(seen,), tensors=fed.fedbn(model) if alone else {})
    history = case.run(strategy, model=model, every=case.rounds)
    scores = sorted(seen.seen.values())
    return {"accuracy": mean(scores), "worst": mean(scores[: ceil(len(case.clients) / 10)]), "up": sum(line["bytes_up"] for line in history) / 1e6}


def ring(**options: Any) -> Way:
    """Without a server, ten nodes in a ring; the mean over nodes of the accuracy of each node's own model after the last round."""

    def way(case: Case) -> Found | None:
        if case.asked is not None:
            return None
        strategy = case.strategy(aggregate=fed.Gossip(fed.ring(len(case.clients)), **options))
        found = fed.gossip(case.network(), case.clients, strategy, case.rounds, world=World(seed=case.seed))
        scores, model = [], case.network()
        for state in found.nodes.values():
            model.load_state_dict(state)
            scores.append(accuracy(model, case.test))
        return {"accuracy": mean(scores), "worst": min(scores), "up": sum(line["bytes_up"] for line in found.history) / 1e6}

    return way


ALIKE = Pool(counts=False)
METHODS: dict[str, Way] = {
    "FedAvg": plain(),
    "FedAvg, clients alike": plain(aggregate=ALIKE),
    "server momentum 0.9": plain(aggregate=fed.server_momentum()),
    "FedAdam, rate 0.1": plain(aggregate=fed.fed_adam()),
    "FedAdam, rate 0.01": plain(aggregate=fed.fed_adam(rate=0.01)),
    "FedYogi, rate 0.1": plain(aggregate=fed.fed_yogi()),
    "FedYogi, rate 0.01": plain(aggregate=fed.fed_yogi(rate=0.01)),
    "FedProx, mu 0.1": plain(objective=(fed.Proximal(0.1),)),
    "SCAFFOLD": plain(objective=(fed.Scaffold(),), aggregate=ALIKE),
    "FedAvg-M, beta 0.2": plain(objective=(fed.ClientMomentum(0.2),), aggregate=ALIKE),
    "SCAFFOLD-M, beta 0.2": plain(objective=(fed.Scaffold(), fed.ClientMomentum(0.2)), aggregate=ALIKE),
    "SCALLION, QSGD 4 bits": made(lambda case: fed.scallion(case.strategy(message=(fed.QSGD(4),)), scale=0.5)),
    "SCAFCOM, top 10 %": made(lambda case: fed.scafcom(case.strategy(message=(fed.TopK(0.1),)))),
    "top 5 %, error feedback": plain(message=(fed.ErrorFeedback(fed.TopK(0.05)),)),
    "top 5 %, no feedback": plain(message=(fed.TopK(0.05),)),
    "Delta-SGD": made(lambda case: case.strategy(objective=(fed.DeltaSGD(),), local=case.local(0.2))),
    "MOON, mu 1": plain(objective=(fed.Moon("2"),)),
    "FedDisco": plain(objective=(fed.LabelCounts(CLASSES),), aggregate=fed.FedDisco(CLASSES)),
    "IDA": plain(objective=(fed.TrainingAccuracy(),), aggregate=fed.IDA(accuracy=True)),
    "FedLAW": made(lambda case: case.strategy(aggregate=fed.FedLAW(case.network(), case.proxy))),
    "FedCE": plain(objective=(fed.LeaveOneOut(),), aggregate=fed.FedCE()),
    "FedLD": plain(objective=(fed.MarginControl(),), aggregate=fed.PrincipalDirections()),
    "layers chosen by clients, 1 of 2": made(lambda case: fed.selective(case.strategy())),
    "FRL": ranked,
    "analytic head, 1 round": analytic,
    "Gaussian noise, epsilon 8": noised,
    "absent: FedAvg": absent(Pool()),
    "absent: FedAvg, clients alike": absent(ALIKE),
    "absent: FedAU": absent(fed.FedAU()),
    "slow: synchronous": slow(None, "all"),
    "slow: buffered": slow(lambda case, middle: fed.Buffered(size=case.busy // 3), "size"),
    "slow: FedFix": slow(lambda case, middle: fed.FedFix(interval=middle, rate=len(case.clients) / case.busy)),
    "slow: Anarchic": slow(lambda case, middle: fed.Anarchic(size=case.busy // 3, rate=case.steps), "size"),
    "BatchNorm pooled, own labels": personal(alone=False),
    "FedBN, own labels": personal(alone=True),
    "BatchNorm pooled, shifted": shifted(alone=False),
    "FedBN, shifted": shifted(alone=True),
    "ring": ring(),
    "ring, variance corrected": ring(correct=True),
}
