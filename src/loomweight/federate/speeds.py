"""A world in which clients are slow, late, away or broken, the same every time.

Paper of the patterns of presence: A Lightweight Method for Tackling Unknown Participation Statistics in Federated Averaging (2023,
https://arxiv.org/abs/2306.03401), section 6: Bernoulli, Markovian and cyclic participation. Code read: IBM/fedau at 6e9cce9, util/util.py. We differ:
there every client steps a shared generator once a round; here each number is a digest of (seed, client, number), so whoever asks, in any order, any
number of times, on any machine, is told the same.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import exp
from statistics import NormalDist

from ..errors import BadParameter, unknown


def chance(*key: object) -> float:
    """A uniform number in [0, 1) that is a function of the key: whole numbers and words.

    >>> chance("client 07", 3), chance("client 07", 3) == chance("client 07", 4)
    (0.8291635734094588, False)
    """
    return (int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "little") >> 11) / 2**53


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise BadParameter(f"{name} lies between {low:g} and {high:g}, found {value}.")


class Presence(ABC):
    """When a client is there, if it is `share` of the time."""

    @abstractmethod
    def present(self, share: float, key: tuple[object, ...], number: int) -> bool:
        """Whether it is there in this round; `key` names the client and the seed."""


@dataclass(frozen=True)
class Bernoulli(Presence):
    """There or not, each round on its own.

    >>> sum(Bernoulli().present(0.3, ("a", 0), number) for number in range(1000))
    304
    """

    def present(self, share: float, key: tuple[object, ...], number: int) -> bool:
        """Whether it is there in this round."""
        return chance(*key, "presence", number) < share


@dataclass(frozen=True)
class Markov(Presence):
    """Whoever is there tends to stay, whoever is away tends to stay away.

    From away to there with probability `comes`, from there to away with `comes (1 / share - 1)`; where that is above 1, both are
    scaled down until it is 1. The first round is drawn from the share itself, so every round has that share.

    Args:
        comes: above 0, at most 1.

    >>> "".join("-#"[Markov(0.1).present(0.4, ("a", 0), number)] for number in range(50))
    '#########-----------------------##---#############'
    """

    comes: float = 0.05

    def __post_init__(self) -> None:
        _between("comes", self.comes, 1e-6, 1.0)

    def present(self, share: float, key: tuple[object, ...], number: int) -> bool:
        """Whether it is there in this round.

        Each round has one number. Where it says the same of who was there and of who was not, the rounds before do not matter; so this goes back
        to the last such round and counts forward from there.
        """
        if share in (0.0, 1.0):
            return share == 1.0
        goes = self.comes * (1 / share - 1)
        comes, goes = (self.comes, goes) if goes <= 1 else (self.comes / goes, 1.0)
        flips = 0
        while number > 0:
            drawn = chance(*key, "presence", number)
            if (from_away := drawn < comes) == (drawn < 1 - goes):
                return from_away ^ bool(flips % 2)
            flips += from_away
            number -= 1
        return (chance(*key, "presence", 0) < share) ^ bool(flips % 2)


@dataclass(frozen=True)
class Periodic(Presence):
    """There for a stretch, away for a stretch, and so on; each client begins at a point of its own.

    Of `cycle` rounds it is there in `round(cycle * share)`, at least one, and away in the others, at least one unless the share is 1.

    >>> "".join("-#"[Periodic(10).present(0.4, ("a", 0), number)] for number in range(30))
    '-----####------####------####-'
    """

    cycle: int = 100

    def __post_init__(self) -> None:
        _between("cycle", self.cycle, 2, 1e9)

    def present(self, share: float, key: tuple[object, ...], number: int) -> bool:
        """Whether it is there in this round."""
        if share in (0.0, 1.0):
            return share == 1.0
        there = min(max(1, int(self.cycle * share + 0.5)), self.cycle - 1)
        first = int(chance(*key, "presence", "first") * (self.cycle - there))
        return (number - first) % self.cycle < there


@dataclass(frozen=True)
class Straggle:
    """With this probability a task takes `factor` times as long.

    >>> Straggle(0.1, 5.0)
    Straggle(probability=0.1, factor=5.0)
    """

    probability: float = 0.0
    factor: float = 10.0

    def __post_init__(self) -> None:
        _between("probability", self.probability, 0.0, 1.0)
        _between("factor", self.factor, 1.0, 1e9)


@dataclass(frozen=True)
class Speeds:
    """How long each client takes, when it is there, and which of its tasks fail.

    seconds of a task  =  (overhead + steps * step * exp(spread * z)) * (factor if it straggles),    z of each client ~ N(0, 1)

    Args:
        seed: the same seed is the same world.
        step: seconds of a local step of the median client, or seconds of a step by client.
        spread: sigma of the log-normal; 1 makes one client in six more than 2.7 times as slow as the median. 0 where `step` is a table.
        overhead: seconds of every task, for what goes down and up.
        straggle: tasks that take longer, now and then.
        absent: probability of being away in a round, or by client.
        presence: the pattern of being away: Bernoulli, Markov or Periodic.
        failing: probability that a task that was begun is never answered, or by client.

    Raises:
        BadParameter: a number is out of range. UnknownName: a client is not in a table.

    >>> world = Speeds(seed=1, spread=1.0, absent=0.2, failing=0.05)
    >>> round(world.duration("client 07", number=0, steps=10), 3)
    9.462
    >>> world.present("client 07", number=3), world.fails("client 07", number=3)
    (True, False)
    """

    seed: int = 0
    step: float | Mapping[str, float] = 1.0
    spread: float = 0.0
    overhead: float = 0.0
    straggle: Straggle = Straggle()
    absent: float | Mapping[str, float] = 0.0
    presence: Presence = Bernoulli()
    failing: float | Mapping[str, float] = 0.0

    def __post_init__(self) -> None:
        _between("spread", self.spread, 0.0, 0.0 if isinstance(self.step, Mapping) else 100.0)
        _between("overhead", self.overhead, 0.0, 1e12)
        for name, value, high in (("step", self.step, 1e12), ("absent", self.absent, 1.0), ("failing", self.failing, 1.0)):
            for number in value.values() if isinstance(value, Mapping) else (value,):
                _between(name, number, 0.0, high)

    def duration(self, client: str, number: int, steps: int) -> float:
        """Seconds that this client's task `number` takes, if it has so many local steps."""
        slow = exp(self.spread * NormalDist().inv_cdf(max(chance(self.seed, client, "speed"), 2**-54))) if self.spread else 1.0
        late = chance(self.seed, client, "straggle", number) < self.straggle.probability
        return (self.overhead + steps * _of(self.step, client, "step") * slow) * (self.straggle.factor if late else 1.0)

    def present(self, client: str, number: int) -> bool:
        """Whether this client can be asked in round `number`, counted from 0."""
        return self.presence.present(1.0 - _of(self.absent, client, "absent"), (self.seed, client), number)

    def fails(self, client: str, number: int) -> bool:
        """Whether this client's task `number` is never answered."""
        return chance(self.seed, client, "fails", number) < _of(self.failing, client, "failing")


def _of(value: float | Mapping[str, float], client: str, what: str) -> float:
    if not isinstance(value, Mapping):
        return value
    if client not in value:
        raise unknown(f"client in the table `{what}` of the speeds", client, value)
    return value[client]
