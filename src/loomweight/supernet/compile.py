"""From a model and the lines of its space to stored tensors, slots and the space that searches know."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..derive.derive import put
from ..errors import BadParameter, unknown
from ..search import Space
from ..weights.axes import Axes
from .attention import loosened
from .attributes import SHOWN, candidates, known, of_bare_norm, torchs_own
from .draft import Draft, Through
from .kinds import KINDS, OF_KINDS
from .parts import layout_of
from .settle import Guess
from .sizes import sizes_from
from .sliced_linear import SlicedLinear
from .slots import Change, Slot, slots_of
from .space_table import SpaceTable
from .stored import Assembled, Stored, parameters_of


@dataclass
class Compiled:
    """What an elastic model runs on.

    Args:
        space: the fields and their values.
        slots: what changes with which fields.
        shown: the same for what nothing reads in a forward pass.
        stored: every tensor of the model by its name; names of one tensor share it.
        guesses: attributes whose size is not certain.
        resolution: the field of the input's size, or "".
        axes: the table of the model.
        spaces: space of units -> its field.
        homes: field -> names of the modules that it concerns.
        made: derivations that were put into the model for it.
        kept: list of blocks -> (its field, value -> names of those that are used).
    """

    space: Space
    slots: list[Slot]
    shown: list[Slot]
    stored: dict[str, Stored]
    guesses: list[Guess]
    resolution: str
    axes: Axes
    spaces: Mapping[str, str]
    homes: Mapping[str, list[str]]
    made: set[nn.Module]
    kept: Mapping[str, Any]


def compiled(model: nn.Module, table: SpaceTable, axes: Axes) -> Compiled:
    """Bind a space to a model; the model's modules are prepared for it.

    Raises:
        UnknownName: a line's kind does not exist, or its pattern names nothing.
        BadParameter: values do not fit the model.
    """
    draft = Draft(model, axes)
    for line in table.lines:
        if line.kind not in KINDS:
            raise unknown("kind of what may vary", line.kind, KINDS)
        if wrong := [word for word in line.words if OF_KINDS.get(word, line.kind) != line.kind]:
            raise BadParameter(f"{line.label} says {wrong[0]!r}, which is of {OF_KINDS[wrong[0]]}; leave it out.")
        KINDS[line.kind](draft, line)
    space = draft.space()
    loosened(model, axes, draft.spaces)
    stored = _stored(model)
    changes = [*draft.changes, *_tensors(draft, stored)]
    guesses: list[Guess] = []
    size = sizes_from(axes, draft.spaces)
    for name, module in model.named_modules():
        if torchs_own(module):
            changes += _known(name, module, axes, size)
            guesses += [Guess(module, key, getattr(module, key), tuple(found)) for key, found in of_bare_norm(name, module, axes, size)]
        else:
            guesses += [Guess(module, key, getattr(module, key), tuple(found)) for key, found in candidates(name, module, axes, size)]
    live, shown = ([change for change in changes if change.shown is kind] for kind in (False, True))
    return Compiled(space, slots_of(live), slots_of(shown), stored, guesses, draft.resolution, axes, draft.spaces, draft.homes, draft.made, draft.kept)


def _known(name: str, module: nn.Module, axes: Axes, size: Any) -> Iterator[Change]:
    """Attributes of torch's layers; one that follows from several sizes depends on all their fields."""
    made: dict[str, tuple[Any, tuple[str, ...]]] = {}
    for attribute, make, behind in known(name, module, axes, size):
        before = made.get(attribute, (make, ()))[1]
        made[attribute] = (make, tuple(dict.fromkeys((*before, *behind.fields))))
    for attribute, (make, fields) in made.items():
        if fields:
            yield Change(module, "__dict__", attribute, fields, make, shown=attribute in SHOWN)


def _stored(model: nn.Module) -> dict[str, Stored]:
    """Every tensor of the state, one object for all names of one tensor."""
    by_tensor: dict[int, Stored] = {}
    return {name: by_tensor.setdefault(id(tensor), Stored(name, tensor)) for name, tensor in model.state_dict(keep_vars=True).items()}


def _tensors(draft: Draft, stored: dict[str, Stored]) -> Iterable[Change]:
    modules = dict(draft.model.named_modules(remove_duplicate=False))
    seen: set[tuple[int, str]] = set()
    assembled: dict[int, Assembled] = {}
    for name, one in list(stored.items()):
        if name not in draft.axes.layouts:
            continue
        through = sorted(draft.through.get(name, []), key=lambda item: item[0])
        if one.layout is None:
            one.layout = layout_of(draft.axes, name, draft.spaces, draft.windows.get(name, {}))
        layout = one.layout
        if not layout.fields and not through:
            continue
        prefix, _, leaf = name.rpartition(".")
        owner = modules[prefix]
        if (id(owner), leaf) in seen:
            continue
        seen.add((id(owner), leaf))
        if layout.plain and not through:
            if type(owner) is nn.Linear:
                owner.__class__ = SlicedLinear  # type: ignore[assignment]
            kind = "_parameters" if leaf in owner._parameters else "_buffers"
            yield Change(owner, kind, leaf, layout.fields, lambda values, one=one: one.pieces(values)[0].tensor)
            continue
        if not isinstance(one.tensor, nn.Parameter):
            raise BadParameter(f"buffer {name} carries several runs of units that vary; only parameters may be cut inside.")
        fresh = id(one) not in assembled
        how = assembled.setdefault(id(one), Assembled(one.tensor, layout))
        if fresh and layout.fields:
            yield from _pieces(one, how)
        used = yield from _through(name, how, [each for _, each in through], stored)
        put(owner, leaf, used)
        draft.made.add(used)


def _through(name: str, how: nn.Module, several: Sequence[Through], stored: dict[str, Stored]) -> Generator[Change, None, nn.Module]:
    """What a tensor goes through; parameters of its own are the elastic model's from now on."""
    for each in several:
        how, changes = each(how)
        yield from changes
        for key, tensor in how.named_parameters(recurse=False):
            stored[f"{name}.{key}"] = Stored(f"{name}.{key}", tensor)
    return how


def _pieces(one: Stored, how: Assembled) -> Iterator[Change]:
    assert one.layout is not None
    count = len(one.layout.parts)
    for key in ("stored", *(f"part_{i}" for i in range(count))):

        def make(values: Mapping[str, Any], key: str = key) -> Tensor | None:
            return parameters_of(one.pieces(values), count)[key]

        yield Change(how, "_parameters", key, one.layout.fields, make)
