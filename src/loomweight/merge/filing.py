"""How Transformers files a model's tensors: under other names than its modules have, in other pieces.

`save_pretrained` writes the form that checkpoints of the family have always had (ViT's `encoder.layer.0.attention.attention.query`, a
tensor for each expert of Mixtral), while modules hold another one (`layers.0.attention.q_proj`, all experts in one tensor). What it does
is not written down here: numbers in the place of weights are sent through it, and where they come out is what it does.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..errors import BadParameter, ShapesDiffer
from ..weights import Block, Spec, Weights
from ..weights.names import layer_of

_KNOWN: "WeakKeyDictionary[nn.Module, Filing | None]" = WeakKeyDictionary()
#: how many layers, and tensors put together, are held at once
_HELD = 2
#: tensors -> tensors, as they are stored
Store = Callable[[dict[str, Tensor]], Mapping[str, Tensor]]


@dataclass(frozen=True, eq=False)
class Filing:
    """Where the entries of a model's tensors are stored.

    Args:
        shapes: of the modules' tensors, in their order.
        store: what is done when the model is saved.
    """

    shapes: Mapping[str, tuple[int, ...]]
    store: Store

    @cached_property
    def files(self) -> Mapping[str, tuple[str, ...]]:
        """Stored tensor -> the modules' tensors that its entries are of."""
        return {file: tuple(self._owners(group, ids)) for group in self._groups for file, ids in self._numbers(group).items()}

    @cached_property
    def modules(self) -> Mapping[str, tuple[str, ...]]:
        """A module's tensor -> the stored tensors that hold its entries."""
        found: dict[str, list[str]] = {}
        for file, names in self.files.items():
            for name in names:
                found.setdefault(name, []).append(file)
        return {name: tuple(found[name]) for name in self.shapes if name in found}

    @cached_property
    def renamed(self) -> Mapping[str, str]:
        """Stored tensor -> the module's tensor that it is, all of it and in the same order."""
        found = {}
        for group in self._groups:
            for file, ids in self._numbers(group).items():
                (name, *others) = self.files[file]
                if not others and ids.shape == self.shapes[name] and torch.equal(ids.flatten(), self._range(group, name)):
                    found[file] = name
        return found

    def inward(self, weights: Weights) -> Weights:
        """A stored set under the modules' names, lazily. What the model does not know of keeps its name; what is stored in part is left out.

        Raises:
            ShapesDiffer: a tensor that has to be put together has another shape than the model says.
        """
        if all(name in self.shapes for name in weights.names):
            return weights
        plain = {name: file for file, name in self.renamed.items() if file in weights}
        made = [name for name, files in self.modules.items() if name not in plain and all(file in weights for file in files)]
        spec = {name: weights.spec[plain[name]] if name in plain else self._spec(weights, name) for name in self.shapes if name in plain or name in made}
        spec |= {name: weights.spec[name] for name in weights.names if name not in self.files}

        @lru_cache(maxsize=_HELD)  # what is stored in many pieces is asked for as often
        def whole(name: str) -> Tensor:
            return self._module(name, weights, spec[name].work)

        def open_(name: str) -> Block:
            return _block(whole(name)) if name in made else weights.open(plain.get(name, name))

        ties = {self.renamed.get(a, a): self.renamed.get(o, o) for a, o in weights.ties.items()}
        return _as(weights, spec, open_, {alias: owner for alias, owner in ties.items() if alias in spec and owner in spec}, "under the modules' names")

    def outward(self, weights: Weights, like: Weights) -> Weights:
        """A set under the modules' names as it is stored, lazily; dtypes as in `like` where that holds a tensor of the name."""
        files = {file for file, names in self.files.items() if all(name in weights for name in names)}
        order = [*(name for name in like.names if name in files), *(name for name in self.files if name in files and name not in like)]
        spec = {}
        for file in order:
            dtype = like.spec[file].dtype if file in like else weights.spec[self.files[file][0]].dtype
            shape = weights.spec[self.renamed[file]].shape if file in self.renamed else tuple(self._numbers(self._group(file))[file].shape)
            spec[file] = Spec(shape, dtype)
        spec |= {name: weights.spec[name] for name in weights.names if name not in self.modules}

        def open_(file: str) -> Block:
            name = self.renamed.get(file, file if file not in self.files else None)
            return weights.open(name) if name else _block(self._file(file, weights, spec[file].work))

        back = {name: file for file, name in self.renamed.items()}
        ties = {back.get(a, a): back.get(o, o) for a, o in weights.ties.items()}
        return _as(weights, spec, open_, {alias: owner for alias, owner in ties.items() if alias in spec and owner in spec}, "as it is stored")

    def dropping(self, drops: Callable[[str], bool]) -> Callable[[str], bool]:
        """Which of the modules' tensors are left out where `drops` says which of the stored ones are."""
        return lambda name: drops(name) or any(drops(file) for file in self.modules.get(name, ()))

    @cached_property
    def _groups(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layer_of(name) for name in self.shapes))

    def _group(self, file: str) -> str:
        return layer_of(self.files[file][0])

    def _members(self, group: str) -> dict[str, int]:
        """The tensors of a layer, and the number of the first entry of each."""
        found, begin = {}, 0
        for name in (name for name in self.shapes if layer_of(name) == group):
            found[name], begin = begin, begin + prod(self.shapes[name])
        return found

    def _range(self, group: str, name: str) -> Tensor:
        begin = self._members(group)[name]
        return torch.arange(begin, begin + prod(self.shapes[name]))

    def _numbers(self, group: str) -> Mapping[str, Tensor]:
        """Stored tensor -> the number of each of its entries, in a layer."""
        return self._layers(group)

    @cached_property
    def _layers(self) -> Callable[[str], Mapping[str, Tensor]]:
        """The numbers of a layer; those of the last few are held."""
        return lru_cache(maxsize=_HELD)(lambda group: self.store({name: self._range(group, name).reshape(self.shapes[name]) for name in self._members(group)}))

    def _owners(self, group: str, ids: Tensor) -> list[str]:
        members = {name: begin for name, begin in self._members(group).items() if prod(self.shapes[name])}
        ends = torch.tensor([begin + prod(self.shapes[name]) for name, begin in members.items()])
        return [list(members)[at] for at in torch.bucketize(ids.flatten(), ends, right=True).unique().tolist()]

    def _spec(self, weights: Weights, name: str) -> Spec:
        numbers = self._numbers(layer_of(name))
        for file in self.modules[name]:
            if weights.spec[file].shape != tuple(numbers[file].shape):
                raise ShapesDiffer(f"tensor {file!r} has shape {weights.spec[file].shape}, but the model says {tuple(numbers[file].shape)}.")
        return Spec(self.shapes[name], weights.spec[self.modules[name][0]].dtype)

    def _module(self, name: str, weights: Weights, dtype: torch.dtype) -> Tensor:
        numbers, begin = self._numbers(layer_of(name)), self._members(layer_of(name))[name]
        flat = torch.empty(prod(self.shapes[name]), dtype=dtype)
        for file in self.modules[name]:
            at = numbers[file].flatten() - begin
            mine = (at >= 0) & (at < len(flat))
            flat[at[mine]] = weights.open(file)(0, len(at)).to(dtype)[mine]
        return flat

    def _file(self, file: str, weights: Weights, dtype: torch.dtype) -> Tensor:
        group = self._group(file)
        numbers, begins = self._numbers(group)[file].flatten(), self._members(group)
        flat = torch.empty(len(numbers), dtype=dtype)
        for name in self.files[file]:
            at = numbers - begins[name]
            mine = (at >= 0) & (at < prod(self.shapes[name]))
            lo, hi = int(at[mine].min()), int(at[mine].max()) + 1
            flat[mine] = weights.open(name)(lo, hi).to(dtype)[at[mine] - lo]
        return flat


