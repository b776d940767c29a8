"""How far a relaxed model with one option is from the subnet that it stands for."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ...errors import BadParameter
from ...weights.axes.find import arguments
from ..elastic import Elastic
from .effects import Depth

if TYPE_CHECKING:
    from .relaxed import Relaxed


@torch.no_grad()
def disagreement(mixed: "Relaxed", inputs: Any, names: Iterable[str]) -> dict[str, float]:
    """`Relaxed.disagreement`, of some fields."""
    net = mixed.model
    if not isinstance(net, Elastic):
        raise BadParameter("only an elastic model has subnets to compare with; this one is a plain module, whose options are modules of their own.")
    args, kwargs = arguments(inputs, None)
    whole = {name: _one(field.options, (net.max() | mixed._found.base)[name], mixed.alphas[name]) for name, field in mixed.fields.items()}
    found: dict[str, float] = {}
    with _by_batch(net.model):
        for name in names:
            field = mixed.fields[name]
            for option in field.options:
                values = net.space.canonical({**mixed._found.base, name: option})
                with net.selected(values):
                    wanted = _tensors(net._run(*args, **kwargs))
                seen = _tensors(mixed.run(inputs, coefficients={**whole, name: _one(field.options, option, mixed.alphas[name])}))
                difference = max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)) for a, b in zip(seen, wanted, strict=True))
                found[name] = max(found.get(name, 0.0), difference)
    return found


def mix_depths(mixed: "Relaxed", net: Elastic) -> None:
    """Refuse depths whose blocks do not hand on the whole stream, so that a sum of what they give is no network of that depth."""
    names = [effect.field for effect in mixed._found.effects if isinstance(effect, Depth)]
    args, kwargs = net._prepared()
    for name, difference in disagreement(mixed, kwargs or args, names).items():
        if difference > 1e-3:
            raise BadParameter(
                f"{name!r} cannot be relaxed: the model of one depth differs by {difference:.2g} from what that many blocks give, "
                "so something is added or read outside the blocks; give it a value in `fixed`."
            )


def _one(options: tuple[Any, ...], option: Any, like: Tensor) -> Tensor:
    return torch.eye(len(options), dtype=like.dtype, device=like.device)[options.index(option)]


def _tensors(output: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


@contextmanager
def _by_batch(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, but norms over the batch use the batch alone and remember nothing."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    modes = [(module, module.training) for module in model.modules()]
    entries = [(module, dict(module._buffers)) for module in norms]
    try:
        for module, _ in modes:
            module.training = False
        for module in norms:
            module._buffers.update({"running_mean": None, "running_var": None, "num_batches_tracked": None})
        yield
    finally:
        for module, training in modes:
            module.training = training
        for module, buffers in entries:
            module._buffers.update(buffers)
