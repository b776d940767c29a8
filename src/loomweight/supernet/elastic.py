"""`elastic(model, space, example_inputs)`: a model that holds all its subnets, and is one of them at a time."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ..derive import fold
from ..errors import BadParameter, NamesDiffer, ShapesDiffer
from ..weights.axes import Axes
from ..weights.axes import axes as traced_axes
from ..weights.axes.find import arguments
from ..weights.names import listed
from .attention import tightened
from .choice import replaced, summed
from .compile import Compiled, compiled
from .config import told
from .cost import Cost, flops_of, latency_of, size_of_used
from .guard import NOT_DDP, guard, refuse_inside_ddp
from .order import Importance, ordered
from .reached import reached
from .resize import resized
from .settle import settle
from .slots import Originals, Slot, by_field
from .space_table import SpaceTable
from .statistics import Batches, Statistics
from .stored import Stored
from .untouched import untouched

Values = dict[str, Any]


def elastic(
    model: nn.Module,
    space: SpaceTable | str | Path | Mapping[str, Any],
    example_inputs: Any,
    *,
    outputs: Callable[[Any], Any] | None = None,
    axes: Axes | None = None,
    order: Importance | None = None,
) -> "Elastic":
    """Make a model elastic: what the space names may vary, and one set of weights serves every choice.

    The model is not rewritten: it is traced on the example to see which axes of which tensors carry the same units, and its modules
    then use views of its own tensors. At the largest choice it is the plain model, with its own parameters (where `stride` offers
    a smaller stride than the model has, the largest choice has that one).

    Args:
        model: any module; from now on it belongs to the elastic model.
        space: a table, a line for each thing that may vary, as text, as a file or as plain data: `SpaceTable.of`.
        example_inputs: a tensor, a tuple of inputs, or a dict of keyword arguments: what the model takes.
        outputs: what of the model's output counts, `lambda out: out.logits`; units that the rest of it shows could not vary.
        axes: a table of axes written by hand, instead of tracing.
        order: how important units are (`magnitude`, or a function like it): those that vary are put in this order once, the most
            important first, which leaves the model's function as it is; else subnets use units in the order that they have.

    Returns:
        The elastic model, its largest subnet chosen.

    Raises:
        UnknownName: a line names no kind, no layer.
        BadParameter: values do not fit a layer, units may not vary, or the smallest subnet does not run on the example.

    >>> net = elastic(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), "width 0 : 2 4 8", torch.zeros(1, 4))
    >>> net.space.count(), net.min(), net.cost(net.min()).params
    (3, {'width 0': 2}, 16)
    >>> net.select({"width 0": 2})(torch.zeros(1, 4)).shape
    torch.Size([1, 2])
    """
    args, kwargs = arguments(example_inputs, None)
    table = SpaceTable.of(space)
    with untouched(model):
        with summed(model):
            found = axes if axes is not None else reached(traced_axes(model, args, kwargs, outputs=outputs))
        net = Elastic(model, table, compiled(model, table, found), (args, kwargs))
        settle(net, outputs)
        if order is not None:
            with net.entire(), net._evaluating(), torch.no_grad():
                ordered(net.state_dict(), found, net._made.spaces, order, lambda: (outputs or (lambda made: made))(model(*args, **kwargs)))
    return net


class Elastic(nn.Module):
    """A model with a choice; made by `elastic`.

    `parameters()` and `state_dict()` are those of the whole model whatever is chosen, by its own names. Train it with
    `SubnetOptimizer`, which steps on what the chosen subnets used and on nothing else.
    """

    def __init__(self, model: nn.Module, table: SpaceTable, made: Compiled, example: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
        super().__init__()
        self.model = model
        self.table, self.space = table, made.space
        self._made, self._example = made, example
        self._resolution = made.resolution
        self._originals = Originals()
        self.beside = nn.Module()
        self._follows: dict[str, Callable[[Values], Any]] = {}
        self._values = self._full = self.max()
        self._key: Any = None
        self._whole = tuple(self._values.values())
        self._costs: dict[Any, tuple[int, int, int]] = {}
        self._versioned = list({id(one.tensor): one.tensor for one in made.stored.values()}.values())
        self._statistics = Statistics(model, lambda: sum(tensor._version for tensor in self._versioned))
        self._wanted: list[bool] = []
        self._places = self._pointers()
        self.notes: tuple[str, ...] = ()
        self.difference = 0.0
        self._place(made.slots)
        guard([one.tensor for one in made.stored.values() if isinstance(one.tensor, nn.Parameter)])

    @property
    def active(self) -> Values:
        """The chosen configuration."""
        return dict(self._values)

    def max(self) -> Values:
        """The last option of every field: the model as it was given, except where `stride` offers a smaller stride than the model has."""
        return {name: dimension.options[-1] for name, dimension in self.space.dimensions.items()}  # type: ignore[attr-defined]

    def min(self) -> Values:
        """The smallest configuration."""
        return self.space.canonical({name: dimension.options[0] for name, dimension in self.space.dimensions.items()})  # type: ignore[attr-defined]

    def sample(self, seed: Any) -> Values:
        """A random configuration, every field drawn by itself; a generator moves on, a number draws the same again."""
        return self.space.sample(seed)

    def select(self, values: Mapping[str, Any]) -> Self:
        """Choose a subnet; forward, backward and evaluation are its own from now on.

        Raises:
            UnknownName, BadParameter: not a configuration of the space; the message names the field and what it may be.
        """
        self._put(self.space.canonical(values))
        return self

    @contextmanager
    def selected(self, values: Mapping[str, Any]) -> Iterator[Self]:
        """Choose a subnet for a while."""
        before = self._values
        self.select(values)
        self._look_again()
        try:
            yield self
        finally:
            self._put(before)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The chosen subnet's output.

        Raises:
            BadParameter: DistributedDataParallel runs a model that holds this one.
        """
        refuse_inside_ddp()
        self._look_again()
        if self._resolution:
            args, kwargs = resized(args, kwargs, self._values[self._resolution])
        whole = self._key in (None, self._whole)
        if not self.training:
            self._statistics.put(self._key, whole=whole, run=self._run)
        elif not whole:
            self._statistics.mix()
        return self.model(*args, **kwargs)

    def calibrate(self, batches: Batches, count: int | None = None) -> Self:
        """Give the batches from which BatchNorm statistics are computed when a subnet is first evaluated, and again when weights changed.

        Args:
            batches: inputs, or (inputs, labels), a loader or a function that returns one; they are kept.
            count: how many of them; None for all.
        """
        self._statistics.calibrate(batches, count)
        return self

    def export(self, values: Mapping[str, Any], *, tolerance: float = 1e-5) -> nn.Module:
        """A plain module of one subnet: own memory, exactly its bytes, no trace of the supernet, which stays as it is.

        It is compared with the chosen subnet on the example inputs; `difference` of this model then says the largest difference.

        Args:
            values: the configuration.
            tolerance: of the largest difference, relative to the largest output.

        Raises:
            BadParameter: the exported module computes something else.
        """
        from .export import differs

        with self.selected(values), self._evaluating():
            self._statistics.put(self._key, whole=self._key == self._whole, run=self._run)
            plain = self._folded().train(self.training)
            self.difference = differs(self._run, plain, self._prepared())
        if not self.difference <= tolerance:
            raise BadParameter(f"the exported module differs from the subnet by {self.difference:.3g} of the largest output; this should not be.")
        first, self.notes = not self.notes, tuple(told(plain, self._made, self.space.canonical(values))) or self.notes
        if first and self.notes:
            warnings.warn(
                f"the config of the exported model cannot say that {'; '.join(self.notes)}: `from_pretrained` would build another model. Keep the module, "
                "or tie the layers (`tied` behind the values). This is said once; `notes` of the elastic model says it of the last such export.",
                stacklevel=2,
            )
        return plain

    def cost(self, values: Mapping[str, Any] | None = None) -> Cost:
        """Parameters, operations, bytes and, when asked for, latency of a subnet (None: the chosen one) on the example inputs."""
        chosen = self.space.canonical(self._values if values is None else values)
        key = tuple(chosen.values())
        if key not in self._costs:
            with self.selected(chosen), self._evaluating():
                args, kwargs = self._prepared()
                flops = flops_of(self.model, args, kwargs)
                params, nbytes = size_of_used(self.model)
                self._costs[key] = params, flops, nbytes
        return Cost(*self._costs[key], measure=lambda: self._latency(chosen))

    def __getattr__(self, name: str) -> Any:
        if name == "_ddp_params_and_buffers_to_ignore":
            raise BadParameter(NOT_DDP)
        return super().__getattr__(name)

    def stored(self) -> dict[str, Stored]:
        """Every tensor of the whole model by its name."""
        return self._made.stored

    def concerned(self, field: str) -> list[Stored]:
        """The stored tensors of the modules that a field concerns: the layer that makes its units and those that take them, its blocks, its candidates."""
        homes = self._made.homes[field]
        found = {id(one): one for name, one in self._made.stored.items() if any(name.startswith(f"{home}.") or not home for home in homes)}
        return list(found.values())

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator[tuple[str, nn.Parameter]]:
        """Parameters of the whole model, whatever is chosen."""
        seen: set[int] = set()
        for name, one in self._made.stored.items():
            if isinstance(one.tensor, nn.Parameter) and not (remove_duplicate and id(one) in seen):
                seen.add(id(one))
                yield (f"{prefix}.{name}" if prefix else name), one.tensor

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> dict[str, Any]:  # type: ignore[override]
        """Tensors of the whole model by the plain model's names, whatever is chosen."""
        found = {} if destination is None else destination
        found.update({prefix + name: one.tensor if keep_vars else one.tensor.detach() for name, one in self._made.stored.items()})
        return found

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy tensors of the whole model in; names and shapes must be those of `state_dict()`."""
        if assign or not strict:
            raise BadParameter("an elastic model copies a whole state: call load_state_dict(state) without `assign` and with `strict`.")
        mine = self._made.stored
        if missing := [*(name for name in mine if name not in state_dict), *(name for name in state_dict if name not in mine)]:
            raise NamesDiffer(f"the state does not fit the elastic model: {listed(missing)} in one of them only.")
        for name, tensor in state_dict.items():
            if tensor.shape != mine[name].tensor.shape:
                raise ShapesDiffer(f"{name} has shape {tuple(tensor.shape)} in the state, {tuple(mine[name].tensor.shape)} in the model.")
        with torch.no_grad():
            for name, tensor in state_dict.items():
                mine[name].tensor.copy_(tensor)
        return nn.modules.module._IncompatibleKeys([], [])

    def __reduce_ex__(self, protocol: Any) -> Any:
        """An elastic model is neither copied nor pickled: its subnets are views of its own memory."""
        raise BadParameter(
            "an elastic model cannot be copied or pickled, since its subnets are views of its own memory; make one from a new model with the same space "
            "and give it the state, `other.load_state_dict(net.state_dict())`, or export a subnet."
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all subnets."""
        for one in self._made.stored.values():
            one.clear(set_to_none)

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode, as of any module; blocks that are not chosen follow."""
        with self.entire():
            return super().train(mode)

    @contextmanager
    def entire(self) -> Iterator[nn.Module]:
        """The model with all its blocks, candidates and whole tensors in place for a while, whatever is chosen."""
        self._statistics.leave()
        self._originals.restore()
        self._key = None
        try:
            yield self.model
        finally:
            self._statistics.leave()
            self._apply_all()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        with self.entire():
            super()._apply(fn, recurse)
            self._example = tree_map(lambda leaf: _moved(leaf, fn), self._example)
            self._renew()
        return self

    def _renew(self) -> None:
        """Buffers may be new tensors; leaves are views of memory that is no longer used."""
        self._originals.renew()
        whole = dict(self.model.named_buffers(remove_duplicate=False)) | {key.replace("/", "."): buffer for key, buffer in self.beside.named_buffers()}
        for name, one in self._made.stored.items():
            one.tensor = whole.get(name, one.tensor)
            one.forget()
        self._statistics.forget()
        for slot in self._made.slots:
            slot.met.clear()
        self._versioned = list({id(one.tensor): one.tensor for one in self._made.stored.values()}.values())
        self._places = self._pointers()

    def _look_again(self) -> None:
        """Parameters may have been frozen or thawed since, or have got other memory (`p.data = ...`, `vector_to_parameters`)."""
        if not torch.compiler.is_compiling() and self._pointers() != self._places:
            with self.entire():
                self._renew()
        wanted = [tensor.requires_grad for tensor in self._versioned]
        if wanted != self._wanted:
            self._wanted = wanted
            for one in self._made.stored.values():
                one.freeze()

    def _pointers(self) -> list[int]:
        return [tensor.data_ptr() for tensor in self._versioned]

    def _place(self, slots: list[Slot]) -> None:
        """These may change from now on."""
        self._made.slots = slots
        self._originals.note(change for slot in (*slots, *self._made.shown) for change in slot.changes)
        self._by_field = by_field(slots, [*self.space.names, *self._follows])

    def _apply_all(self) -> None:
        for slot in self._made.slots:
            slot.apply(self._full)
        self._key = tuple(self._full.values())

    def _put(self, values: Values) -> None:
        self._statistics.leave()
        if values is not self._values or self._follows:
            full = self._extended(values)
            for slot in self._touched(self._full, full):
                slot.apply(full)
            self._values, self._full = values, full
            self._key = tuple(full.values())

    def _extended(self, values: Values) -> Values:
        """With what follows from the configuration (beside.py)."""
        return values | {name: make(values) for name, make in self._follows.items()} if self._follows else values

    def _touched(self, before: Values, after: Values) -> Iterator[Slot]:
        seen: set[int] = set()
        for name, value in after.items():
            if before[name] != value:
                for slot in self._by_field[name]:
                    if id(slot) not in seen:
                        seen.add(id(slot))
                        yield slot

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        if self._resolution:
            args, kwargs = resized(args, kwargs, self._values[self._resolution])
        return self.model(*args, **kwargs)

    def _prepared(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = self._example
        return resized(args, kwargs, self._values[self._resolution]) if self._resolution else (args, kwargs)

    def _latency(self, values: Values) -> float:
        with self.selected(values), self._evaluating():
            args, kwargs = self._prepared()
            return latency_of(lambda: self.model(*args, **kwargs), next(self.parameters()).device)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        modes = [(module, module.training) for module in self.modules()]
        for module, _ in modes:
            module.training = False
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode

    def _folded(self) -> nn.Module:
        """The chosen subnet as a plain module, with the sizes that its layers show."""
        for slot in self._made.shown:
            slot.apply(self._values)
        try:
            return replaced(tightened(fold(self.model)))
        finally:
            for slot in self._made.shown:
                slot.apply(self.max())


def _moved(leaf: Any, fn: Callable[[Tensor], Tensor]) -> Any:
    """Example inputs go where the model goes; whole numbers keep their type."""
    return fn(leaf) if isinstance(leaf, Tensor) else leaf
