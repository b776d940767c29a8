"""A model in which all options of its choices are mixed, by coefficients that are learned by gradient.

Paper: Weight-Entanglement Meets Gradient-Based Neural Architecture Search (2023, https://arxiv.org/abs/2312.10440), equations 3 to 5.

As there, every tensor that a size cuts is superposed by itself: rows of the layer that makes the units, the norm behind it, columns of the
layer that takes them. A unit that is half there is so scaled at each of them. With one coefficient 1 and the others 0 the relaxed model is
the subnet; LayerNorm and RMSNorm therefore count the units that are there, where the authors' code averages over all. Other numbers that
repeat a size (the scale of attention, a norm of the model's own) stay those of the whole, as in the authors' code: `disagreement` measures it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import BadParameter, unknown
from ...weights.axes.find import arguments
from ..elastic import Elastic, Values
from ..join import word_of
from .agreement import disagreement, mix_depths
from .coefficients import Coefficients, Field
from .effects import Entry, put
from .found import Found, in_elastic, in_plain
from .softmax import Softmax
from .state import copy_into, group, grouped
from .superposed import Factors


class Relaxed(nn.Module):
    """A model with a coefficient for each option of each field; made by `relaxed`.

    Calling it draws coefficients and runs once. The model that it was made of stays as it is between calls, so a forward pass that is
    repeated later, as activation checkpointing does, would be the model's own: switch checkpointing off.

    Attributes:
        alphas: field -> architecture parameters, (options,), 0 at first: all alike.
        weights: name -> parameter of the model.
        done: the share of the search that is done, from 0 to 1, which temperatures follow.
        masks: field -> factors of its coefficients; an option with 0 is out.
        held: field -> coefficients that stand instead of those of its alphas.
    """

    def __init__(self, model: nn.Module, found: Found, coefficients: Coefficients | Mapping[str, Coefficients], seed: int) -> None:
        super().__init__()
        self.model, self.space = model, found.space
        self.fields = found.fields
        device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
        self.parameters_of_fields = nn.ParameterList([torch.zeros(len(field.options), device=device) for field in found.fields.values()])
        self._found = found
        self.coefficients = _for_each(coefficients, found.fields)
        self.random = torch.Generator().manual_seed(seed)
        self.done = 0.0
        self.masks: dict[str, Tensor] = {}
        self.held: dict[str, Tensor] = {}

    @property
    def alphas(self) -> dict[str, nn.Parameter]:
        """Field -> architecture parameters."""
        return dict(zip(self.fields, self.parameters_of_fields, strict=True))

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """Name -> parameter of the model that is trained, whole tensors."""
        return {name: tensor for name, tensor in self.model.named_parameters() if tensor.requires_grad}

    def draw(self) -> dict[str, Tensor]:
        """Field -> coefficients for one forward pass; without chance when not in training mode."""
        return {name: self._drawn(field, alpha) for (name, field), alpha in zip(self.fields.items(), self.parameters_of_fields, strict=True)}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's output under freshly drawn coefficients."""
        return self._run(args, kwargs, None, self.draw())

    def run(self, inputs: Any, weights: Mapping[str, Tensor] | None = None, coefficients: Mapping[str, Tensor] | None = None) -> Any:
        """The model's output with other weights, or with given coefficients.

        Args:
            inputs: a tensor, a tuple of inputs, or a dict of keyword arguments.
            weights: name -> tensor that stands for the parameter; gradients reach it.
            coefficients: field -> (options,); drawn if not given.
        """
        args, kwargs = arguments(inputs, None)
        return self._run(args, kwargs, weights, self.draw() if coefficients is None else coefficients)

    def penalty(self) -> Tensor:
        """What the architecture's loss has beside the model's, over all fields."""
        found = [self.coefficients[name].penalty(alpha) for name, alpha in self.alphas.items()]
        return torch.stack(found).sum()

    def values(self) -> Values:
        """The configuration of the largest coefficients, alphas without chance."""
        with torch.no_grad():
            best = {name: self._best(field, self._mean(field, alpha)) for (name, field), alpha in zip(self.fields.items(), self.alphas.values(), strict=True)}
        return self.space.canonical({**self._found.base, **best})

    def select(self, values: Mapping[str, Any]) -> nn.Module:
        """Choose a configuration in the model that was relaxed, which is returned."""
        self._found.select(self.space.canonical(values))
        return self.model

    def state_dict(self) -> dict[str, Tensor]:  # type: ignore[override]
        """Weights, alphas, masks, what is held, random numbers, and how much is done: named tensors from which a search goes on exactly."""
        generator = self.random
        chance = {"generator": generator.get_state(), "done": torch.tensor(self.done, dtype=torch.float64)}
        return grouped(weights=self.model.state_dict(), alphas=self.alphas, masks=self.masks, held=self.held, chance=chance)

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:  # type: ignore[override]
        """Go on from a state of a model that was relaxed in the same way.

        Raises:
            NamesDiffer, ShapesDiffer: the state is of another model or of other fields.
        """
        copy_into(self.alphas, group(state_dict, "alphas"), "alphas")
        chance = group(state_dict, "chance")
        generator, device = self.random, self.parameters_of_fields[0].device
        self.model.load_state_dict(group(state_dict, "weights"))
        self.masks = {name: tensor.to(device) for name, tensor in group(state_dict, "masks").items()}
        self.held = {name: tensor.to(device) for name, tensor in group(state_dict, "held").items()}
        generator.set_state(chance["generator"])
        self.done = float(chance["done"])

    def disagreement(self, inputs: Any) -> dict[str, float]:
        """How far the relaxed model with one option is from the subnet, field by field: the largest difference, relative to the largest output.

        Both run without gradients, in evaluation mode and by the batch's own statistics where the model has BatchNorm.

        Raises:
            BadParameter: the model is no elastic one, so that there is no subnet to compare with.
        """
        return disagreement(self, inputs, tuple(self.fields))

    def _drawn(self, field: Field, alpha: Tensor) -> Tensor:
        if field.name in self.held:
            return self.held[field.name]
        made = self.coefficients[field.name].draw(alpha, field, self.random, self.done) if self.training else self._mean(field, alpha)
        return made * self.masks[field.name] if self.training and field.name in self.masks else made

    def _mean(self, field: Field, alpha: Tensor) -> Tensor:
        if field.name in self.held:
            return self.held[field.name]
        made = self.coefficients[field.name].mean(alpha, field)
        return made * self.masks[field.name] if field.name in self.masks else made

    def _best(self, field: Field, coefficients: Tensor) -> Any:
        order = coefficients.topk(field.count).indices.sort().values.tolist()
        return word_of(order) if field.subset else field.options[order[0]]

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any], weights: Mapping[str, Tensor] | None, coefficients: Mapping[str, Tensor]) -> Any:
        with self._found.standing(), put(self._entries({} if weights is None else weights, coefficients)):
            return self._found.run(*args, **kwargs)

    def _entries(self, weights: Mapping[str, Tensor], coefficients: Mapping[str, Tensor]) -> Iterator[Entry]:
        known: Factors = {}
        for name, weight in self._found.weights.items():
            if weight.superposed is not None or name in weights:
                yield from weight.entries(weights.get(name, self._found.whole[name]), coefficients, known)
        for effect in self._found.effects:
            yield from effect.entries(coefficients)


