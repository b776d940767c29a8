"""DCA and DCWA: several instances of every component, a random combination trained at each step, all of them averaged at the end.

Paper: Deep Combinatorial Aggregation (2022, https://arxiv.org/abs/2210.06436).
Original code: tum-vision/dca at commit 8319185, dca/dca.py and experiments/cifar10/train_dca.py.
We differ: draws are keyed by a seed and a count that is saved, so that a resumed run draws what it would have drawn; floating buffers of a component
are averaged as its parameters are, where the code takes those of the first instance; a component is named by a pattern, not by a type.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import BadParameter
from ..evidence.keyed import generator
from ..rules import Mean, combine
from ..weights import Weights, load, matches

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)


class DCA(nn.Module):
    """K instances of each of C components stand for K^C models that share them.

    Every call draws a combination, one instance of each component, and runs the model with it; training moves what was drawn. `predict` averages the
    outputs of combinations (DCA), `average` the weights of the instances (DCWA), which gives one model of the plain kind. The model is not
    rewritten: it is called with other tensors in its place. All instances begin as the model does.

    Args:
        model: becomes the first instance of every component, and holds what is in none, which all combinations share.
        instances: K, at least 2.
        components: patterns of module names. The outermost modules that fit are the components, each with all that is in it: "blocks.*" takes
            blocks whole, "*" the whole model. By default every linear and convolutional layer is one.
        seed: other seeds draw other combinations.

    Raises:
        BadParameter: fewer than two instances; no module fits; a tensor belongs to two components, or to one and to the rest.

    >>> dca = DCA(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), instances=2)
    >>> dca.names, dca(torch.randn(5, 4)).shape, dca.predict(torch.randn(5, 4)).shape
    (('0', '2'), torch.Size([5, 3]), torch.Size([5, 3]))
    >>> dca.average()
    Weights(DCWA of Sequential, 4 tensors, 67 parameters, float32)
    """

    def __init__(self, model: nn.Module, instances: int = 5, components: str | Sequence[str] | None = None, seed: int = 0) -> None:
        super().__init__()
        if instances < 2:
            raise BadParameter(f"DCA needs at least 2 instances of every component, found {instances}.")
        self.model = model
        self.names = _chosen(model, (components,) if isinstance(components, str) else components)
        self.others = nn.ModuleList(nn.ModuleList(copy.deepcopy(model.get_submodule(name)) for name in self.names) for _ in range(instances - 1))
        self.instances, self.seed, self.draws = instances, seed, 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the combination that is drawn for this call makes of the inputs."""
        return self.run(self.draw(), args, kwargs)

    def draw(self) -> tuple[int, ...]:
        """The next combination: which instance of each component."""
        self.draws += 1
        return self._drawn("train", self.draws)

    def run(self, combination: Sequence[int], args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> Any:
        """The output of this combination."""
        tensors = {f"{name}.{inner}".lstrip("."): t for name, k in zip(self.names, combination, strict=True) for inner, t in self._other(name, k)}
        return functional_call(self.model, tensors, args, dict(kwargs or {}))

    @torch.no_grad()
    def predict(self, *args: Any, combinations: int = 64, output: Callable[[Any], Tensor] = lambda logits: logits.softmax(-1)) -> Tensor:
        """DCA: the mean output over combinations; over all where there are no more than asked for, else over as many that are drawn.

        Args:
            args: of the model.
            combinations: at most how many.
            output: what of the model's output is averaged; probabilities by default.
        """
        total = torch.zeros(())
        drawn = self._combinations(combinations)
        for combination in drawn:
            total = total + output(self.run(combination, args)) / len(drawn)
        return total

    def average(self) -> Weights:
        """DCWA: the whole model with the mean over instances in every component. Integer buffers are those of the first instance."""
        first = load(self.model)
        held = dict(first)
        for name in self.names:
            sets = [Weights.of(floating) for floating in self._floating(name)]
            held |= dict(combine(sets, Mean())) if sets[0].names else {}
        return Weights.of({name: held[first.ties.get(name, name)] for name in held}, f"DCWA of {type(self.model).__name__}")

    def get_extra_state(self) -> Tensor:
        """How many combinations were drawn, in the state dict."""
        return torch.tensor(self.draws)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on drawing where the state was saved."""
        self.draws = int(state)

    def _drawn(self, *key: object) -> tuple[int, ...]:
        return tuple(torch.randint(self.instances, (len(self.names),), generator=generator(self.seed, *key)).tolist())

    def _combinations(self, most: int) -> list[tuple[int, ...]]:
        if self.instances ** len(self.names) <= most:
            return list(product(range(self.instances), repeat=len(self.names)))
        return [self._drawn("predict", i) for i in range(most)]

    def _other(self, name: str, k: int) -> Iterator[tuple[str, Tensor]]:
        """Tensors of an instance; of the first none, since the model holds them itself."""
        if k:
            module = self._instance(name, k)
            yield from module.named_parameters()
            yield from module.named_buffers()

    def _instance(self, name: str, k: int) -> nn.Module:
        return self.others[k - 1][self.names.index(name)] if k else self.model.get_submodule(name)  # type: ignore[index]

    def _floating(self, name: str) -> Iterator[dict[str, Tensor]]:
        for k in range(self.instances):
            state = self._instance(name, k).state_dict()
            yield {f"{name}.{inner}".lstrip("."): tensor for inner, tensor in state.items() if tensor.is_floating_point()}


def _chosen(model: nn.Module, patterns: Sequence[str] | None) -> tuple[str, ...]:
    fits: list[str] = []
    for name, module in model.named_modules():
        inside = any(not outer or name.startswith(f"{outer}.") for outer in fits)
        wanted = isinstance(module, _LAYERS) if patterns is None else any(matches(pattern, name) for pattern in patterns)
        if wanted and not inside and any(True for _ in module.parameters()):
            fits.append(name)
    if not fits:
        raise BadParameter(
            f"no module with parameters fits {patterns or 'linear or convolutional layers'}; modules: {[n for n, _ in model.named_modules()][:9]}."
        )
    _check_apart(model, fits)
    return tuple(fits)


def _check_apart(model: nn.Module, names: Sequence[str]) -> None:
    """A tensor with two names that lie in different components could be two tensors in one combination."""
    homes: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        home = next((outer for outer in names if not outer or name.startswith(f"{outer}.")), None)
        homes.setdefault(id(parameter), set()).add("what all share" if home is None else repr(home))
        if len(homes[id(parameter)]) > 1:
            raise BadParameter(f"tensor {name!r} is tied between {' and '.join(sorted(homes[id(parameter)]))}; put both ends into one component.")