def filing(model: nn.Module) -> Filing | None:
    """How a model of Transformers is stored, or None where it is stored as it is (or is no such model).

    Raises:
        BadParameter: what is stored are not the entries of the model's tensors, each once.

    >>> filing(nn.Linear(1, 1)) is None
    True
    """
    if model not in _KNOWN:
        _KNOWN[model] = _found(model)
    return _KNOWN[model]


def in_modules(model: nn.Module, weights: Weights) -> Weights:
    """A set under the names of a model's modules, whether it is stored under them or not."""
    found = filing(model)
    return found.inward(weights) if found else weights


def _found(model: Any) -> Filing | None:
    library: Any = sys.modules.get("transformers")
    if library is None or not isinstance(model, library.PreTrainedModel):
        return None
    try:
        from transformers.core_model_loading import revert_weight_conversion as revert  # pyright: ignore[reportMissingImports]
    except ImportError:  # before Transformers 5 modules are stored as they are
        return None
    state = {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}
    empty = {name: torch.empty(tensor.shape, device="meta") for name, tensor in state.items()}
    if {name: tensor.shape for name, tensor in revert(model, empty).items()} == {name: tensor.shape for name, tensor in empty.items()}:
        return None

    def store(tensors: dict[str, Tensor]) -> Mapping[str, Tensor]:
        made = revert(model, tensors)
        found = torch.cat([tensor.flatten() for tensor in made.values()]).sort().values
        if not torch.equal(found, torch.arange(sum(tensor.numel() for tensor in tensors.values()))):
            raise BadParameter(
                f"{type(model).__name__} is not stored entry by entry (at {next(iter(tensors))!r}); give a table in the names of the checkpoint."
            )
        return made

    return Filing({name: tuple(tensor.shape) for name, tensor in state.items()}, store)


def _block(flat: Tensor) -> Block:
    return lambda lo, hi: flat[lo:hi]


def _as(weights: Weights, spec: Mapping[str, Spec], open_: Callable[[str], Block], ties: Mapping[str, str], words: str) -> Weights:
    return Weights(dict(spec), open_, ties=dict(ties), origin=(words, weights), label=weights.label, sources=weights.sources)
