"""What each node knows of the others, and who is asked in a round: the same everywhere without anybody saying it.

Paper: MoDeST: Bridging the Gap between Federated and Decentralized Learning with Decentralized Sampling (2023, https://arxiv.org/abs/2302.13837).

Code read: devos50/decentralized-learning at 9b94a9c, accdfl/dfl/sample_manager.py and accdfl/core/peer_manager.py: MD5 of name and round, views merged by
the later round and the later news. We differ: BLAKE2 takes the place of MD5.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b


def ordered(names: Iterable[str], number: int) -> list[str]:
    """Names by the hash of name and round: everybody who knows the same names has the same order.

    >>> ordered(["a", "b", "c"], 1) == ordered(["c", "a", "b"], 1)
    True
    """
    return sorted(names, key=lambda name: (blake2b(f"{name}-{number}".encode(), digest_size=16).digest(), name))


@dataclass(frozen=True)
class Peer:
    """What is known of a node.

    Args:
        active: the last round in which it was heard of.
        news: the number of its last joining or leaving.
        there: whether that was a joining.
    """

    active: int = 0
    news: int = 0
    there: bool = True


@dataclass(frozen=True)
class View:
    """The nodes that a node knows; it travels with models.

    >>> View({"a": Peer(4), "b": Peer(1)}).candidates(5, window=2)
    ['a']
    """

    peers: dict[str, Peer]

    def merged(self, other: "View") -> "View":
        """Of each node the later round and the later news: in any order, any number of times, the same."""
        names = [*self.peers, *(name for name in other.peers if name not in self.peers)]
        return View({name: _later(self.peers.get(name), other.peers.get(name)) for name in names})

    def candidates(self, number: int, window: int) -> list[str]:
        """Nodes that have not left and were heard of in the last `window` rounds, in the order in which they are asked in this round."""
        return ordered([name for name, peer in self.peers.items() if peer.there and peer.active >= number - window], number)


def _later(one: Peer | None, other: Peer | None) -> Peer:
    if one is None or other is None:
        return one or other or Peer()
    latest = max(one, other, key=lambda peer: (peer.news, not peer.there))
    return Peer(max(one.active, other.active), latest.news, latest.there)
