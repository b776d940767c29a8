"""Bring images to a resolution."""

from typing import Any

from torch import Tensor, nn

from ..errors import BadParameter


def resized(args: tuple[Any, ...], kwargs: dict[str, Any], size: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The first input, if it is not of this height and width yet, resized (bilinear, smoothed when it shrinks).

    Raises:
        BadParameter: the first input is no batch of images.
    """
    first = args[0] if args else next(iter(kwargs.values()), None)
    if not isinstance(first, Tensor) or first.ndim != 4:
        raise BadParameter("a resolution is of images, (n, channels, height, width); the first input is something else.")
    if tuple(first.shape[2:]) == (size, size):
        return args, kwargs
    made = nn.functional.interpolate(first, size=(size, size), mode="bilinear", antialias=True)
    return ((made, *args[1:]), kwargs) if args else ((), {**kwargs, next(iter(kwargs)): made})
