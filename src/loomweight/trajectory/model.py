"""What of a model is averaged, by name: trainable parameters, each once, and the floating buffers that are saved with it."""

from collections.abc import Container, Iterator, Mapping

from torch import Tensor, nn

from ..errors import BadParameter, NamesDiffer, ShapesDiffer
from ..weights.spec import Spec


def bare(model: nn.Module) -> nn.Module:
    """The model itself, out of the wrappers of DistributedDataParallel and torch.compile.

    >>> bare(nn.Linear(1, 1))
    Linear(in_features=1, out_features=1, bias=True)
    """
    inner = getattr(model, "_orig_mod", None) or (model.module if isinstance(model, nn.parallel.DistributedDataParallel) else None)
    return bare(inner) if isinstance(inner, nn.Module) else model


def averaged(model: nn.Module, held: Container[str] = ()) -> dict[str, Tensor]:
    """name -> parameter or buffer. A frozen parameter is left out, and never copied, unless it is in `held`: it was trained before.

    Raises:
        BadParameter: a trainable parameter is complex.
    """
    found: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.is_complex() and parameter.requires_grad:
            raise BadParameter(f"parameter {name!r} is complex; averages are taken over real numbers: hold it as two real parameters.")
        if (parameter.requires_grad or name in held) and Spec(tuple(parameter.shape), parameter.dtype).averages:
            found[name] = parameter
    found.update((name, buffer) for name, buffer in _saved_buffers(model) if Spec(tuple(buffer.shape), buffer.dtype).averages)
    return found


def _saved_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for prefix, module in model.named_modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and name not in module._non_persistent_buffers_set:
                yield f"{prefix}.{name}" if prefix else name, buffer


def followed(model: nn.Module, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is averaged now, after the model may have changed: names may have come, or have become a second name of another tensor.

    Raises:
        NamesDiffer: a tensor of the average is no longer in the model at all.
        ShapesDiffer: a tensor has another shape now.
    """
    found = averaged(model, held)
    gone = [name for name in held if name not in found]
    if gone:
        names = set(model.state_dict(keep_vars=True))
        if lost := [name for name in gone if name not in names]:
            raise NamesDiffer(f"the model no longer has {', '.join(map(repr, lost[:3]))}, which the average holds; drop what is gone with forget(name).")
    for name, total in held.items():
        if name in found and found[name].shape != total.shape:
            raise ShapesDiffer(f"tensor {name!r} has shape {tuple(found[name].shape)} now, in the average {tuple(total.shape)}; forget(name) begins anew.")
    return found


def local(tensor: Tensor) -> Tensor:
    """The entries that this process holds: of a sharded tensor (FSDP2) its shard, which is averaged in place; all of any other.

    >>> local(nn.Parameter(torch.ones(1)))
    tensor([1.])
    """
    shard = getattr(tensor, "_local_tensor", None)
    return (tensor if shard is None else shard).detach()
