"""Rounds without a server: whoever the hash of the round names trains, whoever it names next averages.

Paper: MoDeST: Bridging the Gap between Federated and Decentralized Learning with Decentralized Sampling (2023, https://arxiv.org/abs/2302.13837).

Code read: devos50/decentralized-learning at 9b94a9c, accdfl/dfl/community.py. We differ: messages take no time here, only training, pings and time-outs do;
all aggregators of a round average the same answers.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, inf

from torch import Tensor, nn

from ...engines import Inline
from ...errors import BadParameter
from ..crew import Crew
from ..federation import Federation
from ..simulate import Run
from ..strategy import Strategy
from ..world import World
from .view import Peer, View


@dataclass(frozen=True)
class Modest:
    """How a network samples itself.

    Args:
        sample: nodes that train in a round.
        aggregators: nodes of the next round's order that average; while one of them lives, the round does.
        fraction: of the sample whose answers are enough.
        window: rounds without a word after which a node is not asked any more.
        ping: how long an answer to a ping is waited for.
        timeout: how long trained nodes wait for an average before they go to the next aggregators.
        joins: node -> the round in which it comes; others are there from the start.
        leaves: node -> the round in which it says that it goes.
        crashes: node -> the round from which it is silent; what it was averaging is lost.

    Raises:
        BadParameter: a number out of its range.
    """

    sample: int
    aggregators: int = 2
    fraction: float = 1.0
    window: int = 20
    ping: float = 1.0
    timeout: float = 10.0
    joins: Mapping[str, int] = field(default_factory=dict)
    leaves: Mapping[str, int] = field(default_factory=dict)
    crashes: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.sample < 1 or self.aggregators < 1 or not 0 < self.fraction <= 1:
            raise BadParameter("Modest: sample and aggregators are at least 1 and fraction in (0, 1].")


def modest(
    model: nn.Module, clients: Mapping[str, Sequence[Tensor]], strategy: Strategy, rounds: int, sampling: Modest, world: World | None = None
) -> Federation:
    """Train a model in rounds that the nodes agree on by hashes; the history has each round's `sample` and `aggregators`.

    Args:
        model: at the start; it is not changed.
        clients: name -> (inputs, targets).
        strategy: its local training, terms, message, aggregate and guard.
        rounds: in all.
        sampling: how the network samples itself.
        world: seed, speeds, faults, test.

    Raises:
        BadParameter: no node answers any more.
    """
    world = world or World()
    run = Run(model, dict(clients), strategy, Crew(model, strategy, dict(clients), Inline(), world), world, None)
    at_first = View({name: Peer() for name in clients if sampling.joins.get(name, 0) == 0})
    views = dict.fromkeys(clients, at_first)
    asking = next(iter(at_first.peers))
    for number in range(rounds):
        _news(views, sampling, number)
        sample = _asked(run, views[asking], sampling, (number, sampling.sample))
        _trained(run, sample, sampling)
        aggregators = _averaged(run, views[sample[0]], sampling, number + 1)
        _told(views, [asking, *sample, *aggregators], number)
        run.test()
        run.server.history[-1].update({"sample": sample, "aggregators": aggregators})
        asking = aggregators[0]
    return Federation(copy.deepcopy(model), run.weights(), run.server.history)


def _answers(run: Run, sampling: Modest, name: str, number: int) -> bool:
    there = sampling.joins.get(name, 0) <= number < sampling.leaves.get(name, inf) and number < sampling.crashes.get(name, inf)
    return there and (run.world.speeds is None or run.world.speeds.present(name, number))


def _asked(run: Run, view: View, sampling: Modest, wanted: tuple[int, int]) -> list[str]:
    """The first nodes in the round's order that answer a ping; each that does not costs the time of one."""
    (number, count), found = wanted, []
    for name in view.candidates(number, sampling.window):
        if len(found) == count:
            break
        if _answers(run, sampling, name, number):
            found.append(name)
        else:
            run.now += sampling.ping
    if not found:
        raise BadParameter(f"modest: in round {number} none of the {len(view.peers)} nodes answers.")
    return found


def _trained(run: Run, sample: list[str], sampling: Modest) -> None:
    enough = max(1, floor(len(sample) * sampling.fraction))
    run.dispatch(sample)
    while run.flying and len(run.server.book.answered) < enough:
        run.land()


def _averaged(run: Run, view: View, sampling: Modest, number: int) -> list[str]:
    """The aggregators that live through the round; where all of the first ones die, the next ones take over after the time-out."""
    candidates = [name for name in view.candidates(number, sampling.window) if _answers(run, sampling, name, number - 1)]
    while candidates:
        chosen, candidates = candidates[: sampling.aggregators], candidates[sampling.aggregators :]
        living = [name for name in chosen if _answers(run, sampling, name, number)]
        if living:
            run.close()
            return living
        run.now += sampling.timeout
    raise BadParameter(f"modest: no aggregator of round {number} lives.")


def _told(views: dict[str, View], names: list[str], number: int) -> None:
    """Models carry views: whoever took part in a round knows the same afterwards."""
    merged = View({name: Peer(number) for name in names})
    for name in names:
        merged = views[name].merged(merged)
    views.update(dict.fromkeys(names, merged))


def _news(views: dict[str, View], sampling: Modest, number: int) -> None:
    """Who joins or leaves tells everybody who is there."""
    fresh = {name: Peer(number, 1, there=True) for name, when in sampling.joins.items() if when == number > 0}
    fresh.update({name: Peer(0, 2, there=False) for name, when in sampling.leaves.items() if when == number})
    for name in views if fresh else ():
        views[name] = views[name].merged(View(fresh))
