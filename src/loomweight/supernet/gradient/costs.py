"""What each option of each field costs."""

from torch import nn

from ...errors import BadParameter
from ..elastic import Elastic
from .effects import Edges, Operators
from .relaxed import Relaxed


def costs_of(mixed: Relaxed, what: str = "params") -> dict[str, list[float]]:
    """Field -> the cost of each option, above that of the cheapest.

    Of an elastic model that of the subnet that is largest in all other fields; of a plain module the parameters of each candidate or edge.

    Args:
        mixed: the relaxed model.
        what: an attribute of `Cost`: params, flops, nbytes or latency_ms; of a plain module only params.

    Raises:
        BadParameter: there is no such cost.

    >>> from loomweight.supernet import Choice, relaxed
    >>> costs_of(relaxed(Choice({"skip": nn.Identity(), "times": nn.Linear(2, 2)})))
    {'model': [0.0, 6.0]}
    """
    if isinstance(mixed.model, Elastic):
        if what not in ("params", "flops", "nbytes", "latency_ms"):
            raise BadParameter(f"a cost is one of params, flops, nbytes, latency_ms; found {what!r}.")
        base = mixed.model.max() | mixed._found.base
        found = {name: [float(getattr(mixed.model.cost({**base, name: option}), what)) for option in field.options] for name, field in mixed.fields.items()}
    else:
        if what != "params":
            raise BadParameter(f"of a module that is not elastic only params are counted, found {what!r}; give the costs yourself.")
        found = {one.field: [float(_size(module)) for module in _modules(one)] for one in mixed._found.effects if isinstance(one, Operators | Edges)}
    return {name: [cost - min(several) for cost in several] for name, several in found.items()}


def _modules(effect: Operators | Edges) -> list[nn.Module]:
    return list(effect.join.edges) if isinstance(effect, Edges) else [effect.choice._modules[name] or nn.Identity() for name in effect.options]


def _size(module: nn.Module) -> int:
    return sum(tensor.numel() for tensor in module.parameters())