def relaxed(
    model: nn.Module, coefficients: Coefficients | Mapping[str, Coefficients] | None = None, *, fixed: Mapping[str, Any] | None = None, seed: int = 0
) -> Relaxed:
    """Mix all options of a model's choices, so that gradients say which is best.

    Of an elastic model sizes (widths, heads, kernels) become one superposed weight each, so that one forward pass serves all options;
    depths mix what the blocks give; operators are run and summed up; bits mix rounded weights. Of any other module its `Choice`s and `Join`s are relaxed.

    Args:
        model: an `Elastic`, or a module that has a `Choice` or a `Join`.
        coefficients: how alphas become coefficients, for all fields or field by field; None is `Softmax()`.
        fixed: of an elastic model: fields that are not relaxed, and their values. Strides and resolutions have to be.
        seed: of the random numbers, which are its own.

    Returns:
        The relaxed model. Train its `weights` by `SubnetOptimizer(net, ...)` where the model is elastic, its `alphas` by any optimizer.

    Raises:
        BadParameter: there is nothing to relax, or a field cannot be: blocks that are added up outside the list, for instance, have no depth to mix.

    >>> from loomweight.supernet import elastic
    >>> net = elastic(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), "width 0 : 2 8", torch.zeros(1, 4))
    >>> mixed = relaxed(net)
    >>> mixed(torch.zeros(1, 4)).shape, mixed.values()
    (torch.Size([1, 2]), {'width 0': 2})
    """
    if isinstance(model, Elastic):
        found = in_elastic(model, fixed or {})
    elif fixed:
        raise BadParameter(f"`fixed` is of elastic models; leave it out, or set what {', '.join(fixed)} shall be in the model.")
    else:
        found = in_plain(model)
    mixed = Relaxed(model, found, Softmax() if coefficients is None else coefficients, seed)
    if isinstance(model, Elastic):
        mix_depths(mixed, model)
    return mixed


def _for_each(coefficients: Coefficients | Mapping[str, Coefficients], fields: Mapping[str, Field]) -> dict[str, Coefficients]:
    if isinstance(coefficients, Coefficients):
        return dict.fromkeys(fields, coefficients)
    for name in coefficients:
        if name not in fields:
            raise unknown("relaxed field", name, fields)
    if missing := [name for name in fields if name not in coefficients]:
        raise BadParameter(f"no coefficients are given for {missing[0]!r}; give one way for all fields, or one for each.")
    return dict(coefficients)
