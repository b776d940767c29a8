"""What is worked out once for several tensors: a threshold of a layer, a norm of a model."""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Literal, TypeVar

from ..weights import Weights, layer_of, model_of, tensor_of

T = TypeVar("T")
Grain = Literal["tensor", "layer", "model"]
GRAINS = ("tensor", "layer", "model")
_GROUP = {"tensor": tensor_of, "layer": layer_of, "model": model_of}


def grouped(weights: Weights, grain: Grain, make: Callable[[Sequence[str]], T]) -> Callable[[str], T]:
    """name -> what `make` gives for the names of its group, sorted: for the whole model now, for smaller groups when first asked.

    The model's is made here and not in a worker, where it would have one thread alone.
    """
    of = _GROUP[grain]
    groups: dict[str, list[str]] = {}
    for name in sorted(weights.physical):
        groups.setdefault(of(name), []).append(name)
    locks = {key: Lock() for key in groups}
    made: dict[str, T] = {of(""): make(groups[of("")])} if grain == "model" and groups else {}

    def find(name: str) -> T:
        key = of(name)
        with locks[key]:
            if key not in made:
                made[key] = make(groups[key])
        return made[key]

    return find
