"""Part of the sharing: children in groups with weights of their own, or a shared prefix with an own rest for each.

Paper: Deeper Insights into Weight Sharing in Neural Architecture Search (2020, https://arxiv.org/abs/2001.01431), section 5.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import BadParameter, UnknownName
from ...search.randomness import numbers_of
from ...weights.names import listed
from ..copies import Copies
from ..elastic import Elastic

#: configurations of a space at most: the group of each is looked up
_MOST = 1_000_000


def grouped(net: Elastic, groups: int, *, seed: int | None = None, shared: Sequence[str] = ()) -> Copies:
    """Each group of configurations gets weights of its own; within a group all is shared as before.

    The configurations, in the order in which the space lists them, are cut into runs of equal length, so that a group holds children
    that are alike: they differ in the last fields. With as many groups as configurations, every child is trained by itself,
    and with a shared prefix it trains its own rest: `grouped(net, net.space.count(), shared=prefix(net, "layers.2"))`.

    Args:
        net: changed in place; optimizers have to be made anew.
        groups: how many.
        seed: deal the configurations into groups at random instead.
        shared: patterns of names that all groups share.

    Raises:
        BadParameter: fewer than two groups, or more than configurations; a space too large to be listed.

    >>> import torch
    >>> from loomweight.supernet import elastic
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 8), torch.nn.Linear(8, 2))
    >>> net = elastic(model, "width 0 : 4 8\\nwidth 1 : 2 4 8", torch.zeros(1, 4))
    >>> copies = grouped(net, 2)
    >>> [copies.index(values) for values in net.space.enumerate()]
    [0, 0, 0, 1, 1, 1]
    """
    count = net.space.count()
    if not 2 <= groups <= count:
        raise BadParameter(f"between 2 groups and one for each of the {count:,} configurations are possible, found {groups}.")
    if count > _MOST:
        raise BadParameter(f"the space has {count:,} configurations; at most {_MOST:,} are put into groups. Split it with `Regions`.")
    places = range(count) if seed is None else numbers_of(seed).permutation(count).tolist()
    group_of = {tuple(values.values()): place * groups // count for values, place in zip(net.space.enumerate(), places, strict=True)}

    def index(values: Mapping[str, Any]) -> int:
        return group_of[tuple(values.values())]

    return Copies(net, index, groups, shared)


def prefix(net: Elastic, until: str) -> list[str]:
    """Names of the tensors before a module, in the order of the model: what a prefix shares.

    Part of: grouped.

    Args:
        until: the first module that is not shared, `layers.2`.

    Raises:
        UnknownName: no tensor lies in it.
        BadParameter: it is the first one.
    """
    names = list(net.stored())
    first = next((i for i, name in enumerate(names) if name.startswith(f"{until}.")), None)
    if first is None:
        raise UnknownName(f"no tensor lies in {until!r}; there are: {listed(names)}.")
    if first == 0:
        raise BadParameter(f"{until!r} is the first module with a tensor; nothing would be shared.")
    return names[:first]
